-- The computer that serves a venue, and how it was when it asked last.
CREATE TABLE edges (
    venue_id      TEXT        NOT NULL PRIMARY KEY,
    edge          TEXT        NOT NULL, -- the name of its data folder; empty: the next one that says hello is bound
    number        BIGINT      NOT NULL, -- of its newest hello
    released      TEXT        NOT NULL, -- the edge that was released last, or empty
    seen_at       TIMESTAMPTZ NOT NULL, -- its newest hello or request for the state
    status        TEXT        NOT NULL, -- what it said of itself, as JSON
    watcher       TEXT        NOT NULL, -- the instance that shows it on the mesh
    watched_until TIMESTAMPTZ NOT NULL
);

-- Devices that may scan at an event.
CREATE TABLE passes (
    id         TEXT        NOT NULL PRIMARY KEY,
    event_id   TEXT        NOT NULL,
    name       TEXT        NOT NULL,
    gate       TEXT        NOT NULL,
    hash       TEXT        NOT NULL, -- SHA-256 of the secret, in hex
    created_by TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX passes_event ON passes (event_id, created_at, id);
