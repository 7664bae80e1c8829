-- What is to be told to others: made in the transaction of a task's final status, deleted once it was told.
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id TEXT NOT NULL UNIQUE,
    task_id TEXT NOT NULL,
    kind TEXT NOT NULL, -- webhook, default (the one of the configuration), notify
    target TEXT NOT NULL, -- the URL of a webhook; which person
    status TEXT NOT NULL, -- JSON: the final status, which a retry does not change here
    attempts INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0, -- tries since the plan of retries began
    last_error TEXT,
    next_at REAL -- seconds since 1970; null: given up
) STRICT;

CREATE INDEX deliveries_due ON deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_task ON deliveries (task_id);

CREATE TRIGGER tasks_deliveries AFTER UPDATE OF removed ON tasks WHEN new.removed = 1
BEGIN
    DELETE FROM deliveries WHERE task_id = new.task_id;
END;
