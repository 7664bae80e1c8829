-- Links to one file that need no token.
CREATE TABLE links (
    link_id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL,
    kind TEXT NOT NULL, -- the key of the file in the task's `files`
    name TEXT NOT NULL, -- of the stored file
    made_at REAL NOT NULL, -- seconds since 1970, as the next one
    expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX links_task ON links (task_id);
CREATE INDEX links_expired ON links (expires_at);
