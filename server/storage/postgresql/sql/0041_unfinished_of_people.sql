-- concurrently
-- A person's tasks that have not ended, and those that have ended long ago, are found by tasks_owner_stage and
-- tasks_owner_stage_ended.
DROP INDEX CONCURRENTLY IF EXISTS tasks_owner_ended;
