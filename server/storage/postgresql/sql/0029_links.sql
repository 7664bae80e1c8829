-- Links to one file that need no token.
CREATE TABLE links (
    link_id text COLLATE "C" PRIMARY KEY,
    task_id text COLLATE "C" NOT NULL,
    kind text NOT NULL, -- the key of the file in the task's `files`
    name text COLLATE "C" NOT NULL, -- of the stored file
    made_at double precision NOT NULL, -- seconds since 1970, as the next one
    expires_at double precision NOT NULL
);

CREATE INDEX links_task ON links (task_id);
CREATE INDEX links_expired ON links (expires_at);
