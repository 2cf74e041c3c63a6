-- What is charged beside prices, as JSON: api.Tax of the event, and []api.Fee.
ALTER TABLE events ADD COLUMN tax TEXT NOT NULL DEFAULT '{}';
ALTER TABLE events ADD COLUMN fees TEXT NOT NULL DEFAULT '[]';

-- The terms on which an organizer sells, as JSON: api.SellingTerms.
ALTER TABLE organizers ADD COLUMN selling TEXT NOT NULL DEFAULT '{}';
