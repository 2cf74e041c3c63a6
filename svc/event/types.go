package event

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

func (s *Service) newType(t api.NewTicketType) api.TicketType {
	return api.TicketType{ID: ids.New[ids.TicketTypeKind](s.now()), Name: t.Name, Price: t.Price, Quantity: t.Quantity,
		MaxPerOrder: t.MaxPerOrder, MinPerOrder: t.MinPerOrder, MaxPerPerson: t.MaxPerPerson,
		SalesStart: t.SalesStart, SalesEnd: t.SalesEnd, Hidden: t.Hidden, Tax: t.Tax,
		FreePrice: t.FreePrice, Stages: s.named(t.Stages), Kind: t.Kind, Per: t.Per, Required: t.Required,
		Group: t.Group, Translations: t.Translations}
}

// prepare notes a change that ticketing is about to be asked about, and reports whether the event was still as it was.
// Until that note is gone no other change can be made to the event. What the change makes is counted here, also if
// ticketing refuses it then.
func (b eventStore) prepare(ctx context.Context, before storedEvent, c change, pending string) (ok bool, err error) {
	err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		ok, err = one(tx.ExecContext(ctx, `UPDATE events SET pending = ?, pending_at = ?
			WHERE id = ? AND revision = ? AND pending = ''`, pending, store.Time(b.now()), before.Event.ID,
			before.Event.Revision))
		if err != nil || !ok {
			return err
		}
		return b.count(ctx, tx, before.record, c)
	})
	return ok, err
}

// count counts what a change makes for its organizer.
func (b eventStore) count(ctx context.Context, tx bun.Tx, before *record, c change) error {
	if c.Delete {
		return nil
	}
	made, of := 0, c.Next.Event.OrganizerID.String()
	for _, t := range c.Next.Event.TicketTypes {
		if before == nil || before.typeIndex(t.ID) < 0 {
			made++
		}
	}
	if before == nil {
		if err := b.organizers.Take(ctx, tx, api.EventsPerOrganizer, of, "events of an organizer", 1); err != nil {
			return err
		}
	}
	return b.organizers.Take(ctx, tx, api.TypesPerOrganizer, of, "ticket types of an organizer", made)
}

func (b eventStore) countAndNote(ctx context.Context, tx bun.Tx, before *record, c change) error {
	if err := b.count(ctx, tx, before, c); err != nil {
		return err
	}
	return note(ctx, tx, before, c)
}

func (s *Service) addType(ctx context.Context, req *api.AddTicketType) (*api.Event, error) {
	if err := knownStages(naming(0), 0, nil, req.Stages); err != nil {
		return nil, err
	}
	added := s.newType(req.NewTicketType)
	return s.edited(ctx, edit{event: req.EventID, need: api.MayEditEvent, topic: api.EventUpdated,
		status: api.CreateTicketType.Success(),
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			i := len(r.Event.TicketTypes)
			r.Event.TicketTypes = append(r.Event.TicketTypes, added)
			r.joinProduct(i)
			r.groupIn(i)
			if err := r.drawOn(naming(i), i, req.Quotas); err != nil {
				return err
			}
			r.countByQuotas(i)
			if err := r.include(naming(i), i, req.Includes); err != nil {
				return err
			}
			return r.accept(i)
		}})
}

