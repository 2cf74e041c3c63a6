-- The one currency that an event's orders are in. Who writes orders reads it under a shared lock; who changes it looks for
-- orders first.
CREATE TABLE currencies (
    event_id TEXT NOT NULL PRIMARY KEY,
    currency TEXT NOT NULL
);
INSERT INTO currencies (event_id, currency) SELECT event_id, MIN(currency) FROM orders GROUP BY event_id;

-- A decision may revoke tickets whose money went back before: then nothing goes back with it.
CREATE TABLE decisions (
    id         TEXT        NOT NULL PRIMARY KEY,
    order_id   TEXT        NOT NULL,
    payment_id TEXT        NOT NULL,
    amount     BIGINT      NOT NULL CHECK (amount >= 0),
    currency   TEXT        NOT NULL,
    tickets    TEXT        NOT NULL, -- []ids.Ticket as JSON: those that were revoked for it
    reason     TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
INSERT INTO decisions (id, order_id, payment_id, amount, currency, tickets, reason, created_at)
    SELECT id, order_id, payment_id, amount, currency, tickets, reason, created_at FROM refunds;
DROP TABLE refunds;
ALTER TABLE decisions RENAME TO refunds;
CREATE INDEX refunds_order ON refunds (order_id);
