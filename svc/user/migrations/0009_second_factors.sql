-- When the person last proved who they are in this session: at its login, or since.
ALTER TABLE sessions ADD COLUMN proven_at TIMESTAMPTZ NOT NULL DEFAULT '1970-01-01 00:00:00+00:00';
UPDATE sessions SET proven_at = created_at;

-- Authenticator apps.
CREATE TABLE second_factors (
    id           TEXT        NOT NULL PRIMARY KEY,
    user_id      TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT        NOT NULL,
    secret       TEXT        NOT NULL, -- base 32, sealed
    active       BOOLEAN     NOT NULL, -- its first code was given
    last_step    BIGINT      NOT NULL, -- of the last code that was taken
    created_at   TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ
);
CREATE INDEX second_factors_user ON second_factors (user_id);

-- Recovery codes. One that was used is gone from here.
CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash    TEXT NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- Logins that wait for the second factor. One that is over is gone from here.
CREATE TABLE login_challenges (
    hash        TEXT        NOT NULL PRIMARY KEY, -- SHA-256 of the challenge
    user_id     TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_hash TEXT        NOT NULL,             -- of the known device that has to go on; empty: a new one
    network     TEXT        NOT NULL,             -- that has to go on
    expires_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX login_challenges_user ON login_challenges (user_id);
CREATE INDEX login_challenges_expires ON login_challenges (expires_at);
