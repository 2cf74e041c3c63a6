-- Passkeys: WebAuthn credentials. They hold no secrets.
CREATE TABLE passkeys (
    id            TEXT        NOT NULL PRIMARY KEY,
    user_id       TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name          TEXT        NOT NULL,
    credential_id TEXT        NOT NULL UNIQUE, -- base64url, as the authenticator names it
    credential    TEXT        NOT NULL,        -- JSON, with the public key and the counter
    created_at    TIMESTAMPTZ NOT NULL,
    last_used_at  TIMESTAMPTZ
);
CREATE INDEX passkeys_user ON passkeys (user_id);

-- Challenges that were answered, until they are over.
CREATE TABLE passkey_challenges (
    hash       TEXT        NOT NULL PRIMARY KEY, -- SHA-256
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX passkey_challenges_expires ON passkey_challenges (expires_at);
