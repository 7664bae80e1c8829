PRAGMA application_id = 0x436c7077; -- "Clpw"

CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never given twice, also after a deletion
    task_id TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    stage TEXT NOT NULL,
    priority INTEGER NOT NULL,
    request TEXT NOT NULL, -- JSON
    status TEXT NOT NULL, -- JSON
    short TEXT, -- the unique part of the files' public names, once there are files
    idempotency TEXT,
    idempotency_request TEXT,
    search TEXT NOT NULL, -- title, uploader and URL, folded; a line each
    ended_at INTEGER, -- seconds since 1970; null until the task is final
    removed INTEGER NOT NULL DEFAULT 0, -- its files are being removed, then the row
    -- What the text index knows of a final task. The mark for its stage lets text and stage be looked up
    -- together; it also makes the last character of the text begin a trigram, as all others do.
    words TEXT AS (CASE WHEN ended_at IS NOT NULL THEN search || char(1) || substr(stage, 1, 2) END) VIRTUAL
) STRICT;

CREATE UNIQUE INDEX tasks_short ON tasks (short) WHERE short IS NOT NULL;
CREATE UNIQUE INDEX tasks_idempotency ON tasks (idempotency) WHERE idempotency IS NOT NULL;
CREATE INDEX tasks_stage ON tasks (stage, number) WHERE removed = 0;
CREATE INDEX tasks_queue ON tasks (priority DESC, number) WHERE stage = 'queued' AND removed = 0;
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL AND removed = 0;
CREATE INDEX tasks_removed ON tasks (number) WHERE removed = 1;

-- Only final tasks are in it: a submit and a progress do not pay for the index.
CREATE VIRTUAL TABLE tasks_text USING fts5 (
    words, content = 'tasks', content_rowid = 'number', detail = 'none', columnsize = 0,
    tokenize = 'trigram case_sensitive 1'
);
CREATE VIRTUAL TABLE tasks_trigrams USING fts5vocab (tasks_text, 'row');

CREATE TRIGGER tasks_text_insert AFTER INSERT ON tasks WHEN new.words IS NOT NULL
BEGIN
    INSERT INTO tasks_text (rowid, words) VALUES (new.number, new.words);
END;

CREATE TRIGGER tasks_text_update AFTER UPDATE OF ended_at, search, stage ON tasks WHEN new.words IS NOT old.words
BEGIN
    INSERT INTO tasks_text (tasks_text, rowid, words)
        SELECT 'delete', old.number, old.words WHERE old.words IS NOT NULL;
    INSERT INTO tasks_text (rowid, words)
        SELECT new.number, new.words WHERE new.words IS NOT NULL;
END;

CREATE TRIGGER tasks_text_delete AFTER DELETE ON tasks WHEN old.words IS NOT NULL
BEGIN
    INSERT INTO tasks_text (tasks_text, rowid, words) VALUES ('delete', old.number, old.words);
END;
