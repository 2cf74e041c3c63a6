-- Challenges that were solved: each is good once.
CREATE TABLE spent_challenges (
    id         TEXT        NOT NULL PRIMARY KEY,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX spent_challenges_expires ON spent_challenges (expires_at);
