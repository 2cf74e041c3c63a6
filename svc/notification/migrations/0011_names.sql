-- What an event is called in other languages, by them, as JSON.
ALTER TABLE known_events ADD COLUMN names TEXT NOT NULL DEFAULT '{}';
