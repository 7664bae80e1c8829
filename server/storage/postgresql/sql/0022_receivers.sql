-- No receiver has more than a few tries at once, and what is under way is told apart from what waits for a later try.
ALTER TABLE deliveries
    ADD COLUMN receiver text COLLATE "C" NOT NULL DEFAULT '', -- host:port of a webhook; which person
    ADD COLUMN claimed_until timestamptz; -- while a try is under way; else null
UPDATE deliveries SET receiver = target;
