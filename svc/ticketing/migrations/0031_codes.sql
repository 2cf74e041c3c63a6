-- Promo codes, and discounts that apply by themselves.
CREATE TABLE promo_codes (
    id           TEXT        NOT NULL PRIMARY KEY,
    scope        TEXT        NOT NULL, -- the event, or the organizer of all events that it is for
    organizer_id TEXT        NOT NULL,
    event_id     TEXT        NOT NULL, -- empty: all events of the organizer
    code         TEXT        NOT NULL, -- as the organizer writes it
    word         TEXT        NOT NULL, -- what of it is compared
    batch        TEXT        NOT NULL,
    automatic    BOOLEAN     NOT NULL,
    terms        TEXT        NOT NULL, -- api.PromoTerms as JSON
    due          BOOLEAN     NOT NULL, -- the inventory has to be told
    keeps_until  TIMESTAMPTZ,          -- when the seats that it keeps are for all; none: it keeps none
    deleted      BOOLEAN     NOT NULL,
    revision     BIGINT      NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    updated_at   TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX promo_codes_word ON promo_codes (scope, word) WHERE NOT automatic AND NOT deleted;
CREATE INDEX promo_codes_scope ON promo_codes (scope, created_at, id) WHERE NOT deleted;
CREATE INDEX promo_codes_batch ON promo_codes (scope, batch, created_at, id) WHERE NOT deleted;
CREATE INDEX promo_codes_automatic ON promo_codes (scope, created_at, id) WHERE automatic AND NOT deleted;
CREATE INDEX promo_codes_due ON promo_codes (updated_at) WHERE due;
CREATE INDEX promo_codes_keeps ON promo_codes (keeps_until) WHERE keeps_until IS NOT NULL;
CREATE INDEX promo_codes_event ON promo_codes (event_id, id) WHERE keeps_until IS NOT NULL;

ALTER TABLE orders ADD COLUMN promo_code_id TEXT NOT NULL DEFAULT '';
ALTER TABLE orders ADD COLUMN promo_code TEXT NOT NULL DEFAULT '';
ALTER TABLE orders ADD COLUMN discount BIGINT NOT NULL DEFAULT 0;
CREATE INDEX orders_code ON orders (promo_code_id, user_id) WHERE promo_code_id <> '';
