-- concurrently
DROP INDEX CONCURRENTLY IF EXISTS tasks_entry_stage;
CREATE INDEX CONCURRENTLY tasks_entry_stage ON tasks (stage) WHERE playlist_id IS NOT NULL AND NOT removed;
