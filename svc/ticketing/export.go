package ticketing

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
)

// A page of an export has at most exportRows records in at most about exportBytes, well below the largest message.
const (
	exportRows  = 500
	exportBytes = 512 << 10
)

// ticketsFirst begins the cursor of a page of tickets. The orders come before them and have a bare cursor.
const ticketsFirst = "t."

// exportPerson returns a page of the orders, and after them of the tickets, of a person, for the user service.
func (s *Service) exportPerson(ctx context.Context, req *api.PersonRef) (*api.PersonRecords, error) {
	out := &api.PersonRecords{Orders: []api.Order{}, Tickets: []api.Ticket{}}
	cursor, inTickets := strings.CutPrefix(req.Cursor, ticketsFirst)
	var err error
	if !inTickets {
		out.Orders, out.NextCursor, err = exportPage(ctx, s.db, "created_at", "user_id", string(req.UserID), cursor, orderRow.order)
		if err == nil && out.NextCursor == "" {
			out.NextCursor = ticketsFirst
		}
		return out, err
	}
	out.Tickets, out.NextCursor, err = exportPage(ctx, s.db, "issued_at", "owner_id", string(req.UserID), cursor, s.ticket)
	if out.NextCursor != "" {
		out.NextCursor = ticketsFirst + out.NextCursor
	}
	return out, err
}

// exportPage returns a page of records, and the cursor of the next.
func exportPage[Row keyed, Record any](ctx context.Context, db ticketStore, at, column, value, cursor string, record func(Row) Record) ([]Record, string, error) {
	rows, next, err := newest[Row](ctx, db, at, column, value, cursor, exportRows)
	if err != nil {
		return nil, "", err
	}
	out := make([]Record, 0, len(rows))
	size := 0
	for i, row := range rows {
		one := record(row)
		text, err := json.Marshal(one)
		if err != nil {
			return nil, "", err
		}
		if size += len(text); size > exportBytes && i > 0 {
			return out, cursorAt(rows[i-1]), nil
		}
		out = append(out, one)
	}
	return out, next, nil
}
