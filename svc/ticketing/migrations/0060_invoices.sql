-- Invoices and credit notes, as they were issued. They never change: a trigger of each database sees to it.
CREATE TABLE invoices (
    id           TEXT        NOT NULL PRIMARY KEY,
    organizer_id TEXT        NOT NULL,
    year         BIGINT      NOT NULL, -- of the day on which it was issued, at the seller
    number       BIGINT      NOT NULL, -- from 1 in each year, without a gap
    prefix       TEXT        NOT NULL,
    kind         TEXT        NOT NULL,
    order_id     TEXT        NOT NULL,
    sequence     BIGINT      NOT NULL, -- among those of the order, from 1
    event_id     TEXT        NOT NULL,
    refund_id    TEXT        NOT NULL, -- of a credit note, unless another invoice follows on it
    document     TEXT        NOT NULL, -- api.Invoice as JSON
    issued_at    TIMESTAMPTZ NOT NULL,
    UNIQUE (organizer_id, year, number),
    UNIQUE (order_id, sequence)
);
CREATE UNIQUE INDEX invoices_refund ON invoices (refund_id) WHERE refund_id <> '';

-- The last number of each series. Who gives one out has the row until its transaction ends.
CREATE TABLE invoice_counters (
    organizer_id TEXT   NOT NULL,
    year         BIGINT NOT NULL,
    last         BIGINT NOT NULL,
    PRIMARY KEY (organizer_id, year)
);

-- Whom the invoices of orders are made out to.
CREATE TABLE billing_addresses (
    order_id TEXT        NOT NULL PRIMARY KEY,
    billing  TEXT        NOT NULL, -- api.Billing as JSON
    at       TIMESTAMPTZ NOT NULL
);
