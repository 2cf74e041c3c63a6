package imports

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// WorkEvery is how often imports are looked for that have something to do.
const WorkEvery = time.Second

const (
	turn  = 3 * time.Second  // after which others have theirs
	rest  = 10 * time.Second // after the system could not make an order
	lease = 30 * time.Second
	page  = 50 // rows that are read at once
)

// Work makes orders of imports that run, in turn. One order is on its way at an instance at a time: buyers have their
// part of every commit.
func (m *Imports) Work(ctx context.Context) error {
	claim := store.Claim[importRow]{DB: m.DB, Due: "due_at", Where: "status = 'running'", Lease: lease, Now: m.Now}
	for ctx.Err() == nil {
		taken, err := claim.Take(ctx, 1)
		if err != nil || len(taken) == 0 {
			return err
		}
		row := taken[0]
		var done bool
		err = claim.Work(ctx, row, func(ctx context.Context) (err error) {
			done, err = m.goOn(ctx, row)
			return err
		})
		next := m.Now()
		switch {
		case errors.Is(err, store.ErrClaimLost):
			continue
		case err != nil:
			m.Log.InfoContext(ctx, "an import goes on later", "import", row.ID, "error", err)
			next = next.Add(rest)
		case done:
			continue
		}
		if err := claim.Release(ctx, row, next); err != nil && !errors.Is(err, store.ErrClaimLost) {
			return err
		}
	}
	return nil
}

// as returns the context of the person who has started an import: the audit log names them, and what they may do is
// looked at again.
func as(ctx context.Context, row *importRow) context.Context {
	meta := *rpc.From(ctx)
	meta.Endpoint = api.StartImport.Service + "." + api.StartImport.Name
	meta.Principal = rpc.Principal{User: row.Caller.User, Session: row.Caller.Session, Roles: row.Caller.Roles}
	return rpc.WithMeta(ctx, meta)
}

// goOn makes orders of an import until its turn is over, and reports whether it is at its end.
func (m *Imports) goOn(ctx context.Context, row *importRow) (done bool, err error) {
	ctx = as(ctx, row)
	if _, err := m.Offer(ctx, row.EventID, api.MayEditOrders); err != nil {
		if transient(err) {
			return false, err
		}
		return true, m.end(ctx, row, api.ImportStopped, "who has started it may not do this any more")
	}
	for until := m.Now().Add(turn); m.Now().Before(until); {
		var rows []Row
		err := m.DB.Read().NewSelect().Model(&rows).Where("import_id = ? AND status = ?", row.ID, api.RowReady).
			Order("line").Limit(page).Scan(ctx)
		if err != nil {
			return false, store.FaultOf(ctx, err)
		}
		if len(rows) == 0 {
			return true, m.end(ctx, row, api.ImportDone, "")
		}
		for i := range rows {
			if on, err := m.make(ctx, row, &rows[i]); err != nil || !on {
				return !on, err
			}
		}
	}
	return false, nil
}

// transient reports whether an error says nothing about the row.
func transient(err error) bool {
	switch fault.From(err).Code {
	case fault.Unavailable, fault.Timeout, fault.RateLimited:
		return true
	}
	return false
}

// make makes the order of a row and writes down that it did. It reports false if the import was stopped meanwhile. What
// died between the two finds the order.
func (m *Imports) make(ctx context.Context, of *importRow, row *Row) (on bool, err error) {
	status, problems := api.RowMade, []api.ImportProblem{}
	if err := m.Make(ctx, of.EventID, row.OrderID, row.Data, !of.Mail); err != nil {
		if transient(err) {
			return true, err
		}
		status = api.RowFailed
		f := fault.From(err)
		problems = append(problems, api.ImportProblem{Detail: f.Detail})
	}
	err = m.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		row.Status, row.Problems = status, problems
		row.Data = Entry{TypeName: row.Data.TypeName, Quantity: row.Data.Quantity}
		if _, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx); err != nil {
			return err
		}
		var now []string
		err := tx.NewRaw("SELECT status FROM imports WHERE id = ?", of.ID).Scan(ctx, &now)
		on = len(now) == 1 && now[0] == api.ImportRunning
		return err
	})
	return on, err
}

// end writes that nothing more is made of an import.
func (m *Imports) end(ctx context.Context, row *importRow, status, reason string) error {
	now := store.Time(m.Now())
	return m.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE imports SET status = ?, reason = ?, ended_at = ? WHERE id = ? "+
			"AND status = ?", status, reason, now, row.ID, api.ImportRunning)
		return err
	})
}
