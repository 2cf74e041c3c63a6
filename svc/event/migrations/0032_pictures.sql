-- Pictures of events and logos of organizers, whose files are kept elsewhere. A row is written before its files, and
-- goes after them, so no file is without one.
CREATE TABLE pictures (
    id           TEXT        NOT NULL PRIMARY KEY,
    organizer_id TEXT        NOT NULL, -- by whom it counts
    files        TEXT        NOT NULL, -- names, with blanks between
    created_at   TIMESTAMPTZ NOT NULL,
    unused_since TIMESTAMPTZ           -- NULL: an event or an organizer had it when that was last looked at
);
CREATE INDEX pictures_organizer ON pictures (organizer_id);
CREATE INDEX pictures_unused ON pictures (unused_since) WHERE unused_since IS NOT NULL;

-- The picture as JSON: api.Picture, and its id. That of an organizer is in its terms.
ALTER TABLE events ADD COLUMN image TEXT NOT NULL DEFAULT '{}';
ALTER TABLE events ADD COLUMN image_id TEXT NOT NULL DEFAULT '';
CREATE INDEX events_image ON events (image_id) WHERE image_id <> '';
ALTER TABLE organizers ADD COLUMN logo_id TEXT NOT NULL DEFAULT '';
CREATE INDEX organizers_logo ON organizers (logo_id) WHERE logo_id <> '';
