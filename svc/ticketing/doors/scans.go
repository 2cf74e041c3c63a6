package doors

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// scanRow is a row of the table admissions: of a scan of this system.
type scanRow struct {
	bun.BaseModel `bun:"table:admissions,alias:admissions"`

	ID        ids.Admission `bun:"id,pk"`
	EventID   ids.Event     `bun:"event_id"`
	TicketID  ids.Ticket    `bun:"ticket_id"`
	Result    string        `bun:"result"`
	Gate      string        `bun:"gate"`
	ScannedBy string        `bun:"scanned_by"`
	At        time.Time     `bun:"at"`

	// What only scans have that a venue has decided, or that a person should look at.
	VenueID  ids.Venue  `bun:"venue_id,scanonly"`
	Epoch    int64      `bun:"epoch,scanonly"`
	Kind     string     `bun:"kind,scanonly"`
	Flag     string     `bun:"flag,scanonly"`
	Aside    bool       `bun:"aside,scanonly"`
	UndoneAt *time.Time `bun:"undone_at,scanonly"`

	// Of its ticket, in lists.
	Holder   string `bun:"holder,scanonly"`
	TypeName string `bun:"type_name,scanonly"`
}

func (r scanRow) scan() api.Scan {
	return api.Scan{ID: r.ID, TicketID: r.TicketID, Holder: r.Holder, TypeName: r.TypeName, Result: r.Result,
		Gate: r.Gate, By: r.ScannedBy, At: r.At.UTC(), Kind: r.Kind, VenueID: r.VenueID, Flag: r.Flag,
		UndoneAt: r.UndoneAt}
}

// insert writes the row with what only some scans have.
func (r scanRow) insert(ctx context.Context, tx tx) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO admissions (id, event_id, ticket_id, result, gate, scanned_by, at,
		venue_id, epoch, kind, flag, aside) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, r.ID, r.EventID, r.TicketID,
		r.Result, r.Gate, r.ScannedBy, r.At, r.VenueID, r.Epoch, r.Kind, r.Flag, r.Aside)
	return err
}

// scan is a code that was shown at a door: what its signature says, and the verdict as far as no ticket is needed for
// it.
type scan struct {
	row        scanRow // Result is set if the verdict is out already
	revision   int64
	exit       bool // the person goes out
	letsBackIn bool // the event lets people who went out in again
	cause      stream.Cause
}

// scanned is the verdict on a scan.
type scanned struct {
	result    string
	ticket    record.Ticket // ID is empty if there is none
	gate      string        // of the first admission, if there is one
	elsewhere *doorRow      // not nil: the system does not admit for the event, and has kept nothing
}

