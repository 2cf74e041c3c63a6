-- The money of an event is summed up by its payments.
CREATE INDEX payments_event ON payments (event_id);
