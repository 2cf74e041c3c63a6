CREATE TABLE payments (
    id             TEXT   NOT NULL PRIMARY KEY,
    order_id       TEXT   NOT NULL,
    event_id       TEXT   NOT NULL,
    user_id        TEXT   NOT NULL,
    provider       TEXT   NOT NULL,
    status         TEXT   NOT NULL CHECK (status IN ('requires_action', 'processing', 'succeeded', 'failed', 'refunded')),
    amount         BIGINT NOT NULL CHECK (amount > 0),
    currency       TEXT   NOT NULL,
    description    TEXT   NOT NULL,
    remote_key     TEXT   NOT NULL UNIQUE,            -- idempotency key of the creation at the provider
    remote_id      TEXT,                              -- unknown until the provider has answered
    checkout_url   TEXT   NOT NULL DEFAULT '',
    failure_reason TEXT   NOT NULL DEFAULT '',
    flag           TEXT   NOT NULL DEFAULT '',        -- why a person has to look at it
    captured       BIGINT NOT NULL DEFAULT 0,         -- what the provider has collected, in captured_currency
    captured_currency TEXT NOT NULL DEFAULT '',
    refunding      BIGINT NOT NULL DEFAULT 0,         -- what goes back of it, or is back
    refunded       BIGINT NOT NULL DEFAULT 0,         -- what is back
    revision       BIGINT NOT NULL,
    poll_at        TIMESTAMPTZ NOT NULL,                   -- when to ask the provider, should no callback come
    created_at     TIMESTAMPTZ NOT NULL,
    updated_at     TIMESTAMPTZ NOT NULL,
    CHECK (refunded >= 0 AND refunded <= refunding AND refunding <= captured)
);

-- One checkout is open for an order at a time: two requests at once meet here.
CREATE UNIQUE INDEX payments_open ON payments (order_id, provider) WHERE status = 'requires_action';
CREATE UNIQUE INDEX payments_remote ON payments (provider, remote_id);
CREATE INDEX payments_order ON payments (order_id);
CREATE INDEX payments_poll ON payments (poll_at) WHERE status IN ('requires_action', 'processing', 'failed');

-- Every verified callback, once.
CREATE TABLE payment_callbacks (
    provider     TEXT   NOT NULL,
    event_id     TEXT   NOT NULL,
    remote_id    TEXT   NOT NULL,
    type         TEXT   NOT NULL,
    body         BYTEA  NOT NULL,
    received_at  TIMESTAMPTZ NOT NULL,
    due_at       TIMESTAMPTZ NOT NULL,                     -- when to take it up (again), should its worker be gone
    attempts     BIGINT NOT NULL DEFAULT 0,
    processed_at TIMESTAMPTZ,
    outcome      TEXT   NOT NULL DEFAULT '',
    PRIMARY KEY (provider, event_id)
);

CREATE INDEX payment_callbacks_due ON payment_callbacks (due_at) WHERE processed_at IS NULL;

-- Money on its way back. The id comes from who decided it, so one decision refunds once.
CREATE TABLE payment_refunds (
    id          TEXT   NOT NULL PRIMARY KEY,
    payment_id  TEXT   NOT NULL REFERENCES payments (id),
    order_id    TEXT   NOT NULL,
    amount      BIGINT NOT NULL CHECK (amount > 0),
    currency    TEXT   NOT NULL,
    tickets     TEXT   NOT NULL,                      -- []ids.Ticket as JSON: those that were revoked for it
    reason      TEXT   NOT NULL,
    status      TEXT   NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
    remote_id   TEXT   NOT NULL DEFAULT '',
    attempts    BIGINT NOT NULL DEFAULT 0,
    due_at      TIMESTAMPTZ NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL
);

CREATE INDEX payment_refunds_payment ON payment_refunds (payment_id);
CREATE INDEX payment_refunds_due ON payment_refunds (due_at) WHERE status = 'pending';
