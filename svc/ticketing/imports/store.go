package imports

import (
	"context"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	checkedFor = 2 * 24 * time.Hour  // what was only checked is kept
	keptFor    = 30 * 24 * time.Hour // what was made
	mostOpen   = 5                   // imports of an event that were only checked
)

// importRow is a row of the table imports.
type importRow struct {
	bun.BaseModel `bun:"table:imports,alias:imports"`

	ID        ids.Import `bun:"id,pk"`
	EventID   ids.Event  `bun:"event_id"`
	Status    string     `bun:"status"`
	Mail      bool       `bun:"mail"`
	Ignored   []string   `bun:"ignored,type:text"`
	Reason    string     `bun:"reason"`
	Caller    starter    `bun:"caller,type:text"`
	CreatedBy ids.User   `bun:"created_by"`
	CreatedAt time.Time  `bun:"created_at"`
	EndedAt   *time.Time `bun:"ended_at"`
	DueAt     time.Time  `bun:"due_at"`
}

// starter is the person who has started an import.
type starter struct {
	User    ids.User    `json:"user,omitempty"`
	Session ids.Session `json:"session,omitempty"`
	Roles   []string    `json:"roles,omitempty"`
}

// Row is a row of the table import_rows.
type Row struct {
	bun.BaseModel `bun:"table:import_rows,alias:import_rows"`

	ImportID ids.Import          `bun:"import_id,pk"`
	Line     int                 `bun:"line,pk"`
	Status   string              `bun:"status"`
	OrderID  ids.Order           `bun:"order_id"`
	Data     Entry               `bun:"data,type:text"`
	Problems []api.ImportProblem `bun:"problems,type:text"`
}

// keep writes an import that was checked. The oldest of those that nothing was made of give way.
func (m *Imports) keep(ctx context.Context, row importRow, rows []Row) error {
	return m.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		inserted, err := store.Insert(ctx, tx, []importRow{row}, "CONFLICT DO NOTHING")
		if err != nil || len(inserted) == 0 { // an earlier run of this transaction
			return err
		}
		for at := 0; at < len(rows); at += 500 {
			if _, err := store.Insert(ctx, tx, rows[at:min(at+500, len(rows))], ""); err != nil {
				return err
			}
		}
		var old []ids.Import
		err = tx.NewRaw("SELECT id FROM imports WHERE event_id = ? AND status = ? ORDER BY created_at DESC, id DESC "+
			"LIMIT 1000 OFFSET ?", row.EventID, api.ImportChecked, mostOpen).Scan(ctx, &old)
		if err != nil {
			return err
		}
		if err := remove(ctx, tx, old); err != nil {
			return err
		}
		return auditlog.Add(ctx, tx, "ticketing", auditlog.Act{At: row.CreatedAt, Object: row.ID.String(),
			Event: row.EventID, After: map[string]any{"rows": len(rows)}})
	})
}

// remove deletes imports with their rows.
func remove(ctx context.Context, tx bun.Tx, list []ids.Import) error {
	if len(list) == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM import_rows WHERE import_id IN (?)", bun.List(list)); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM imports WHERE id IN (?)", bun.List(list))
	return err
}

// Forget deletes imports that need not be kept any more.
func (m *Imports) Forget(ctx context.Context) error {
	now := m.Now()
	return m.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var old []ids.Import
		err := tx.NewRaw(`SELECT id FROM imports WHERE created_at < ? AND (status = ? OR status <> ? AND created_at < ?)
			ORDER BY created_at LIMIT 20`, store.Time(now.Add(-checkedFor)), api.ImportChecked, api.ImportRunning,
			store.Time(now.Add(-keptFor))).Scan(ctx, &old)
		if err != nil {
			return err
		}
		return remove(ctx, tx, old)
	})
}

