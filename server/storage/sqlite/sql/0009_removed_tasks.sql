-- Which tasks were removed lately: for clients that were away meanwhile.
CREATE TABLE removed_tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL,
    removed_at INTEGER NOT NULL -- seconds since 1970
) STRICT;

CREATE TRIGGER tasks_removed_tasks AFTER UPDATE OF removed ON tasks WHEN new.removed = 1 AND old.removed = 0
BEGIN
    INSERT INTO removed_tasks (task_id, removed_at) VALUES (new.task_id, CAST(strftime('%s', 'now') AS INTEGER));
    DELETE FROM removed_tasks WHERE number <= last_insert_rowid() - 10000;
END;
