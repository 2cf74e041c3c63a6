package codes

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// mostMoney bounds what a discount can be, far below overflow.
const mostMoney = 1_000_000_000_000

var codeRule = regexp.MustCompile(`^[\p{L}\p{N}_-]{3,40}$`)

func checkCode(c *fault.Check, field, code string) {
	c.Field(codeRule.MatchString(normalize(code)), field, "must be 3 to 40 letters, digits, - and _")
}

// clean brings what a person typed into the form in which it is kept.
func clean(t *api.PromoTerms) {
	t.Name = text.Clean(t.Name)
	if t.Kind == "" {
		t.Kind = api.PromoNone
	}
	for _, at := range []**time.Time{&t.ValidFrom, &t.ValidUntil, &t.SalesStart} {
		if *at != nil {
			u := store.Time(**at)
			*at = &u
		}
	}
}

// check records what is wrong with terms, for an event or, without one, for all of an organizer.
func check(c *fault.Check, t *api.PromoTerms, e *api.Event) {
	text.CheckLine(c, "name", t.Name, 0, 200)
	percent, ok := price.ParsePercent(t.Percent)
	kinds := []string{api.PromoNone, api.PromoPercent, api.PromoAmount, api.PromoPrice, api.PromoBundle}
	c.Field(slices.Contains(kinds, t.Kind), "kind", "must be none, percent, amount, price or bundle")
	only := func(field string, given, wanted bool) {
		c.Field(!given || wanted, field, "is not for this kind")
	}
	if t.Kind == api.PromoPercent {
		c.Field(ok && percent > 0, "percent", "must be more than 0 and at most 100, with at most two decimals")
	}
	only("percent", t.Percent != "", t.Kind == api.PromoPercent)
	checkMoney(c, "amount", t.Amount, t.Kind == api.PromoAmount, e)
	checkMoney(c, "price", t.Price, t.Kind == api.PromoPrice, e)
	if t.Kind == api.PromoBundle {
		c.Field(t.Buy >= 2 && t.Buy <= 1000, "buy", "must be from 2 to 1000")
		c.Field(t.Pay >= 0 && t.Pay < t.Buy, "pay", "must be less than buy")
	}
	only("buy", t.Buy != 0, t.Kind == api.PromoBundle)
	only("pay", t.Pay != 0, t.Kind == api.PromoBundle)
	for field, n := range map[string]int{"max_uses": t.MaxUses, "max_per_person": t.MaxPerPerson,
		"max_tickets": t.MaxTickets, "min_tickets": t.MinTickets} {
		c.Field(n >= 0 && n <= 1_000_000_000, field, "must be from 0 to 1000000000")
	}
	c.Field(t.MinTotal >= 0 && t.MinTotal <= mostMoney, "min_total", "must be from 0 to %d", int64(mostMoney))
	c.Field(t.ValidFrom == nil || t.ValidUntil == nil || t.ValidFrom.Before(*t.ValidUntil), "valid_until",
		"must be after valid_from")
	if t.Auto {
		c.Field(t.Kind != api.PromoNone, "kind", "must change prices: it applies by itself")
		for field, given := range map[string]bool{"max_uses": t.MaxUses > 0, "max_per_person": t.MaxPerPerson > 0,
			"unlocks": t.Unlocks, "reserve": t.Reserve != nil, "sales_start": t.SalesStart != nil} {
			c.Field(!given, field, "is not for what applies by itself")
		}
	}
	checkTypes(c, t, e)
}

func checkMoney(c *fault.Check, field string, m *api.Money, wanted bool, e *api.Event) {
	if m == nil || !wanted {
		c.Field(m == nil, field, "is not for this kind")
		c.Field(!wanted, field, "is required")
		return
	}
	c.Field(m.Amount >= 0 && m.Amount <= mostMoney, field+".amount", "must be from 0 to %d", int64(mostMoney))
	c.Field(api.KnownCurrency(m.Currency), field+".currency", "must be a currency code of ISO 4217, such as EUR")
	if e != nil && len(e.TicketTypes) > 0 {
		first := e.TicketTypes[0].Price.Currency
		c.Field(m.Currency == first, field+".currency", "must be %s, in which the event sells", first)
	}
}

func checkTypes(c *fault.Check, t *api.PromoTerms, e *api.Event) {
	if e == nil {
		c.Field(len(t.TicketTypeIDs) == 0, "ticket_type_ids", "is not for codes of all events")
		c.Field(t.Reserve == nil, "reserve", "is not for codes of all events")
		return
	}
	for i, id := range t.TicketTypeIDs {
		field := fmt.Sprintf("ticket_type_ids[%d]", i)
		c.Field(e.TicketType(id) != nil, field, "is no ticket type of this event")
		c.Field(!slices.Contains(t.TicketTypeIDs[:i], id), field, "is named twice")
	}
	k := t.Reserve
	if k == nil {
		return
	}
	quota := slices.ContainsFunc(e.Quotas, func(q api.Quota) bool { return q.ID == k.QuotaID })
	c.Field((k.TicketTypeID == "") != (k.QuotaID == ""), "reserve", "must name a ticket type or a quota")
	c.Field(k.TicketTypeID == "" || e.TicketType(k.TicketTypeID) != nil, "reserve.ticket_type_id",
		"is no ticket type of this event")
	c.Field(k.QuotaID == "" || quota, "reserve.quota_id", "is no quota of this event")
	c.Field(k.Quantity >= 0 && k.Quantity <= 1_000_000, "reserve.quantity", "must be from 0 to 1000000")
	c.Field(k.Quantity == 0 || e.Status == api.EventPublished, "reserve", "needs an event that is on sale")
}

// apply makes changes of terms.
func apply(t *api.PromoTerms, p *api.PromoChanges) {
	p.Name.Apply(&t.Name)
	if p.Percent != nil {
		t.Percent = *p.Percent
	}
	if p.Amount != nil {
		t.Amount = p.Amount
	}
	if p.Price != nil {
		t.Price = p.Price
	}
	for field, n := range map[*int]*int{&t.Buy: p.Buy, &t.Pay: p.Pay} {
		if n != nil {
			*field = *n
		}
	}
	if p.Unlocks != nil {
		t.Unlocks = *p.Unlocks
	}
	p.MaxUses.Apply(&t.MaxUses)
	p.MaxPerPerson.Apply(&t.MaxPerPerson)
	p.MaxTickets.Apply(&t.MaxTickets)
	p.MinTickets.Apply(&t.MinTickets)
	p.MinTotal.Apply(&t.MinTotal)
	p.TicketTypeIDs.Apply(&t.TicketTypeIDs)
	p.Reserve.ApplyTo(&t.Reserve)
	p.ValidFrom.ApplyTo(&t.ValidFrom)
	p.ValidUntil.ApplyTo(&t.ValidUntil)
	p.SalesStart.ApplyTo(&t.SalesStart)
}
