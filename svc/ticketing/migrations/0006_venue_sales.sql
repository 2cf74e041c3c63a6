-- What venues have sold by themselves, as their journals say it. A sale that cannot be booked is kept here all the same:
-- the tickets are in people's hands.
CREATE TABLE venue_sales (
    order_id   TEXT        NOT NULL PRIMARY KEY,
    venue_id   TEXT        NOT NULL,
    event_id   TEXT        NOT NULL,
    state      TEXT        NOT NULL CHECK (state IN ('leased', 'beside', 'quarantined', 'reversed')),
    reason     TEXT        NOT NULL, -- why it is beside its leases, or in quarantine
    sale       TEXT        NOT NULL, -- line.Sale as JSON
    given      TEXT        NOT NULL, -- []inventory.Take as JSON: what a reversed one gave back to its leases
    sold_at    TIMESTAMPTZ NOT NULL, -- by the venue's clock
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX venue_sales_event ON venue_sales (event_id, order_id) WHERE state IN ('beside', 'quarantined');
CREATE INDEX venue_sales_waiting ON venue_sales (order_id) WHERE state = 'quarantined';
