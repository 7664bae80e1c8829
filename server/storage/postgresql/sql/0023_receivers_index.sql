-- concurrently
DROP INDEX CONCURRENTLY IF EXISTS deliveries_receiver;
CREATE INDEX CONCURRENTLY deliveries_receiver ON deliveries (kind, receiver, next_at) WHERE next_at IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS deliveries_claimed;
CREATE INDEX CONCURRENTLY deliveries_claimed ON deliveries (claimed_until) WHERE claimed_until IS NOT NULL;
