package event

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

// The bounds of an event. Texts are counted in characters.
const (
	maxName        = 200
	maxDescription = 20_000
	maxReason      = 500
	maxAddress     = 500
	maxDuration    = 366 * 24 * time.Hour
	maxCapacity    = 1_000_000
	maxTypes       = 50
	// of an event; with their descriptions they are within what one message carries
	maxTranslations = 10
	maxTeam         = 500
	maxPrice        = 1_000_000_000_000 // minor units: whatever is sold of an event, and in an order, can be summed up
	mostMinutes     = 525_600           // a year
	otherCategory   = "other"           // of an event that names none
)

// Years outside of these are typing errors, and some cannot be written as RFC 3339.
const (
	firstYear = 1970
	lastYear  = 2200
)

var categoryRule = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// naming says how fields are called in the request at hand.
type naming int

// wholeEvent is the naming of requests about an event; otherwise the value is the index of the ticket type that the
// request is about, whose fields stand at the top.
const wholeEvent naming = -1

func (n naming) of(i int, field string) string {
	if int(n) == i {
		return field
	}
	return fmt.Sprintf("ticket_types[%d].%s", i, field)
}

// sum is the field at fault when there are more tickets than the capacity allows.
func (n naming) sum() string {
	if n == wholeEvent {
		return "capacity"
	}
	return "quantity"
}

// normalize brings what a person typed into the form in which it is kept.
func (r *record) normalize() {
	e := &r.Event
	e.Name, e.Description = text.Clean(e.Name), text.CleanLines(e.Description)
	for i := range e.Translations {
		t := &e.Translations[i]
		t.Name, t.Description = text.Clean(t.Name), text.CleanLines(t.Description)
		t.ImageAlt = text.Clean(t.ImageAlt)
	}
	e.Category = strings.ToLower(strings.TrimSpace(e.Category))
	if e.Category == "" {
		e.Category = otherCategory
	}
	if e.Reentry == "" {
		e.Reentry = api.ReentryAny
	}
	e.StartsAt, e.EndsAt = store.Time(e.StartsAt), store.Time(e.EndsAt)
	l := &e.Location
	l.Name, l.Address = text.Clean(l.Name), text.Clean(l.Address)
	l.City, l.Country = text.Clean(l.City), text.Clean(l.Country)
	for i := range e.Quotas {
		e.Quotas[i].Name = text.Clean(e.Quotas[i].Name)
	}
	for i := range e.TicketTypes {
		t := &e.TicketTypes[i]
		t.Name = text.Clean(t.Name)
		t.SalesStart, t.SalesEnd = stored(t.SalesStart), stored(t.SalesEnd)
		normalizeStages(t)
		normalizeTexts(t)
		r.normalizeProduct(i)
	}
	r.normalizeCharges()
}

func stored(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := store.Time(*t)
	return &u
}

// validate returns an Invalid fault that names every field that breaks a rule, or nil.
func (r *record) validate(n naming) error {
	var c fault.Check
	r.check(&c, n)
	return c.Err()
}

func (r *record) check(c *fault.Check, n naming) {
	e := &r.Event
	text.CheckLine(c, "name", e.Name, 1, maxName)
	text.CheckLines(c, "description", e.Description, 0, maxDescription)
	checkTranslations(c, e)
	r.checkTextSize(c, n)
	c.Field(categoryRule.MatchString(e.Category), "category", "must be 1 to 40 of a-z, 0-9 and -")
	c.Field(text.Zone(e.Timezone), "timezone", "must be a time zone of the IANA database, such as Europe/Berlin")
	r.checkTimes(c)
	checkLocation(c, e.Location)
	c.Field(len(e.TicketTypes) <= maxTypes, "ticket_types", "must be at most %d", maxTypes)
	for i := range e.TicketTypes {
		r.checkType(c, n, i)
		r.checkStages(c, n, i)
		r.checkProduct(c, n, i)
		r.checkTexts(c, n, i)
	}
	checkTextsOfQuestions(c, e)
	r.checkIncluded(c, n)
	r.checkAllStages(c, n)
	r.checkQuotas(c)
	r.checkCharges(c, n)
	r.checkCapacity(c, n)
	checkProviders(c, e.Providers)
	checkOrderRules(c, &e.OrderRules)
	c.Field(e.Reentry == api.ReentryAny || e.Reentry == api.ReentryNone, "reentry", "must be any or none")
}

func checkProviders(c *fault.Check, names []string) {
	known := api.PaymentProviders()
	c.Field(len(names) <= len(known), "payment_providers", "must be at most %d", len(known))
	for i, name := range names {
		c.Field(slices.Contains(known, name), "payment_providers", "must be of %s", strings.Join(known, ", "))
		c.Field(!slices.Contains(names[:i], name), "payment_providers", "must name each provider once")
	}
}

func checkOrderRules(c *fault.Check, r *api.OrderRules) {
	c.Field(r.MaxPerOrder == 0 || r.MinPerOrder <= r.MaxPerOrder, "order_rules.min_per_order",
		"must be at most max_per_order")
	c.Field(r.MaxPerPerson == 0 || r.MinPerOrder <= r.MaxPerPerson, "order_rules.min_per_order",
		"must be at most max_per_person")
	within := func(n int, most int, field string) {
		c.Field(n >= 0 && n <= most, "order_rules."+field, "must be from 0 to %d", most)
	}
	within(r.MinPerOrder, maxCapacity, "min_per_order")
	within(r.MaxPerOrder, maxCapacity, "max_per_order")
	within(r.MaxPerPerson, maxCapacity, "max_per_person")
	within(r.AnswerMinutesBefore, mostMinutes, "answer_minutes_before")
	p := r.Cancellation
	within(p.MinutesBefore, mostMinutes, "cancellation.minutes_before")
	within(p.FeePercent, 100, "cancellation.fee_percent")
	fee := func(n int64, field string) {
		c.Field(n >= 0 && n <= maxPrice, "order_rules."+field+".fee_per_ticket",
			"must be from 0 to %d, in the currency's smallest unit", int64(maxPrice))
	}
	fee(p.FeePerTicket, "cancellation")
	within(r.Exchange.MinutesBefore, mostMinutes, "exchange.minutes_before")
	fee(r.Exchange.FeePerTicket, "exchange")
}

