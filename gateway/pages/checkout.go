package pages

import (
	"cmp"
	"crypto/rand"
	"net/url"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// line is what a person is about to buy of a ticket type.
type line struct {
	Type     *api.TicketType
	Quantity int
	Sum      api.Money
	Price    api.Money // of each: that of the stage that is on sale
	Stage    string    // what that is called
	Each     string    // what is paid for each, of a type with a free price
}

// Field names the field in which a buyer writes what to pay for each.
func (l line) Field() string { return "price." + l.Type.ID.String() }

// Shown names the field that has the price which the buyer was shown.
func (l line) Shown() string { return "shown." + l.Type.ID.String() }

// prices tells what ticket types cost now.
type prices map[ids.TicketType]api.TypeAvailability

// prices asks what the ticket types of an event cost now, if that is more than the event says.
func (v *visit) prices(e *api.Event) (prices, error) {
	if !e.Staged() {
		return nil, nil
	}
	now, err := ask(v, api.GetAvailability, &api.AvailabilityQuery{ID: e.ID})
	if err != nil {
		return nil, err
	}
	p := prices{}
	for _, t := range now.TicketTypes {
		if of := e.TicketType(t.ID); of != nil {
			t = inWords(of, t)
		}
		p[t.ID] = t
	}
	return p, nil
}

// of returns what each of so many tickets of a type costs, and what the stage is called.
func (p prices) of(t *api.TicketType, n int) (api.Money, string) {
	now, known := p[t.ID]
	switch {
	case !known:
		return t.Price, ""
	case now.Stage == nil:
		return now.Price, ""
	case now.Stage.Left > 0 && now.Stage.Left < n && now.Next != nil:
		return now.Next.Price, now.Next.Name
	}
	return now.Price, now.Stage.Name
}

// chosen reads what was chosen at an event's page: a number for each ticket type, by its id.
func chosen(e *api.Event, now prices, value func(name string) string) (lines []line, total api.Money) {
	for i := range e.TicketTypes {
		t := &e.TicketTypes[i]
		n, err := strconv.Atoi(value(t.ID.String()))
		if err != nil || n < 1 || n > 1000 {
			continue
		}
		l := line{Type: t, Quantity: n}
		l.Price, l.Stage = now.of(t, n)
		l.Sum = api.Money{Amount: l.Price.Amount * int64(n), Currency: l.Price.Currency}
		if t.FreePrice {
			l.Each = cmp.Or(value(l.Field()), t.Price.Decimal())
			if each, err := api.ParseMoney(strings.ReplaceAll(l.Each, ",", "."), t.Price.Currency); err == nil {
				l.Sum.Amount = each.Amount * int64(n)
			}
		}
		total.Amount, total.Currency = total.Amount+l.Sum.Amount, l.Sum.Currency
		lines = append(lines, l)
	}
	return lines, total
}

// checkout shows what is about to be bought, and asks who buys it. The address has all of it: nothing is kept.
func (s *Site) checkout(v *visit) error { return s.checkoutAgain(v, v.query, nil) }

func (s *Site) checkoutAgain(v *visit, value func(string) string, failed error) error {
	e, err := s.eventNamed(v, value("event"))
	if err != nil {
		return err
	}
	now, err := v.prices(e)
	if err != nil {
		return err
	}
	lines, total := chosen(e, now, value)
	if len(lines) == 0 {
		v.redirect(eventPath(e))
		return nil
	}
	if asked, err := s.addOns(v, e, lines, value); asked || err != nil {
		return err
	}
	data := map[string]any{"Event": e, "Lines": lines, "Total": total, "Key": rand.Text(),
		"Back": "/checkout?" + again(e, lines), "Name": value("name"), "Email": value("email"), "Code": value("code"),
		"Billing": cmp.Or(billing(value), &api.Billing{}), "Billed": billing(value) != nil,
		"Countries": countries(v.lang)}
	if failed != nil {
		return v.again("checkout", failed, data)
	}
	return v.show("checkout", data)
}

// again returns the query of the checkout of the same lines.
func again(e *api.Event, lines []line) string {
	q := url.Values{"event": {e.ID.String()}, "addons": {"yes"}}
	for _, l := range lines {
		q.Set(l.Type.ID.String(), strconv.Itoa(l.Quantity))
	}
	return q.Encode()
}

func (s *Site) eventNamed(v *visit, id string) (*api.Event, error) {
	event, err := ids.Parse[ids.EventKind](id)
	if err != nil {
		return nil, fault.New(fault.NotFound, "there is no such event")
	}
	e, err := ask(v, api.GetEvent, &api.EventRef{ID: event})
	if err != nil {
		return nil, err
	}
	return e.In(v.lang), nil
}

// order makes the order. The key of the form makes one of it, however often it is sent.
func (s *Site) order(v *visit) error {
	e, err := s.eventNamed(v, v.form("event"))
	if err != nil {
		return err
	}
	lines, _ := chosen(e, nil, v.form)
	req := api.NewOrder{EventID: e.ID, PromoCode: v.form("code"), Billing: billing(v.form)}
	if v.access == "" {
		req.Email, req.Name, req.Language = v.form("email"), v.form("name"), v.lang
	}
	fields, err := v.fieldsOf(e)
	if err != nil {
		return err
	}
	for _, l := range lines {
		item := api.NewOrderItem{TicketTypeID: l.Type.ID, Quantity: l.Quantity}
		if l.Type.FreePrice {
			each := fields.amount(l.Field())
			item.UnitPrice = &each
		}
		if v.form(l.Shown()) != "" {
			shown := fields.amount(l.Shown())
			item.MaxPrice = &shown
		}
		req.Items = append(req.Items, item)
	}
	if err := fields.check.Err(); err != nil {
		return s.checkoutAgain(v, v.form, err)
	}
	if v.form("asked") != "" {
		sheet, _ := checkoutSheet(e, lines)
		req.Answers = v.answersIn(sheet)
	}
	o, err := askOnce(v, api.CreateOrder, &req, v.form("key"))
	if lacksAnswers(err) {
		return s.askFirst(v, e, lines, req.Answers, err)
	}
	if err != nil {
		return s.checkoutAgain(v, v.form, err)
	}
	if o.AccessToken != "" {
		v.keepOrder(o.ID, o.AccessToken)
	}
	to := "/orders/" + o.ID.String()
	if o.AnswersDue {
		to += "/answers"
	}
	v.redirect(to)
	return nil
}

// orderPage shows an order: what is to be paid, or the tickets. With ?wait= it answers when the order has changed.
func (s *Site) orderPage(v *visit) error {
	o, e, err := s.orderAndEvent(v)
	if err != nil {
		return err
	}
	ref := api.OrderRef{ID: o.ID}
	data := map[string]any{"Order": e.Called().Order(v.lang, o), "Event": e,
		"Tickets": []api.Ticket(nil), "Products": []api.Ticket(nil), "Payment": (*api.Payment)(nil),
		"Wait": false, "MayExchange": false, "Invoices": []api.Invoice(nil),
		"Asks": (o.Status == api.OrderPaid || o.Status == api.OrderPending) && asks(e)}
	if o.Status == api.OrderPaid {
		tickets, err := ask(v, api.ListOrderTickets, &ref)
		if err != nil {
			return err
		}
		data["Tickets"], data["Products"] = ofKinds(v.ticketsIn(e, tickets.Items))
		until := e.ExchangeUntil()
		data["MayExchange"] = until != nil && s.cfg.Now().Before(*until)
	}
	if o.Total.Amount > 0 && o.PaidAt != nil {
		invoices, err := ask(v, api.ListOrderInvoices, &ref)
		if err != nil {
			return err
		}
		data["Invoices"] = invoices.Items
	}
	if o.PaymentID != "" && o.Status == api.OrderPending {
		p, err := ask(v, api.GetPayment, &api.PaymentRef{ID: o.PaymentID})
		if err != nil {
			return err
		}
		data["Payment"], data["Wait"] = p, p.Status == "processing" || p.Status == "succeeded"
	}
	if o.Status == api.OrderRefunding {
		data["Wait"] = true
	}
	return v.show("order", data)
}

// orderAndEvent returns the order in the address, and its event.
func (s *Site) orderAndEvent(v *visit) (*api.Order, *api.Event, error) {
	ref, err := orderOf(v)
	if err != nil {
		return nil, nil, err
	}
	o, err := ask(v, api.GetOrder, &ref)
	if err != nil {
		return nil, nil, err
	}
	e, err := s.eventNamed(v, o.EventID.String())
	return o, e, err
}

func orderOf(v *visit) (api.OrderRef, error) {
	id, err := ids.Parse[ids.OrderKind](v.Param("id"))
	if err != nil {
		return api.OrderRef{}, fault.New(fault.NotFound, "there is no such order")
	}
	return api.OrderRef{ID: id}, nil
}

// pay begins to pay, and leads to where that is done. A form may not redirect to another host, so a page does.
func (s *Site) pay(v *visit) error {
	ref, err := orderOf(v)
	if err != nil {
		return err
	}
	p, err := askOnce(v, api.CreatePayment, &api.NewPayment{OrderID: ref.ID, Provider: v.form("provider")},
		v.form("key"))
	if err != nil {
		return err
	}
	if p.CheckoutURL == "" {
		v.redirect("/orders/" + ref.ID.String())
		return nil
	}
	if strings.HasPrefix(p.CheckoutURL, "/") {
		v.redirect(p.CheckoutURL)
		return nil
	}
	return v.show("leave", map[string]any{"To": p.CheckoutURL, "Amount": p.Amount})
}

// cancel gives an order up that is not paid.
func (s *Site) cancel(v *visit) error {
	ref, err := orderOf(v)
	if err != nil {
		return err
	}
	if _, err := ask(v, api.CancelOrder, &ref); err != nil {
		return err
	}
	v.redirect("/orders/" + ref.ID.String())
	return nil
}

// ticketPages is the tickets of an order on paper.
func (s *Site) ticketPages(v *visit) error {
	ref, err := orderOf(v)
	if err != nil {
		return err
	}
	file, err := ask(v, api.GetTicketPages, &ref)
	if err != nil {
		return err
	}
	v.RC.Response.Header.SetContentType(file.ContentType)
	v.RC.Response.Header.Set("Content-Disposition", `inline; filename="tickets.pdf"`)
	v.RC.Response.SetBodyRaw(file.Data)
	return nil
}

// ticketCode is the picture of a ticket's code.
func (s *Site) ticketCode(v *visit) error {
	id, err := ids.Parse[ids.TicketKind](cmp.Or(v.Param("ticket"), v.Param("id"))) // below its order, or alone
	if err != nil {
		return fault.New(fault.NotFound, "there is no such ticket")
	}
	picture, err := ask(v, api.GetTicketQR, &api.TicketRef{ID: id})
	if err != nil {
		return err
	}
	v.RC.Response.Header.SetContentType(picture.ContentType)
	v.RC.Response.SetBodyRaw(picture.Data)
	return nil
}
