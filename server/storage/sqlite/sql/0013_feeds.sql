CREATE TABLE feeds (
    name TEXT PRIMARY KEY, -- in the address of the podcast feed
    subscription_id TEXT NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    name TEXT PRIMARY KEY, -- what it is for
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
