package event

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// record is all there is to know about an event: what is offered, who works for it, and how its capacity came about.
// What its pointers lead to is never changed.
type record struct {
	api.Offer
	AutoCapacity bool `json:"auto_capacity"` // the capacity follows the ticket types

	owner ids.User // of a new organizer: see change
}

// UnmarshalJSON implements json.Unmarshaler, which Offer does in a way of its own.
func (r *record) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, &r.Offer); err != nil {
		return err
	}
	more := struct {
		AutoCapacity *bool `json:"auto_capacity"`
	}{&r.AutoCapacity}
	return json.Unmarshal(data, &more)
}

// clone returns a copy whose ticket types and team may be changed.
func (r *record) clone() *record {
	c := *r
	c.Event.TicketTypes = slices.Clone(r.Event.TicketTypes)
	c.Event.Quotas, c.Event.Fees = slices.Clone(r.Event.Quotas), slices.Clone(r.Event.Fees)
	c.Event.Translations = slices.Clone(r.Event.Translations)
	c.Team = slices.Clone(r.Team)
	return &c
}

// public reports whether any caller may see the event. A cancelled one was public before.
func (r *record) public() bool { return r.Event.Status != api.EventDraft }

// quantities is what ticketing is told.
func (r *record) quantities() map[ids.TicketType]int {
	m := make(map[ids.TicketType]int, len(r.Event.TicketTypes))
	for _, t := range r.Event.TicketTypes {
		m[t.ID] = t.Quantity
	}
	return m
}

func (r *record) sameQuantities(other *record) bool {
	return maps.Equal(r.quantities(), other.quantities())
}

// currency returns that of the ticket types' prices, which is one, or "" if there are none.
func (r *record) currency() string {
	if len(r.Event.TicketTypes) == 0 {
		return ""
	}
	return r.Event.TicketTypes[0].Price.Currency
}

// sameStock reports whether ticketing needs not be asked about the change to other.
func (r *record) sameStock(other *record) bool {
	same := func(a, b api.QuotaShare) bool {
		return a.ID == b.ID && a.Capacity == b.Capacity && slices.Equal(a.Types, b.Types)
	}
	return r.sameQuantities(other) && r.currency() == other.currency() &&
		slices.EqualFunc(r.Event.QuotaShares(), other.Event.QuotaShares(), same)
}

// fitCapacity sets the capacity to the sum of the quantities, unless the organizer chose one.
func (r *record) fitCapacity() {
	if r.AutoCapacity {
		r.Event.Capacity = r.total()
	}
}

// total returns how many people tickets may let in at most: the quantities, of types that share a quota no more than
// that. Products take no room.
func (r *record) total() int {
	sum, shared := 0, map[ids.Quota]int{}
	for _, t := range r.Event.Tickets() {
		if len(t.Quotas) > 0 {
			shared[t.Quotas[0]] += t.Quantity
			continue
		}
		sum += t.Quantity
	}
	for _, q := range r.Event.Quotas {
		sum += min(shared[q.ID], q.Capacity)
	}
	return sum
}

func (r *record) typeIndex(id ids.TicketType) int {
	return slices.IndexFunc(r.Event.TicketTypes, func(t api.TicketType) bool { return t.ID == id })
}

func (r *record) memberIndex(user ids.User) int {
	return slices.IndexFunc(r.Team, func(m api.TeamMember) bool { return m.UserID == user })
}

func errNoEvent() error { return fault.New(fault.NotFound, api.NoSuchEvent) }
