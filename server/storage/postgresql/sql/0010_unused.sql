-- Who waits is counted by `tasks_live`: no query of this or of the release before reads this index, and each change of
-- a stage had to write it.
DROP INDEX tasks_waiting;
