-- concurrently
DROP INDEX CONCURRENTLY IF EXISTS tasks_owner;
CREATE INDEX CONCURRENTLY tasks_owner ON tasks (owner, number) WHERE owner IS NOT NULL AND NOT removed;
