-- When the next task of a subscription may download from a host (downloads.pause_between).
CREATE TABLE host_turns (
    host text COLLATE "C" PRIMARY KEY,
    free_at float8 NOT NULL, -- seconds since 1970: nothing begins before
    last_turn_at float8 NOT NULL -- the last turn that was given
);
