-- People who were asked to join a team by an address that has no account yet. An invitation that took effect is gone from
-- here, and so is one to an event that is over.
CREATE TABLE invitations (
    event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    email    TEXT NOT NULL, -- in lower case
    role     TEXT NOT NULL CHECK (role IN ('manager', 'door')),
    PRIMARY KEY (event_id, email)
);
CREATE INDEX invitations_email ON invitations (email);
