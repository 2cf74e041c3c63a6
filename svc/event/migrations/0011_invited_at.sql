-- Invitations end after a while. Those from before begin to wait when they are first looked at.
ALTER TABLE invitations ADD COLUMN created_at TIMESTAMPTZ NOT NULL DEFAULT '1970-01-01 00:00:00+00:00';
ALTER TABLE organizer_invitations ADD COLUMN created_at TIMESTAMPTZ NOT NULL DEFAULT '1970-01-01 00:00:00+00:00';
CREATE INDEX invitations_age ON invitations (created_at);
CREATE INDEX organizer_invitations_age ON organizer_invitations (created_at);
