-- concurrently
-- Whether anything of a video is in the library, whoever has placed it.
DROP INDEX CONCURRENTLY IF EXISTS file_sets_key;
CREATE INDEX CONCURRENTLY file_sets_key ON file_sets (key);