// admit decides scans, in their order, and keeps all of them, in one transaction. Those of an event for which a venue
// admits are left out.
func (db doorStore) admit(ctx context.Context, in []scan) ([]scanned, error) {
	out := make([]scanned, len(in))
	runs := 0
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		clear(out)
		tickets, doors, err := db.scannedTickets(ctx, tx, in)
		if err != nil {
			return err
		}
		if runs++; runs > 1 {
			if done, err := scannedBefore(ctx, tx, in, tickets, out); err != nil || done {
				return err
			}
		}
		var (
			rows   = make([]scanRow, 0, len(in))
			beside []scanRow // with more columns
			events []stream.Message
			gates  = map[ids.Ticket]string{}
			moved  = map[ids.Event][]ids.Ticket{}
		)
		for i, s := range in {
			t, known := tickets[s.row.TicketID]
			row := s.row
			door := doors[row.EventID]
			if row.Result == "" && door != nil && door.closesHub() {
				out[i].elsewhere = door
				continue
			}
			if row.Result == "" {
				row.Result = s.decide(t, known)
			}
			switch row.Result {
			case api.Admitted:
				if row.Kind, row.Aside = line.ScanEntry, t.Outside; !row.Aside { // else it is not the first
					at := row.At
					t.Status, t.AdmittedAt, gates[t.ID] = api.TicketAdmitted, &at, row.Gate
					admitted := admissionOf(t, row)
					admitted.Cause = s.cause
					events = append(events, admitted)
				}
				if t.Outside = false; door != nil && door.State != line.DoorsHub {
					row.Flag = api.FlagShared
				}
			case api.HandedOut:
				at := row.At
				row.Kind, t.Status, t.AdmittedAt, gates[t.ID] = line.ScanEntry, api.TicketHandedOut, &at, row.Gate
				if door != nil && door.State != line.DoorsHub {
					row.Flag = api.FlagShared
				}
			case api.Exited:
				row.Kind, t.Outside = line.ScanExit, true
			case api.NotInside:
				row.Kind = line.ScanExit
			}
			if letsGo(row.Result) || row.Result == api.Exited {
				if err := writeTicket(ctx, tx, t); err != nil {
					return err
				}
				tickets[t.ID] = t
				moved[t.EventID] = append(moved[t.EventID], t.ID)
			}
			if row.Flag != "" || row.Aside || row.Kind == line.ScanExit {
				beside = append(beside, row)
			} else {
				rows = append(rows, row)
			}
			out[i] = scanned{result: row.Result, ticket: t}
			if wasAdmitted(row.Result) {
				if out[i].gate, err = firstGate(ctx, tx, t.ID, gates); err != nil {
					return err
				}
			}
		}
		if _, err := store.Insert(ctx, tx, rows, ""); err != nil {
			return err
		}
		for _, row := range beside {
			if err := row.insert(ctx, tx); err != nil {
				return err
			}
		}
		if len(doors) > 0 { // else nobody follows the manifest
			if err := markAll(ctx, tx, moved); err != nil {
				return err
			}
		}
		return stream.AddAll(ctx, tx, events...)
	})
	return out, err
}

// admissionOf is the fact that a scan has admitted a ticket.
func admissionOf(t record.Ticket, row scanRow) stream.Message {
	return stream.Message{Subject: api.TicketAdmission.Subject, Payload: api.TicketEvent{TicketID: t.ID,
		EventID: t.EventID, TicketTypeID: t.TicketTypeID, OwnerID: t.OwnerID, Gate: row.Gate, At: row.At}}
}

// wasAdmitted reports whether a result is about a ticket that was admitted or handed out, now or before.
func wasAdmitted(result string) bool {
	return letsGo(result) || result == api.AlreadyAdmitted || result == api.NoReentry || result == api.AlreadyHandedOut
}

// letsGo reports whether a result lets a person in, or a product go.
func letsGo(result string) bool { return result == api.Admitted || result == api.HandedOut }

// counts is the condition for the scan that counts of a ticket: it was admitted, or handed out.
const counts = "result IN ('admitted', 'handed_out') AND NOT aside"

