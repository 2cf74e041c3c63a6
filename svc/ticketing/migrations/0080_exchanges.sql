-- The order whose tickets are exchanged for those of this one, and how, as JSON.
ALTER TABLE orders ADD COLUMN exchange_of TEXT NOT NULL DEFAULT '';
ALTER TABLE orders ADD COLUMN exchange TEXT NOT NULL DEFAULT '{}';
-- What of the refunded pays the orders that tickets were exchanged for.
ALTER TABLE orders ADD COLUMN credited BIGINT NOT NULL DEFAULT 0;
CREATE INDEX orders_exchange_of ON orders (exchange_of) WHERE exchange_of <> '';
-- When the money was back.
ALTER TABLE refunds ADD COLUMN done_at TIMESTAMPTZ;
