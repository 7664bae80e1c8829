-- The pictures by which the sources of subscriptions are known: JPEG in base64.
CREATE TABLE source_pictures (
    subscription_id TEXT NOT NULL,
    role TEXT NOT NULL, -- picture, or banner
    body TEXT NOT NULL,
    small TEXT, -- the same, for lists
    PRIMARY KEY (subscription_id, role)
) STRICT;
