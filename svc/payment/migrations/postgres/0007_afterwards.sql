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

ALTER TABLE ledger_transfers DROP CONSTRAINT ledger_transfers_kind_check;
ALTER TABLE ledger_transfers ADD CONSTRAINT ledger_transfers_kind_check
    CHECK (kind IN ('capture', 'refund_owed', 'refund_paid', 'refund_failed', 'dispute', 'dispute_won'));
