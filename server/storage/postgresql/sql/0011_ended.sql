-- concurrently
-- What has ended is listed with the last ended first.
DROP INDEX CONCURRENTLY IF EXISTS tasks_stage_ended;
CREATE INDEX CONCURRENTLY tasks_stage_ended ON tasks (stage, ended_at, number)
    WHERE ended_at IS NOT NULL AND NOT removed;

-- All tasks that wait for a job, in the order in which they get it: without a limit of hosts there is only one queue.
DROP INDEX CONCURRENTLY IF EXISTS tasks_next;
CREATE INDEX CONCURRENTLY tasks_next ON tasks (priority DESC, number)
    WHERE stage = 'queued' AND job_id IS NULL AND NOT removed;
