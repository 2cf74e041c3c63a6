-- Texts in other languages, as JSON: []api.Translation; and the language of the event's own.
ALTER TABLE events ADD COLUMN language TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN translations TEXT NOT NULL DEFAULT '[]';

-- Events may be dates of a series.
ALTER TABLE events ADD COLUMN series_id TEXT NOT NULL DEFAULT '';
CREATE INDEX events_series ON events (series_id, starts_at, id) WHERE series_id <> '';
