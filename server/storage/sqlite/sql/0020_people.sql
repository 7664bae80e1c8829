CREATE TABLE people (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL, -- admin, user
    password TEXT, -- its Argon2id hash; null: no log-in by password
    subject TEXT, -- issuer and subject at an OpenID provider, with a space between them
    limits TEXT NOT NULL DEFAULT '{}', -- JSON: those that differ from the settings
    added_at REAL NOT NULL, -- seconds since 1970, as are all times here
    leaving TEXT, -- the person is being removed; JSON: what becomes of what is theirs
    adopts INTEGER NOT NULL DEFAULT 0 -- 1: gets what belongs to nobody
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX people_subject ON people (subject) WHERE subject IS NOT NULL;

CREATE TABLE tokens (
    token_id INTEGER PRIMARY KEY AUTOINCREMENT, -- no number is given twice: sessions name it
    hash TEXT NOT NULL UNIQUE, -- SHA-256 of the token
    name TEXT NOT NULL, -- of the person
    label TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    used_at REAL, -- to a minute
    UNIQUE (name, label)
) STRICT;

-- Of people and their tokens: grows with every change that decides who is let in.
CREATE TABLE versions (
    subject TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE sessions ADD COLUMN way TEXT NOT NULL DEFAULT 'token';
ALTER TABLE sessions ADD COLUMN token_id INTEGER; -- of the person's token that began it
ALTER TABLE sessions ADD COLUMN about TEXT NOT NULL DEFAULT '{}'; -- JSON: what its owner is shown of it

-- The name of the person whose task it is; null: nobody's. The status says the same.
ALTER TABLE tasks ADD COLUMN owner TEXT;
CREATE INDEX tasks_owner ON tasks (owner, number) WHERE owner IS NOT NULL AND removed = 0;
