-- The ledger. A row is a transfer from one account to another, so debits and credits are equal by construction: what
-- leaves an account enters another, in one currency. Nothing is ever changed or deleted.
CREATE TABLE ledger_transfers (
    id         BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       TEXT        NOT NULL CHECK (kind IN ('capture', 'refund_owed', 'refund_paid')),
    payment_id TEXT        NOT NULL REFERENCES payments (id),
    refund_id  TEXT        NOT NULL DEFAULT '',
    debit      TEXT        NOT NULL,
    credit     TEXT        NOT NULL,
    amount     BIGINT      NOT NULL CHECK (amount > 0),
    currency   TEXT        NOT NULL,
    at         TIMESTAMPTZ NOT NULL,
    CHECK (debit <> credit),
    UNIQUE (payment_id, kind, refund_id) -- each once
);

CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only';
END $$;
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transfers
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
