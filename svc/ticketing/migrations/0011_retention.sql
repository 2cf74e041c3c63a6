-- Personal data of an event ends some time after the event does. Offers from before have no end until they are read.
ALTER TABLE offers ADD COLUMN ends_at TIMESTAMPTZ;
ALTER TABLE offers ADD COLUMN attendees_erased BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE offers ADD COLUMN scans_erased BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX offers_attendees ON offers (ends_at) WHERE NOT attendees_erased;
CREATE INDEX offers_scans ON offers (ends_at) WHERE NOT scans_erased;
CREATE INDEX ticket_offers_taken ON ticket_offers (taken_by) WHERE taken_by <> '';
CREATE INDEX ticket_offers_event ON ticket_offers (event_id);
