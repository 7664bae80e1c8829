-- Of a subscription, too, something is told: then `subscription_id` stands in place of `task_id`.
DROP TRIGGER tasks_deliveries;
CREATE TABLE deliveries_of_both (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id TEXT NOT NULL UNIQUE,
    task_id TEXT,
    kind TEXT NOT NULL, -- webhook, default (the one of the configuration), notify
    target TEXT NOT NULL, -- the URL of a webhook; which person
    status TEXT NOT NULL, -- JSON: the final status, which a retry does not change here; or what is told
    attempts INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0, -- tries since the plan of retries began
    last_error TEXT,
    next_at REAL, -- seconds since 1970; null: given up
    receiver TEXT NOT NULL DEFAULT '', -- host:port of a webhook; which person
    claimed_until REAL, -- seconds since 1970, while a try is under way; else null
    subscription_id TEXT
) STRICT;
INSERT INTO deliveries_of_both (number, delivery_id, task_id, kind, target, status, attempts, step, last_error,
        next_at, receiver, claimed_until)
    SELECT number, delivery_id, task_id, kind, target, status, attempts, step, last_error, next_at, receiver,
        claimed_until
    FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_of_both RENAME TO deliveries;

CREATE INDEX deliveries_due ON deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_task ON deliveries (task_id);
CREATE INDEX deliveries_receiver ON deliveries (kind, receiver, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_claimed ON deliveries (claimed_until) WHERE claimed_until IS NOT NULL;

CREATE TRIGGER tasks_deliveries AFTER UPDATE OF removed ON tasks WHEN new.removed = 1
BEGIN
    DELETE FROM deliveries WHERE task_id = new.task_id;
END;
