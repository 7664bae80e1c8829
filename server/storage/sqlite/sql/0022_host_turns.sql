-- When the next task of a subscription may download from a host (downloads.pause_between).
CREATE TABLE host_turns (
    host TEXT PRIMARY KEY,
    free_at REAL NOT NULL, -- seconds since 1970: nothing begins before
    last_turn_at REAL NOT NULL -- the last turn that was given
) STRICT, WITHOUT ROWID;
