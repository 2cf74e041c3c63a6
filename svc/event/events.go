package event

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/event/organizer"
)

func (s *Service) create(ctx context.Context, req *api.NewEvent) (*api.Event, error) {
	now := store.Time(s.now())
	caller := rpc.Caller(ctx)
	r := &record{AutoCapacity: req.Capacity == 0}
	r.Team = []api.TeamMember{}
	r.Event = api.Event{
		ID:          ids.New[ids.EventKind](now),
		OrganizerID: cmp.Or(req.OrganizerID, api.OrganizerOf(caller.User)), Status: api.EventDraft,
		Name: req.Name, Description: req.Description, Category: req.Category,
		StartsAt: req.StartsAt, EndsAt: req.EndsAt, Timezone: req.Timezone, Location: req.Location,
		Capacity: req.Capacity, TicketTypes: []api.TicketType{}, Tax: req.Tax,
		Fees: slices.Clone(req.Fees), Providers: req.Providers, VenueID: req.VenueID,
		Reentry: req.Reentry, OrderRules: req.OrderRules, Language: req.Language,
		Translations: slices.Clone(req.Translations), Revision: 1, CreatedAt: now, UpdatedAt: now,
	}
	for i, t := range req.TicketTypes {
		if err := knownStages(wholeEvent, i, nil, t.Stages); err != nil {
			return nil, err
		}
		r.Event.TicketTypes = append(r.Event.TicketTypes, s.newType(t))
	}
	for _, q := range req.Quotas {
		r.Event.Quotas = append(r.Event.Quotas, api.Quota{Name: q.Name, Capacity: q.Capacity})
	}
	r.normalize()
	s.nameQuotas(r)
	for i, t := range req.TicketTypes {
		if err := r.drawOn(wholeEvent, i, t.Quotas); err != nil {
			return nil, err
		}
		r.countByQuotas(i)
		if err := r.include(wholeEvent, i, t.Includes); err != nil {
			return nil, err
		}
	}
	if err := r.validate(wholeEvent); err != nil {
		return nil, err
	}
	r.fitCapacity()
	c := change{Next: r, Subject: api.EventCreated.Subject, Answer: answerTo(ctx, api.CreateEvent.Success())}
	if r.Event.OrganizerID == api.OrganizerOf(caller.User) {
		c.Owner, c.OwnerName = caller.User, s.ownName(ctx, caller.User)
	}
	err := s.store.insert(ctx, c, func(t *api.OrganizerTeam) error { return t.Require(caller, api.MayEditEvent) })
	if errors.Is(err, store.ErrUnknown) {
		if _, found := s.store.load(ctx, r.Event.ID); found == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	return &r.Event, nil
}

// ownName returns what the own organizer of a person is to be called, or "" if it is there already, or cannot be known
// at the moment: then it is asked for later.
func (s *Service) ownName(ctx context.Context, user ids.User) string {
	if _, err := organizer.Team(ctx, s.store.db.Read(), api.OrganizerOf(user)); !fault.Is(err, fault.NotFound) {
		return ""
	}
	person, err := rpc.Call(ctx, s.client, api.GetContact, &api.GetContactOf{ID: user})
	if err != nil {
		s.log.InfoContext(ctx, "the name of a new organizer is asked for later", "user", user, "error", err)
		return ""
	}
	return person.Name
}

func (s *Service) update(ctx context.Context, req *api.PatchEvent) (*api.Event, error) {
	if err := checkScope(req.Scope); err != nil {
		return nil, err
	}
	if later(req.Scope) {
		return s.updateSeries(ctx, req)
	}
	return s.edited(ctx, edit{event: req.ID, need: api.MayEditEvent, ifMatch: req.IfMatch, topic: api.EventUpdated,
		apply: func(r *record) error { return s.patch(r, req) }})
}

// patch changes what a request names, or returns a fault, or errUnchanged.
func (s *Service) patch(r *record, req *api.PatchEvent) error {
	if err := r.open(); err != nil {
		return err
	}
	before := r.clone()
	e := &r.Event
	set(&e.Name, req.Name)
	req.Description.Apply(&e.Description)
	req.Category.Apply(&e.Category)
	set(&e.StartsAt, req.StartsAt)
	set(&e.EndsAt, req.EndsAt)
	set(&e.Timezone, req.Timezone)
	set(&e.Location, req.Location)
	req.Providers.Apply(&e.Providers)
	req.VenueID.Apply(&e.VenueID)
	req.Reentry.Apply(&e.Reentry)
	req.OrderRules.Apply(&e.OrderRules)
	req.Language.Apply(&e.Language)
	req.Translations.Apply(&e.Translations)
	var c fault.Check
	r.patchAlt(&c, req.ImageAlt)
	if req.Capacity.Given {
		req.Capacity.Apply(&e.Capacity)
		r.AutoCapacity = e.Capacity == 0
	}
	req.Quotas.Apply(&e.Quotas)
	req.Tax.Apply(&e.Tax)
	req.Fees.Apply(&e.Fees)
	e.Fees, e.Translations = slices.Clone(e.Fees), slices.Clone(e.Translations) // those of a request are of many dates
	r.normalize()
	checkKnown(&c, before.Event.Quotas, e.Quotas)
	s.nameQuotas(r)
	r.keepQuotas()
	r.check(&c, wholeEvent)
	if e.Status == api.EventPublished && !e.StartsAt.Equal(before.Event.StartsAt) {
		c.Field(e.StartsAt.After(s.now()), "starts_at", "must be in the future")
	}
	if err := c.Err(); err != nil {
		return err
	}
	r.fitCapacity()
	if err := r.checkRoom(); err != nil {
		return err
	}
	if before.same(r) {
		return errUnchanged
	}
	return nil
}

// same reports whether the events are alike but for their ticket types and teams.
func (r *record) same(other *record) bool {
	a, b := r.Event, other.Event
	sameTimes := a.StartsAt.Equal(b.StartsAt) && a.EndsAt.Equal(b.EndsAt)
	sameText := a.Name == b.Name && a.Description == b.Description && a.Category == b.Category &&
		a.Timezone == b.Timezone
	return sameTimes && sameText && slices.Equal(a.Providers, b.Providers) && a.VenueID == b.VenueID &&
		a.Reentry == b.Reentry && a.OrderRules == b.OrderRules &&
		a.Capacity == b.Capacity && r.AutoCapacity == other.AutoCapacity &&
		sameLocation(a.Location, b.Location) && slices.Equal(a.Quotas, b.Quotas) && a.Tax == b.Tax &&
		slices.Equal(a.Fees, b.Fees) && a.Image == b.Image && a.Language == b.Language &&
		slices.Equal(a.Translations, b.Translations)
}

func sameLocation(a, b api.Location) bool {
	sameText := a.Name == b.Name && a.Address == b.Address && a.City == b.City && a.Country == b.Country
	return sameText && equal(a.Latitude, b.Latitude) && equal(a.Longitude, b.Longitude)
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// set changes *field to *value, if there is a value.
func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// open returns a Conflict fault if the event has ended its life.
func (r *record) open() error {
	if r.Event.Status == api.EventCancelled {
		return fault.New(fault.Conflict, "the event is cancelled")
	}
	return nil
}

func (s *Service) publish(ctx context.Context, req *api.EventToPublish) (*api.Event, error) {
	ed := edit{event: req.ID, need: api.MayPublishEvent, topic: api.EventWasPublished,
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			if r.Event.Status == api.EventPublished {
				return errUnchanged
			}
			if missing := r.errors(s.now()); len(missing) > 0 {
				return notReady(missing)
			}
			r.Event.Status = api.EventPublished
			return nil
		}}
	return s.editedIn(ctx, req.Scope, ed)
}

// notReady is the fault of a draft that lacks something: the request is well-formed.
func notReady(missing findings) error {
	var c fault.Check
	for _, m := range missing {
		c.Field(false, m.Field, "%s", m.Detail)
	}
	f := *fault.From(c.Err())
	f.Code, f.Detail = fault.Conflict, "the event cannot be published yet: "+f.Detail
	return &f
}

func (s *Service) cancel(ctx context.Context, req *api.CancelEventRequest) (*api.Event, error) {
	reason := text.CleanLines(req.Reason)
	var c fault.Check
	text.CheckLines(&c, "reason", reason, 0, maxReason)
	if err := c.Err(); err != nil {
		return nil, err
	}
	return s.editedIn(ctx, req.Scope, edit{event: req.ID, need: api.MayPublishEvent, topic: api.EventWasCancelled,
		apply: func(r *record) error {
			switch r.Event.Status {
			case api.EventCancelled:
				return errUnchanged
			case api.EventDraft:
				return fault.New(fault.Conflict, "a draft cannot be cancelled; delete it")
			}
			r.Event.Status, r.Event.CancelReason = api.EventCancelled, reason
			return nil
		}})
}

func (s *Service) delete(ctx context.Context, req *api.EventRef) (*rpc.None, error) {
	_, err := s.change(ctx, edit{event: req.ID, need: api.MayEditEvent, topic: api.EventDeleted, delete: true,
		apply: func(*record) error { return nil }})
	return nil, err
}

// edited makes an edit and answers with the event.
func (s *Service) edited(ctx context.Context, ed edit) (*api.Event, error) {
	r, err := s.change(ctx, ed)
	if err != nil {
		return nil, err
	}
	return &r.Event, nil
}

// cached answers reads of a public event that is in memory, which is where a hot one is.
func (s *Service) cached(_ context.Context, req *api.EventRef) (rpc.Encoded, bool) {
	v, ok := s.cache.peek(req.ID)
	if !ok || !v.record.public() || v.record.Event.Hides() {
		return rpc.Encoded{}, false
	}
	return s.shared(v, true), true
}

// get answers from memory where it can.
func (s *Service) get(ctx context.Context, req *api.EventRef) (rpc.Encoded, error) {
	leased := s.holder.Valid()
	v, err := s.cache.get(ctx, req.ID)
	if err != nil {
		return rpc.Encoded{}, err
	}
	switch {
	case v.record.public() && v.record.Event.Hides(): // not the same for all callers
		if v.record.Can(rpc.Caller(ctx), api.MayReadEvent) {
			return v.encoded, nil
		}
		return v.shown, nil
	case v.record.public():
		return s.shared(v, leased), nil
	}
	return v.encoded, v.record.Require(rpc.Caller(ctx), api.MayVisit)
}

// shared is the answer for all callers. Gateways may keep it if this instance had its lease before it was read, and has
// it still: then every change that was acknowledged by now is in it.
func (s *Service) shared(v *view, leased bool) rpc.Encoded {
	out := v.encoded
	if leased && !v.stale && s.holder.Valid() {
		out.Shared = sharedFor
	}
	return out
}

func (s *Service) offer(ctx context.Context, req *api.OfferRequest) (*api.Offer, error) {
	k, err := s.store.load(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	return &k.Offer, nil
}

// calendarFile is calendar for another service.
func (s *Service) calendarFile(ctx context.Context, req *api.OfferRequest) (*rpc.Blob, error) {
	v, err := s.cache.get(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	return calendar(&v.record.Event)
}

func (s *Service) calendar(ctx context.Context, req *api.EventRef) (*rpc.Blob, error) {
	v, err := s.cache.get(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := v.record.Require(rpc.Caller(ctx), api.MayVisit); err != nil {
		return nil, err
	}
	return calendar(&v.record.Event)
}
