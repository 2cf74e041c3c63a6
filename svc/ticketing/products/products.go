// Package products has the rules of what is sold beside tickets: see api.TicketType.
package products

import (
	"fmt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// Last compares lines of an order, in which products stand after the tickets.
func Last(a, b api.OrderItem) int {
	switch {
	case a.IsProduct() == b.IsProduct():
		return 0
	case b.IsProduct():
		return -1
	}
	return 1
}

// Check checks what an order with so many tickets has of products. At a counter people buy what they like: a
// programme, too, when they have their ticket already.
func Check(check *fault.Check, e *api.Event, items []api.NewOrderItem, tickets, limit int, user ids.User) {
	some, named := false, map[ids.TicketType]bool{}
	for _, item := range items {
		t := e.TicketType(item.TicketTypeID)
		if t == nil || named[t.ID] || item.Quantity < 1 { // which is wrong already
			return
		}
		some, named[t.ID] = some || t.IsProduct(), true
	}
	buyer := user != api.BoxOfficeBuyer
	check.Field(!buyer || !some || tickets > 0, "items", "must have a ticket: products are sold with tickets")
	for _, p := range e.Products() {
		n, field := 0, "items"
		for i, item := range items {
			if p.Has(item.TicketTypeID) {
				n += item.Quantity
				field = fmt.Sprintf("items[%d].quantity", i)
			}
		}
		check.Field(n <= limit, field, "must be at most %d of %s together", limit, p.Name)
		switch {
		case !buyer || tickets == 0:
		case p.Per == api.PerTicket && p.Required:
			check.Field(n == tickets, field, "must be %d of %s together: one for each ticket", tickets, p.Name)
		case p.Per == api.PerTicket:
			check.Field(n <= tickets, field, "must be at most %d of %s together: one for each ticket", tickets, p.Name)
		case p.Required:
			check.Field(n > 0, field, "must have %s, which is part of every order", p.Name)
		}
	}
}

// CheckLeft checks what is left of an order after its buyer gave tickets back without being asked: what is required
// stays with the tickets, and what belongs to tickets goes with them. What was handed out is the buyer's.
func CheckLeft(e *api.Event, valid, back []record.Ticket) error {
	var check fault.Check
	gone := map[ids.Ticket]bool{}
	for _, t := range back {
		gone[t.ID] = true
	}
	tickets := int(Tickets(valid) - Tickets(back))
	for _, p := range e.Products() {
		left, waiting, returned := 0, 0, 0
		for _, t := range valid {
			switch {
			case !p.Has(t.TicketTypeID):
			case gone[t.ID]:
				returned++
			default:
				left++
				if t.Status == api.TicketValid {
					waiting++
				}
			}
		}
		needs := min(tickets, 1)
		if p.Per == api.PerTicket {
			needs = tickets
			check.Field(waiting <= tickets, "tickets", "would leave %d of %s for %d tickets: give those back, too",
				waiting, p.Name, tickets)
		} else {
			check.Field(waiting == 0 || tickets > 0, "tickets", "would leave %s without a ticket: give that back, too",
				p.Name)
		}
		check.Field(!p.Required || returned == 0 || left >= needs, "tickets",
			"would leave tickets without %s, which is part of every order", p.Name)
	}
	return check.Err()
}

// Tickets returns how many of tickets let somebody in.
func Tickets(of []record.Ticket) (n int64) {
	for _, t := range of {
		if !t.IsProduct() {
			n++
		}
	}
	return n
}
