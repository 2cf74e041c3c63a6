-- Whether the owner of an account has proven to read the mail that goes to its address. Accounts from before have not.
ALTER TABLE users ADD COLUMN email_verified BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE users ADD COLUMN pending_email TEXT NOT NULL DEFAULT ''; -- takes the place of email once it is proven

-- Requests to prove an address. One that is ended, because it was used or another one took its place, is kept for a day.
CREATE TABLE email_confirmations (
    id           TEXT        NOT NULL PRIMARY KEY,
    user_id      TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    address      TEXT        NOT NULL,        -- to prove
    address_key  TEXT        NOT NULL,        -- the same in lower case
    former       TEXT        NOT NULL,        -- the address that it shall replace, which is told; empty: it replaces none
    session_id   TEXT        NOT NULL,        -- that asked, and outlives a change of the address; empty: none
    token_hash   TEXT        UNIQUE,          -- SHA-256; NULL until it is mailed
    token_until  TIMESTAMPTZ,
    ended        BOOLEAN     NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX email_confirmations_user ON email_confirmations (user_id, requested_at);
CREATE INDEX email_confirmations_address ON email_confirmations (address_key, requested_at);
CREATE INDEX email_confirmations_requested ON email_confirmations (requested_at);
