-- Tasks are counted by this index alone. SQLite 3.40 does not see that `removed` follows from the condition, and
-- would look into the row of each of them.
DROP INDEX tasks_stage;
CREATE INDEX tasks_stage ON tasks (stage, number, removed) WHERE removed = 0;
