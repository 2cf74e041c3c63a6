package pages

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func (s *Site) officeRoutes() []Route {
	return []Route{
		{"GET", "/office", s.office, false},
		{"GET", "/office/events/new", s.newEventPage, false},
		{"POST", "/office/events", s.createEvent, false},
		{"GET", "/office/events/{id}", s.dashboard, false},
		{"GET", "/office/events/{id}/edit", s.editEventPage, false},
		{"POST", "/office/events/{id}/edit", s.editEvent, false},
		{"POST", "/office/events/{id}/ticket-types", s.addTicketType, false},
		{"POST", "/office/events/{id}/ticket-types/{type}", s.changeTicketType, false},
		{"POST", "/office/events/{id}/publication", s.publish, false},
		{"POST", "/office/events/{id}/cancellation", s.cancelEvent, false},
		{"POST", "/office/events/{id}/copies", s.copyEvent, false},
		{"POST", "/office/events/{id}/series", s.repeat, false},
		{"GET", "/office/events/{id}/attendees", s.attendees, false},
		{"GET", "/office/events/{id}/orders", s.eventOrders, false},
		{"GET", "/office/events/{id}/orders/{order}", s.officeOrder, false},
		{"POST", "/office/events/{id}/orders/{order}/refunds", s.refund, false},
		{"GET", "/office/events/{id}/files/{file}", s.officeFile, false},
	}
}

// ownEvent is an event as the list of the office shows it.
type ownEvent struct {
	api.Event
	Numbers *api.EventSummary // nil: nothing has happened yet
}

// office lists the events that a person runs: what comes next first, then drafts, then what was.
func (s *Site) office(v *visit) error {
	mine, err := ask(v, api.ListOrganizers, &api.Page{Limit: 50})
	if err != nil {
		return err
	}
	numbers := map[ids.Event]*api.EventSummary{}
	if len(mine.Items) > 0 {
		overview, err := ask(v, api.GetOverview, &rpc.None{})
		switch {
		case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Timeout): // the list goes without numbers
			overview = &api.Overview{}
		case err != nil:
			return err
		}
		for i := range overview.Items {
			numbers[overview.Items[i].EventID] = &overview.Items[i]
		}
	}
	var coming, drafts, past []ownEvent
	now := s.cfg.Now()
	for _, m := range mine.Items {
		for _, status := range []string{api.EventPublished, api.EventDraft, api.EventCancelled} {
			list, err := ask(v, api.ListEvents, &api.EventQuery{Organizer: m.ID.String(), Status: status,
				Page: api.Page{Limit: 100}})
			if err != nil {
				return err
			}
			for _, e := range list.Items {
				own := ownEvent{e, numbers[e.ID]}
				switch {
				case status == api.EventDraft:
					drafts = append(drafts, own)
				case status == api.EventCancelled || e.EndsAt.Before(now):
					past = append(past, own)
				default:
					coming = append(coming, own)
				}
			}
		}
	}
	byStart := func(a, b ownEvent) int { return a.StartsAt.Compare(b.StartsAt) }
	slices.SortStableFunc(coming, byStart)
	slices.SortStableFunc(drafts, byStart)
	slices.SortStableFunc(past, func(a, b ownEvent) int { return byStart(b, a) })
	return v.show("office", map[string]any{"Coming": coming, "Drafts": drafts, "Past": past,
		"Organizers": mine.Items, "Admin": v.isAdmin(), "None": len(coming)+len(drafts)+len(past) == 0})
}

func (v *visit) eventRef() (api.EventRef, error) {
	id, err := ids.Parse[ids.EventKind](v.Param("id"))
	if err != nil {
		return api.EventRef{}, fault.New(fault.NotFound, "there is no such event")
	}
	return api.EventRef{ID: id}, nil
}

// eventHere returns the event of the page's address.
func (v *visit) eventHere() (*api.Event, error) {
	ref, err := v.eventRef()
	if err != nil {
		return nil, err
	}
	return ask(v, api.GetEvent, &ref)
}

// typeRow is a ticket type in the office.
type typeRow struct {
	api.TicketType
	Sold, Held, Available int
}

// dashboard shows how an event stands, and all that can be done with it.
func (s *Site) dashboard(v *visit) error { return s.dashboardAgain(v, nil) }

