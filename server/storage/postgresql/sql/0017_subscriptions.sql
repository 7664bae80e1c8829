CREATE TABLE subscriptions (
    subscription_id text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL UNIQUE, -- the order of creation
    revision bigint NOT NULL, -- of what clients set
    url text COLLATE "C" NOT NULL,
    source_key text COLLATE "C" NOT NULL, -- see server/core/media_keys.py
    wish text COLLATE "C" NOT NULL, -- a hash of what is wanted of the source
    host text COLLATE "C" NOT NULL,
    manner text COLLATE "C" NOT NULL, -- a hash of how entries are fetched
    scope text COLLATE "C" NOT NULL, -- names the token of the client
    wanted text NOT NULL, -- JSON: what clients have set
    findings text NOT NULL, -- JSON: what looks have found out
    next_check_at float8, -- seconds since 1970; null: it is not enabled
    lease_until float8, -- the end of the time that whoever looks has for it; null: nobody looks
    check_no bigint NOT NULL, -- grows with each look
    keep_at float8, -- when to see what is not kept any more; null: never
    created_at float8 NOT NULL
);

CREATE UNIQUE INDEX subscriptions_source ON subscriptions (source_key, wish);
CREATE INDEX subscriptions_due ON subscriptions (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX subscriptions_keep ON subscriptions (keep_at) WHERE keep_at IS NOT NULL;
CREATE INDEX subscriptions_leased ON subscriptions (host, lease_until) WHERE lease_until IS NOT NULL;

CREATE TABLE items (
    subscription_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL, -- as in media
    number bigint NOT NULL, -- newer ones have higher ones
    state text COLLATE "C" NOT NULL,
    reason text COLLATE "C",
    published_at text COLLATE "C", -- ISO 8601
    task_id text COLLATE "C",
    manner text COLLATE "C", -- that of the task
    not_before float8, -- seconds since 1970: when it is to be tried again
    tries bigint NOT NULL DEFAULT 0,
    pinned bigint NOT NULL DEFAULT 0,
    found_at float8 NOT NULL,
    fetched_at float8,
    about text NOT NULL, -- JSON: what its list says of it
    PRIMARY KEY (subscription_id, key)
);

CREATE INDEX items_number ON items (subscription_id, number);
CREATE INDEX items_state ON items (subscription_id, state, number);
CREATE INDEX items_key ON items (key);
CREATE INDEX items_task ON items (task_id) WHERE task_id IS NOT NULL;

CREATE TABLE source_hosts (
    host text COLLATE "C" PRIMARY KEY,
    next_look_at float8 NOT NULL, -- seconds since 1970
    held_until float8 NOT NULL, -- it is left alone until then
    holds bigint NOT NULL -- in a row
);

-- What a client deletes before it is fetched is not wanted; what was fetched stays so.
CREATE FUNCTION keep_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE items SET task_id = NULL,
        reason = CASE WHEN state = 'queued' THEN 'removed' ELSE reason END,
        state = CASE WHEN state = 'queued' THEN 'skipped' ELSE state END
    WHERE task_id = new.task_id;
    RETURN NULL;
END $$;

CREATE TRIGGER tasks_items AFTER UPDATE OF removed ON tasks
    FOR EACH ROW WHEN (new.removed AND NOT old.removed) EXECUTE FUNCTION keep_items();
