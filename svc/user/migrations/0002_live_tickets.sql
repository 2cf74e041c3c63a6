-- Tickets for live streams. One that was used is gone from here.
CREATE TABLE live_tickets (
    hash       TEXT        NOT NULL PRIMARY KEY, -- SHA-256 of the ticket
    session_id TEXT        NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX live_tickets_session ON live_tickets (session_id);
CREATE INDEX live_tickets_expires ON live_tickets (expires_at);
