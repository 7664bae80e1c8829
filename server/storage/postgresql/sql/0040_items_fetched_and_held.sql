-- concurrently
-- When the newest download of a subscription came, and how many of its entries are held: each list of subscriptions says so.
DROP INDEX CONCURRENTLY IF EXISTS items_fetched;
CREATE INDEX CONCURRENTLY items_fetched ON items (subscription_id, fetched_at) WHERE state = 'fetched';
DROP INDEX CONCURRENTLY IF EXISTS items_held;
CREATE INDEX CONCURRENTLY items_held ON items (subscription_id) WHERE state = 'waiting' AND reason = 'held';
