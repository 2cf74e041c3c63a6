package ticketing

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/sheet"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
)

// workbookRows is how many rows a workbook has at most.
const workbookRows = 5000

// table is what managers take away of an event.
type table struct {
	name    string // of the file, without an ending
	columns []string
	per     string // whose questions of the event are columns behind these: of an order, or of a ticket
	// page returns up to limit rows, and where the next page begins: "" after the last.
	page func(ctx context.Context, event *api.Event, query, cursor string, limit int) (rows [][]string, next string,
		err error)
}

// header returns the titles of the columns. What is asked has one for each question, hidden ones too.
func (t table) header(e *api.Event) []string {
	titles := slices.Clip(t.columns)
	for _, q := range e.Questions {
		if q.Per == t.per {
			titles = append(titles, q.Label)
		}
	}
	return titles
}

// answered returns a row with what was answered to the questions behind its columns.
func answered(e *api.Event, per string, row []string, given []api.Answer) []string {
	for i := range e.Questions {
		q := &e.Questions[i]
		if q.Per != per {
			continue
		}
		cell := ""
		for _, a := range given {
			if a.QuestionID == q.ID && (a.Position == nil) == (per == api.AskedPerOrder) {
				cell = questions.Text(q, a)
			}
		}
		row = append(row, cell)
	}
	return row
}

// registerTables binds the endpoints that give tables as files.
func (s *Service) registerTables(srv *rpc.Server) {
	attendees := table{"attendees", []string{"name", "email", "ticket_type_id", "ticket_type_name", "status",
		"admitted_at", "order_id", "ticket_id", "stage_id", "stage"}, api.AskedPerTicket, s.attendeeRows("")}
	products := table{"products", attendees.columns, api.AskedPerTicket, s.attendeeRows(api.KindProduct)}
	of := func(kind string) table {
		switch kind {
		case "", api.KindTicket:
			return attendees
		case api.KindProduct:
			return products
		}
		return table{page: s.attendeeRows(kind)} // which says what is wrong
	}
	orders := table{"orders", []string{"order_id", "status", "buyer", "email", "tickets", "total", "refunded",
		"currency", "created_at", "paid_at", "net", "tax", "taxes", "reverse_charge",
		"stage_ids", "stages"}, api.AskedPerOrder, s.orderRows}
	rpc.HandleParts(srv, api.GetAttendeesCSV,
		func(ctx context.Context, req *api.AttendeeExport, at string) (rpc.Part, error) {
			return s.csvPart(ctx, of(req.Kind), req.EventID, req.Query, at)
		})
	rpc.HandleParts(srv, api.GetOrdersCSV,
		func(ctx context.Context, req *api.EventExport, at string) (rpc.Part, error) {
			return s.csvPart(ctx, orders, req.EventID, "", at)
		})
	rpc.Handle(srv, api.GetAttendeesXLSX, func(ctx context.Context, req *api.AttendeeWorkbook) (*rpc.Blob, error) {
		return s.workbook(ctx, of(req.Kind), &req.EventWorkbook, req.Query)
	})
	rpc.Handle(srv, api.GetOrdersXLSX, func(ctx context.Context, req *api.EventWorkbook) (*rpc.Blob, error) {
		return s.workbook(ctx, orders, req, "")
	})
}

// csvPart returns the lines of a table from a place on, a page of them or what fits into a message.
func (s *Service) csvPart(ctx context.Context, t table, event ids.Event, query, at string) (rpc.Part, error) {
	offer, err := s.offerAs(ctx, event, api.MayReadOrders)
	if err != nil {
		return rpc.Part{}, err
	}
	for limit := lookAt; ; limit /= 2 {
		rows, next, err := t.page(ctx, &offer.Event, query, at, limit)
		if err != nil {
			return rpc.Part{}, err
		}
		if at == "" {
			rows = append([][]string{t.header(&offer.Event)}, rows...)
		}
		lines, err := sheet.Lines(rows)
		if err != nil || len(lines) <= exportBytes || limit == 1 {
			return rpc.Part{Body: lines, Next: next, ContentType: sheet.TypeCSV, Filename: t.name + ".csv"}, err
		}
	}
}

