ALTER TABLE payment_refunds ADD COLUMN repeats BIGINT NOT NULL DEFAULT 0; -- how often a person had it made again
ALTER TABLE payment_refunds ADD COLUMN failure TEXT NOT NULL DEFAULT '';  -- what the provider says of a failed one

-- Money that payers reclaim by their banks.
CREATE TABLE payment_disputes (
    id         TEXT        NOT NULL PRIMARY KEY, -- at the provider
    payment_id TEXT        NOT NULL REFERENCES payments (id),
    amount     BIGINT      NOT NULL CHECK (amount > 0),
    currency   TEXT        NOT NULL,
    reason     TEXT        NOT NULL,
    status     TEXT        NOT NULL CHECK (status IN ('inquiry', 'open', 'won', 'lost')),
    answer_by  TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX payment_disputes_payment ON payment_disputes (payment_id);

-- The kinds of transfers are more now, and SQLite cannot change a constraint.
CREATE TABLE ledger_new (
    id         INTEGER     NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind       TEXT        NOT NULL CHECK (kind IN ('capture', 'refund_owed', 'refund_paid', 'refund_failed', 'dispute', 'dispute_won')),
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
INSERT INTO ledger_new SELECT id, kind, payment_id, refund_id, debit, credit, amount, currency, at FROM ledger_transfers;
DROP TRIGGER ledger_no_update;
DROP TRIGGER ledger_no_delete;
DROP TABLE ledger_transfers;
ALTER TABLE ledger_new RENAME TO ledger_transfers;
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger_transfers BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger_transfers BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
