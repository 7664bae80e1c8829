-- What lies in the library, see server/core/placements.py: one set for each video and holder.
CREATE TABLE file_sets (
    set_id TEXT PRIMARY KEY,
    holder TEXT NOT NULL, -- a subscription; empty: a client has asked for the link
    key TEXT NOT NULL, -- as in media
    task_id TEXT NOT NULL, -- that has the files; it may be gone
    wanted TEXT NOT NULL, -- JSON: layout, folder, name and so on
    state TEXT NOT NULL,
    reason TEXT,
    about TEXT NOT NULL, -- JSON: what names and NFO files are made of
    show TEXT, -- whose folder it lies in; null until it is placed for the first time
    folder TEXT, -- of the show: it stays, whatever the show is called later
    series TEXT, -- the same as file systems that fold letters see it
    day TEXT, -- of the publication
    day_index INTEGER, -- which one of that day in the folder
    shares TEXT, -- the set whose files are this one's, too
    not_before REAL NOT NULL, -- seconds since 1970
    lease_until REAL, -- the end of the time that whoever places it has; null: nobody does
    try_no INTEGER NOT NULL, -- grows with each try
    tries INTEGER NOT NULL, -- in a row that failed
    placed_at REAL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX file_sets_day ON file_sets (series, day, day_index) WHERE day_index IS NOT NULL;
CREATE INDEX file_sets_show ON file_sets (show) WHERE show IS NOT NULL;
CREATE INDEX file_sets_due ON file_sets (not_before) WHERE state <> 'placed';
CREATE INDEX file_sets_task ON file_sets (task_id);
CREATE INDEX file_sets_item ON file_sets (holder, key);
CREATE INDEX file_sets_shares ON file_sets (shares) WHERE shares IS NOT NULL;

CREATE TABLE placed (
    folded TEXT PRIMARY KEY, -- the path as file systems that fold letters see it
    path TEXT NOT NULL, -- below the library's folder
    set_id TEXT NOT NULL, -- `folder ` and a series: it is for all sets there
    kind TEXT NOT NULL,
    size INTEGER NOT NULL, -- this and the hash are also those of a file that is not there yet
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX placed_set ON placed (set_id);
