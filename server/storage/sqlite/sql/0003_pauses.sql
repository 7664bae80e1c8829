CREATE TABLE pauses (
    queue TEXT PRIMARY KEY -- 'all': nothing begins while this row is there
) STRICT;
