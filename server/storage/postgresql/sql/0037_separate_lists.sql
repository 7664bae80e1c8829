-- Whose a task was: only they are told of its removal.
ALTER TABLE removed_tasks ADD COLUMN owner text COLLATE "C";
CREATE OR REPLACE FUNCTION keep_removed_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO removed_tasks (task_id, owner) VALUES (new.task_id, new.owner);
    DELETE FROM removed_tasks WHERE number <= currval(pg_get_serial_sequence('removed_tasks', 'number')) - 10000;
    RETURN NULL;
END $$;

-- The person whose it is, null: nobody's; and who has made it.
ALTER TABLE subscriptions ADD COLUMN owner text COLLATE "C", ADD COLUMN created_by text COLLATE "C";
-- Two people may want the same of one source, where their lists are separate.
DROP INDEX subscriptions_source;

-- Each may have a feed of one name.
ALTER TABLE feeds DROP CONSTRAINT feeds_pkey;
