-- Messages still to be published, in the order in which they were written.
CREATE TABLE outbox (
    seq     BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      TEXT        NOT NULL,
    subject TEXT        NOT NULL,
    header  TEXT        NOT NULL,
    payload BYTEA       NOT NULL,
    at      TIMESTAMPTZ NOT NULL
);
