-- While the row is there, more tasks wait for a job than one transaction may give: whoever gives jobs to tasks of some
-- hosts gives them to the tasks of all hosts, in their order. Otherwise what is new would overtake what is older.
CREATE TABLE backlog (
    queue text COLLATE "C" PRIMARY KEY -- 'all'
);
