-- Buyers without an account: each has one order, with the digits of its id.
CREATE TABLE guests (
    user_id      TEXT        NOT NULL PRIMARY KEY,
    order_id     TEXT        NOT NULL UNIQUE,
    event_id     TEXT        NOT NULL,
    email        TEXT        NOT NULL,            -- empty: forgotten
    email_key    TEXT        NOT NULL,            -- the same in lower case
    name         TEXT        NOT NULL,
    language     TEXT        NOT NULL,
    client       TEXT        NOT NULL,            -- keyed hash of the network address that it was made from
    confirmed_at TIMESTAMPTZ,                     -- when it was proven that the buyer reads the mail
    claimed_by   TEXT        NOT NULL DEFAULT '', -- the account that the order belongs to now
    changes      BIGINT      NOT NULL DEFAULT 0,  -- of the address
    created_at   TIMESTAMPTZ NOT NULL
);
CREATE INDEX guests_email ON guests (email_key, created_at);
CREATE INDEX guests_client ON guests (client, created_at);
CREATE INDEX guests_claimed ON guests (claimed_by) WHERE claimed_by <> '';

-- What opens such an order.
CREATE TABLE order_tokens (
    hash       TEXT        NOT NULL PRIMARY KEY, -- SHA-256
    order_id   TEXT        NOT NULL,
    mailed     BOOLEAN     NOT NULL, -- who has it reads the mail
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX order_tokens_order ON order_tokens (order_id, created_at);

-- Whose links are to be mailed. A row is deleted once that is under way.
CREATE TABLE link_requests (
    id         TEXT        NOT NULL PRIMARY KEY,
    email_key  TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX link_requests_age ON link_requests (created_at);