// scannedBefore reports whether an earlier run of the transaction has kept the scans after all, and fills in what they
// were told: one transaction keeps all of them or none.
func scannedBefore(
	ctx context.Context, tx tx, in []scan, tickets map[ids.Ticket]record.Ticket, out []scanned,
) (bool, error) {
	id := make([]ids.Admission, len(in))
	for i, s := range in {
		id[i] = s.row.ID
	}
	var rows []scanRow
	if err := tx.NewRaw("SELECT * FROM admissions WHERE id IN (?)", bun.List(id)).Scan(ctx, &rows); err != nil ||
		len(rows) == 0 {
		return false, err
	}
	results := make(map[ids.Admission]string, len(rows))
	for _, r := range rows {
		results[r.ID] = r.Result
	}
	for i, s := range in {
		result, kept := results[s.row.ID]
		if !kept { // a venue admitted for its event
			door, err := doorOf(ctx, tx, s.row.EventID)
			if err != nil {
				return false, err
			}
			out[i].elsewhere = door
			continue
		}
		out[i] = scanned{result: result, ticket: tickets[s.row.TicketID]}
		if wasAdmitted(result) {
			var err error
			if out[i].gate, err = firstGate(ctx, tx, s.row.TicketID, nil); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// firstGate returns where a ticket was admitted, if that is not among those that are known.
func firstGate(ctx context.Context, tx tx, ticket ids.Ticket, known map[ids.Ticket]string) (string, error) {
	if gate, here := known[ticket]; here {
		return gate, nil
	}
	var gates []string
	const query = "SELECT gate FROM admissions WHERE ticket_id = ? AND " + counts
	err := store.Select(ctx, tx, &gates, query, ticket)
	if len(gates) == 0 {
		return "", err
	}
	return gates[0], err
}

// scannedTickets returns the tickets of scans, locked, and who admits for their events: no entry is the system. The
// statement that locks the tickets reads the doors, too. Who takes the doors away from the system holds the whole table
// of tickets meanwhile, so what is read here stays true until the end of the transaction.
func (db doorStore) scannedTickets(
	ctx context.Context, tx tx, in []scan,
) (map[ids.Ticket]record.Ticket, map[ids.Event]*doorRow, error) {
	id := make([]ids.Ticket, 0, len(in))
	for _, s := range in {
		if s.row.TicketID != "" {
			id = append(id, s.row.TicketID)
		}
	}
	tickets, doors := make(map[ids.Ticket]record.Ticket, len(id)), map[ids.Event]*doorRow{}
	if len(id) == 0 {
		return tickets, doors, nil
	}
	var rows []struct {
		record.Ticket
		Door doorRow `bun:"embed:door_"`
	}
	err := store.Select(ctx, tx, &rows, `SELECT tickets.*, doors.state AS door_state, doors.venue_id AS door_venue_id,
			doors.policy AS door_policy
		FROM tickets LEFT JOIN doors ON doors.event_id = tickets.event_id WHERE tickets.id IN (?) ORDER BY tickets.id ?`,
		store.List(id), db.forUpdateOf("tickets"))
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		tickets[row.Ticket.ID] = row.Ticket
		if row.Door.State != "" && doors[row.EventID] == nil {
			doors[row.EventID] = &row.Door
		}
	}
	for _, s := range in { // a ticket that is not here may have been sold at the venue
		if _, known := tickets[s.row.TicketID]; !known && s.row.Result == "" && doors[s.row.EventID] == nil {
			door, err := doorOf(ctx, tx, s.row.EventID)
			if err != nil {
				return nil, nil, err
			}
			if door != nil {
				doors[s.row.EventID] = door
			}
		}
	}
	return tickets, doors, nil
}

// newestScans returns a page of an event's scans, the newest first.
func (db doorStore) newestScans(
	ctx context.Context, event ids.Event, page api.Page,
) (rows []scanRow, next string, err error) {
	limit, err := store.Limit(page.Limit)
	if err != nil {
		return nil, "", err
	}
	then, after, err := store.DecodeTimeCursor(page.Cursor)
	if err != nil {
		return nil, "", err
	}
	query := db.Read().NewSelect().Model(&rows).ColumnExpr("admissions.*").
		ColumnExpr("COALESCE(t.holder_name, '') AS holder, COALESCE(t.type_name, '') AS type_name").
		Join("LEFT JOIN tickets AS t ON t.id = admissions.ticket_id AND t.event_id = admissions.event_id").
		Where("admissions.event_id = ?", event).Order("admissions.at DESC", "admissions.id DESC").
		Limit(int64(limit) + 1)
	if page.Cursor != "" {
		query = query.Where("(admissions.at, admissions.id) < (?, ?)", then, after)
	}
	if err := query.Scan(ctx); err != nil {
		return nil, "", store.FaultOf(ctx, err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = store.EncodeTimeCursor(rows[limit-1].At, rows[limit-1].ID.String())
	}
	return rows, next, nil
}
