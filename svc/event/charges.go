package event

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
)

const (
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
