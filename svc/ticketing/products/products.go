// Package products has the rules of what is sold beside tickets: see api.TicketType.
package products

import (
	"fmt"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
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

// Apart returns the lines of an order with what comes with their tickets as lines of its own after them.
func Apart(e *api.Event, items []api.OrderItem) []api.OrderItem {
	all, with := slices.Clone(items), []api.OrderItem(nil)
	for i, item := range items {
		t := e.TicketType(item.TicketTypeID)
		if t == nil || len(t.Includes) == 0 {
			continue
		}
		var parts []api.OrderItem
		for _, p := range t.Includes {
			if of := e.TicketType(p.TicketTypeID); of != nil {
				parts = append(parts, api.OrderItem{TicketTypeID: of.ID, Kind: of.Kind, Name: of.Title(),
					IncludedInID: t.ID, IncludedIn: t.Name, Quantity: p.Quantity * item.Quantity, UnitPrice: p.Price})
			}
		}
		all[i], parts = price.Apart(item, parts)
		with = append(with, parts...)
	}
	return append(all, with...)
}

// With returns tickets of an order and, after them, those of the others that came with them.
func With(items []api.OrderItem, tickets, others []record.Ticket) []record.Ticket {
	first := make([]int, len(items)) // the position of the first of a line
	for i := range items[:max(len(items)-1, 0)] {
		first[i+1] = first[i] + items[i].Quantity
	}
	there, at := map[ids.Ticket]bool{}, map[int]record.Ticket{}
	for _, t := range tickets {
		there[t.ID] = true
	}
	for _, t := range others {
		at[t.Position] = t
	}
	all := slices.Clone(tickets)
	for _, t := range tickets {
		line, n, ok := api.LineAt(items, t.Position)
		if !ok {
			continue
		}
		api.Included(items, line, func(with, each int) {
			for k := range each {
				unit, ok := at[first[with]+n*each+k]
				if ok && !there[unit.ID] {
					all = append(all, unit)
				}
			}
		})
	}
	return all
}

// Alone returns those of tickets that did not come with others: these are not given back without them.
func Alone(items []api.OrderItem, tickets []record.Ticket) []record.Ticket {
	return slices.DeleteFunc(slices.Clone(tickets), func(t record.Ticket) bool { return cameWith(items, t) != "" })
}

// cameWith returns with tickets of which type a product came, or "".
func cameWith(items []api.OrderItem, t record.Ticket) ids.TicketType {
	if line, _, ok := api.LineAt(items, t.Position); ok {
		return items[line].IncludedInID
	}
	return ""
}

// Check checks what an order with so many tickets has of products. Who has a product with a ticket needs none beside
// it. At a counter people buy what they like: a programme, too, when they have their ticket already.
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
		n, field, without := 0, "items", tickets
		for i, item := range items {
			if p.Has(item.TicketTypeID) {
				n += item.Quantity
				field = fmt.Sprintf("items[%d].quantity", i)
			}
			if p.ServedBy(e.TicketType(item.TicketTypeID)) {
				without -= item.Quantity
			}
		}
		check.Field(n <= limit, field, "must be at most %d of %s together", limit, p.Name)
		switch {
		case !buyer || tickets == 0:
		case p.Per == api.PerTicket && p.Required:
			check.Field(n == without, field, "must be %d of %s together: one for each ticket", without, p.Name)
		case p.Per == api.PerTicket:
			check.Field(n <= without, field, "must be at most %d of %s together: one for each ticket", without, p.Name)
		case p.Required:
			check.Field(n > 0 || without < tickets, field, "must have %s, which is part of every order", p.Name)
		}
	}
}

// CheckLeft checks what is left of an order with such lines after its buyer gave tickets back without being asked: what
// is required stays with the tickets, and what belongs to tickets goes with them. What was handed out is the buyer's.
func CheckLeft(e *api.Event, items []api.OrderItem, valid, back []record.Ticket) error {
	var check fault.Check
	gone := map[ids.Ticket]bool{}
	for _, t := range back {
		gone[t.ID] = true
	}
	tickets := int(Tickets(valid) - Tickets(back))
	for _, p := range e.Products() {
		left, waiting, returned, with, without := 0, 0, 0, 0, tickets
		served := map[ids.TicketType]bool{}
		for _, item := range items {
			if item.IncludedInID != "" && p.Has(item.TicketTypeID) {
				served[item.IncludedInID] = true
			}
		}
		for _, t := range valid {
			switch came := cameWith(items, t) != ""; {
			case served[t.TicketTypeID] && !gone[t.ID]:
				without--
			case !p.Has(t.TicketTypeID):
			case came && gone[t.ID]:
				with++
			case came:
			case gone[t.ID]:
				returned++
			default:
				left++
				if t.Status == api.TicketValid {
					waiting++
				}
			}
		}
		needs := min(without, 1)
		if p.Per == api.PerTicket {
			needs = without
			check.Field(waiting <= without, "tickets", "would leave %d of %s for %d tickets: give those back, too",
				waiting, p.Name, without)
		} else {
			check.Field(waiting == 0 || tickets > 0, "tickets", "would leave %s without a ticket: give that back, too",
				p.Name)
			returned += with
			if without < tickets { // one of the tickets that are left came with it
				needs = 0
			}
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
