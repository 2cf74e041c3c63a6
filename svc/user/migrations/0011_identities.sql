-- Identity providers, through which people sign in.
CREATE TABLE identity_providers (
    id               TEXT        NOT NULL PRIMARY KEY,
    name             TEXT        NOT NULL,
    issuer           TEXT        NOT NULL UNIQUE,
    client_id        TEXT        NOT NULL,
    client_secret    TEXT        NOT NULL, -- sealed; empty: none
    redirect_uris    TEXT        NOT NULL, -- JSON
    domains          TEXT        NOT NULL, -- JSON
    second_factor    TEXT        NOT NULL, -- JSON
    creates_accounts BOOLEAN     NOT NULL,
    enabled          BOOLEAN     NOT NULL,
    revision         BIGINT      NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL
);

-- Accounts of people there. Issuer and subject are who somebody is, and nothing else.
CREATE TABLE identities (
    id           TEXT        NOT NULL PRIMARY KEY,
    user_id      TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider_id  TEXT        NOT NULL REFERENCES identity_providers (id) ON DELETE CASCADE,
    issuer       TEXT        NOT NULL,
    subject      TEXT        NOT NULL,
    email        TEXT        NOT NULL, -- when it was linked
    created_at   TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ,
    UNIQUE (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id);
CREATE INDEX identities_provider ON identities (provider_id);

-- The provider through which a session, or a login that waits for the second factor, has begun.
ALTER TABLE sessions ADD COLUMN provider_id TEXT NOT NULL DEFAULT '';          -- empty: none
ALTER TABLE sessions ADD COLUMN provider_factor BOOLEAN NOT NULL DEFAULT FALSE; -- it has asked for a second factor
CREATE INDEX sessions_provider ON sessions (provider_id) WHERE provider_id <> '';
ALTER TABLE login_challenges ADD COLUMN provider_id TEXT NOT NULL DEFAULT '';
