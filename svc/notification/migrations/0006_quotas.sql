-- What was used of quotas in a day.
CREATE TABLE quotas (
    key  TEXT   NOT NULL,
    day  TIMESTAMPTZ NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (key, day)
);

CREATE INDEX quotas_day ON quotas (day);

ALTER TABLE messages ADD COLUMN held BOOLEAN NOT NULL DEFAULT FALSE; -- the mail waits for the address to be confirmed

CREATE INDEX messages_held ON messages (user_id) WHERE held;

-- Whether the owner has paid for the ticket. All of whom it is not known count as if they had.
ALTER TABLE holders ADD COLUMN paid BOOLEAN NOT NULL DEFAULT TRUE;

-- Changes of events that ticket holders are not told yet: what they know, and when they are told.
CREATE TABLE changes (
    event_id TEXT NOT NULL PRIMARY KEY,
    was      TEXT NOT NULL,                            -- JSON
    since    TIMESTAMPTZ NOT NULL,
    due_at   TIMESTAMPTZ NOT NULL
);

CREATE INDEX changes_due ON changes (due_at);
