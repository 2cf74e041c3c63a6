package ticketing

import (
	"context"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/vatid"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// charges is what an order is charged beside the prices of its lines.
type charges struct {
	Fees  []api.OrderFee `json:"fees,omitempty"`
	Taxes []api.TaxTotal `json:"taxes,omitempty"`
	// what was found out of the buyer's VAT number, if the order depends on it
	VAT *api.VATCheck `json:"vat,omitempty"`
}

// reverse reports whether the buyer owes the tax of something.
func (c *charges) reverse() bool {
	return slices.ContainsFunc(c.Taxes, func(t api.TaxTotal) bool { return t.ReverseCharge })
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

// chargeBusiness makes an order one whose buyer owes the tax, if its organizer sells so and the buyer is a business in
// another member state, as far as anybody can tell. No other order waits for VIES.
func (s *Service) chargeBusiness(ctx context.Context, row *orderRow, offer *api.Offer, to *api.Billing) error {
	selling := &offer.Organizer.Selling
	if to == nil || row.Total == 0 || selling.ReverseCharge == "" || selling.ReverseCharge == api.ReverseOff ||
		!acrossBorder(&selling.Seller, to) {
		return nil
	}
	reversed := reverseCharge(*row, offer)
	if !reversed.Charges.reverse() {
		return nil
	}
	check, err := s.checkVAT(ctx, selling, to.VATID)
	if err != nil {
		return err
	}
	switch check.Outcome {
	case api.VATUnknown:
	case api.VATUnanswered:
		if selling.VATUnanswered == api.UnansweredRefuse {
			return fault.New(fault.Unavailable, "VIES, which confirms VAT numbers, gives no answer: try again").After(
				unansweredPause).About("billing.vat_id", "cannot be confirmed now; without it the order has tax")
		}
		if selling.VATUnanswered == api.UnansweredAccept {
			*row = reversed
		}
	default:
		*row = reversed
	}
	row.Charges.VAT = &check
	return nil
}

// unansweredPause is after how long a buyer may try again whose number could not be confirmed.
const unansweredPause = 10 * time.Second

// acrossBorder reports whether a buyer is a business of another member state than the seller: by its number, which has
// its form and check digits, and by the address.
func acrossBorder(seller *api.Seller, to *api.Billing) bool {
	from, at := vatid.Country(vatid.Clean(seller.TaxID)), vatid.Country(to.VATID)
	return from != "" && at != "" && from != at && seller.Country != at && vatid.At(to.VATID, to.Country)
}

// reverseCharge returns an order as it is if its buyer owes the taxes that say so.
func reverseCharge(row orderRow, offer *api.Offer) orderRow {
	items := slices.Clone(row.Items)
	for i := range items {
		items[i].Tax, items[i].IncludedFees = nil, api.Money{}
	}
	terms := termsOf(offer)
	terms.Reverse = true
	charged := price.Charge(items, terms)
	row.Items, row.Total = charged.Items, charged.Total
	row.Charges = charges{Fees: charged.Fees, Taxes: charged.Taxes}
	return row
}

// checkVAT finds out what there is to know of a number, as the organizer wants it.
func (s *Service) checkVAT(ctx context.Context, selling *api.Selling, number string) (api.VATCheck, error) {
	check := api.VATCheck{Outcome: api.VATUnchecked, At: store.Time(s.now()).UTC()}
	if selling.ReverseCharge != api.ReverseConfirmed {
		return check, nil
	}
	answer, err := s.vies.Ask(ctx, number, vatid.Clean(selling.Seller.TaxID))
	switch {
	case ctx.Err() != nil:
		return check, ctx.Err()
	case err != nil:
		check.Outcome = api.VATUnanswered
		return check, nil
	case answer.Known:
		check.Outcome = api.VATConfirmed
	default:
		check.Outcome = api.VATUnknown
	}
	check.At, check.Reference = store.Time(answer.At).UTC(), answer.Reference
	return check, nil
}

// sameBusiness refuses to make the invoice of an order without tax out to anybody but the business that owes it.
func (r *orderRow) sameBusiness(before, to *api.Billing) error {
	if !r.Charges.reverse() || before != nil && before.VATID == to.VATID && before.Country == to.Country {
		return nil
	}
	return fault.New(fault.Conflict, "the order has no tax because of its buyer's VAT number and country").About(
		"vat_id", "must stay, and so must country")
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
	return api.LineAt(r.Items, position)
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
		if t.Has(of) {
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

// withIncluded adds the seats of what comes with tickets to the lines of an order: those of a type are one line.
func withIncluded(lines []inventory.Line, items []api.OrderItem) []inventory.Line {
	for _, item := range items {
		if item.IncludedInID == "" {
			continue
		}
		i := slices.IndexFunc(lines, func(l inventory.Line) bool { return l.Type == item.TicketTypeID })
		if i >= 0 {
			lines[i].N += item.Quantity
			continue
		}
		lines = append(lines, inventory.Line{Type: item.TicketTypeID, N: item.Quantity})
	}
	return lines
}

// stageOf returns at the price of which stage the order has tickets of a type, or "".
func (r orderRow) stageOf(t ids.TicketType) ids.Stage {
	for _, item := range r.Items {
		if item.TicketTypeID == t {
			return item.StageID
		}
	}
	return ""
}
