-- What was fetched, for good: whatever happens to tasks, files and subscriptions.
CREATE TABLE media (
    key TEXT PRIMARY KEY, -- see server/core/media_keys.py
    fetched_at REAL NOT NULL, -- seconds since 1970: last
    task_id TEXT, -- the last that fetched it; null: it was imported
    manners TEXT NOT NULL, -- hashes of how it was fetched, separated by spaces; *: imported
    about TEXT NOT NULL -- JSON: what is known of it
) STRICT, WITHOUT ROWID;

-- Other names of it: links, ids that it had before, guids of feeds.
CREATE TABLE aliases (
    alias TEXT PRIMARY KEY,
    key TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX aliases_key ON aliases (key);
