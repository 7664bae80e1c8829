-- Actions on lists that some of their entries have not taken yet, see server/core/entry_status.py.
CREATE TABLE list_actions (
    playlist_id TEXT NOT NULL,
    number INTEGER NOT NULL, -- on its list
    told TEXT NOT NULL, -- JSON: the action
    owed INTEGER NOT NULL, -- by how many the list counts more failed entries than rows of entries say so far
    PRIMARY KEY (playlist_id, number)
) STRICT, WITHOUT ROWID;
