-- Messages to phones and browsers that were put off: they come back into the stream when they are due.
CREATE TABLE deferrals (
    message_id TEXT NOT NULL,
    channel    TEXT NOT NULL,
    target     TEXT NOT NULL,
    due_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (message_id, channel, target)
);

CREATE INDEX deferrals_due ON deferrals (due_at);

ALTER TABLE push_subscriptions ADD COLUMN failures BIGINT NOT NULL DEFAULT 0; -- in a row
