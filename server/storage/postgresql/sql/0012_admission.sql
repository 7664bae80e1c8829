-- All tasks that wait for a job, in the order in which they get it: without a limit of hosts there is only one queue.
CREATE INDEX tasks_next ON tasks (priority DESC, number) WHERE stage = 'queued' AND job_id IS NULL AND NOT removed;

-- While the row is there, more tasks wait for a job than one transaction may give: whoever gives jobs to tasks of some
-- hosts gives them to the tasks of all hosts, in their order. Otherwise what is new would overtake what is older.
CREATE TABLE backlog (
    queue text COLLATE "C" PRIMARY KEY -- 'all'
);