// workbook returns a part of a table as an Excel workbook.
func (s *Service) workbook(ctx context.Context, t table, req *api.EventWorkbook, query string) (*rpc.Blob, error) {
	offer, err := s.offerAs(ctx, req.EventID, api.MayReadOrders)
	if err != nil {
		return nil, err
	}
	part, cursor := max(req.Part, 1), ""
	for k := 1; ; k++ {
		rows, next, err := t.rows(ctx, &offer.Event, query, cursor)
		if err != nil {
			return nil, err
		}
		if k == part {
			name := t.name
			if k > 1 {
				name += "-" + strconv.Itoa(k)
			}
			return sheet.XLSX(sheet.Table{Name: name, Header: t.header(&offer.Event), Rows: rows})
		}
		if cursor = next; cursor == "" {
			return nil, fault.New(fault.NotFound, "there is no part %d: the last one is %d", part, k)
		}
	}
}

// rows returns as many rows as a workbook has, and where the next ones begin.
func (t table) rows(
	ctx context.Context, event *api.Event, query, cursor string,
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

// attendeeRows returns how rows are made of who comes, or of who gets products.
func (s *Service) attendeeRows(
	kind string,
) func(ctx context.Context, event *api.Event, query, cursor string, limit int) ([][]string, string, error) {
	return func(ctx context.Context, event *api.Event, query, cursor string, limit int) ([][]string, string, error) {
		folded := text.Fold(strings.TrimSpace(query))
		some, next, err := s.attending(ctx, event, kind, folded, cursor, limit, searchMost)
		if err != nil {
			return nil, "", err
		}
		of := map[ids.Order]bool{}
		for _, a := range some {
			of[a.OrderID] = true
		}
		orders, err := s.db.orders(ctx, s.db.Read(), sortedKeys(of))
		rows := make([][]string, len(some))
		for i, a := range some {
			stage := stageOf(orders[a.OrderID].Items, a.TicketTypeID)
			rows[i] = answered(event, api.AskedPerTicket, []string{a.Name, a.Email, a.TicketTypeID.String(), a.TypeName,
				a.Status, stamp(a.AdmittedAt), a.OrderID.String(), a.TicketID.String(), stage.StageID.String(),
				stage.Stage}, a.Answers)
		}
		return rows, next, err
	}
}

// stageOf returns the line of an order at whose price tickets of a type were sold: all of them at the same.
func stageOf(items []api.OrderItem, t ids.TicketType) (line api.OrderItem) {
	for _, item := range items {
		if item.TicketTypeID == t && item.IncludedInID == "" {
			return item
		}
	}
	return line
}

// orderRows returns at most lookAt orders.
func (s *Service) orderRows(
	ctx context.Context, event *api.Event, _, cursor string, limit int,
) ([][]string, string, error) {
	some, next, err := newest[orderRow](ctx, s.db, "created_at", "event_id", string(event.ID), cursor, limit)
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
	given, err := answers.OfOrders(ctx, s.db.Read(), event, orderIDs(some))
	if err != nil {
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
			tickets[k] = fmt.Sprintf("%d × %s", item.Quantity, item.Name) // its stage has a column
			if item.IncludedInID != "" {
				tickets[k] = fmt.Sprintf("%d × %s", item.Quantity, item.Title())
			}
		}
		row := []string{o.ID.String(), o.Status, buyer.Name, buyer.Email, strings.Join(tickets, "; "),
			o.Total.Decimal(),
			some[i].money(some[i].Refunded).Decimal(), o.Total.Currency, stamp(&o.CreatedAt), stamp(o.PaidAt)}
		row = append(append(row, taxCells(o)...), stageCells(o)...)
		rows[i] = answered(event, api.AskedPerOrder, row, given[o.ID])
	}
	return rows, next, nil
}

