package ticketing

import (
	"context"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
	"github.com/starlightsymphony/starlight/svc/ticketing/codes"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// swapping is an exchange that somebody asks for, or about.
type swapping struct {
	old     orderRow
	from    *api.Offer  // of the event of the old order
	to      *api.Offer  // of that of the new one
	tickets []ticketRow // of the old order
	going   []ticketRow // those, and what came with them
	staff   bool        // the organizer does it
	now     time.Time
}

// swappingOf returns an exchange of an order for tickets of an event; "" is its own.
func (s *Service) swappingOf(ctx context.Context, old orderRow, to ids.Event, staff bool) (*swapping, error) {
	from, err := s.offers.Get(ctx, old.EventID)
	if err != nil {
		return nil, err
	}
	x := &swapping{old: old, from: from, to: from, staff: staff, now: store.Time(s.now())}
	if to == "" || to == old.EventID {
		return x, nil
	}
	need := api.MayVisit
	if staff {
		need = api.MayEditOrders
	}
	if x.to, err = s.offerAs(ctx, to, need); err != nil {
		return nil, err
	}
	if x.to.Event.OrganizerID != from.Event.OrganizerID {
		return nil, fault.New(fault.Conflict, "the events have different organizers")
	}
	return x, nil
}

// allowed returns why the caller may exchange nothing, or nil.
func (x *swapping) allowed() error {
	until := x.from.Event.ExchangeUntil()
	series := x.from.Event.SeriesID
	switch {
	case x.old.UserID == api.BoxOfficeBuyer:
		return fault.New(fault.Conflict, "the order was sold at a counter: it is taken back and sold anew there")
	case x.old.Status != api.OrderPaid:
		return fault.New(fault.Conflict, "the order is %s", x.old.Status)
	case x.staff:
		return nil
	case until == nil:
		return fault.New(fault.Conflict, "tickets of this event are exchanged by its organizer alone")
	case !x.now.Before(*until):
		return fault.New(fault.Conflict, "tickets could be exchanged until %s", until.Format(time.RFC3339))
	case x.to.Event.ID == x.from.Event.ID:
		return nil
	case !x.from.Event.OrderRules.Exchange.OtherDates || series == "" || x.to.Event.SeriesID != series:
		return fault.New(fault.Conflict, "tickets are not exchanged for those of that event")
	}
	return nil
}

// fits returns why the tickets may not be exchanged for those of a type, or nil.
func (x *swapping) fits(t *api.TicketType) error {
	p := x.from.Event.OrderRules.Exchange
	for _, old := range x.tickets {
		was := x.from.Event.TicketType(old.TicketTypeID)
		switch {
		case t.IsProduct() || was != nil && was.IsProduct():
			return fault.New(fault.Conflict, "products are not exchanged: they are given back and bought anew")
		case old.TicketTypeID == t.ID:
			return fault.New(fault.Conflict, "a ticket is of that type already")
		case !x.staff && !p.OtherTypes && old.TypeName != t.Name:
			return fault.New(fault.Conflict, "tickets are not exchanged for those of another type")
		}
	}
	return nil
}

// feeNames is what the fee for an exchange is called on documents, by the language of the seller.
func feeName(language string) string {
	switch language {
	case "de":
		return "Umtausch"
	case "fr":
		return "Échange"
	case "es":
		return "Cambio"
	}
	return "Exchange"
}

// terms are what is charged for the new order: what is charged once for an order was charged with the old one.
func (x *swapping) terms() price.Terms {
	t := termsOf(x.to)
	t.Fees = slices.DeleteFunc(slices.Clone(t.Fees), func(f api.Fee) bool { return f.Per == api.FeePerOrder })
	return t
}

// fee is the fee for the exchange, which is charged beside what the new tickets cost, also if those are free.
func (x *swapping) fee() int64 {
	if x.staff {
		return 0
	}
	return x.from.Event.OrderRules.Exchange.FeePerTicket * int64(len(x.tickets))
}

// price says what a drafted order costs as an exchange, and what of that the old tickets pay.
func (x *swapping) price(row *orderRow) {
	items := slices.Clone(row.Items)
	for i := range items {
		items[i].Tax, items[i].IncludedFees = nil, api.Money{}
	}
	terms := x.terms()
	if fee := x.fee(); fee > 0 {
		terms.Fees = append(terms.Fees, api.Fee{Name: feeName(x.to.Organizer.Selling.Seller.Language),
			Per: api.FeePerOrder, Amount: api.Money{Amount: fee, Currency: row.Currency}})
	}
	c := price.Charge(items, terms)
	row.Items, row.Total, row.Charges = c.Items, c.Total, charges{Fees: c.Fees, Taxes: c.Taxes}
	worth, _ := worth(x.old, x.going, api.CancellationPolicy{})
	row.ExchangeOf, row.Exchange = x.old.ID, exchange{Worth: worth}
	for _, t := range x.going {
		row.Exchange.Tickets = append(row.Exchange.Tickets, t.ID)
	}
	row.Exchange.draw(x.old, min(worth, row.Total))
}

// draft returns the new order as it will be written.
func (s *Service) draftExchange(
	x *swapping, typ ids.TicketType, at *stages,
) (orderRow, []inventory.Line, error) {
	user := x.old.UserID
	if x.staff {
		user = api.BoxOfficeBuyer // whom no rule about buyers binds
	}
	order := &api.NewOrder{EventID: x.to.Event.ID,
		Items: []api.NewOrderItem{{TicketTypeID: typ, Quantity: len(x.tickets)}}}
	for _, t := range x.tickets {
		order.Attendees = append(order.Attendees, api.Attendee{Name: t.HolderName, Email: t.HolderEmail})
	}
	named := func(a api.Attendee) bool { return a.Name != "" || a.Email != "" }
	if !slices.ContainsFunc(order.Attendees, named) {
		order.Attendees = nil
	}
	row, lines, err := s.draftWith(order, withoutRequired(x.to), user, x.now, codes.Deal{}, at)
	if err != nil {
		return row, nil, err
	}
	row.UserID = x.old.UserID
	if row.Currency != x.old.Currency {
		return row, nil, fault.New(fault.Conflict, "the tickets were paid in %s, and the others cost %s",
			x.old.Currency, row.Currency)
	}
	x.price(&row)
	if row.Total > maxTotal {
		return row, nil, fault.New(fault.Conflict, "the total is too large")
	}
	return row, lines, nil
}

// withoutRequired returns an event that requires no products: those that came with the old tickets stay the buyer's.
func withoutRequired(o *api.Offer) *api.Offer {
	out := *o
	out.Event.TicketTypes = slices.Clone(o.Event.TicketTypes)
	for i := range out.Event.TicketTypes {
		out.Event.TicketTypes[i].Required = false
	}
	return &out
}

// exchangeOffers says what it costs to exchange the tickets for those of each type that is for the caller.
func (s *Service) exchangeOffers(ctx context.Context, x *swapping) ([]api.ExchangeOffer, error) {
	pool, err := s.poolOf(ctx, x.to)
	if err != nil {
		return nil, err
	}
	left := map[ids.TicketType]int{}
	for _, t := range availabilityOf(x.to, &pool, codes.Deal{}, true, x.now).TicketTypes {
		left[t.ID] = t.Available
	}
	offers := []api.ExchangeOffer{}
	for i := range x.to.Event.TicketTypes {
		t := &x.to.Event.TicketTypes[i]
		if x.fits(t) != nil {
			continue
		}
		row, _, err := s.draftExchange(x, t.ID, s.stagesFor(x, ""))
		if err != nil || x.tooCheap(row) != nil { // not for sale now, or not to this buyer
			continue
		}
		offer := api.ExchangeOffer{TicketTypeID: t.ID, Name: t.Name, Available: left[t.ID], Total: row.money(row.Total),
			Due: row.money(row.toPay()), Refund: row.money(row.Exchange.Worth - row.Total + row.toPay())}
		if fee := row.feeFor(x); fee > 0 {
			offer.Fee = row.money(fee)
		}
		offers = append(offers, offer)
	}
	return offers, nil
}

// feeFor is what the fee for the exchange came to, with its tax.
func (r orderRow) feeFor(x *swapping) int64 {
	if x.fee() == 0 || len(r.Charges.Fees) == 0 {
		return 0
	}
	return r.Charges.Fees[len(r.Charges.Fees)-1].Gross()
}

// stagesFor returns at which stages an exchange is sold: the organizer's have none.
func (s *Service) stagesFor(x *swapping, order ids.Order) *stages {
	if x.staff {
		return nil
	}
	return s.stagesAt(x.to, order, x.now)
}

// tooCheap refuses buyers who would get money back that the policy does not give.
func (x *swapping) tooCheap(row orderRow) error {
	if x.staff || x.from.Event.OrderRules.Exchange.Cheaper || row.Total >= row.Exchange.Worth {
		return nil
	}
	return fault.New(fault.Conflict, "tickets are not exchanged for those that cost less")
}

// dearerThan refuses what costs more than the buyer was shown.
func dearerThan(row orderRow, most *api.Money) error {
	if most == nil {
		return nil
	}
	var check fault.Check
	check.Field(most.Currency == row.Currency, "max_difference.currency", "must be %s", row.Currency)
	if err := check.Err(); err != nil {
		return err
	}
	if difference := row.Total - row.Exchange.Worth; difference > most.Amount {
		return fault.New(fault.PriceChanged, "the exchange costs %s now", row.money(difference)).About(
			"max_difference", "is less than "+row.money(difference).String())
	}
	return nil
}

// carried is what the new order takes over from the old one: who stands on the invoice, and, at the same event, what
// was answered. Elsewhere other questions are asked, which the buyer answers when they like.
func (s *Service) carried(ctx context.Context, x *swapping, row orderRow) (*api.Billing, []answers.Row, error) {
	known, err := invoices.Billing(ctx, s.db.Read(), []ids.Order{x.old.ID})
	if err != nil {
		return nil, nil, err
	}
	if x.to.Event.ID != x.from.Event.ID || len(x.to.Event.Questions) == 0 {
		return known[x.old.ID], nil, nil
	}
	var rows []answers.Row
	err = store.Select(ctx, s.db.Read(), &rows, "SELECT * FROM question_answers WHERE order_id = ?", x.old.ID)
	var kept []answers.Row
	for _, a := range rows {
		at := slices.IndexFunc(x.tickets, func(t ticketRow) bool { return t.Position == a.Position })
		if at < 0 && a.Position >= 0 {
			continue
		}
		if a.OrderID = row.ID; at >= 0 {
			a.Position = at
		}
		kept = append(kept, a)
	}
	return known[x.old.ID], kept, err
}

// without leaves out the tickets that an exchange takes from the person.
func (l *personLimits) without(x *swapping) {
	if l == nil || x.to.Event.ID != x.from.Event.ID {
		return
	}
	l.leaving = map[ids.TicketType]int{}
	for _, t := range x.going {
		l.leaving[t.TicketTypeID]++
	}
}
