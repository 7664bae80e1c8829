-- What is searched and sorted by name: see server/subscriptions/searching.py; null: it was not searched yet.
ALTER TABLE subscriptions ADD COLUMN search TEXT;
ALTER TABLE items ADD COLUMN search TEXT;
