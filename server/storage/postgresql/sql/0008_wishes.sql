-- A hash of who asked for what: tasks with the same one can stand for each other.
ALTER TABLE tasks ADD COLUMN wish text COLLATE "C";
CREATE INDEX tasks_wish ON tasks (wish, number) WHERE wish IS NOT NULL AND NOT removed;
