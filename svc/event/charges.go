package event

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
)

const (
	maxIncludes = 10 // products that a ticket type comes with
	maxIncluded = 20 // products of all kinds that one ticket comes with

	maxFees    = 10
	maxFeeName = 100
	maxTaxName = 50
)

// percentRule is a percentage from 0 to 100 with up to three decimals.
var percentRule = regexp.MustCompile(`^(100(\.0{1,3})?|[0-9]{1,2}(\.[0-9]{1,3})?)$`)

// normalizeCharges brings tax and fees into the form in which they are kept.
func (r *record) normalizeCharges() {
	e := &r.Event
	e.Tax.Name = text.Clean(e.Tax.Name)
	for i := range e.TicketTypes {
		e.TicketTypes[i].Tax.Name = text.Clean(e.TicketTypes[i].Tax.Name)
	}
	for i := range e.Fees {
		f := &e.Fees[i]
		f.Name, f.Tax.Name = text.Clean(f.Name), text.Clean(f.Tax.Name)
		if f.Amount.Amount == 0 && f.Percent != "" {
			f.Amount = api.Money{}
		}
	}
}

func (r *record) checkCharges(c *fault.Check, n naming) {
	e := &r.Event
	checkTax(c, "tax", e.Tax)
	for i := range e.TicketTypes {
		checkTax(c, n.of(i, "tax"), e.TicketTypes[i].Tax)
	}
	c.Field(len(e.Fees) <= maxFees, "fees", "must be at most %d", maxFees)
	currency := r.currency()
	for i, f := range e.Fees {
		field := func(name string) string { return fmt.Sprintf("fees[%d].%s", i, name) }
		text.CheckLine(c, field("name"), f.Name, 1, maxFeeName)
		c.Field(f.Per == api.FeePerOrder || f.Per == api.FeePerTicket, field("per"), "must be order or ticket")
		checkTax(c, field("tax"), f.Tax)
		if f.Percent != "" {
			c.Field(percentRule.MatchString(f.Percent), field("percent"),
				"must be from 0 to 100, with up to three decimals")
			c.Field(f.Amount == api.Money{}, field("amount"), "must not be given beside percent")
			continue
		}
		c.Field(f.Amount.Amount > 0 && f.Amount.Amount <= maxPrice, field("amount.amount"),
			"must be from 1 to %d, in the currency's smallest unit, unless percent is given", int64(maxPrice))
		if currency != "" {
			c.Field(f.Amount.Currency == currency, field("amount.currency"), "must be %s, as of the ticket types",
				currency)
		} else {
			c.Field(api.KnownCurrency(f.Amount.Currency), field("amount.currency"),
				"must be a currency code of ISO 4217, such as EUR")
		}
	}
}

func checkTax(c *fault.Check, field string, t api.Tax) {
	text.CheckLine(c, field+".name", t.Name, 0, maxTaxName)
	if t != (api.Tax{}) {
		c.Field(percentRule.MatchString(strings.TrimSpace(t.Rate)), field+".rate",
			"must be from 0 to 100, with up to three decimals")
	}
}

// include has tickets of type i come with products, which are named by id or title, and with no others.
func (r *record) include(n naming, i int, list []api.IncludeProduct) error {
	var c fault.Check
	var all []api.IncludedProduct
	for k, p := range list {
		at := slices.IndexFunc(r.Event.TicketTypes, func(t api.TicketType) bool {
			return t.IsProduct() && (t.ID.String() == p.TicketTypeID || t.Title() == text.Clean(p.TicketTypeID))
		})
		if at < 0 {
			c.Field(false, n.of(i, fmt.Sprintf("includes[%d].ticket_type_id", k)), "is no product of this event")
			continue
		}
		all = append(all, api.IncludedProduct{TicketTypeID: r.Event.TicketTypes[at].ID, Quantity: cmp.Or(p.Quantity, 1),
			Price: p.Price})
	}
	r.Event.TicketTypes[i].Includes = all
	return c.Err()
}

// checkIncluded checks what tickets come with: it is a part of each price at which they are sold.
func (r *record) checkIncluded(c *fault.Check, n naming) {
	for i := range r.Event.TicketTypes {
		t := &r.Event.TicketTypes[i]
		if len(t.Includes) == 0 {
			continue
		}
		c.Field(!t.IsProduct(), n.of(i, "includes"), "is of tickets alone")
		c.Field(len(t.Includes) <= maxIncludes, n.of(i, "includes"), "must be at most %d", maxIncludes)
		parts, units := int64(0), 0
		for k, p := range t.Includes {
			field := func(name string) string { return n.of(i, fmt.Sprintf("includes[%d].%s", k, name)) }
			r.checkProductIncluded(c, n, field, p.TicketTypeID, t)
			same := func(o api.IncludedProduct) bool { return o.TicketTypeID == p.TicketTypeID }
			c.Field(!slices.ContainsFunc(t.Includes[:k], same), field("ticket_type_id"), "is named twice")
			c.Field(p.Quantity >= 1 && p.Quantity <= maxIncluded, field("quantity"), "must be from 1 to %d",
				maxIncluded)
			c.Field(p.Price.Amount >= 0 && p.Price.Amount <= maxPrice, field("price.amount"),
				"must be from 0 to %d, in the currency's smallest unit", int64(maxPrice))
			c.Field(p.Price.Currency == t.Price.Currency, field("price.currency"), "must be %s, as of the ticket type",
				t.Price.Currency)
			parts += p.Price.Amount * int64(min(max(p.Quantity, 0), maxIncluded))
			units += min(max(p.Quantity, 0), maxIncluded)
		}
		c.Field(units <= maxIncluded, n.of(i, "includes"), "are %d products together; at most %d are possible", units,
			maxIncluded)
		c.Field(parts <= t.Price.Amount, n.of(i, "includes"), "are %s of the price, which is %s",
			api.Money{Amount: parts, Currency: t.Price.Currency}, t.Price)
		for k, s := range t.Stages {
			c.Field(parts <= s.Price.Amount, n.of(i, fmt.Sprintf("stages[%d].price.amount", k)),
				"must be at least %d, which the included products are of it", parts)
		}
	}
}

// checkProductIncluded checks that a ticket type can come with a product. One that has a price for a number of tickets
// cannot be included: the inventory counts at that price all that an order has of it.
func (r *record) checkProductIncluded(
	c *fault.Check, n naming, field func(string) string, id ids.TicketType, in *api.TicketType,
) {
	at := r.typeIndex(id)
	if at < 0 || !r.Event.TicketTypes[at].IsProduct() {
		c.Field(false, field("ticket_type_id"), "is no product of this event")
		return
	}
	for k, s := range r.Event.TicketTypes[at].Stages {
		c.Field(s.Quantity == 0, n.of(at, fmt.Sprintf("stages[%d].quantity", k)), "must be 0: %s includes the product",
			in.Name)
	}
}