func checkLocation(c *fault.Check, l api.Location) {
	text.CheckLine(c, "location.name", l.Name, 0, maxName)
	text.CheckLine(c, "location.address", l.Address, 0, maxAddress)
	text.CheckLine(c, "location.city", l.City, 1, maxName)
	c.Field(text.Country(l.Country), "location.country", "must be a country code of ISO 3166-1, such as DE")
	if (l.Latitude == nil) != (l.Longitude == nil) {
		c.Field(l.Latitude != nil, "location.latitude", "is required beside longitude")
		c.Field(l.Longitude != nil, "location.longitude", "is required beside latitude")
	}
	c.Field(l.Latitude == nil || *l.Latitude >= -90 && *l.Latitude <= 90, "location.latitude", "must be from -90 to 90")
	c.Field(l.Longitude == nil || *l.Longitude >= -180 &&
		*l.Longitude <= 180, "location.longitude", "must be from -180 to 180")
}

func (r *record) checkTimes(c *fault.Check) {
	e := &r.Event
	start := checkTime(c, "starts_at", e.StartsAt)
	end := checkTime(c, "ends_at", e.EndsAt)
	if !start || !end {
		return
	}
	c.Field(e.EndsAt.After(e.StartsAt), "ends_at", "must be after starts_at")
	c.Field(e.EndsAt.Sub(e.StartsAt) <= maxDuration, "ends_at", "must be within a year of starts_at")
}

func (r *record) checkCapacity(c *fault.Check, n naming) {
	total := r.total()
	if r.AutoCapacity {
		c.Field(total <= maxCapacity, n.sum(), "the ticket types have %d tickets together; at most %d are possible",
			total, maxCapacity)
		return
	}
	ok := r.Event.Capacity >= 1 && r.Event.Capacity <= maxCapacity
	c.Field(ok, "capacity", "must be from 1 to %d, or 0 for the sum of the ticket types", maxCapacity)
	if ok {
		c.Field(total <= r.Event.Capacity, n.sum(),
			"the ticket types have %d tickets together, the event has room for %d", total, r.Event.Capacity)
	}
}

func (r *record) checkType(c *fault.Check, n naming, i int) {
	t := &r.Event.TicketTypes[i]
	text.CheckLine(c, n.of(i, "name"), t.Name, 1, maxName)
	c.Field(t.Price.Amount >= 0 && t.Price.Amount <= maxPrice, n.of(i, "price.amount"),
		"must be from 0 to %d, in the currency's smallest unit", int64(maxPrice))
	switch currency := n.of(i, "price.currency"); {
	case !api.KnownCurrency(t.Price.Currency):
		c.Field(false, currency, "must be a currency code of ISO 4217, such as EUR")
	default:
		first := r.firstCurrency(n)
		c.Field(t.Price.Currency == first, currency, "must be %s, as for the other ticket types of the event", first)
	}
	c.Field(t.Quantity >= 0 && t.Quantity <= maxCapacity, n.of(i, "quantity"), "must be from 0 to %d", maxCapacity)
	c.Field(t.MaxPerOrder >= 0 && t.MaxPerOrder <= maxCapacity, n.of(i, "max_per_order"), "must be from 0 to %d",
		maxCapacity)
	c.Field(t.MinPerOrder >= 0 && (t.MaxPerOrder <= 0 || t.MinPerOrder <= t.MaxPerOrder), n.of(i, "min_per_order"),
		"must be from 0 to max_per_order")
	c.Field(t.MaxPerPerson >= 0 && (t.MaxPerPerson == 0 || t.MinPerOrder <= t.MaxPerPerson), n.of(i, "max_per_person"),
		"must be 0, or at least min_per_order")
	start := t.SalesStart == nil || checkTime(c, n.of(i, "sales_start"), *t.SalesStart)
	end := t.SalesEnd == nil || checkTime(c, n.of(i, "sales_end"), *t.SalesEnd)
	if t.SalesStart != nil && start {
		c.Field(t.SalesStart.Before(r.Event.EndsAt), n.of(i, "sales_start"), "must be before the event ends")
	}
	if t.SalesEnd != nil && end {
		c.Field(!t.SalesEnd.After(r.Event.EndsAt), n.of(i, "sales_end"), "must not be after the end of the event")
	}
	if t.SalesStart != nil && t.SalesEnd != nil && start && end {
		c.Field(t.SalesStart.Before(*t.SalesEnd), n.of(i, "sales_end"), "must be after sales_start")
	}
}

// firstCurrency returns the currency that the ticket types must share: that of the first one which is valid and not
// itself what the request is about.
func (r *record) firstCurrency(n naming) string {
	own := ""
	for i, t := range r.Event.TicketTypes {
		if !api.KnownCurrency(t.Price.Currency) {
			continue
		}
		if i != int(n) {
			return t.Price.Currency
		}
		own = t.Price.Currency
	}
	return own
}

// checkTime reports whether t is usable, and records the field if it is not.
func checkTime(c *fault.Check, field string, t time.Time) bool {
	if t.IsZero() {
		c.Field(false, field, "is required")
		return false
	}
	ok := t.Year() >= firstYear && t.Year() <= lastYear
	c.Field(ok, field, "must be between the years %d and %d", firstYear, lastYear)
	return ok
}
