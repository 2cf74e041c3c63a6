-- Keys for machines of organizers.
CREATE TABLE api_keys (
    id             TEXT        NOT NULL PRIMARY KEY,
    organizer_id   TEXT        NOT NULL REFERENCES organizers (id) ON DELETE CASCADE,
    name           TEXT        NOT NULL,
    scopes         TEXT        NOT NULL, -- with blanks between
    hash           TEXT        NOT NULL, -- SHA-256 of the whole key, in hex
    previous_hash  TEXT        NOT NULL DEFAULT '', -- of the key before it was rotated
    previous_until TIMESTAMPTZ,          -- until when that one is good
    created_by     TEXT        NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL,
    expires_at     TIMESTAMPTZ,
    used_at        TIMESTAMPTZ           -- to a quarter of an hour
);
CREATE INDEX api_keys_organizer ON api_keys (organizer_id, id);
