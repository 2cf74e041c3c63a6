-- What events offer, as the event service told us: enough to sell and to admit while it is away.
CREATE TABLE offers (
    event_id  TEXT    NOT NULL PRIMARY KEY,
    revision  BIGINT  NOT NULL,
    cancelled BOOLEAN NOT NULL,
    offer     TEXT    NOT NULL -- api.Offer as JSON
);

-- The fence: whatever happens elsewhere, this table refuses to sell a seat twice.
CREATE TABLE stock (
    ticket_type_id TEXT   NOT NULL PRIMARY KEY,
    event_id       TEXT   NOT NULL,
    capacity       BIGINT NOT NULL,
    sold           BIGINT NOT NULL DEFAULT 0,
    revision       BIGINT NOT NULL, -- of the event whose quantity this is
    CHECK (sold >= 0 AND sold <= capacity)
);
CREATE INDEX stock_event ON stock (event_id);

CREATE TABLE orders (
    id         TEXT        NOT NULL PRIMARY KEY,
    event_id   TEXT        NOT NULL,
    user_id    TEXT        NOT NULL,
    status     TEXT        NOT NULL,
    items      TEXT        NOT NULL, -- []api.OrderItem as JSON
    attendees  TEXT        NOT NULL, -- []api.Attendee as JSON
    total      BIGINT      NOT NULL,
    currency   TEXT        NOT NULL,
    refunded   BIGINT      NOT NULL DEFAULT 0, -- what goes back, or is back
    seats_due  BOOLEAN     NOT NULL DEFAULT FALSE, -- tickets were revoked and the inventory has not been told
    payment_id TEXT        NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    paid_at    TIMESTAMPTZ,
    revision   BIGINT      NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CHECK (refunded >= 0 AND refunded <= total)
);
CREATE INDEX orders_seats ON orders (id) WHERE seats_due;
CREATE INDEX orders_user ON orders (user_id, created_at, id);
CREATE INDEX orders_event ON orders (event_id, created_at, id);
CREATE INDEX orders_pending ON orders (expires_at) WHERE status = 'pending';

-- Decisions that money goes back. The payment service carries them out.
CREATE TABLE refunds (
    id         TEXT        NOT NULL PRIMARY KEY,
    order_id   TEXT        NOT NULL,
    payment_id TEXT        NOT NULL,
    amount     BIGINT      NOT NULL CHECK (amount > 0),
    currency   TEXT        NOT NULL,
    tickets    TEXT        NOT NULL, -- []ids.Ticket as JSON: those that were revoked for it
    reason     TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX refunds_order ON refunds (order_id);

CREATE TABLE tickets (
    id             TEXT        NOT NULL PRIMARY KEY,
    order_id       TEXT        NOT NULL,
    position       BIGINT      NOT NULL, -- within the order: a ticket cannot be issued twice
    event_id       TEXT        NOT NULL,
    event_name     TEXT        NOT NULL,
    ticket_type_id TEXT        NOT NULL,
    type_name      TEXT        NOT NULL,
    owner_id       TEXT        NOT NULL,
    holder_name    TEXT        NOT NULL,
    holder_email   TEXT        NOT NULL,
    status         TEXT        NOT NULL,
    revision       BIGINT      NOT NULL,
    issued_at      TIMESTAMPTZ NOT NULL,
    admitted_at    TIMESTAMPTZ,
    UNIQUE (order_id, position)
);
CREATE INDEX tickets_owner ON tickets (owner_id, issued_at, id);
CREATE INDEX tickets_event ON tickets (event_id, issued_at, id);

-- Every scan at a door. The first that admitted a ticket is the one that counts, and there is only one.
CREATE TABLE admissions (
    id         TEXT        NOT NULL PRIMARY KEY,
    event_id   TEXT        NOT NULL,
    ticket_id  TEXT        NOT NULL, -- empty when the code was not one of ours
    result     TEXT        NOT NULL,
    gate       TEXT        NOT NULL,
    scanned_by TEXT        NOT NULL,
    at         TIMESTAMPTZ NOT NULL
);
CREATE INDEX admissions_event ON admissions (event_id, at, id);
CREATE UNIQUE INDEX admissions_once ON admissions (ticket_id) WHERE result = 'admitted';