func (s *Service) updateType(ctx context.Context, req *api.PatchTicketType) (*api.Event, error) {
	return s.edited(ctx, edit{event: req.EventID, need: api.MayEditEvent, ifMatch: req.IfMatch, topic: api.EventUpdated,
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			i := r.typeIndex(req.ID)
			if i < 0 {
				return errNoType()
			}
			t := &r.Event.TicketTypes[i]
			before := *t
			set(&t.Name, req.Name)
			set(&t.Price, req.Price)
			set(&t.Quantity, req.Quantity)
			req.MaxPerOrder.Apply(&t.MaxPerOrder)
			req.MinPerOrder.Apply(&t.MinPerOrder)
			req.MaxPerPerson.Apply(&t.MaxPerPerson)
			req.SalesStart.ApplyTo(&t.SalesStart)
			req.SalesEnd.ApplyTo(&t.SalesEnd)
			set(&t.Hidden, req.Hidden)
			set(&t.FreePrice, req.FreePrice)
			req.Tax.Apply(&t.Tax)
			if req.Stages.Given {
				var stages []api.Stage
				req.Stages.Apply(&stages)
				if err := knownStages(naming(i), i, before.Stages, stages); err != nil {
					return err
				}
				t.Stages = s.named(stages)
			}
			if req.Quotas.Given {
				var names []string
				req.Quotas.Apply(&names)
				if err := r.drawOn(naming(i), i, names); err != nil {
					return err
				}
			}
			if req.Includes.Given {
				var list []api.IncludeProduct
				req.Includes.Apply(&list)
				if err := r.include(naming(i), i, list); err != nil {
					return err
				}
			}
			if err := r.patchProduct(i, req); err != nil {
				return err
			}
			r.patchTexts(i, before.Group, req)
			if err := r.accept(i); err != nil {
				return err
			}
			if sameType(before, *t) {
				return errUnchanged
			}
			return nil
		}})
}

func (s *Service) deleteType(ctx context.Context, req *api.TicketTypeRef) (*rpc.None, error) {
	_, err := s.change(ctx, edit{event: req.EventID, need: api.MayEditEvent, topic: api.EventUpdated,
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			i := r.typeIndex(req.ID)
			if i < 0 {
				return errNoType()
			}
			if tickets := r.Event.Tickets(); r.public() && len(tickets) == 1 && tickets[0].ID == req.ID {
				return fault.New(fault.Conflict, "an event on sale needs a ticket type")
			}
			if with := r.Event.IncludedIn(req.ID); len(with) > 0 {
				return fault.New(fault.Conflict, "%s includes the product", with[0].Name)
			}
			r.Event.TicketTypes = slices.Delete(r.Event.TicketTypes, i, i+1)
			r.askWithout(req.ID)
			r.fitCapacity()
			return r.checkRoom()
		}})
	return nil, err
}

// accept checks the event after a change of ticket type i.
func (r *record) accept(i int) error {
	r.normalize()
	if err := r.validate(naming(i)); err != nil {
		return err
	}
	r.fitCapacity()
	return r.checkRoom()
}

// checkRoom returns a Conflict fault if the event is on sale and has no room.
func (r *record) checkRoom() error {
	if r.Event.Status == api.EventPublished && r.Event.Capacity < 1 {
		return fault.New(fault.Conflict, "an event on sale needs room for at least one")
	}
	return nil
}

func sameType(a, b api.TicketType) bool {
	sameWindow := sameTime(a.SalesStart, b.SalesStart) && sameTime(a.SalesEnd, b.SalesEnd)
	return sameWindow && a.Name == b.Name && a.Price == b.Price && a.Quantity == b.Quantity &&
		a.MaxPerOrder == b.MaxPerOrder && a.MinPerOrder == b.MinPerOrder && a.MaxPerPerson == b.MaxPerPerson &&
		a.Hidden == b.Hidden && a.Tax == b.Tax && a.FreePrice == b.FreePrice &&
		a.Per == b.Per && a.Required == b.Required && a.Group == b.Group &&
		slices.Equal(a.Translations, b.Translations) && slices.Equal(a.Includes, b.Includes) &&
		slices.Equal(a.Quotas, b.Quotas) && slices.EqualFunc(a.Stages, b.Stages, sameStage)
}

func sameTime(a, b *time.Time) bool {
	return a == b || a != nil && b != nil && a.Equal(*b)
}

func errNoType() error { return fault.New(fault.NotFound, "the event has no such ticket type") }

const maxGroup = 100

// normalizeProduct brings what makes type i a product into the form in which it is kept. A new variant that says
// nothing of it belongs to tickets as the others of its group do.
func (r *record) normalizeProduct(i int) {
	t := &r.Event.TicketTypes[i]
	if t.Kind == api.KindTicket {
		t.Kind = ""
	}
	t.Group = text.Clean(t.Group)
	if !t.IsProduct() || t.Per != "" {
		return
	}
	if k := r.variantBeside(i); k >= 0 {
		t.Per = r.Event.TicketTypes[k].Per
	}
	t.Per = cmp.Or(t.Per, api.PerOrder)
}

