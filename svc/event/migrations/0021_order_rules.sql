-- What an event asks of its orders, as JSON: api.OrderRules.
ALTER TABLE events ADD COLUMN order_rules TEXT NOT NULL DEFAULT '{}';
