-- concurrently
DROP INDEX CONCURRENTLY IF EXISTS tasks_owner_ended;
CREATE INDEX CONCURRENTLY tasks_owner_ended ON tasks (owner, ended_at, stage)
    WHERE owner IS NOT NULL AND NOT removed;
