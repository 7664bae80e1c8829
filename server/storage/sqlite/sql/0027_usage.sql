-- What people have downloaded, by the hour in which their tasks have ended, for a day.
CREATE TABLE downloaded (
    name TEXT NOT NULL, -- of the person
    hour INTEGER NOT NULL, -- since 1970
    bytes INTEGER NOT NULL,
    PRIMARY KEY (name, hour)
) STRICT, WITHOUT ROWID;

-- What of a person has not ended, and what has ended long ago.
CREATE INDEX tasks_owner_ended ON tasks (owner, ended_at, stage) WHERE owner IS NOT NULL AND removed = 0;
