-- Who did what.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL, -- seconds since 1970
    who TEXT, -- a person; null: an admin without a name, or nobody
    what TEXT NOT NULL,
    subject TEXT NOT NULL, -- to what or whom
    address TEXT NOT NULL, -- from where
    request_id TEXT NOT NULL
) STRICT;

CREATE INDEX audit_at ON audit (at);