// variantBeside returns the first other variant of the group of type i, or -1.
func (r *record) variantBeside(i int) int {
	t := &r.Event.TicketTypes[i]
	return slices.IndexFunc(r.Event.TicketTypes, func(o api.TicketType) bool {
		return t.Group != "" && o.Group == t.Group && o.ID != t.ID
	})
}

// checkProduct checks what makes type i a product.
func (r *record) checkProduct(c *fault.Check, n naming, i int) {
	t := &r.Event.TicketTypes[i]
	if !t.IsProduct() {
		c.Field(t.Kind == "", n.of(i, "kind"), "must be ticket or product")
		c.Field(t.Per == "", n.of(i, "per"), "is of products alone")
		c.Field(!t.Required, n.of(i, "required"), "is of products alone")
		c.Field(t.Group == "", n.of(i, "group"), "is of products alone")
		return
	}
	c.Field(t.Per == api.PerOrder || t.Per == api.PerTicket, n.of(i, "per"), "must be order or ticket")
	text.CheckLine(c, n.of(i, "group"), t.Group, 0, maxGroup)
	if n != wholeEvent && int(n) != i { // the request is about another one, which is to blame
		return
	}
	shown := !t.Hidden
	for k := range r.Event.TicketTypes {
		o := &r.Event.TicketTypes[k]
		if k == i || t.Group == "" || o.Group != t.Group {
			continue
		}
		c.Field(t.Name != o.Name || n == wholeEvent && k > i, n.of(i, "name"), "is the name of another variant of %s",
			t.Group)
		if shown = shown || !o.Hidden; k != r.variantBeside(i) || n == wholeEvent && k > i {
			continue
		}
		c.Field(t.Per == o.Per, n.of(i, "per"), "must be %s, as of the other variants of %s", o.Per, t.Group)
		c.Field(t.Required == o.Required, n.of(i, "required"), "must be %t, as of the other variants of %s", o.Required,
			t.Group)
	}
	c.Field(!t.Required || shown, n.of(i, "hidden"), "must be false of what is required: who has no code could order "+
		"nothing")
}

// joinProduct makes type i, which is new, required if it is a variant of what is.
func (r *record) joinProduct(i int) {
	t := &r.Event.TicketTypes[i]
	t.Group = text.Clean(t.Group)
	if k := r.variantBeside(i); k >= 0 && t.IsProduct() && r.Event.TicketTypes[k].Required {
		t.Required = true
	}
}

// patchProduct changes what makes type i a product. What is said of a variant holds for all of its group, and one that
// comes to another group takes over what holds there.
func (r *record) patchProduct(i int, req *api.PatchTicketType) error {
	t := &r.Event.TicketTypes[i]
	if !t.IsProduct() {
		var c fault.Check
		c.Field(req.Per == nil, "per", "is of products alone")
		c.Field(req.Required == nil, "required", "is of products alone")
		c.Field(!req.Group.Given, "group", "is of products alone")
		return c.Err()
	}
	before := t.Group
	req.Group.Apply(&t.Group)
	t.Group = text.Clean(t.Group)
	if k := r.variantBeside(i); k >= 0 && t.Group != before {
		t.Per, t.Required = r.Event.TicketTypes[k].Per, r.Event.TicketTypes[k].Required
	}
	set(&t.Per, req.Per)
	set(&t.Required, req.Required)
	for k := range r.Event.TicketTypes {
		if o := &r.Event.TicketTypes[k]; t.Group != "" && o.Group == t.Group {
			o.Per, o.Required = t.Per, t.Required
		}
	}
	return nil
}

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

// countByQuotas gives a new ticket type that has no number of its own that of the smallest quota it draws on.
func (r *record) countByQuotas(i int) {
	t := &r.Event.TicketTypes[i]
	if t.Quantity != 0 || len(t.Quotas) == 0 {
		return
	}
	t.Quantity = maxCapacity
	for _, q := range r.Event.Quotas {
		if slices.Contains(t.Quotas, q.ID) {
			t.Quantity = min(t.Quantity, q.Capacity)
		}
	}
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
