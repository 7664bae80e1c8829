-- concurrently
-- The tasks of a host and a person, or of nobody, that have no job, in the order in which they get one.
DROP INDEX CONCURRENTLY IF EXISTS tasks_in_line;
CREATE INDEX CONCURRENTLY tasks_in_line ON tasks (host, owner, priority DESC, number)
    WHERE stage = 'queued' AND job_id IS NULL AND NOT removed;
