package pages

import (
	"cmp"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func (s *Site) exchangeRoutes() []Route {
	return []Route{
		{"GET", "/orders/{id}/exchange", s.exchangePage, false},
		{"POST", "/orders/{id}/exchange", s.exchange, false},
		{"GET", "/office/events/{event}/orders/{id}/exchange", s.exchangePage, false},
		{"POST", "/office/events/{event}/orders/{id}/exchange", s.exchange, false},
	}
}

// choice is a ticket, or a date, that can be chosen.
type choice[T any] struct {
	Of     T
	Chosen bool
}

func (s *Site) exchangePage(v *visit) error { return s.exchangeAgain(v, nil) }

// exchangeAgain shows for what tickets of an order can be exchanged, and what that costs: for the buyer, and for those
// who work with the orders of the event.
func (s *Site) exchangeAgain(v *visit, failed error) error {
	o, e, err := s.orderAndEvent(v)
	if err != nil {
		return err
	}
	ref := api.OrderRef{ID: o.ID}
	all, err := ask(v, api.ListOrderTickets, &ref)
	if err != nil {
		return err
	}
	query := &api.ExchangeQuery{OrderID: o.ID}
	if id, err := ids.Parse[ids.EventKind](v.either("to")); err == nil && id != e.ID {
		query.ToEventID = id
	}
	for _, t := range all.Items {
		if v.either(t.ID.String()) == "yes" {
			query.Tickets = append(query.Tickets, t.ID)
		}
	}
	options, err := ask(v, api.GetExchange, query)
	if err != nil {
		return err
	}
	all.Items = v.ticketsIn(e, all.Items)
	at := e
	var tickets []choice[api.Ticket]
	for _, t := range all.Items {
		if slices.Contains(options.Tickets, t.ID) {
			chosen := len(query.Tickets) == 0 || slices.Contains(query.Tickets, t.ID)
			tickets = append(tickets, choice[api.Ticket]{t, chosen})
		}
	}
	var dates []choice[api.Event]
	if staff := v.Param("event") != ""; options.OtherDates || staff {
		list, err := v.datesOf(e, api.EventPublished)
		if err != nil {
			return err
		}
		for _, d := range list {
			dates = append(dates, choice[api.Event]{d, d.ID == options.EventID})
			if d.ID == options.EventID {
				at = &d
			}
		}
	}
	called := at.Called()
	for i := range options.Offers {
		options.Offers[i].Name = called.Type(v.lang, options.Offers[i].TicketTypeID, options.Offers[i].Name)
	}
	data := map[string]any{"Order": o, "Event": e, "Options": options, "Tickets": tickets, "Dates": dates,
		"Back": exchangeBack(v, o.ID)}
	if failed != nil {
		return v.again("exchange", failed, data)
	}
	return v.show("exchange", data)
}

// exchangeBack is the page of an order, for who looks at it.
func exchangeBack(v *visit, order ids.Order) string {
	if event := v.Param("event"); event != "" {
		return "/office/events/" + event + "/orders/" + order.String()
	}
	return "/orders/" + order.String()
}

// either is a field of the form, or of the address.
func (v *visit) either(name string) string { return cmp.Or(v.form(name), v.query(name)) }

// exchange exchanges what was chosen. What the form has shown bounds what it costs.
func (s *Site) exchange(v *visit) error {
	ref, err := orderOf(v)
	if err != nil {
		return err
	}
	all, err := ask(v, api.ListOrderTickets, &ref)
	if err != nil {
		return err
	}
	var req api.ExchangeFor
	for _, t := range all.Items {
		if v.form(t.ID.String()) == "yes" {
			req.Tickets = append(req.Tickets, t.ID)
		}
	}
	req.ToEventID, _ = ids.Parse[ids.EventKind](v.form("to"))
	if req.TicketTypeID, err = ids.Parse[ids.TicketTypeKind](v.form("type")); err != nil {
		return fault.New(fault.NotFound, "there is no such ticket type")
	}
	query := &api.ExchangeQuery{OrderID: ref.ID, Tickets: req.Tickets, ToEventID: req.ToEventID}
	options, err := ask(v, api.GetExchange, query)
	if err != nil {
		return err
	}
	for _, offer := range options.Offers {
		// only what was shown is bought: the sum in the button
		difference := offer.Total.Amount - options.Credit.Amount
		shown := v.form("shown." + offer.TicketTypeID.String())
		if offer.TicketTypeID == req.TicketTypeID && shown == offer.Total.Decimal() {
			req.MaxDifference = &api.Money{Amount: difference, Currency: offer.Total.Currency}
		}
	}
	if req.MaxDifference == nil {
		return s.exchangeAgain(v, fault.New(fault.PriceChanged, "the exchange costs something else now"))
	}
	key := v.form("key")
	if event, err := ids.Parse[ids.EventKind](v.Param("event")); err == nil {
		made, err := askOnce(v, api.CreateStaffExchange, &api.StaffExchange{EventID: event, OrderID: ref.ID,
			ExchangeFor: req}, key)
		if err != nil {
			return s.exchangeAgain(v, err)
		}
		v.redirect("/office/events/" + made.EventID.String() + "/orders/" + made.ID.String())
		return nil
	}
	made, err := askOnce(v, api.CreateExchange, &api.NewExchange{OrderID: ref.ID, ExchangeFor: req}, key)
	if err != nil {
		return s.exchangeAgain(v, err)
	}
	if made.AccessToken != "" {
		v.keepOrder(made.ID, made.AccessToken)
	}
	v.redirect("/orders/" + made.ID.String())
	return nil
}
