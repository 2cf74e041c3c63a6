// Package imports makes orders from files of the organizer.
//
// A file is checked and its rows are kept, each with what would become of it. Starting the import makes their orders in
// the background, one after the other, in the same way as any order is made: a row that finds no seat left fails. The
// id of an order follows from the reference of its row, or from the file and the line, so whatever crashes, and however
// often a file comes, there is one order of a row.
package imports

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/sheet"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// Deps is what imports stand on.
type Deps struct {
	DB  *store.DB
	Log *slog.Logger
	Now func() time.Time

	// Offer returns an event to a caller who has the permission.
	Offer func(context.Context, ids.Event, api.Permission) (*api.Offer, error)
	// Pool returns what an event has left.
	Pool func(context.Context, *api.Offer) (inventory.Pool, error)
	// Check says what is wrong with an order, and makes nothing.
	Check func(*api.Offer, Entry) error
	// Known returns those orders that are there.
	Known func(context.Context, []ids.Order) (map[ids.Order]bool, error)
	// Make makes an order with the id, or finds it made. Quiet, its buyer is not told of what costs nothing.
	Make func(ctx context.Context, event ids.Event, id ids.Order, e Entry, quiet bool) error
}

// Imports are those of a database.
type Imports struct{ Deps }

// New returns the imports.
func New(d Deps) *Imports { return &Imports{d} }

// Register binds the endpoints.
func (m *Imports) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CreateImport, m.create)
	rpc.Handle(srv, api.ListImports, m.list)
	rpc.Handle(srv, api.GetImport, m.get)
	rpc.Handle(srv, api.ListImportRows, m.rows)
	rpc.Handle(srv, api.StartImport, m.start)
	rpc.Handle(srv, api.StopImport, m.stop)
	rpc.Handle(srv, api.GetImportExample, m.example)
}

// create checks a file and keeps its rows.
func (m *Imports) create(ctx context.Context, req *api.NewImport) (*api.Import, error) {
	offer, err := m.Offer(ctx, req.EventID, api.MayEditOrders)
	if err != nil {
		return nil, err
	}
	titles, records, err := read(req.File)
	if err != nil {
		return nil, err
	}
	cols, err := columnsOf(titles, req.Columns, &offer.Event)
	if err != nil {
		return nil, err
	}
	r := &reader{columns: cols, event: &offer.Event, file: hashOf(req.File), seen: map[string]int{},
		check: func(e Entry) error { return m.Check(offer, e) }}
	if r.pool, err = m.Pool(ctx, offer); err != nil {
		return nil, err
	}
	orders := make([]ids.Order, len(records))
	for i, rec := range records {
		orders[i] = r.orderOf(rec)
	}
	if r.known, err = m.Known(ctx, orders); err != nil {
		return nil, err
	}
	now := store.Time(m.Now())
	row := importRow{ID: ids.New[ids.ImportKind](now), EventID: req.EventID, Status: api.ImportChecked,
		Ignored: cols.ignored, CreatedBy: rpc.Caller(ctx).User, CreatedAt: now, DueAt: now}
	rows := make([]Row, len(records))
	for i, rec := range records {
		if rows[i] = r.row(rec); ctx.Err() != nil {
			return nil, fault.From(ctx.Err())
		}
		rows[i].ImportID = row.ID
	}
	if err := m.keep(ctx, row, rows); err != nil {
		return nil, err
	}
	return m.shown(ctx, m.DB.Read(), row)
}

func (m *Imports) get(ctx context.Context, req *api.ImportRef) (*api.Import, error) {
	row, err := m.mine(ctx, req.EventID, req.ID)
	if err != nil {
		return nil, err
	}
	return m.shown(ctx, m.DB.Read(), row)
}

// mine returns an import of an event to a caller who may see it.
func (m *Imports) mine(ctx context.Context, event ids.Event, id ids.Import) (row importRow, err error) {
	if _, err = m.Offer(ctx, event, api.MayEditOrders); err != nil {
		return row, err
	}
	err = store.Select(ctx, m.DB.Read(), &row, "SELECT * FROM imports WHERE id = ? AND event_id = ?", id, event)
	return row, store.OrNotFound(err, "there is no such import")
}

