-- Which tasks were removed lately: for clients that were away meanwhile.
CREATE TABLE removed_tasks (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id text COLLATE "C" NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION keep_removed_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO removed_tasks (task_id) VALUES (new.task_id);
    DELETE FROM removed_tasks WHERE number <= currval(pg_get_serial_sequence('removed_tasks', 'number')) - 10000;
    RETURN NULL;
END $$;

CREATE TRIGGER tasks_removed_tasks AFTER UPDATE OF removed ON tasks
    FOR EACH ROW WHEN (new.removed AND NOT old.removed) EXECUTE FUNCTION keep_removed_tasks();
