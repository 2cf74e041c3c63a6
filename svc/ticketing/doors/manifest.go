package doors

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// mostBytes bounds a page of a manifest: a message has at most 1 MiB. A ticket takes what its texts take, and the rest.
const (
	mostBytes   = 900_000
	ticketBytes = 320 // of a ticket, without the name and the gate
)

// page returns tickets of an event: without since all of them, in the order in which they were issued, which has an
// index; with it those that have changed, in the order of their changes. The event, which may be nil, says what is
// asked about them.
func (db doorStore) page(ctx context.Context, req *line.Manifest, e *api.Event, limit int) (*line.Page, error) {
	var rows []record.Ticket
	query := db.Read().NewSelect().Model(&rows).ColumnExpr("tickets.*").Where("event_id = ?", req.EventID).
		Limit(int64(limit) + 1)
	if req.Since == 0 {
		query = query.Order("issued_at", "id")
		if req.After != "" {
			var last record.Ticket
			err := db.Read().NewSelect().Model(&last).Where("id = ?", req.After).Scan(ctx)
			if err != nil {
				return nil, store.OrNotFound(err, "there is no ticket %s", req.After)
			}
			query = query.Where("(issued_at, id) > (?, ?)", last.IssuedAt, last.ID)
		}
	} else {
		query = query.Order("manifest_position", "id").Where("manifest_position > 0")
		if req.After == "" {
			query = query.Where("manifest_position > ?", req.Since)
		} else {
			query = query.Where("(manifest_position, id) > (?, ?)", req.Since, req.After)
		}
	}
	if err := db.inOrder(ctx, query); err != nil {
		return nil, err
	}
	gates, err := db.firstGates(ctx, rows)
	if err != nil {
		return nil, err
	}
	asked, err := db.asked(ctx, e, rows)
	if err != nil {
		return nil, err
	}
	out := &line.Page{Tickets: make([]line.Ticket, 0, min(len(rows), limit))}
	size := 0
	for i, r := range rows {
		size += ticketBytes + 2*len(r.HolderName) + 2*len(gates[r.ID])
		if asked != nil {
			size += sizeOf(asked[i])
		}
		if i == limit || i > 0 && size > mostBytes {
			out.More = true
			break
		}
		t := line.Ticket{ID: r.ID, Type: r.TicketTypeID, Order: r.OrderID, Name: r.HolderName, Revision: r.Revision,
			Status: r.Status, Gate: gates[r.ID], Outside: r.Outside, Position: r.ManifestPosition}
		if asked != nil {
			t.Asked = asked[i]
		}
		if r.AdmittedAt != nil {
			at := r.AdmittedAt.UTC()
			t.Admitted = &at
		}
		out.Tickets = append(out.Tickets, t)
	}
	return out, nil
}

// inOrder runs a query that is to be read in the order of an index. As long as PostgreSQL has no statistics of a table,
// as after a restore or a bulk sale, it takes the tickets of an event for few, and would sort all of them for each
// page.
func (db doorStore) inOrder(ctx context.Context, query *bun.SelectQuery) error {
	if !db.Postgres() {
		return query.Scan(ctx)
	}
	return db.Read().RunInTx(ctx, &sql.TxOptions{ReadOnly: true}, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, "SET LOCAL enable_sort = off"); err != nil {
			return err
		}
		return query.Conn(tx).Scan(ctx)
	})
}

// firstGates returns where tickets were admitted.
func (db doorStore) firstGates(ctx context.Context, rows []record.Ticket) (map[ids.Ticket]string, error) {
	var admitted []ids.Ticket
	for _, r := range rows {
		if r.Status == api.TicketAdmitted || r.Status == api.TicketHandedOut {
			admitted = append(admitted, r.ID)
		}
	}
	gates := make(map[ids.Ticket]string, len(admitted))
	if len(admitted) == 0 {
		return gates, nil
	}
	var scans []struct {
		TicketID ids.Ticket
		Gate     string
	}
	err := db.Read().NewRaw("SELECT ticket_id, gate FROM admissions WHERE ticket_id IN (?) AND "+counts,
		bun.List(admitted)).Scan(ctx, &scans)
	for _, sc := range scans {
		gates[sc.TicketID] = sc.Gate
	}
	return gates, err
}
