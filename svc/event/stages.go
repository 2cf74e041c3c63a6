package event

import (
	"fmt"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
)

// Stages are bounded because each of an event's commits in the inventory counts all of those that were sold.
const (
	maxStages    = 10 // of a ticket type
	maxAllStages = 50 // of an event
	maxStageName = 100
)

// named returns stages of which the new ones have got their ids.
func (s *Service) named(stages []api.Stage) []api.Stage {
	out := slices.Clone(stages)
	for i := range out {
		if out[i].ID == "" {
			out[i].ID = ids.New[ids.StageKind](s.now())
		}
	}
	return out
}

// knownStages refuses ids of stages that ticket type i did not have before: ids are given here.
func knownStages(n naming, i int, before, after []api.Stage) error {
	var c fault.Check
	for k, s := range after {
		field := n.of(i, fmt.Sprintf("stages[%d].id", k))
		same := func(old api.Stage) bool { return old.ID == s.ID }
		c.Field(s.ID == "" || slices.ContainsFunc(before, same), field,
			"is no stage of this ticket type: a new one comes without an id")
		c.Field(s.ID == "" || !slices.ContainsFunc(after[:k], same), field, "is named twice")
	}
	return c.Err()
}

// normalizeStages brings the stages of a ticket type into the form in which they are kept.
func normalizeStages(t *api.TicketType) {
	t.Stages = slices.Clone(t.Stages)
	for i := range t.Stages {
		s := &t.Stages[i]
		s.Name, s.From, s.Until = text.Clean(s.Name), stored(s.From), stored(s.Until)
		s.Translations = slices.Clone(s.Translations)
		for l := range s.Translations {
			s.Translations[l].Name = text.Clean(s.Translations[l].Name)
		}
	}
}

// checkStages checks the stages of ticket type i.
func (r *record) checkStages(c *fault.Check, n naming, i int) {
	t := &r.Event.TicketTypes[i]
	c.Field(len(t.Stages) <= maxStages, n.of(i, "stages"), "must be at most %d", maxStages)
	c.Field(!t.FreePrice || len(t.Stages) == 0, n.of(i, "stages"), "must not be given where buyers pay what they want")
	for k := range t.Stages {
		s := &t.Stages[k]
		field := func(name string) string { return n.of(i, fmt.Sprintf("stages[%d].%s", k, name)) }
		text.CheckLine(c, field("name"), s.Name, 1, maxStageName)
		alsoIn(c, field, &r.Event, s.Translations, func(of func(string) string, in api.StageTranslation) {
			text.CheckLine(c, of("name"), in.Name, 1, maxStageName)
		})
		c.Field(s.Price.Amount >= 0 && s.Price.Amount <= maxPrice, field("price.amount"),
			"must be from 0 to %d, in the currency's smallest unit", int64(maxPrice))
		c.Field(s.Price.Currency == t.Price.Currency, field("price.currency"), "must be %s, as of the ticket type",
			t.Price.Currency)
		c.Field(s.Quantity >= 0 && s.Quantity <= maxCapacity, field("quantity"), "must be from 0 to %d", maxCapacity)
		from := s.From == nil || checkTime(c, field("from"), *s.From)
		until := s.Until == nil || checkTime(c, field("until"), *s.Until)
		if s.From != nil && s.Until != nil && from && until {
			c.Field(s.From.Before(*s.Until), field("until"), "must be after from")
		}
		c.Field(s.From != nil || s.Until != nil || s.Quantity > 0, field("quantity"),
			"is required, or from or until: a stage without an end is the price of the ticket type")
	}
}

// checkAllStages checks how many stages the ticket types have together.
func (r *record) checkAllStages(c *fault.Check, n naming) {
	all, field := 0, "ticket_types"
	if n != wholeEvent {
		field = "stages"
	}
	for i := range r.Event.TicketTypes {
		all += len(r.Event.TicketTypes[i].Stages)
	}
	c.Field(all <= maxAllStages, field, "have %d stages together; at most %d are possible", all, maxAllStages)
}

func sameStage(a, b api.Stage) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Price == b.Price && a.Quantity == b.Quantity &&
		sameTime(a.From, b.From) && sameTime(a.Until, b.Until) && slices.Equal(a.Translations, b.Translations)
}
