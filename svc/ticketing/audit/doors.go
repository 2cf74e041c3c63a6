package audit

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// doorRecords are what SQL says of scans.
type doorRecords struct {
	admitted int // tickets
	flagged  int // scans that a person should look at
	twice    []struct {
		TicketID ids.Ticket
		VenueID  ids.Venue
		N        int
	}
	without  []ids.Ticket // admitted by no scan that counts
	journals []struct {
		VenueID      ids.Venue
		Edge         string
		Number       int64
		Entries, Top int64
	}
}

func (r *records) readDoors(ctx context.Context, tx bun.Tx) error {
	d := &r.doors
	for _, q := range []struct {
		dest  any
		query string
	}{
		{&d.admitted, "SELECT COUNT(*) FROM tickets WHERE status IN ('admitted', 'handed_out')"},
		{&d.flagged, "SELECT COUNT(*) FROM admissions WHERE flag <> ''"},
		// What is aside without a flag is a person who came in again.
		{&d.twice, `SELECT ticket_id, venue_id, COUNT(*) AS n FROM admissions
			WHERE result IN ('admitted', 'handed_out') AND undone_at IS NULL AND (NOT aside OR flag = 'twice')
			GROUP BY ticket_id, venue_id, epoch HAVING COUNT(*) > 1 ORDER BY ticket_id`},
		{&d.without, `SELECT tickets.id FROM tickets LEFT JOIN admissions
			ON admissions.ticket_id = tickets.id AND admissions.result = tickets.status AND NOT admissions.aside
			WHERE tickets.status IN ('admitted', 'handed_out') AND admissions.id IS NULL ORDER BY tickets.id`},
		{&d.journals, `SELECT journals.venue_id, journals.edge, journals.number, COUNT(e.number) AS entries,
				COALESCE(MAX(e.number), 0) AS top
			FROM journals LEFT JOIN journal_entries AS e ON e.venue_id = journals.venue_id AND e.edge = journals.edge
			GROUP BY journals.venue_id, journals.edge, journals.number ORDER BY 1, 2`},
	} {
		if err := tx.NewRaw(q.query).Scan(ctx, q.dest); err != nil {
			return err
		}
	}
	return nil
}

// auditDoors proves that each side has admitted a ticket at most once, and that the journals of venues are complete.
func (r *records) auditDoors() Finding {
	d := &r.doors
	f := Finding{Check: fmt.Sprintf("doors: each side has admitted a ticket at most once, an admitted ticket has the "+
		"scan that counts, and the journals of venues have no gap; %d scans are flagged for a person to look at",
		d.flagged), Compared: d.admitted}
	for _, t := range d.twice {
		side := "here"
		if t.VenueID != "" {
			side = "at " + t.VenueID.String()
		}
		f.Broken = append(f.Broken, fmt.Sprintf("ticket %s was admitted %d times %s", t.TicketID, t.N, side))
	}
	for _, t := range d.without {
		f.Broken = append(f.Broken, fmt.Sprintf("ticket %s is admitted, and no scan says so", t))
	}
	for _, j := range d.journals {
		f.Compared += int(j.Entries)
		if j.Entries != j.Number || j.Top != j.Number {
			f.Broken = append(f.Broken, fmt.Sprintf("the journal of %s at %s is here up to %d, with %d entries to %d",
				j.Edge, j.VenueID, j.Number, j.Entries, j.Top))
		}
	}
	return f
}
