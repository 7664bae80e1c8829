-- The first line of a cookie file: what lists tell of it, once a release that knows how has written it. Generated, since
-- nodes of the release before write the content alone.
ALTER TABLE cookies ADD COLUMN about text COLLATE "C" NOT NULL GENERATED ALWAYS AS (left(split_part(content, E'\n', 1), 131072)) STORED;
