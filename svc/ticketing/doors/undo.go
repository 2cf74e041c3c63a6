package doors

import (
	"context"
	"database/sql"
	"errors"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// undo takes an admission back. That of a venue is undone here once the venue has given the doors back.
func (s *Doors) undo(ctx context.Context, req *api.AdmissionRef) (*api.Scan, error) {
	if _, err := s.offers.As(ctx, req.EventID, api.MayUndoAdmission); err != nil {
		return nil, err
	}
	now := store.Time(s.now())
	undo := scanRow{ID: ids.New[ids.AdmissionKind](now), EventID: req.EventID, ScannedBy: rpc.Caller(ctx).ID(),
		At: now, Kind: line.ScanUndo}
	row, err := s.db.undo(ctx, req.ID, undo)
	if err != nil {
		return nil, err
	}
	out := row.scan()
	return &out, nil
}

var errNoAdmission = fault.New(fault.Conflict, "the scan is not the admission of a ticket, and handed nothing out")

// undo undoes the scan with the id, and keeps that as a scan of its own.
func (db doorStore) undo(ctx context.Context, id ids.Admission, undo scanRow) (scanRow, error) {
	var row scanRow
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row = scanRow{}
		err := tx.NewRaw("SELECT * FROM admissions WHERE id = ? AND event_id = ?", id, undo.EventID).Scan(ctx, &row)
		if err != nil {
			return store.OrNotFound(err, "the event has no such scan")
		}
		if !letsGo(row.Result) {
			return errNoAdmission
		}
		var t record.Ticket
		err = tx.NewRaw("SELECT * FROM tickets WHERE id = ? ?", row.TicketID, db.forUpdateOf("tickets")).Scan(ctx, &t)
		if errors.Is(err, sql.ErrNoRows) {
			return errNoAdmission
		}
		if err != nil {
			return err
		}
		// Again, now that nobody else changes the ticket: it may have been undone meanwhile.
		if err := tx.NewRaw("SELECT * FROM admissions WHERE id = ?", id).Scan(ctx, &row); err != nil {
			return err
		}
		door, err := doorOf(ctx, tx, undo.EventID)
		switch {
		case err != nil:
			return err
		case row.UndoneAt != nil:
			return nil
		case door != nil && door.closesHub():
			return fault.New(fault.Conflict, "a venue admits for the event: undo it there")
		case row.Aside:
			return errNoAdmission
		case t.Status != api.TicketAdmitted && t.Status != api.TicketHandedOut:
			return fault.New(fault.Conflict, "the ticket is %s", t.Status)
		}
		undone := undoOf(t)
		t.Status, t.AdmittedAt, t.Outside = api.TicketValid, nil, false
		undo.TicketID = t.ID
		if err := writeTicket(ctx, tx, t); err != nil {
			return err
		}
		if err := setAside(ctx, tx, t.ID, undo); err != nil {
			return err
		}
		if err := undo.insert(ctx, tx); err != nil {
			return err
		}
		if err := record.Mark(ctx, tx, t.EventID, t.ID); err != nil {
			return err
		}
		row.Aside, row.UndoneAt = true, &undo.At
		if err := auditlog.Add(ctx, tx, "ticketing", auditlog.Act{At: undo.At, Object: row.ID.String(),
			Event: row.EventID, After: map[string]any{"ticket_id": row.TicketID, "undone_at": undo.At}}); err != nil {
			return err
		}
		return stream.AddAll(ctx, tx, undone...)
	})
	return row, err
}
