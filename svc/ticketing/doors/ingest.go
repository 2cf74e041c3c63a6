package doors

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// results are what a venue may answer to people who come in.
var results = [...]string{api.Admitted, api.AlreadyAdmitted, api.InvalidCode, api.WrongEvent, api.RevokedTicket,
	api.NotYetValid, api.ExpiredTicket, api.NoReentry, api.HandedOut, api.AlreadyHandedOut}

// makesSense reports whether a scan is one that a venue can have made.
func makesSense(sc *line.Scan) bool {
	switch sc.Kind {
	case line.ScanEntry:
		return slices.Contains(results[:], sc.Result)
	case line.ScanExit:
		return sc.Result == "" || sc.Result == api.Exited || sc.Result == api.NotInside
	}
	return sc.Kind == line.ScanUndo && sc.Result == ""
}

// scans applies scans of a venue. Each becomes a row of admissions, whatever it says.
func (in *ingest) scans(ctx context.Context, tx tx, entries []line.Entry, rows []entryRow) error {
	if err := in.lock(ctx, tx, entries); err != nil {
		return err
	}
	taken, err := takenIDs(ctx, tx, entries)
	if err != nil {
		return err
	}
	for i, e := range entries {
		sc := e.Scan
		row := scanRow{ID: sc.ID, EventID: e.EventID, TicketID: sc.TicketID, Result: sc.Result, Gate: clean(sc.Gate),
			ScannedBy: clean(sc.By), At: store.Time(e.At), VenueID: in.venue, Epoch: e.Epoch, Kind: sc.Kind}
		if row.ID == "" || taken[row.ID] {
			row.ID = ids.Derive[ids.AdmissionKind](string(in.venue), in.edge, strconv.FormatInt(e.Number, 10))
		}
		taken[row.ID] = true
		rows[i] = in.row(e, sc.Kind)
		switch {
		case !makesSense(sc):
			rows[i].Kind, row.Kind, row.Result, row.Flag = "refused", line.ScanEntry, api.InvalidCode, api.FlagForeign
			in.refused = append(in.refused, e.Number)
		case !in.trusted[e.EventID]:
			row.Flag, row.Aside = api.FlagForeign, true
		default:
			if err := in.scan(ctx, tx, sc, &row); err != nil {
				return err
			}
		}
		if row.Flag != "" {
			in.flags = append(in.flags, row.Flag)
		}
		if err := row.insert(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// scan applies one scan to its ticket, and says in the row what it was.
func (in *ingest) scan(ctx context.Context, tx tx, sc *line.Scan, row *scanRow) error {
	t, known := in.tickets[sc.TicketID]
	known = known && t.EventID == row.EventID
	switch {
	case sc.Kind == line.ScanEntry && !letsGo(sc.Result), sc.Result == api.NotInside:
		return nil
	case sc.Kind == line.ScanEntry:
		return in.entry(ctx, tx, sc, row, t, known)
	case !known:
		row.Flag = api.FlagUnknown
		return nil
	case t.Status != api.TicketAdmitted && t.Status != api.TicketHandedOut: // revoked meanwhile, or undone before
		return nil
	case sc.Kind == line.ScanExit && t.IsProduct():
		return nil
	case sc.Kind == line.ScanExit:
		t.Outside = true
	default:
		in.events = append(in.events, undoOf(t)...)
		t.Status, t.AdmittedAt, t.Outside = api.TicketValid, nil, false
		if err := setAside(ctx, tx, t.ID, *row); err != nil {
			return err
		}
	}
	return in.change(ctx, tx, t)
}

// entry applies an admission. The first of a ticket is the one that counts; what is beside it is kept and flagged.
func (in *ingest) entry(ctx context.Context, tx tx, sc *line.Scan, row *scanRow, t record.Ticket, known bool) error {
	switch {
	case !known:
		row.Flag, row.Aside = api.FlagUnknown, true
		return nil
	case t.Status == api.TicketRevoked:
		row.Flag, row.Aside = api.FlagRevoked, true
		return nil
	case t.Status == api.TicketAdmitted && t.Outside:
		row.Aside, t.Outside = true, false
		return in.change(ctx, tx, t)
	case t.Status == api.TicketAdmitted, t.Status == api.TicketHandedOut:
		row.Flag, row.Aside = api.FlagTwice, true
		return nil
	case sc.Revision != 0 && sc.Revision != t.Revision:
		row.Flag = api.FlagTransferred
	case sc.Unknown:
		row.Flag = api.FlagUnknown
	}
	at := row.At
	if t.Status, t.AdmittedAt, t.Outside = api.TicketAdmitted, &at, false; t.IsProduct() {
		t.Status = api.TicketHandedOut
		return in.change(ctx, tx, t)
	}
	in.events = append(in.events, admissionOf(t, *row))
	return in.change(ctx, tx, t)
}

// change writes what the doors change of a ticket.
func (in *ingest) change(ctx context.Context, tx tx, t record.Ticket) error {
	in.tickets[t.ID] = t
	in.changed[t.EventID] = append(in.changed[t.EventID], t.ID)
	return writeTicket(ctx, tx, t)
}

func writeTicket(ctx context.Context, tx tx, t record.Ticket) error {
	_, err := store.Exec(ctx, tx, "UPDATE tickets SET status = ?, admitted_at = ?, outside = ? WHERE id = ?", t.Status,
		t.AdmittedAt, t.Outside, t.ID)
	return err
}

// setAside notes that the admission of a ticket was undone by a scan.
func setAside(ctx context.Context, tx tx, ticket ids.Ticket, undo scanRow) error {
	_, err := tx.ExecContext(ctx, `UPDATE admissions SET aside = ?, undone_at = ?
		WHERE ticket_id = ? AND `+counts, true, undo.At, ticket)
	return err
}

// undoOf is the fact that the admission of a ticket is undone. Of products that are handed out nobody is told.
func undoOf(t record.Ticket) []stream.Message {
	if t.IsProduct() {
		return nil
	}
	return []stream.Message{{Subject: api.TicketAdmissionUndone.Subject, Payload: api.TicketEvent{TicketID: t.ID,
		EventID: t.EventID, TicketTypeID: t.TicketTypeID, OwnerID: t.OwnerID, At: *t.AdmittedAt}}}
}

// lock reads the tickets of scans, and keeps them from changing until the end of the transaction.
func (in *ingest) lock(ctx context.Context, tx tx, entries []line.Entry) error {
	if in.tickets == nil {
		in.tickets = map[ids.Ticket]record.Ticket{}
	}
	missing := map[ids.Ticket]bool{}
	for _, e := range entries {
		if _, here := in.tickets[e.Scan.TicketID]; !here && e.Scan.TicketID != "" {
			missing[e.Scan.TicketID] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var rows []record.Ticket
	err := tx.NewRaw("SELECT * FROM tickets WHERE id IN (?) ORDER BY id ?", bun.List(sortedKeys(missing)),
		in.db.forUpdateOf("tickets")).Scan(ctx, &rows)
	for _, r := range rows {
		in.tickets[r.ID] = r
	}
	return err
}

// takenIDs returns the ids of scans that other scans have already.
func takenIDs(ctx context.Context, tx tx, entries []line.Entry) (map[ids.Admission]bool, error) {
	id := make([]ids.Admission, len(entries))
	for i, e := range entries {
		id[i] = e.Scan.ID
	}
	var there []ids.Admission
	err := tx.NewRaw("SELECT id FROM admissions WHERE id IN (?)", bun.List(id)).Scan(ctx, &there)
	taken := make(map[ids.Admission]bool, len(there))
	for _, id := range there {
		taken[id] = true
	}
	return taken, err
}

// clean makes a text of a venue one that the database takes. A journal must not stop for the name of a gate.
func clean(text string) string {
	const most = 200
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}
