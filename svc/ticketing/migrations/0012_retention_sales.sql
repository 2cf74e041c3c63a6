-- The sales of an event, whatever became of them: the names in them end with those of its tickets.
CREATE INDEX venue_sales_of ON venue_sales (event_id, order_id);
