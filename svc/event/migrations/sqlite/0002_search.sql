-- What the full-text search looks at is made by the service. Rows of an older version are written again when it starts.
ALTER TABLE events ADD COLUMN search_version INTEGER NOT NULL DEFAULT 1;
CREATE INDEX events_search_version ON events (search_version);

-- Vowel signs that take room (Mc) belong to their word, as they do in PostgreSQL.
DROP TABLE event_search;
CREATE VIRTUAL TABLE event_search USING fts5(search_text, content='events', content_rowid='num',
    tokenize="unicode61 remove_diacritics 0 categories 'L* N* Co Mc'");
INSERT INTO event_search (event_search) VALUES ('rebuild');
