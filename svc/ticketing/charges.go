package ticketing

import (
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// charges is what an order is charged beside the prices of its lines.
type charges struct {
	Fees  []api.OrderFee `json:"fees,omitempty"`
	Taxes []api.TaxTotal `json:"taxes,omitempty"`
}

// termsOf returns what is charged at an event beside its prices.
func termsOf(offer *api.Offer) price.Terms {
	e := &offer.Event
	return price.Terms{Rounding: offer.Organizer.Selling.TaxRounding, Fees: e.Fees, FeeTax: e.Tax,
		Tax: func(id ids.TicketType) *api.Tax {
			t := e.TicketType(id)
			if t == nil {
				return nil
			}
			tax := e.TaxOf(t)
			return &tax
		}}
}

// tillTerms is termsOf for what a venue has sold: the customer has paid its prices, and all is in them.
func tillTerms(offer *api.Offer) price.Terms {
	t := termsOf(offer)
	onTop := func(f api.Fee) bool { return !f.Included }
	t.Fees, t.FeeTax.Included = slices.DeleteFunc(slices.Clone(t.Fees), onTop), true
	of := t.Tax
	t.Tax = func(id ids.TicketType) *api.Tax {
		tax := of(id)
		if tax != nil {
			tax.Included = true
		}
		return tax
	}
	return t
}

// mostGiven bounds what a buyer gives for a ticket, in minor units, as the price of one is bounded.
const mostGiven = 1e12

// unitPrice returns what a ticket costs: its price, or what the buyer gives where that is free, at least its price.
func unitPrice(check *fault.Check, field string, t *api.TicketType, each api.Money, given *api.Money) api.Money {
	if given == nil {
		return each
	}
	field += ".unit_price"
	check.Field(t.FreePrice, field, "is only for ticket types whose buyers pay what they want")
	check.Field(given.Currency == t.Price.Currency, field+".currency", "must be %s", t.Price.Currency)
	if ok := given.Amount >= t.Price.Amount && given.Amount <= mostGiven; !ok {
		check.Field(false, field+".amount", "must be from %d to %d", t.Price.Amount, int64(mostGiven))
		return t.Price
	}
	return *given
}

// stages chooses at which stages' prices an order is sold. Without it, as at a counter, each ticket type has its own.
type stages struct {
	now  time.Time
	left func(*api.Stage) int
	has  bool                         // the order has seats already: the same request has come before
	had  map[ids.TicketType]ids.Stage // at which it has them
}

// stagesAt returns what an order is sold at, by what this instance knows of the stages. The inventory decides.
func (s *Service) stagesAt(offer *api.Offer, order ids.Order, now time.Time) *stages {
	if !offer.Event.Staged() {
		return nil
	}
	at := &stages{now: now, left: func(st *api.Stage) int {
		return s.inv.StageLeft(offer.Event.ID, stageTerms(offer, st))
	}}
	at.had, at.has = s.inv.StagesOf(inventory.Ref{Event: offer.Event.ID, Order: order})
	return at
}

func (a *stages) stage(t *api.TicketType, tickets int) *api.Stage {
	if a == nil {
		return nil
	}
	if i := slices.IndexFunc(t.Stages, func(s api.Stage) bool { return s.ID == a.had[t.ID] }); i >= 0 {
		return &t.Stages[i]
	}
	if a.has {
		return nil
	}
	return t.StageFor(a.now, tickets, a.left)
}

// dearer is the answer to who was shown a lower price than what so many tickets of a type cost each.
func (a *stages) dearer(t *api.TicketType, each api.Money, tickets int) *fault.Error {
	for i := range t.Stages {
		s := &t.Stages[i]
		if a == nil || !s.IsOpen(a.now) || s.Price.Amount >= each.Amount {
			continue
		}
		if left := a.left(s); left > 0 {
			return fault.New(fault.PriceChanged, "%s: only %d are left at %s (%s); %d cost %s each", t.Name, left,
				s.Price, s.Name, tickets, each)
		}
	}
	return fault.New(fault.PriceChanged, "%s costs %s now", t.Name, each)
}

func stageTerms(offer *api.Offer, s *api.Stage) inventory.Stage {
	return inventory.Stage{ID: s.ID, Limit: s.Quantity, Revision: offer.Event.Revision}
}

// withStages adds to what an order depends on the limits of the stages at whose prices it is.
func withStages(use *inventory.Terms, offer *api.Offer, items []api.OrderItem) *inventory.Terms {
	var all []inventory.Stage
	for _, item := range items {
		t := offer.Event.TicketType(item.TicketTypeID)
		if item.StageID == "" || t == nil {
			continue
		}
		for i := range t.Stages {
			if t.Stages[i].ID == item.StageID {
				all = append(all, stageTerms(offer, &t.Stages[i]))
			}
		}
	}
	if len(all) == 0 {
		return use
	}
	var with inventory.Terms
	if use != nil {
		with = *use
	}
	with.Stages = all
	return &with
}

// lineAt returns which line of the order a ticket at a position is of, and which of its tickets it is.
func (r *orderRow) lineAt(position int) (line, n int, ok bool) {
	for i, item := range r.Items {
		if position < item.Quantity {
			return i, position, true
		}
		position -= item.Quantity
	}
	return 0, 0, false
}

// paidFor returns what was paid for the ticket at a position, its fees with it, and adds it to the gross of its rates.
func (r *orderRow) paidFor(position int, rates []int64) int64 {
	line, n, ok := r.lineAt(position)
	if !ok {
		return 0
	}
	item := r.Items[line]
	sum := item.GrossOf(n)
	r.addTo(rates, item.Tax, sum)
	for _, fee := range r.Charges.Fees {
		if fee.TicketTypeID == item.TicketTypeID {
			part := fee.GrossOf(n)
			r.addTo(rates, fee.Tax, part)
			sum += part
		}
	}
	return sum
}

// addTo adds what was paid for a line to its rate's.
func (r *orderRow) addTo(rates []int64, of *api.LineTotal, gross int64) {
	for i, t := range r.Charges.Taxes {
		if of != nil && of.Rate == t.Rate {
			rates[i] += gross
		}
	}
}

// carryTax notes what of the amount that goes back is of which rate: of those that are wanted as far as there is as
// much left of them, else of all.
func (d *decision) carryTax(want []int64) {
	d.due.Taxes, d.givenBack = price.Refund(d.row.Charges.Taxes, d.row.GivenBack, want, d.due.Amount.Amount)
	if d.givenBack == nil {
		d.givenBack = []int64{}
	}
}
