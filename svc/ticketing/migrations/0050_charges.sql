-- What an order is charged beside the prices of its lines, as JSON: fees, tax of each rate, reverse charge.
ALTER TABLE orders ADD COLUMN charges TEXT NOT NULL DEFAULT '{}';
-- What was given back of the gross of each rate, in the order of the taxes in charges, as JSON.
ALTER TABLE orders ADD COLUMN given_back TEXT NOT NULL DEFAULT '[]';
-- What of a refund is of which rate: []api.TaxTotal as JSON.
ALTER TABLE refunds ADD COLUMN taxes TEXT NOT NULL DEFAULT '[]';
