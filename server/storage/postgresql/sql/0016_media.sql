-- What was fetched, for good: whatever happens to tasks, files and subscriptions.
CREATE TABLE media (
    key text COLLATE "C" PRIMARY KEY, -- see server/core/media_keys.py
    fetched_at float8 NOT NULL, -- seconds since 1970: last
    task_id text COLLATE "C", -- the last that fetched it; null: it was imported
    manners text COLLATE "C" NOT NULL, -- hashes of how it was fetched, separated by spaces; *: imported
    about text NOT NULL -- JSON: what is known of it
);

-- Other names of it: links, ids that it had before, guids of feeds.
CREATE TABLE aliases (
    alias text COLLATE "C" PRIMARY KEY,
    key text COLLATE "C" NOT NULL
);

CREATE INDEX aliases_key ON aliases (key);
