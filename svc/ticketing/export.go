package ticketing

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/sheet"
	"github.com/starlightsymphony/starlight/shared/text"
)

// workbookRows is how many rows a workbook has at most.
const workbookRows = 5000

// table is what managers take away of an event.
type table struct {
	name   string // of the file, without an ending
	header []string
	// page returns up to limit rows, and where the next page begins: "" after the last.
	page func(ctx context.Context, event ids.Event, query, cursor string, limit int) (rows [][]string, next string,
		err error)
}

// registerTables binds the endpoints that give tables as files.
func (s *Service) registerTables(srv *rpc.Server) {
	attendees := table{"attendees", []string{"name", "email", "ticket_type_id", "ticket_type_name", "status",
		"admitted_at", "order_id", "ticket_id"}, s.attendeeRows}
	orders := table{"orders", []string{"order_id", "status", "buyer", "email", "tickets", "total", "refunded",
		"currency", "created_at", "paid_at"}, s.orderRows}
	rpc.HandleParts(srv, api.GetAttendeesCSV,
		func(ctx context.Context, req *api.AttendeeExport, at string) (rpc.Part, error) {
			return s.csvPart(ctx, attendees, req.EventID, req.Query, at)
		})
	rpc.HandleParts(srv, api.GetOrdersCSV,
		func(ctx context.Context, req *api.EventExport, at string) (rpc.Part, error) {
			return s.csvPart(ctx, orders, req.EventID, "", at)
		})
	rpc.Handle(srv, api.GetAttendeesXLSX, func(ctx context.Context, req *api.AttendeeWorkbook) (*rpc.Blob, error) {
		return s.workbook(ctx, attendees, &req.EventWorkbook, req.Query)
	})
	rpc.Handle(srv, api.GetOrdersXLSX, func(ctx context.Context, req *api.EventWorkbook) (*rpc.Blob, error) {
		return s.workbook(ctx, orders, req, "")
	})
}

// csvPart returns the lines of a table from a place on, a page of them or what fits into a message.
func (s *Service) csvPart(ctx context.Context, t table, event ids.Event, query, at string) (rpc.Part, error) {
	if _, err := s.offerAs(ctx, event, api.MayReadOrders); err != nil {
		return rpc.Part{}, err
	}
	for limit := lookAt; ; limit /= 2 {
		rows, next, err := t.page(ctx, event, query, at, limit)
		if err != nil {
			return rpc.Part{}, err
		}
		if at == "" {
			rows = append([][]string{t.header}, rows...)
		}
		lines, err := sheet.Lines(rows)
		if err != nil || len(lines) <= exportBytes || limit == 1 {
			return rpc.Part{Body: lines, Next: next, ContentType: sheet.TypeCSV, Filename: t.name + ".csv"}, err
		}
	}
}

// workbook returns a part of a table as an Excel workbook.
func (s *Service) workbook(ctx context.Context, t table, req *api.EventWorkbook, query string) (*rpc.Blob, error) {
	if _, err := s.offerAs(ctx, req.EventID, api.MayReadOrders); err != nil {
		return nil, err
	}
	part, cursor := max(req.Part, 1), ""
	for k := 1; ; k++ {
		rows, next, err := t.rows(ctx, req.EventID, query, cursor)
		if err != nil {
			return nil, err
		}
		if k == part {
			name := t.name
			if k > 1 {
				name += "-" + strconv.Itoa(k)
			}
			return sheet.XLSX(sheet.Table{Name: name, Header: t.header, Rows: rows})
		}
		if cursor = next; cursor == "" {
			return nil, fault.New(fault.NotFound, "there is no part %d: the last one is %d", part, k)
		}
	}
}

// rows returns as many rows as a workbook has, and where the next ones begin.
func (t table) rows(
	ctx context.Context, event ids.Event, query, cursor string,
) (rows [][]string, next string, err error) {
	for len(rows) < workbookRows {
		some, next, err := t.page(ctx, event, query, cursor, min(lookAt, workbookRows-len(rows)))
		if err != nil {
			return nil, "", err
		}
		rows = append(rows, some...)
		if cursor = next; cursor == "" {
			break
		}
	}
	return rows, cursor, nil
}

func (s *Service) attendeeRows(
	ctx context.Context, event ids.Event, query, cursor string, limit int,
) ([][]string, string, error) {
	some, next, err := s.attending(ctx, event, text.Fold(strings.TrimSpace(query)), cursor, limit, searchMost)
	rows := make([][]string, len(some))
	for i, a := range some {
		rows[i] = []string{a.Name, a.Email, a.TicketTypeID.String(), a.TypeName, a.Status, stamp(a.AdmittedAt),
			a.OrderID.String(), a.TicketID.String()}
	}
	return rows, next, err
}

// orderRows returns at most lookAt orders.
func (s *Service) orderRows(
	ctx context.Context, event ids.Event, _, cursor string, limit int,
) ([][]string, string, error) {
	some, next, err := newest[orderRow](ctx, s.db, "created_at", "event_id", string(event), cursor, limit)
	if err != nil {
		return nil, "", err
	}
	orders := make([]api.Order, len(some))
	for i, r := range some {
		orders[i] = r.order()
	}
	if err := s.nameBuyers(ctx, orders); err != nil {
		return nil, "", err
	}
	rows := make([][]string, len(some))
	for i, o := range orders {
		var buyer api.Attendee
		if o.Buyer != nil {
			buyer = *o.Buyer
		}
		tickets := make([]string, len(o.Items))
		for k, item := range o.Items {
			tickets[k] = fmt.Sprintf("%d × %s", item.Quantity, item.Name)
		}
		rows[i] = []string{o.ID.String(), o.Status, buyer.Name, buyer.Email, strings.Join(tickets, "; "),
			o.Total.Decimal(),
			some[i].money(some[i].Refunded).Decimal(), o.Total.Currency, stamp(&o.CreatedAt), stamp(o.PaidAt)}
	}
	return rows, next, nil
}

// stamp writes a time, or nothing.
func stamp(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

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
		out.Orders, out.NextCursor, err = exportPage(ctx, s.db, "created_at", "user_id", string(req.UserID), cursor,
			orderRow.order)
		if err == nil && out.NextCursor == "" {
			out.NextCursor = ticketsFirst
		}
		return out, err
	}
	out.Tickets, out.NextCursor, err = exportPage(ctx, s.db, "issued_at", "owner_id", string(req.UserID), cursor,
		s.ticket)
	if out.NextCursor != "" {
		out.NextCursor = ticketsFirst + out.NextCursor
	}
	return out, err
}

// exportPage returns a page of records, and the cursor of the next.
func exportPage[Row keyed, Record any](
	ctx context.Context, db ticketStore, at, column, value, cursor string, record func(Row) Record,
) ([]Record, string, error) {
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
