-- People. An account that is deleted is gone from here.
CREATE TABLE users (
    id                 TEXT        NOT NULL PRIMARY KEY,
    email              TEXT        NOT NULL,        -- as the person writes it, the domain in lower case
    email_key          TEXT        NOT NULL UNIQUE, -- all in lower case: what addresses are compared by
    name               TEXT        NOT NULL,
    search             TEXT        NOT NULL,        -- name and address in lower case
    password           TEXT        NOT NULL,        -- argon2id, PHC string format
    admin              BOOLEAN     NOT NULL,
    phone              TEXT        NOT NULL,
    language           TEXT        NOT NULL,
    timezone           TEXT        NOT NULL,
    birth_year         INTEGER     NOT NULL,
    city               TEXT        NOT NULL,
    country            TEXT        NOT NULL,
    share_demographics BOOLEAN     NOT NULL,
    revision           BIGINT      NOT NULL,
    created_at         TIMESTAMPTZ NOT NULL,
    updated_at         TIMESTAMPTZ NOT NULL
);
CREATE INDEX users_admin ON users (id) WHERE admin;

-- Signed-in devices. A session that has ended is gone from here, with its refresh tokens.
CREATE TABLE sessions (
    id         TEXT        NOT NULL PRIMARY KEY,
    user_id    TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_at);

-- The refresh tokens of a session: one that is fresh, and those that are used up, kept to notice their reuse.
CREATE TABLE refresh_tokens (
    hash       TEXT        NOT NULL PRIMARY KEY, -- SHA-256 of the token
    session_id TEXT        NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    used       BOOLEAN     NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_expires ON refresh_tokens (expires_at);

-- Requests for a password reset, those for unknown addresses included. One that was used is gone from here.
CREATE TABLE password_resets (
    id           TEXT        NOT NULL PRIMARY KEY,
    address      TEXT        NOT NULL,                                  -- hash of the address asked for
    user_id      TEXT        REFERENCES users (id) ON DELETE CASCADE,   -- NULL: nobody has the address
    token_hash   TEXT        UNIQUE,                                    -- SHA-256; NULL until it is mailed
    token_until  TIMESTAMPTZ,
    requested_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX password_resets_address ON password_resets (address, requested_at);
CREATE INDEX password_resets_user ON password_resets (user_id);
CREATE INDEX password_resets_requested ON password_resets (requested_at);

-- Failed attempts to give a password, for each account and each client address. The key is a hash.
CREATE TABLE login_failures (
    key      TEXT        NOT NULL PRIMARY KEY,
    failures INTEGER     NOT NULL,
    last_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX login_failures_last ON login_failures (last_at);
