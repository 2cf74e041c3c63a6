package event

import (
	"fmt"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
)

const maxQuotas = 20

// nameQuotas gives new quotas their ids.
func (s *Service) nameQuotas(r *record) {
	for i := range r.Event.Quotas {
		if r.Event.Quotas[i].ID == "" {
			r.Event.Quotas[i].ID = ids.New[ids.QuotaKind](s.now())
		}
	}
}

// checkKnown refuses ids of quotas that the event does not have: ids are given here.
func checkKnown(c *fault.Check, before, after []api.Quota) {
	for i, q := range after {
		known := q.ID == "" || slices.ContainsFunc(before, func(old api.Quota) bool { return old.ID == q.ID })
		c.Field(known, fmt.Sprintf("quotas[%d].id", i), "is no quota of this event: a new one comes without an id")
	}
}

// keepQuotas takes quotas that are gone from the ticket types that drew on them.
func (r *record) keepQuotas() {
	for i := range r.Event.TicketTypes {
		t := &r.Event.TicketTypes[i]
		var kept []ids.Quota
		for _, id := range t.Quotas {
			if r.quota(id) {
				kept = append(kept, id)
			}
		}
		t.Quotas = kept
	}
}

func (r *record) quota(id ids.Quota) bool {
	return slices.ContainsFunc(r.Event.Quotas, func(q api.Quota) bool { return q.ID == id })
}

// drawOn lets ticket type i draw on quotas, which are named by id or name, and on no others.
func (r *record) drawOn(n naming, i int, names []string) error {
	var c fault.Check
	var quotas []ids.Quota
	for k, name := range names {
		at := slices.IndexFunc(r.Event.Quotas, func(q api.Quota) bool {
			return q.ID.String() == name || q.Name == text.Clean(name)
		})
		field := n.of(i, fmt.Sprintf("quotas[%d]", k))
		if c.Field(at >= 0, field, "is no quota of this event"); at < 0 {
			continue
		}
		id := r.Event.Quotas[at].ID
		c.Field(!slices.Contains(quotas, id), field, "is named twice")
		quotas = append(quotas, id)
	}
	r.Event.TicketTypes[i].Quotas = quotas
	return c.Err()
}

func (r *record) checkQuotas(c *fault.Check) {
	all := r.Event.Quotas
	c.Field(len(all) <= maxQuotas, "quotas", "must be at most %d", maxQuotas)
	for i, q := range all {
		field := func(name string) string { return fmt.Sprintf("quotas[%d].%s", i, name) }
		text.CheckLine(c, field("name"), q.Name, 1, maxName)
		c.Field(q.Capacity >= 0 && q.Capacity <= maxCapacity, field("capacity"), "must be from 0 to %d", maxCapacity)
		for _, other := range all[:i] {
			c.Field(other.Name != q.Name, field("name"), "is that of another quota")
			c.Field(other.ID != q.ID, field("id"), "is named twice")
		}
	}
}
