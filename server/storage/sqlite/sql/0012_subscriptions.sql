CREATE TABLE subscriptions (
    subscription_id TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE, -- the order of creation
    revision INTEGER NOT NULL, -- of what clients set
    url TEXT NOT NULL,
    source_key TEXT NOT NULL, -- see server/core/media_keys.py
    wish TEXT NOT NULL, -- a hash of what is wanted of the source
    host TEXT NOT NULL,
    manner TEXT NOT NULL, -- a hash of how entries are fetched
    scope TEXT NOT NULL, -- names the token of the client
    wanted TEXT NOT NULL, -- JSON: what clients have set
    findings TEXT NOT NULL, -- JSON: what looks have found out
    next_check_at REAL, -- seconds since 1970; null: it is not enabled
    lease_until REAL, -- the end of the time that whoever looks has for it; null: nobody looks
    check_no INTEGER NOT NULL, -- grows with each look
    keep_at REAL, -- when to see what is not kept any more; null: never
    created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX subscriptions_source ON subscriptions (source_key, wish);
CREATE INDEX subscriptions_due ON subscriptions (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX subscriptions_keep ON subscriptions (keep_at) WHERE keep_at IS NOT NULL;
CREATE INDEX subscriptions_leased ON subscriptions (host, lease_until) WHERE lease_until IS NOT NULL;

CREATE TABLE items (
    subscription_id TEXT NOT NULL,
    key TEXT NOT NULL, -- as in media
    number INTEGER NOT NULL, -- newer ones have higher ones
    state TEXT NOT NULL,
    reason TEXT,
    published_at TEXT, -- ISO 8601
    task_id TEXT,
    manner TEXT, -- that of the task
    not_before REAL, -- seconds since 1970: when it is to be tried again
    tries INTEGER NOT NULL DEFAULT 0,
    pinned INTEGER NOT NULL DEFAULT 0,
    found_at REAL NOT NULL,
    fetched_at REAL,
    about TEXT NOT NULL, -- JSON: what its list says of it
    PRIMARY KEY (subscription_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX items_number ON items (subscription_id, number);
CREATE INDEX items_state ON items (subscription_id, state, number);
CREATE INDEX items_key ON items (key);
CREATE INDEX items_task ON items (task_id) WHERE task_id IS NOT NULL;

CREATE TABLE source_hosts (
    host TEXT PRIMARY KEY,
    next_look_at REAL NOT NULL, -- seconds since 1970
    held_until REAL NOT NULL, -- it is left alone until then
    holds INTEGER NOT NULL -- in a row
) STRICT, WITHOUT ROWID;

-- What a client deletes before it is fetched is not wanted; what was fetched stays so.
CREATE TRIGGER tasks_items AFTER UPDATE OF removed ON tasks WHEN new.removed = 1 AND old.removed = 0
BEGIN
    UPDATE items SET task_id = NULL,
        reason = CASE WHEN state = 'queued' THEN 'removed' ELSE reason END,
        state = CASE WHEN state = 'queued' THEN 'skipped' ELSE state END
    WHERE task_id = new.task_id;
END;
