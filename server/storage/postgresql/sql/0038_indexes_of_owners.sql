-- concurrently
-- A person's tasks by stage and by end, and their counts; what belongs to nobody has no entry here.
DROP INDEX CONCURRENTLY IF EXISTS tasks_owner_stage;
CREATE INDEX CONCURRENTLY tasks_owner_stage ON tasks (owner, stage, number) INCLUDE (playlist_id)
    WHERE owner IS NOT NULL AND NOT removed;
DROP INDEX CONCURRENTLY IF EXISTS tasks_owner_stage_ended;
CREATE INDEX CONCURRENTLY tasks_owner_stage_ended ON tasks (owner, stage, ended_at, number)
    WHERE owner IS NOT NULL AND ended_at IS NOT NULL AND NOT removed;
DROP INDEX CONCURRENTLY IF EXISTS removed_tasks_owned;
CREATE INDEX CONCURRENTLY removed_tasks_owned ON removed_tasks (task_id) WHERE owner IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS subscriptions_owner;
CREATE INDEX CONCURRENTLY subscriptions_owner ON subscriptions (owner, number) WHERE owner IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS subscriptions_same;
CREATE INDEX CONCURRENTLY subscriptions_same ON subscriptions (source_key, wish);
DROP INDEX CONCURRENTLY IF EXISTS feeds_name;
CREATE INDEX CONCURRENTLY feeds_name ON feeds (name);
