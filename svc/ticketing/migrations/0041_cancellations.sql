-- What buyers want to give back of paid orders. One of an order waits for its organizer at a time.
CREATE TABLE cancellations (
    id         TEXT        NOT NULL PRIMARY KEY,
    order_id   TEXT        NOT NULL,
    event_id   TEXT        NOT NULL,
    user_id    TEXT        NOT NULL,
    status     TEXT        NOT NULL,
    tickets    TEXT        NOT NULL, -- []ids.Ticket as JSON
    refund     BIGINT      NOT NULL CHECK (refund >= 0),
    fee        BIGINT      NOT NULL,
    currency   TEXT        NOT NULL,
    reason     TEXT        NOT NULL, -- of the buyer
    answer     TEXT        NOT NULL, -- of the organizer
    created_at TIMESTAMPTZ NOT NULL,
    decided_at TIMESTAMPTZ
);
CREATE UNIQUE INDEX cancellations_open ON cancellations (order_id) WHERE status = 'open';
CREATE INDEX cancellations_order ON cancellations (order_id, created_at, id);
CREATE INDEX cancellations_event ON cancellations (event_id, status, created_at, id);

-- What the organizer keeps of what tickets cost that were given back.
ALTER TABLE orders ADD COLUMN fee BIGINT NOT NULL DEFAULT 0;

-- What those who work with an order say of it.
CREATE TABLE order_notes (
    order_id TEXT        NOT NULL PRIMARY KEY,
    note     TEXT        NOT NULL,
    at       TIMESTAMPTZ NOT NULL
);

-- When the tickets of an order were mailed once more.
CREATE TABLE ticket_mails (
    order_id TEXT        NOT NULL,
    at       TIMESTAMPTZ NOT NULL
);
CREATE INDEX ticket_mails_order ON ticket_mails (order_id, at);
CREATE INDEX ticket_mails_age ON ticket_mails (at);
