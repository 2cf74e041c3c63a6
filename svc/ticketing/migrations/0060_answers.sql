-- What was answered about orders and their tickets. An answer of several choices has a row for each.
CREATE TABLE question_answers (
    order_id    TEXT    NOT NULL,
    position    INTEGER NOT NULL, -- of the ticket in its order; -1: it is about the order
    question_id TEXT    NOT NULL,
    pick        TEXT    NOT NULL, -- what is counted: a choice, a country, yes or no; empty: what is written in value
    value       TEXT    NOT NULL,
    event_id    TEXT    NOT NULL,
    PRIMARY KEY (order_id, position, question_id, pick)
);
CREATE INDEX question_answers_event ON question_answers (event_id, question_id);

-- When the answers to questions go that say so themselves.
CREATE TABLE answer_dates (
    event_id    TEXT        NOT NULL,
    question_id TEXT        NOT NULL,
    erase_at    TIMESTAMPTZ NOT NULL,
    erased      BOOLEAN     NOT NULL DEFAULT FALSE,
    PRIMARY KEY (event_id, question_id)
);
CREATE INDEX answer_dates_due ON answer_dates (erase_at) WHERE NOT erased;

-- Those to all others go some time after the event.
ALTER TABLE offers ADD COLUMN answers_erased BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX offers_answers ON offers (ends_at) WHERE NOT answers_erased;

-- Answers are missing, without which the order cannot be paid.
ALTER TABLE orders ADD COLUMN answers_due BOOLEAN NOT NULL DEFAULT FALSE;
