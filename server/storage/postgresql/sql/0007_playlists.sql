ALTER TABLE tasks
    ADD COLUMN playlist_id text COLLATE "C", -- the task of the list of which this one is an entry
    ADD COLUMN playlist_index integer; -- its place in the list

CREATE UNIQUE INDEX tasks_entry ON tasks (playlist_id, playlist_index) WHERE playlist_id IS NOT NULL;
CREATE INDEX tasks_playlist ON tasks (playlist_id, number) WHERE playlist_id IS NOT NULL AND NOT removed;
