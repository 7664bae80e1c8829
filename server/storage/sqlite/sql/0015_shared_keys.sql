-- Keys of requests that were answered with a task of another request. A key is free once its task is marked as removed;
-- its row goes with the row of the task.
CREATE TABLE shared_keys (
    key TEXT PRIMARY KEY, -- the Idempotency-Key with the token's scope
    hashes TEXT NOT NULL, -- of the request
    task_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX shared_keys_task ON shared_keys (task_id);

CREATE TRIGGER tasks_shared_keys AFTER DELETE ON tasks
BEGIN
    DELETE FROM shared_keys WHERE task_id = old.task_id;
END;
