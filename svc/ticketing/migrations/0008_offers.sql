-- Tickets that are offered to the owner of an address. An offer is good while the ticket is as it was: of this owner and
-- revision, and valid.
CREATE TABLE ticket_offers (
    id          TEXT        NOT NULL PRIMARY KEY,
    ticket_id   TEXT        NOT NULL,
    event_id    TEXT        NOT NULL,
    event_name  TEXT        NOT NULL,
    giver       TEXT        NOT NULL,
    email       TEXT        NOT NULL,
    email_key   TEXT        NOT NULL,        -- the same in lower case
    holder_name TEXT        NOT NULL,        -- who comes with it; empty: who accepts it
    revision    BIGINT      NOT NULL,        -- of the ticket
    status      TEXT        NOT NULL CHECK (status IN ('open', 'accepted', 'refused', 'withdrawn')),
    token_hash  TEXT        UNIQUE,          -- SHA-256; NULL until it is mailed
    taken_by    TEXT        NOT NULL,        -- who has accepted it
    created_at  TIMESTAMPTZ NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX ticket_offers_ticket ON ticket_offers (ticket_id);
CREATE INDEX ticket_offers_giver ON ticket_offers (giver, created_at);
CREATE INDEX ticket_offers_email ON ticket_offers (email_key, created_at);
CREATE INDEX ticket_offers_age ON ticket_offers (created_at);