// stageCells returns at the prices of which stages the tickets of an order were sold: one for each of its lines, and
// nothing where a line was sold at the price of its ticket type.
func stageCells(o api.Order) []string {
	list, names := make([]string, len(o.Items)), make([]string, len(o.Items))
	for i, item := range o.Items {
		list[i], names[i] = item.StageID.String(), item.Stage
	}
	if strings.Join(list, "") == "" {
		return []string{"", ""}
	}
	return []string{strings.Join(list, "; "), strings.Join(names, "; ")}
}

// taxCells returns what of an order's total is net and what is tax, and how that is of each rate.
func taxCells(o api.Order) []string {
	net, tax := o.Total, o.Total
	tax.Amount = 0
	rates := make([]string, len(o.Taxes))
	for i, t := range o.Taxes {
		tax.Amount += t.Tax.Amount
		rate := t.Rate + " %"
		if t.ReverseCharge {
			rate = "reverse charge"
		}
		rates[i] = fmt.Sprintf("%s: net %s, tax %s, gross %s", rate, t.Net.Decimal(), t.Tax.Decimal(),
			t.Gross.Decimal())
	}
	net.Amount -= tax.Amount
	reverse := ""
	if o.ReverseCharge {
		reverse = "yes"
	}
	return []string{net.Decimal(), tax.Decimal(), strings.Join(rates, "; "), reverse}
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

// What the cursors of pages begin with. The orders come first, and have a bare cursor; tickets and answers follow.
const (
	ticketsFirst = "t."
	answersFirst = "a."
)

// exportPerson returns a page of the orders, and after them of the tickets, and of what was answered about both, of a
// person, for the user service.
func (s *Service) exportPerson(ctx context.Context, req *api.PersonRef) (*api.PersonRecords, error) {
	out := &api.PersonRecords{Orders: []api.Order{}, Tickets: []api.Ticket{}}
	if after, in := strings.CutPrefix(req.Cursor, answersFirst); in {
		return s.exportAnswers(ctx, req.UserID, after)
	}
	cursor, inTickets := strings.CutPrefix(req.Cursor, ticketsFirst)
	var err error
	if !inTickets {
		out.Orders, out.NextCursor, err = exportPage(ctx, s.db, "created_at", "user_id", string(req.UserID), cursor,
			orderRow.order)
		if err == nil && out.NextCursor == "" {
			out.NextCursor = ticketsFirst
		}
		if err == nil {
			err = s.addBilling(ctx, out.Orders)
		}
		return out, err
	}
	out.Tickets, out.NextCursor, err = exportPage(ctx, s.db, "issued_at", "owner_id", string(req.UserID), cursor,
		s.ticket)
	if out.NextCursor = ticketsFirst + out.NextCursor; out.NextCursor == ticketsFirst {
		out.NextCursor = answersFirst
	}
	return out, err
}

// exportAnswers returns a page of what was answered about the orders and tickets of a person.
func (s *Service) exportAnswers(ctx context.Context, user ids.User, after string) (*api.PersonRecords, error) {
	out := &api.PersonRecords{Orders: []api.Order{}, Tickets: []api.Ticket{}, Answers: []api.PersonAnswer{}}
	rows, next, err := answers.OfPerson(ctx, s.db.Read(), user, ids.Order(after))
	if err != nil {
		return nil, err
	}
	if next != "" {
		out.NextCursor = answersFirst + next.String()
	}
	for i, r := range rows {
		e := &api.Event{} // of an event that is not known any more
		if offer, err := s.offers.Get(ctx, r.EventID); err == nil {
			e = &offer.Event
		}
		a := api.PersonAnswer{OrderID: r.OrderID, Question: r.QuestionID.String(), Answer: r.Pick + r.Value}
		if r.Position != questions.WholeOrder {
			a.Position = &rows[i].Position
		}
		if q := e.Question(r.QuestionID); q != nil {
			a.Question = q.Label
			for _, o := range q.Choices {
				if o.ID.String() == r.Pick {
					a.Answer = o.Label
				}
			}
		}
		out.Answers = append(out.Answers, a)
	}
	return out, nil
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
