-- No receiver has more than a few tries at once, and what is under way is told apart from what waits for a later try.
ALTER TABLE deliveries ADD COLUMN receiver TEXT NOT NULL DEFAULT ''; -- host:port of a webhook; which person
ALTER TABLE deliveries ADD COLUMN claimed_until REAL; -- seconds since 1970, while a try is under way; else null
UPDATE deliveries SET receiver = target;

CREATE INDEX deliveries_receiver ON deliveries (kind, receiver, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_claimed ON deliveries (claimed_until) WHERE claimed_until IS NOT NULL;
