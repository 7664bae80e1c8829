-- When the newest download of a subscription came, and how many of its entries are held: each list of subscriptions says so.
CREATE INDEX items_fetched ON items (subscription_id, fetched_at) WHERE state = 'fetched';
CREATE INDEX items_held ON items (subscription_id) WHERE state = 'waiting' AND reason = 'held';
