-- Whose a task was: only they are told of its removal.
ALTER TABLE removed_tasks ADD COLUMN owner TEXT;
CREATE INDEX removed_tasks_owned ON removed_tasks (task_id) WHERE owner IS NOT NULL;
DROP TRIGGER tasks_removed_tasks;
CREATE TRIGGER tasks_removed_tasks AFTER UPDATE OF removed ON tasks WHEN new.removed = 1 AND old.removed = 0
BEGIN
    INSERT INTO removed_tasks (task_id, removed_at, owner)
    VALUES (new.task_id, CAST(strftime('%s', 'now') AS INTEGER), new.owner);
    DELETE FROM removed_tasks WHERE number <= last_insert_rowid() - 10000;
END;

-- A person's tasks by stage and by end, and their counts; what belongs to nobody has no entry here.
CREATE INDEX tasks_owner_stage ON tasks (owner, stage, number, playlist_id, removed)
    WHERE owner IS NOT NULL AND removed = 0;
CREATE INDEX tasks_owner_stage_ended ON tasks (owner, stage, ended_at, number)
    WHERE owner IS NOT NULL AND ended_at IS NOT NULL AND removed = 0;

-- The person whose it is, null: nobody's; and who has made it.
ALTER TABLE subscriptions ADD COLUMN owner TEXT;
ALTER TABLE subscriptions ADD COLUMN created_by TEXT;
CREATE INDEX subscriptions_owner ON subscriptions (owner, number) WHERE owner IS NOT NULL;
-- Two people may want the same of one source, where their lists are separate.
DROP INDEX subscriptions_source;
CREATE INDEX subscriptions_same ON subscriptions (source_key, wish);

-- Each may have a feed of one name.
CREATE TABLE feeds_of_people (
    subscription_id TEXT PRIMARY KEY,
    name TEXT NOT NULL -- in the address of the podcast feed
) STRICT, WITHOUT ROWID;
INSERT INTO feeds_of_people (name, subscription_id) SELECT name, subscription_id FROM feeds;
DROP TABLE feeds;
ALTER TABLE feeds_of_people RENAME TO feeds;
CREATE INDEX feeds_name ON feeds (name);
