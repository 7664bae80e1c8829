-- What lies in the library, see server/core/placements.py: one set for each video and holder.
CREATE TABLE file_sets (
    set_id text COLLATE "C" PRIMARY KEY,
    holder text COLLATE "C" NOT NULL, -- a subscription; empty: a client has asked for the link
    key text COLLATE "C" NOT NULL, -- as in media
    task_id text COLLATE "C" NOT NULL, -- that has the files; it may be gone
    wanted text NOT NULL, -- JSON: layout, folder, name and so on
    state text COLLATE "C" NOT NULL,
    reason text COLLATE "C",
    about text NOT NULL, -- JSON: what names and NFO files are made of
    show text COLLATE "C", -- whose folder it lies in; null until it is placed for the first time
    folder text COLLATE "C", -- of the show: it stays, whatever the show is called later
    series text COLLATE "C", -- the same as file systems that fold letters see it
    day text COLLATE "C", -- of the publication
    day_index bigint, -- which one of that day in the folder
    shares text COLLATE "C", -- the set whose files are this one's, too
    not_before float8 NOT NULL, -- seconds since 1970
    lease_until float8, -- the end of the time that whoever places it has; null: nobody does
    try_no bigint NOT NULL, -- grows with each try
    tries bigint NOT NULL, -- in a row that failed
    placed_at float8
);

CREATE UNIQUE INDEX file_sets_day ON file_sets (series, day, day_index) WHERE day_index IS NOT NULL;
CREATE INDEX file_sets_show ON file_sets (show) WHERE show IS NOT NULL;
CREATE INDEX file_sets_due ON file_sets (not_before) WHERE state <> 'placed';
CREATE INDEX file_sets_task ON file_sets (task_id);
CREATE INDEX file_sets_item ON file_sets (holder, key);
CREATE INDEX file_sets_shares ON file_sets (shares) WHERE shares IS NOT NULL;

CREATE TABLE placed (
    folded text COLLATE "C" PRIMARY KEY, -- the path as file systems that fold letters see it
    path text COLLATE "C" NOT NULL, -- below the library's folder
    set_id text COLLATE "C" NOT NULL, -- `folder ` and a series: it is for all sets there
    kind text COLLATE "C" NOT NULL,
    size bigint NOT NULL, -- this and the hash are also those of a file that is not there yet
    sha256 text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL
);

CREATE INDEX placed_set ON placed (set_id);
