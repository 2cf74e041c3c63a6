-- Whose log has a line: the organizer of its event at that time. Empty: not known yet; -: none.
ALTER TABLE lines ADD COLUMN organizer_id TEXT NOT NULL DEFAULT '';
UPDATE lines SET organizer_id = object WHERE substr(object, 1, 4) = 'org_';
UPDATE lines SET organizer_id = '-' WHERE organizer_id = '' AND event_id = '';
CREATE INDEX lines_organizer ON lines (organizer_id, number);
CREATE INDEX lines_unassigned ON lines (number) WHERE organizer_id = '';
