-- Venues whose computer is lost for ever: what was taken from them, and what of it is not known.
CREATE TABLE closures (
    id          TEXT        NOT NULL PRIMARY KEY,
    venue_id    TEXT        NOT NULL,
    reason      TEXT        NOT NULL,
    created_by  TEXT        NOT NULL, -- empty: an operator, with the command
    created_at  TIMESTAMPTZ NOT NULL,
    done_at     TIMESTAMPTZ,          -- NULL: it goes on
    access      TEXT        NOT NULL DEFAULT '', -- of its computer: ended or outside, once that is known
    contact_at  TIMESTAMPTZ,          -- when the computer last asked
    journal     BIGINT      NOT NULL DEFAULT 0 -- the last entry that is here
);
CREATE INDEX closures_venue ON closures (venue_id, created_at, id);
-- One of a venue goes on at a time.
CREATE UNIQUE INDEX closures_open ON closures (venue_id) WHERE done_at IS NULL;
CREATE TABLE closed_doors (
    closure_id TEXT   NOT NULL,
    event_id   TEXT   NOT NULL,
    epoch      BIGINT NOT NULL,
    state      TEXT   NOT NULL, -- what it was
    policy     TEXT   NOT NULL,
    admitted   BIGINT NOT NULL, -- admissions that the venue has reported
    PRIMARY KEY (closure_id, event_id, epoch)
);
CREATE TABLE closed_leases (
    closure_id     TEXT   NOT NULL,
    lease_id       TEXT   NOT NULL,
    event_id       TEXT   NOT NULL,
    ticket_type_id TEXT   NOT NULL,
    sold           BIGINT NOT NULL,
    unknown        BIGINT NOT NULL, -- seats that went back although the venue may have sold them
    PRIMARY KEY (closure_id, lease_id)
);
