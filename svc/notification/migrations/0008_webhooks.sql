-- Organizers that have, or had, webhooks: what happens is kept for these. Numbers of facts are given out under its row,
-- so they commit in their order.
CREATE TABLE webhook_organizers (
    organizer_id TEXT   NOT NULL PRIMARY KEY,
    last         BIGINT NOT NULL  -- number of the newest fact
);

CREATE TABLE webhooks (
    id              TEXT        NOT NULL PRIMARY KEY,
    organizer_id    TEXT        NOT NULL REFERENCES webhook_organizers (organizer_id),
    url             TEXT        NOT NULL,
    name            TEXT        NOT NULL,
    topics          TEXT        NOT NULL, -- with blanks between; '' is all
    secret          TEXT        NOT NULL, -- sealed
    previous_secret TEXT        NOT NULL, -- sealed; '' is none
    previous_until  TIMESTAMPTZ,
    enabled         BOOLEAN     NOT NULL,
    disabled_reason TEXT        NOT NULL,
    position        BIGINT      NOT NULL, -- number of the last fact that it was told, or is not for it
    last            BIGINT      NOT NULL, -- that of the newest fact of the organizer
    due_at          TIMESTAMPTZ NOT NULL, -- when it is told the next one; in the hand of an instance, the end of its lease
    failures        BIGINT      NOT NULL, -- in a row
    failing_since   TIMESTAMPTZ,
    slow            BOOLEAN     NOT NULL, -- whether the last answer was long in coming
    created_by      TEXT        NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL
);
CREATE INDEX webhooks_organizer ON webhooks (organizer_id, id);
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE enabled AND position < last;

-- What happened, once for each organizer, until the retention is over.
CREATE TABLE webhook_facts (
    organizer_id TEXT        NOT NULL,
    number       BIGINT      NOT NULL,
    id           TEXT        NOT NULL, -- the header webhook-id
    topic        TEXT        NOT NULL,
    body         TEXT        NOT NULL,
    at           TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organizer_id, number)
);
CREATE UNIQUE INDEX webhook_facts_id ON webhook_facts (id);
CREATE INDEX webhook_facts_at ON webhook_facts (at);

-- The organizers of events, as the facts about events have them.
CREATE TABLE webhook_events (
    event_id     TEXT NOT NULL PRIMARY KEY,
    organizer_id TEXT NOT NULL
);

CREATE TABLE webhook_attempts (
    webhook_id TEXT        NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    id         TEXT        NOT NULL, -- sorts by time
    message_id TEXT        NOT NULL,
    topic      TEXT        NOT NULL,
    at         TIMESTAMPTZ NOT NULL,
    took_ms    BIGINT      NOT NULL,
    status     BIGINT      NOT NULL, -- 0: there was no answer
    problem    TEXT        NOT NULL,
    PRIMARY KEY (webhook_id, id)
);
CREATE INDEX webhook_attempts_at ON webhook_attempts (at);