// change changes an import in a transaction, and returns it as it then is.
func (m *Imports) change(
	ctx context.Context, event ids.Event, id ids.Import, do func(context.Context, bun.Tx, *importRow) error,
) (*api.Import, error) {
	var row importRow
	err := m.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		lock := bun.Safe("")
		if m.DB.Postgres() {
			lock = "FOR UPDATE"
		}
		row = importRow{}
		err := tx.NewRaw("SELECT * FROM imports WHERE id = ? AND event_id = ? ?", id, event, lock).Scan(ctx, &row)
		if err != nil {
			return store.OrNotFound(err, "there is no such import")
		}
		return do(ctx, tx, &row)
	})
	if err != nil {
		return nil, err
	}
	return m.shown(ctx, m.DB.Read(), row)
}

func update(ctx context.Context, tx bun.Tx, row *importRow) error {
	_, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx)
	return err
}

// counts tells how many rows of an import are in which state.
func counts(ctx context.Context, from bun.IDB, id ids.Import) (n api.ImportRows, err error) {
	var rows []struct {
		Status string
		N      int
	}
	err = store.Select(ctx, from, &rows,
		"SELECT status, COUNT(*) AS n FROM import_rows WHERE import_id = ? GROUP BY status", id)
	for _, r := range rows {
		switch r.Status {
		case api.RowReady:
			n.Ready = r.N
		case api.RowWrong:
			n.Wrong = r.N
		case api.RowThere:
			n.There = r.N
		case api.RowMade:
			n.Made = r.N
		case api.RowFailed:
			n.Failed = r.N
		}
	}
	return n, err
}

// shown returns an import as it is shown.
func (m *Imports) shown(ctx context.Context, from bun.IDB, row importRow) (*api.Import, error) {
	n, err := counts(ctx, from, row.ID)
	return &api.Import{ID: row.ID, EventID: row.EventID, Status: row.Status, Rows: n, Ignored: row.Ignored,
		Mail: row.Mail, Reason: row.Reason, CreatedBy: row.CreatedBy, CreatedAt: row.CreatedAt.UTC(),
		EndedAt: row.EndedAt}, err
}

func (m *Imports) list(ctx context.Context, req *api.EventPage) (*api.List[api.Import], error) {
	if _, err := m.Offer(ctx, req.EventID, api.MayEditOrders); err != nil {
		return nil, err
	}
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	q := m.DB.Read().NewSelect().Where("event_id = ?", req.EventID)
	if req.Cursor != "" {
		then, after, err := store.DecodeTimeCursor(req.Cursor)
		if err != nil {
			return nil, err
		}
		q = q.Where("(created_at, id) < (?, ?)", then, after)
	}
	var rows []importRow
	err = q.Model(&rows).Order("created_at DESC", "id DESC").Limit(int64(limit) + 1).Scan(ctx)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out := &api.List[api.Import]{Items: []api.Import{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.NextCursor = store.EncodeTimeCursor(rows[limit-1].CreatedAt, rows[limit-1].ID.String())
	}
	for _, row := range rows {
		one, err := m.shown(ctx, m.DB.Read(), row)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, *one)
	}
	return out, nil
}

func (m *Imports) rows(ctx context.Context, req *api.ImportRowPage) (*api.List[api.ImportRow], error) {
	if _, err := m.mine(ctx, req.EventID, req.ID); err != nil {
		return nil, err
	}
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	q := m.DB.Read().NewSelect().Where("import_id = ?", req.ID)
	if req.Status != "" {
		q = q.Where("status = ?", req.Status)
	}
	if req.Cursor != "" {
		after, err := strconv.Atoi(req.Cursor)
		if err != nil || after < 0 {
			return nil, fault.New(fault.Invalid, "cursor: is none").About("cursor", "is none")
		}
		q = q.Where("line > ?", after)
	}
	var rows []Row
	if err := q.Model(&rows).Order("line").Limit(int64(limit) + 1).Scan(ctx); err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out := &api.List[api.ImportRow]{Items: []api.ImportRow{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.NextCursor = strconv.Itoa(rows[limit-1].Line)
	}
	for _, r := range rows {
		one := api.ImportRow{Line: r.Line, Status: r.Status, Email: r.Data.Email, Name: r.Data.Name,
			TicketType: r.Data.TypeName, Quantity: r.Data.Quantity, Problems: r.Problems}
		if r.Status == api.RowMade || r.Status == api.RowThere {
			one.OrderID = r.OrderID
		}
		out.Items = append(out.Items, one)
	}
	return out, nil
}
