-- What is searched and sorted by name: see server/subscriptions/searching.py; null: it was not searched yet.
ALTER TABLE subscriptions ADD COLUMN search text COLLATE "C";
ALTER TABLE items ADD COLUMN search text COLLATE "C";