func (s *Site) dashboardAgain(v *visit, failed error) error { return s.dashboardWith(v, failed, nil) }

// dashboardWith shows what was wrong with a change, or the dates that a series would have.
func (s *Site) dashboardWith(v *visit, failed error, preview *api.EventSeries) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	numbers, err := ask(v, api.GetEventAnalytics, &api.EventRef{ID: e.ID})
	switch {
	case fault.Is(err, fault.NotFound): // nothing has happened, or not been heard of yet
		numbers = &api.EventSummary{Net: api.Money{Currency: currencyOf(e)}}
	case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Timeout): // the page goes without numbers
		numbers = nil
	case err != nil:
		return err
	}
	rows, err := s.typeRows(v, e)
	if err != nil {
		return err
	}
	sold := 0
	for _, row := range rows {
		if !row.IsProduct() {
			sold += row.Sold
		}
	}
	todos, ready, err := s.todos(v, e)
	if err != nil {
		return err
	}
	dates, err := v.datesOf(e, api.EventPublished, api.EventDraft)
	if err != nil {
		return err
	}
	data := map[string]any{"Todos": todos, "Ready": ready, "Dates": dates, "Preview": preview, "Key": rand.Text(),
		"Shop": v.origin(), "Repetition": v.repetition(),
		"Next":  s.zones.In(e.StartsAt, e.Timezone).AddDate(0, 0, 7).Format(local),
		"Event": e, "Sold": sold, "Numbers": numbers, "Types": rows,
		"Currency": currencyOf(e), "Over": e.EndsAt.Before(s.cfg.Now())}
	if failed != nil {
		return v.again("dashboard", failed, data)
	}
	return v.show("dashboard", data)
}

