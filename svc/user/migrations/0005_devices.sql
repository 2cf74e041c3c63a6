-- What a person recognises a session by.
ALTER TABLE sessions ADD COLUMN device TEXT NOT NULL DEFAULT '';         -- User-Agent
ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT '';        -- where it was last used from
ALTER TABLE sessions ADD COLUMN last_used_at TIMESTAMPTZ NOT NULL DEFAULT '1970-01-01 00:00:00+00:00'; -- login or refresh
ALTER TABLE sessions ADD COLUMN device_hash TEXT NOT NULL DEFAULT '';    -- of its device, see below
UPDATE sessions SET last_used_at = created_at;

-- Devices from which a person has logged in. What guesses at the password elsewhere does not slow them down.
CREATE TABLE devices (
    hash         TEXT        NOT NULL PRIMARY KEY, -- SHA-256 of the device's token
    user_id      TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX devices_user ON devices (user_id, last_used_at);
CREATE INDEX devices_last_used ON devices (last_used_at);
