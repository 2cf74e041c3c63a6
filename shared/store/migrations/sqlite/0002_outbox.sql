-- Messages still to be published, in the order in which they were written.
CREATE TABLE outbox (
    seq     INTEGER     NOT NULL PRIMARY KEY AUTOINCREMENT,
    id      TEXT        NOT NULL,
    subject TEXT        NOT NULL,
    header  TEXT        NOT NULL,
    payload BLOB        NOT NULL,
    at      TIMESTAMPTZ NOT NULL
);
