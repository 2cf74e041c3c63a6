-- Whether people who went out may come in again: any, none.
ALTER TABLE events ADD COLUMN reentry TEXT NOT NULL DEFAULT 'any';
