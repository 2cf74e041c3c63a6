-- Who has given a ticket away can ask again whether that is done.
ALTER TABLE tickets ADD COLUMN given_by TEXT NOT NULL DEFAULT '';
