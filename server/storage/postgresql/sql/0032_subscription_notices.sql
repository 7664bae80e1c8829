-- Of a subscription, too, something is told: then `subscription_id` stands in place of `task_id`.
ALTER TABLE deliveries ALTER COLUMN task_id DROP NOT NULL, ADD COLUMN subscription_id text COLLATE "C";
