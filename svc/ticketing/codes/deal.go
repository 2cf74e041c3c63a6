package codes

import (
	"context"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// Deal is what an order gets by a code and by discounts that apply by themselves. The zero value is nothing.
type Deal struct {
	Code      *Row // that was entered
	automatic []*api.PromoTerms
}

// Granted is a deal that the organizer makes by hand.
func Granted(t *api.PromoTerms) Deal { return Deal{automatic: []*api.PromoTerms{t}} }

// Deal returns what an order for an event gets with what was entered, which may be nothing.
func (c *Codes) Deal(ctx context.Context, offer *api.Offer, entered string) (Deal, error) {
	automatic, err := c.Automatic(ctx, offer)
	if err != nil || entered == "" {
		return Deal{automatic: automatic}, err
	}
	row, err := c.Find(ctx, offer, entered)
	if err == nil {
		err = valid(&row.Terms, c.now())
	}
	if err == nil && !currencyFits(&row.Terms, &offer.Event) {
		err = fault.New(fault.Conflict, "the promo code is for another currency").About("promo_code",
			"is for another currency")
	}
	if err != nil {
		return Deal{}, err
	}
	return Deal{Code: row, automatic: automatic}, nil
}

// ID returns the code that is used, or "".
func (d Deal) ID() ids.PromoCode {
	if d.Code == nil {
		return ""
	}
	return d.Code.ID
}

// Text returns the code as its organizer writes it, or "".
func (d Deal) Text() string {
	if d.Code == nil {
		return ""
	}
	return d.Code.Code
}

// Use returns what the inventory has to know, or nil.
func (d Deal) Use() *inventory.Terms {
	if d.Code == nil {
		return nil
	}
	return d.Code.Use()
}

// Offer returns what the code does, for who has it, or nil.
func (d Deal) Offer(e *api.Event) *api.PromoOffer {
	if d.Code == nil {
		return nil
	}
	o := &api.PromoOffer{Code: d.Code.Code, PromoTerms: d.Code.Terms}
	o.Name, o.Reserve, o.MaxUses = "", nil, 0 // for the organizer
	for _, t := range e.TicketTypes {
		if t.Hidden && d.Shows(&t) {
			o.TicketTypes = append(o.TicketTypes, t)
		}
	}
	return o
}

// MaxPerPerson returns how many orders of a person may use the code; 0 is without bound.
func (d Deal) MaxPerPerson() int {
	if d.Code == nil {
		return 0
	}
	return d.Code.Terms.MaxPerPerson
}

// covers reports whether the code is about a ticket type.
func (d Deal) covers(t *api.TicketType) bool {
	return d.Code != nil && price.Covers(&d.Code.Terms, api.OrderItem{TicketTypeID: t.ID, Kind: t.Kind})
}

// Shows reports whether a ticket type can be bought, as far as that it is hidden.
func (d Deal) Shows(t *api.TicketType) bool {
	return !t.Hidden || d.covers(t) && d.Code.Terms.Unlocks
}

// Opens reports whether a ticket type is on sale already that is not for others.
func (d Deal) Opens(t *api.TicketType, now time.Time) bool {
	return d.covers(t) && d.Code.Terms.SalesStart != nil && !now.Before(*d.Code.Terms.SalesStart)
}

// Apply returns the lines of an order as they cost. A code that is for none of them is refused.
func (d Deal) Apply(items []api.OrderItem) ([]api.OrderItem, error) {
	terms := d.automatic
	if d.Code != nil {
		if !price.Qualifies(&d.Code.Terms, items) {
			return nil, fault.New(fault.Conflict, "the promo code is not for these tickets, or not for so few").About(
				"promo_code", "is not for these tickets, or not for so few")
		}
		terms = append([]*api.PromoTerms{&d.Code.Terms}, terms...)
	}
	if len(terms) == 0 {
		return items, nil
	}
	return price.Best(items, terms...), nil
}
