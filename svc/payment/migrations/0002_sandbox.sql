-- The books of the sandbox provider. They belong to an outside party that happens to live here: nothing refers to them
-- from the tables of payments, nor the other way round.

CREATE TABLE sandbox_payments (
    id          TEXT   NOT NULL PRIMARY KEY,
    request_key TEXT   NOT NULL UNIQUE,
    reference   TEXT   NOT NULL UNIQUE,               -- the merchant's own id: a payment id
    order_id    TEXT   NOT NULL,
    amount      BIGINT NOT NULL CHECK (amount > 0),
    currency    TEXT   NOT NULL,
    description TEXT   NOT NULL,
    return_url  TEXT   NOT NULL,
    status      TEXT   NOT NULL CHECK (status IN ('pending', 'challenged', 'processing', 'succeeded', 'declined', 'cancelled')),
    reason      TEXT   NOT NULL DEFAULT '',           -- of a decline
    captured    BIGINT NOT NULL DEFAULT 0,
    capture_at  TIMESTAMPTZ,                          -- when the money will be taken
    refunded    BIGINT NOT NULL DEFAULT 0 CHECK (refunded >= 0 AND refunded <= captured),
    created_at  TIMESTAMPTZ NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL,
    decided_at  TIMESTAMPTZ
);

CREATE INDEX sandbox_payments_capture ON sandbox_payments (capture_at) WHERE capture_at IS NOT NULL;

CREATE TABLE sandbox_refunds (
    id          TEXT   NOT NULL PRIMARY KEY,
    request_key TEXT   NOT NULL UNIQUE,
    payment_id  TEXT   NOT NULL REFERENCES sandbox_payments (id),
    amount      BIGINT NOT NULL CHECK (amount > 0),
    created_at  TIMESTAMPTZ NOT NULL
);

-- Callbacks to be sent until the receiver has acknowledged them.
CREATE TABLE sandbox_callbacks (
    id           TEXT   NOT NULL PRIMARY KEY,
    payment_id   TEXT   NOT NULL REFERENCES sandbox_payments (id),
    type         TEXT   NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0,
    due_at       TIMESTAMPTZ NOT NULL,
    lost         BOOLEAN NOT NULL,                    -- never to be sent: the network is bad today
    copies       BIGINT NOT NULL,                     -- how often to send it
    delivered_at TIMESTAMPTZ
);

CREATE INDEX sandbox_callbacks_due ON sandbox_callbacks (due_at) WHERE delivered_at IS NULL AND NOT lost;

CREATE TABLE sandbox_secrets (
    name  TEXT  NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);
