-- Entries of lists are counted by stage without reading their rows; who has no lists has no entry here.
CREATE INDEX tasks_entry_stage ON tasks (stage, playlist_id, removed) WHERE playlist_id IS NOT NULL AND removed = 0;
