-- Seats that only venues may sell count like sold ones: the fence refuses to sell them to others.
CREATE TABLE fence (
    ticket_type_id TEXT   NOT NULL PRIMARY KEY,
    event_id       TEXT   NOT NULL,
    capacity       BIGINT NOT NULL,
    sold           BIGINT NOT NULL DEFAULT 0,
    leased         BIGINT NOT NULL DEFAULT 0, -- unsold seats of leases
    revision       BIGINT NOT NULL, -- of the event whose quantity this is
    CHECK (sold >= 0 AND leased >= 0 AND sold + leased <= capacity)
);
INSERT INTO fence (ticket_type_id, event_id, capacity, sold, revision)
    SELECT ticket_type_id, event_id, capacity, sold, revision FROM stock;
DROP TABLE stock;
ALTER TABLE fence RENAME TO stock;
CREATE INDEX stock_event ON stock (event_id);

CREATE TABLE leases (
    id             TEXT        NOT NULL PRIMARY KEY,
    event_id       TEXT        NOT NULL,
    venue_id       TEXT        NOT NULL,
    ticket_type_id TEXT        NOT NULL,
    state          TEXT        NOT NULL CHECK (state IN ('open', 'closing', 'closed')),
    quantity       BIGINT      NOT NULL, -- seats that were leased and are not back, sold ones included
    sold           BIGINT      NOT NULL,
    target         BIGINT      NOT NULL, -- what quantity shall be
    moving         BIGINT      NOT NULL, -- seats that the inventory is to move at this revision, if the move is due
    due            BOOLEAN     NOT NULL,
    seen           BOOLEAN     NOT NULL, -- the venue may have heard of it
    unknown        BIGINT      NOT NULL DEFAULT 0, -- seats that came back by force: the venue may have sold them
    revision       BIGINT      NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL,
    updated_at     TIMESTAMPTZ NOT NULL,
    CHECK (sold >= 0 AND sold <= quantity)
);
CREATE INDEX leases_event ON leases (event_id, created_at, id);
CREATE INDEX leases_venue ON leases (venue_id) WHERE state <> 'closed';
CREATE INDEX leases_due ON leases (id) WHERE due;
