-- Money that people bring: by bank transfer, or to the box office.
CREATE TABLE manual_payments (
    reference   TEXT   NOT NULL PRIMARY KEY,              -- what the payer writes on the transfer
    request_key TEXT   NOT NULL UNIQUE,
    payment_id  TEXT   NOT NULL UNIQUE,
    amount      BIGINT NOT NULL CHECK (amount > 0),
    currency    TEXT   NOT NULL,
    status      TEXT   NOT NULL CHECK (status IN ('pending', 'paid', 'cancelled', 'expired')),
    created_at  TIMESTAMPTZ NOT NULL,
    remind_at   TIMESTAMPTZ NOT NULL,
    reminded_at TIMESTAMPTZ,
    due_at      TIMESTAMPTZ NOT NULL,
    paid_at     TIMESTAMPTZ,
    paid_by     TEXT   NOT NULL DEFAULT ''                -- the person who said that the money is there
);

CREATE INDEX manual_payments_due ON manual_payments (due_at) WHERE status = 'pending';
CREATE INDEX manual_payments_remind ON manual_payments (remind_at) WHERE status = 'pending' AND reminded_at IS NULL;

-- What a person has to pay back, and whether that is done.
CREATE TABLE manual_refunds (
    id          TEXT   NOT NULL PRIMARY KEY,
    request_key TEXT   NOT NULL UNIQUE,
    reference   TEXT   NOT NULL REFERENCES manual_payments (reference),
    amount      BIGINT NOT NULL CHECK (amount > 0),
    created_at  TIMESTAMPTZ NOT NULL,
    paid_at     TIMESTAMPTZ,
    paid_by     TEXT   NOT NULL DEFAULT ''
);

CREATE INDEX manual_refunds_reference ON manual_refunds (reference);
