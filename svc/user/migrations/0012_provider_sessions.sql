-- The session at the identity provider (the claim sid) in which a session here, or a login that waits for the second
-- factor, has begun; empty: none, or the provider does not say.
ALTER TABLE sessions ADD COLUMN provider_session TEXT NOT NULL DEFAULT '';
ALTER TABLE login_challenges ADD COLUMN provider_session TEXT NOT NULL DEFAULT '';
