-- What the full-text search looks at is made by the service. Rows of an older version are written again when it starts.
ALTER TABLE events ADD COLUMN search_version INTEGER NOT NULL DEFAULT 1;
CREATE INDEX events_search_version ON events (search_version);
