-- Which access tokens are good: those of this generation, which grows when roles or the password change.
ALTER TABLE users ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
