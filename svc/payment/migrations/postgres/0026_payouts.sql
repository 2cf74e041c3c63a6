-- What organizers were paid: transfers of the ledger that are of no payment. Nothing is ever changed or deleted.
CREATE TABLE payouts (
    id           TEXT        NOT NULL PRIMARY KEY,
    organizer_id TEXT        NOT NULL,
    returns      TEXT        NOT NULL DEFAULT '', -- the payout whose money has come back with this
    amount       BIGINT      NOT NULL CHECK (amount > 0),
    currency     TEXT        NOT NULL,
    reference    TEXT        NOT NULL,
    made_by      TEXT        NOT NULL,
    at           TIMESTAMPTZ NOT NULL
);
CREATE INDEX payouts_organizer ON payouts (organizer_id, id);
CREATE UNIQUE INDEX payouts_returns ON payouts (returns) WHERE returns <> '';
CREATE TRIGGER payouts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payouts
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
