CREATE TABLE cookies (
    name text COLLATE "C" PRIMARY KEY,
    put text COLLATE "C" NOT NULL, -- another word whenever somebody has put it
    content text COLLATE "C" NOT NULL
);
