-- The venue where an event is; empty: none.
ALTER TABLE events ADD COLUMN venue_id TEXT NOT NULL DEFAULT '';
