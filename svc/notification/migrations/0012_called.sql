-- What the ticket types of an event and their stages are called in other languages, as JSON: api.Called.
ALTER TABLE known_events ADD COLUMN called TEXT NOT NULL DEFAULT '{}';
