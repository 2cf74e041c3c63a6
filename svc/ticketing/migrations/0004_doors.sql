-- Who admits: the doors of each event that were ever handed over to a venue. No row means that the system admits.
CREATE TABLE doors (
    event_id   TEXT        NOT NULL PRIMARY KEY,
    venue_id   TEXT        NOT NULL, -- of the last hand-over
    state      TEXT        NOT NULL, -- hub, handing_over, venue, returning
    epoch      BIGINT      NOT NULL, -- of the last hand-over; it only grows
    policy     TEXT        NOT NULL, -- venue: it alone admits; shared: both do
    unknown    TEXT        NOT NULL, -- what the venue does with a ticket that it does not know: admit, refuse
    position   BIGINT      NOT NULL, -- of the newest change of a ticket, from 1
    generation BIGINT      NOT NULL, -- of the positions
    changed_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX doors_venue ON doors (venue_id) WHERE state <> 'hub';

ALTER TABLE tickets ADD COLUMN manifest_position BIGINT NOT NULL DEFAULT 0; -- of the last change, once the doors have a row
ALTER TABLE tickets ADD COLUMN outside BOOLEAN NOT NULL DEFAULT FALSE; -- admitted, and gone out again
CREATE INDEX tickets_manifest ON tickets (event_id, manifest_position, id) WHERE manifest_position > 0;

-- The journals of venues: up to which number the entries of each are here.
CREATE TABLE journals (
    venue_id   TEXT        NOT NULL,
    edge       TEXT        NOT NULL, -- the data folder of the venue's computer
    number     BIGINT      NOT NULL,
    contact_at TIMESTAMPTZ NOT NULL, -- when it last asked for something, to half a minute
    PRIMARY KEY (venue_id, edge)
);
-- Each entry counts once: here is that it was counted.
CREATE TABLE journal_entries (
    venue_id TEXT        NOT NULL,
    edge     TEXT        NOT NULL,
    number   BIGINT      NOT NULL,
    event_id TEXT        NOT NULL,
    kind     TEXT        NOT NULL, -- entry, exit, undo, sale, ...; refused: it made no sense
    at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (venue_id, edge, number)
);
-- The keys with which venues sign the codes of tickets that they sell.
CREATE TABLE venue_keys (
    id         TEXT        NOT NULL PRIMARY KEY,
    venue_id   TEXT        NOT NULL,
    public     TEXT        NOT NULL, -- 32 bytes in base64
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX venue_keys_venue ON venue_keys (venue_id);

ALTER TABLE admissions ADD COLUMN venue_id TEXT NOT NULL DEFAULT ''; -- which venue decided; empty: the system itself
ALTER TABLE admissions ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0; -- of the hand-over under which the venue decided
ALTER TABLE admissions ADD COLUMN kind TEXT NOT NULL DEFAULT 'entry'; -- entry, exit, undo
ALTER TABLE admissions ADD COLUMN flag TEXT NOT NULL DEFAULT ''; -- why a person should look at it
ALTER TABLE admissions ADD COLUMN aside BOOLEAN NOT NULL DEFAULT FALSE; -- admitted, but not what counts: undone, again, or second
ALTER TABLE admissions ADD COLUMN undone_at TIMESTAMPTZ;
-- One scan is the admission of a ticket, on whichever side it was.
DROP INDEX admissions_once;
CREATE UNIQUE INDEX admissions_once ON admissions (ticket_id) WHERE result = 'admitted' AND NOT aside;