func (s *Site) typeRows(v *visit, e *api.Event) (rows []typeRow, err error) {
	left := &api.Availability{}
	if e.Status != api.EventDraft {
		if left, err = ask(v, api.GetAvailability, &api.AvailabilityQuery{ID: e.ID}); err != nil {
			return nil, err
		}
	}
	for _, t := range e.TicketTypes {
		row := typeRow{TicketType: t, Available: t.Quantity}
		for _, a := range left.TicketTypes {
			if a.ID == t.ID {
				row.Sold, row.Held, row.Available = a.Sold, a.Held, a.Available
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// currencyOf returns the currency in which an event sells, or a proposal.
func currencyOf(e *api.Event) string {
	if len(e.TicketTypes) > 0 {
		return e.TicketTypes[0].Price.Currency
	}
	return "EUR"
}

// kind returns whether a list is of who comes, or of who gets products.
func (v *visit) kind() string {
	if v.query("kind") == api.KindProduct {
		return api.KindProduct
	}
	return api.KindTicket
}

// attendees lists who comes, and finds them.
func (s *Site) attendees(v *visit) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	kind := v.kind()
	list, err := ask(v, api.ListAttendees, &api.AttendeePage{Query: v.query("q"), Kind: kind,
		EventPage: api.EventPage{EventID: e.ID, Page: api.Page{Limit: 100, Cursor: v.query("cursor")}}})
	if err != nil {
		return err
	}
	return v.show("attendees", map[string]any{"Event": e, "People": list.Items, "Next": list.NextCursor,
		"Q": v.query("q"), "Kind": kind, "HasProducts": len(e.Products()) > 0})
}

func (s *Site) eventOrders(v *visit) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListEventOrders, &api.OrderSearch{Query: v.query("q"), EventPage: api.EventPage{
		EventID: e.ID, Page: api.Page{Limit: 100, Cursor: v.query("cursor")}}})
	if err != nil {
		return err
	}
	return v.show("orders", map[string]any{"Event": e, "Orders": list.Items, "Next": list.NextCursor,
		"Q": v.query("q")})
}

// officeOrder shows an order to who runs the event: its money, its tickets, and what a refund would do.
func (s *Site) officeOrder(v *visit) error { return s.officeOrderAgain(v, nil) }

func (s *Site) officeOrderAgain(v *visit, failed error) error {
	id, err := ids.Parse[ids.OrderKind](v.Param("order"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such order")
	}
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	o, err := ask(v, api.GetOrder, &api.OrderRef{ID: id})
	if err != nil {
		return err
	}
	if o.EventID != e.ID {
		return fault.New(fault.NotFound, "there is no such order")
	}
	tickets, err := ask(v, api.ListOrderTickets, &api.OrderRef{ID: id})
	if err != nil {
		return err
	}
	answered, err := answersOf(v, e, id)
	if err != nil {
		return err
	}
	data := map[string]any{"Event": e, "Order": o, "Tickets": tickets.Items, "Refunds": []api.Refund(nil),
		"Answers": answered, "Pays": o.PaymentID}
	if o.PaymentID == "" && len(o.Credits) > 0 {
		data["Pays"] = o.Credits[0].PaymentID
	}
	if o.PaymentID != "" {
		refunds, err := ask(v, api.ListRefunds, &api.PaymentRef{ID: o.PaymentID})
		if err != nil {
			return err
		}
		data["Refunds"] = refunds.Items
	}
	if failed != nil {
		return v.again("officeorder", failed, data)
	}
	return v.show("officeorder", data)
}

// refund gives back the price of tickets, which are revoked for it: those that were chosen, or all.
func (s *Site) refund(v *visit) error {
	req := &api.NewRefund{Reason: v.form("reason")}
	var err error
	req.OrderID, _ = ids.Parse[ids.OrderKind](v.Param("order"))
	if req.PaymentID, err = ids.Parse[ids.PaymentKind](v.form("payment")); err != nil {
		return fault.New(fault.NotFound, "there is no such payment")
	}
	for name := range v.RC.PostArgs().All() {
		if id, err := ids.Parse[ids.TicketKind](string(name)); err == nil {
			req.Tickets = append(req.Tickets, id)
		}
	}
	if len(req.Tickets) == 0 {
		var check fault.Check
		check.Field(false, "tickets", "choose at least one")
		return s.officeOrderAgain(v, check.Err())
	}
	if _, err := askOnce(v, api.CreateRefund, req, v.form("key")); err != nil {
		return s.officeOrderAgain(v, err)
	}
	v.redirect("/office/events/" + v.Param("id") + "/orders/" + v.Param("order"))
	return nil
}

// officeFile hands out a list or a report as a file.
func (s *Site) officeFile(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	of := api.EventExport{EventID: ref.ID}
	var file *rpc.Blob
	switch name := v.Param("file"); name {
	case "attendees.csv":
		file, err = ask(v, api.GetAttendeesCSV, &api.AttendeeExport{EventExport: of, Query: v.query("q"),
			Kind: v.kind()})
	case "attendees.xlsx":
		file, err = ask(v, api.GetAttendeesXLSX, &api.AttendeeWorkbook{EventWorkbook: api.EventWorkbook{EventExport: of,
			Part: v.part()}, Query: v.query("q"), Kind: v.kind()})
	case "orders.csv":
		file, err = ask(v, api.GetOrdersCSV, &of)
	case "orders.xlsx":
		file, err = ask(v, api.GetOrdersXLSX, &api.EventWorkbook{EventExport: of, Part: v.part()})
	case "import-example.csv":
		file, err = ask(v, api.GetImportExample, &ref)
	case "codes.csv":
		file, err = ask(v, api.GetPromoCodesCSV, &api.PromoExport{EventID: ref.ID, Batch: v.query("batch")})
	default:
		file, err = ask(v, api.GetReport, &api.ReportRef{ID: ref.ID, File: name})
	}
	if err != nil {
		return err
	}
	if strings.HasPrefix(file.ContentType, "image/") {
		v.RC.Response.Header.SetContentType(file.ContentType)
		v.RC.Response.SetBodyRaw(file.Data)
		return nil
	}
	v.download(file, v.Param("file"))
	return nil
}

// part returns which part of a workbook is asked for.
func (v *visit) part() int {
	n, err := strconv.Atoi(v.query("part"))
	if err != nil {
		return 1
	}
	return n
}

// download hands out a file.
func (v *visit) download(file *rpc.Blob, name string) {
	h := &v.RC.Response.Header
	h.SetContentType(file.ContentType)
	h.Set("Content-Disposition", `attachment; filename="`+strings.Map(plain, cmp.Or(file.Filename, name))+`"`)
	v.RC.Response.SetBodyRaw(file.Data)
}

// plain leaves in a file name what every system takes.
func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
		return r
	}
	return '-'
}
