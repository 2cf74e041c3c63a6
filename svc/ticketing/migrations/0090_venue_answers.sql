-- Which questions at the door hang on what was answered before, as the venue's list was last made for: a hash.
ALTER TABLE doors ADD COLUMN asks TEXT NOT NULL DEFAULT '';

-- Answers that a venue has taken, and that are not kept: the question or the ticket was gone by then.
CREATE TABLE refused_answers (
    id          TEXT        NOT NULL PRIMARY KEY, -- venue, edge, number of the entry, and place in it
    venue_id    TEXT        NOT NULL,
    event_id    TEXT        NOT NULL,
    ticket_id   TEXT        NOT NULL,
    question_id TEXT        NOT NULL,
    answer      TEXT        NOT NULL, -- JSON
    reason      TEXT        NOT NULL,
    given_by    TEXT        NOT NULL,
    at          TIMESTAMPTZ NOT NULL
);
CREATE INDEX refused_answers_event ON refused_answers (event_id, at, id);
CREATE INDEX refused_answers_ticket ON refused_answers (ticket_id);
