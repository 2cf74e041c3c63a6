-- Whether the owner of an account has proven to read what is sent to its number. Accounts from before have not.
ALTER TABLE users ADD COLUMN phone_verified BOOLEAN NOT NULL DEFAULT FALSE;

-- Requests to prove a number. One that is ended, because it was used or another one took its place, is kept for a day.
CREATE TABLE phone_confirmations (
    id           TEXT        NOT NULL PRIMARY KEY,
    user_id      TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    phone        TEXT        NOT NULL,        -- to prove
    code_hash    TEXT        NOT NULL,        -- SHA-256 of id and code; empty until it is sent
    code_until   TIMESTAMPTZ,
    guesses      BIGINT      NOT NULL,
    ended        BOOLEAN     NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX phone_confirmations_user ON phone_confirmations (user_id, requested_at);
CREATE INDEX phone_confirmations_phone ON phone_confirmations (phone, requested_at);
CREATE INDEX phone_confirmations_requested ON phone_confirmations (requested_at);
