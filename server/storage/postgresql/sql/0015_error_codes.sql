-- concurrently
-- The code of a task's failure, as the JSON says it. An index on it, not a column: so it also knows what a server of the
-- release before writes, and no table is rewritten.
DROP INDEX CONCURRENTLY IF EXISTS tasks_error_code;
CREATE INDEX CONCURRENTLY tasks_error_code ON tasks (
    (substring(status FROM '"error_code":"([a-z0-9_]+)"')), stage, number
) WHERE ended_at IS NOT NULL AND NOT removed;
