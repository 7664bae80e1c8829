CREATE TABLE feeds (
    name text COLLATE "C" PRIMARY KEY, -- in the address of the podcast feed
    subscription_id text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE secrets (
    name text COLLATE "C" PRIMARY KEY, -- what it is for
    value text COLLATE "C" NOT NULL
);
