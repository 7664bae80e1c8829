-- The pictures by which the sources of subscriptions are known: JPEG in base64.
CREATE TABLE source_pictures (
    subscription_id text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL, -- picture, or banner
    body text NOT NULL,
    small text, -- the same, for lists
    PRIMARY KEY (subscription_id, role)
);
