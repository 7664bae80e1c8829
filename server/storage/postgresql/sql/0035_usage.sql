-- What people have downloaded, by the hour in which their tasks have ended, for a day.
CREATE TABLE downloaded (
    name text COLLATE "C" NOT NULL, -- of the person
    hour bigint NOT NULL, -- since 1970
    bytes bigint NOT NULL,
    PRIMARY KEY (name, hour)
);
