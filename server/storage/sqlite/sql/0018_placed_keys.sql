-- Whether anything of a video is in the library, whoever has placed it.
CREATE INDEX file_sets_key ON file_sets (key);
