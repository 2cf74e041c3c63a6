-- For whom a payment was made: the organizer of its event when it was begun. Empty: not known yet; -: the event is gone.
ALTER TABLE payments ADD COLUMN organizer_id TEXT NOT NULL DEFAULT '';
CREATE INDEX payments_organizer ON payments (organizer_id);
CREATE INDEX payments_unassigned ON payments (event_id, id) WHERE organizer_id = '';
