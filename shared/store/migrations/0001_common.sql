-- What every service needs besides its own tables.

-- Messages that a consumer has dealt with, so that a redelivery does nothing.
CREATE TABLE processed (
    consumer   TEXT        NOT NULL,
    message_id TEXT        NOT NULL,
    at         TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX processed_at ON processed (at);

-- Answers to requests with an Idempotency-Key.
CREATE TABLE answers (
    scope  TEXT        NOT NULL,
    key    TEXT        NOT NULL,
    hash   TEXT        NOT NULL,
    status INTEGER     NOT NULL,
    body   TEXT        NOT NULL,
    at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX answers_at ON answers (at);

-- One row that Ping writes.
CREATE TABLE probe (
    id INTEGER     NOT NULL PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL
);
