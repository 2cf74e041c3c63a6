-- A session at a venue has no tokens: the venue's own computer knows it, and asks whether it stands.
ALTER TABLE sessions ADD COLUMN venue_id TEXT NOT NULL DEFAULT '';  -- empty: none
