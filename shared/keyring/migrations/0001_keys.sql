-- Signing keys, shared by all instances of the service. The newest of a purpose signs; all of them verify.
CREATE TABLE signing_keys (
    id         TEXT        NOT NULL PRIMARY KEY,
    purpose    TEXT        NOT NULL,
    generation BIGINT      NOT NULL,
    seed       TEXT        NOT NULL, -- of the Ed25519 private key, base64
    created_at TIMESTAMPTZ NOT NULL,
    UNIQUE (purpose, generation)
);
