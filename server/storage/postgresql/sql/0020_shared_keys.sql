-- Keys of requests that were answered with a task of another request. A key is free once its task is marked as removed;
-- its row goes with the row of the task.
CREATE TABLE shared_keys (
    key text COLLATE "C" PRIMARY KEY, -- the Idempotency-Key with the token's scope
    hashes text NOT NULL, -- of the request
    task_id text COLLATE "C" NOT NULL REFERENCES tasks (task_id) ON DELETE CASCADE
);

CREATE INDEX shared_keys_task ON shared_keys (task_id);
