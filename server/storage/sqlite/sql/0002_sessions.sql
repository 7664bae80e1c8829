CREATE TABLE sessions (
    number INTEGER PRIMARY KEY, -- grows with each log-in
    session_id TEXT NOT NULL UNIQUE, -- a hash of what the browser keeps
    scope TEXT NOT NULL, -- names the token
    ends_at REAL NOT NULL -- seconds since 1970
) STRICT;
