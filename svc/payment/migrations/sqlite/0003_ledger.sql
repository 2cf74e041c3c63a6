-- The ledger. A row is a transfer from one account to another, so debits and credits are equal by construction: what
-- leaves an account enters another, in one currency. Nothing is ever changed or deleted.
CREATE TABLE ledger_transfers (
    id         INTEGER     NOT NULL PRIMARY KEY AUTOINCREMENT,
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

CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger_transfers BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger_transfers BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
