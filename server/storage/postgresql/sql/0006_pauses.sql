CREATE TABLE pauses (
    queue text COLLATE "C" PRIMARY KEY -- 'all': nothing begins while this row is there
);