// start makes the orders of an import from now on.
func (m *Imports) start(ctx context.Context, req *api.ImportStart) (*api.Import, error) {
	if _, err := m.mine(ctx, req.EventID, req.ID); err != nil {
		return nil, err
	}
	now := store.Time(m.Now())
	return m.change(ctx, req.EventID, req.ID, func(ctx context.Context, tx bun.Tx, row *importRow) error {
		n, err := counts(ctx, tx, row.ID)
		switch {
		case err != nil:
			return err
		case row.Status == api.ImportRunning, row.Status == api.ImportDone && n.Ready == 0:
			return nil
		case n.Wrong > 0 && !req.SkipWrong:
			return fault.New(fault.Conflict, "%d rows are wrong: mend the file, or have them left out", n.Wrong)
		case n.Ready == 0:
			return fault.New(fault.Conflict, "there is no row of which an order could be made")
		}
		row.Status, row.Mail, row.Reason = api.ImportRunning, req.Mail, ""
		by := rpc.Caller(ctx)
		row.Caller = starter{by.User, by.Session, by.Roles}
		row.EndedAt, row.DueAt = nil, now
		if err := auditlog.Add(ctx, tx, "ticketing", auditlog.Act{At: now, Object: row.ID.String(), Event: row.EventID,
			After: map[string]any{"rows": n.Ready, "mail": req.Mail}}); err != nil {
			return err
		}
		return update(ctx, tx, row)
	})
}

// stop ends an import where it is.
func (m *Imports) stop(ctx context.Context, req *api.ImportRef) (*api.Import, error) {
	if _, err := m.mine(ctx, req.EventID, req.ID); err != nil {
		return nil, err
	}
	now := store.Time(m.Now())
	return m.change(ctx, req.EventID, req.ID, func(ctx context.Context, tx bun.Tx, row *importRow) error {
		if row.Status != api.ImportRunning && row.Status != api.ImportChecked {
			return nil
		}
		row.Status, row.EndedAt = api.ImportStopped, &now
		if err := auditlog.Add(ctx, tx, "ticketing", auditlog.Act{At: now, Object: row.ID.String(), Event: row.EventID,
			After: map[string]any{"status": row.Status}}); err != nil {
			return err
		}
		return update(ctx, tx, row)
	})
}

// example returns a file with the ticket types of an event, and a column for each question.
func (m *Imports) example(ctx context.Context, req *api.EventRef) (*rpc.Blob, error) {
	offer, err := m.Offer(ctx, req.ID, api.MayEditOrders)
	if err != nil {
		return nil, err
	}
	t := sheet.Table{Name: "import-example", Header: columnNames()}
	var answers []string
	for i := range offer.Event.Questions {
		if q := &offer.Event.Questions[i]; asked(q) {
			t.Header, answers = append(t.Header, q.Label), append(answers, exampleOf(q))
		}
	}
	for i, typ := range offer.Event.TicketTypes {
		row := []string{fmt.Sprintf("guest%d@example.org", i+1), fmt.Sprintf("Guest %d", i+1), typ.Name, "1",
			typ.Price.Decimal(), map[bool]string{true: "yes", false: "no"}[i == 0], fmt.Sprintf("A-%d", i+1), "en"}
		t.Rows = append(t.Rows, append(row, answers...))
	}
	return sheet.CSV(t)
}

// exampleOf returns an answer as it may stand in a file.
func exampleOf(q *api.Question) string {
	switch q.Kind {
	case api.AsksNumber:
		return "12"
	case api.AsksChoice, api.AsksChoices:
		if names := choiceNames(q); len(names) > 0 {
			return names[0]
		}
	case api.AsksDate:
		return "2031-12-24"
	case api.AsksCountry:
		return "DE"
	case api.AsksPhone:
		return "+4930123456"
	case api.AsksConsent:
		return "yes"
	case api.AsksText:
		return "text"
	}
	return ""
}
