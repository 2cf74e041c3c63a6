-- A code that a device exchanges for the secret of its pass, once.
ALTER TABLE passes ADD COLUMN code_hash TEXT NOT NULL DEFAULT ''; -- SHA-256, in hex; empty: there is none any more
ALTER TABLE passes ADD COLUMN code_until TIMESTAMPTZ;
CREATE UNIQUE INDEX passes_code ON passes (code_hash) WHERE code_hash <> '';
