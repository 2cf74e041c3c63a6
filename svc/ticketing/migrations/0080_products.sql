-- '' is a ticket, 'product' what is sold beside tickets and lets nobody in: see api.TicketType.
ALTER TABLE tickets ADD COLUMN kind TEXT NOT NULL DEFAULT '';

-- One scan is what counts of a ticket: its admission, or that a product was handed out.
DROP INDEX admissions_once;
CREATE UNIQUE INDEX admissions_once ON admissions (ticket_id)
    WHERE result IN ('admitted', 'handed_out') AND NOT aside;
