CREATE TABLE nodes (
    node_id text COLLATE "C" PRIMARY KEY,
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    roles text[] NOT NULL,
    running integer NOT NULL DEFAULT 0, -- downloads, of which each gets its share of the rate
    low boolean NOT NULL DEFAULT false, -- its disk is below its floor
    folder text COLLATE "C", -- names the folder in which its finished files lie; null: they are in a bucket
    settings text COLLATE "C" NOT NULL -- a hash of those that all nodes must share
);
