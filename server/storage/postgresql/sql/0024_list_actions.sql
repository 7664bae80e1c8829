-- Actions on lists that some of their entries have not taken yet, see server/core/entry_status.py.
CREATE TABLE list_actions (
    playlist_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL, -- on its list
    told text NOT NULL, -- JSON: the action
    owed bigint NOT NULL, -- by how many the list counts more failed entries than rows of entries say so far
    PRIMARY KEY (playlist_id, number)
);
