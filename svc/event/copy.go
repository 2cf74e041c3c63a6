package event

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/event/recur"
)

// zone returns the zone of an event, which was checked when it was written.
func zone(e *api.Event) *time.Location {
	z, err := time.LoadLocation(e.Timezone)
	if err != nil {
		return time.UTC
	}
	return z
}

// move moves all times of an event by the clocks of its zone: those of the sale, too.
func (r *record) move(by time.Duration) {
	e, z := &r.Event, zone(&r.Event)
	e.StartsAt, e.EndsAt = recur.Move(z, e.StartsAt, by), recur.Move(z, e.EndsAt, by)
	moved := func(t *time.Time) *time.Time {
		if t == nil {
			return nil
		}
		m := recur.Move(z, *t, by)
		return &m
	}
	for i := range e.TicketTypes {
		t := &e.TicketTypes[i]
		t.SalesStart, t.SalesEnd = moved(t.SalesStart), moved(t.SalesEnd)
		t.Stages = slices.Clone(t.Stages)
		for k := range t.Stages {
			s := &t.Stages[k]
			s.From, s.Until = moved(s.From), moved(s.Until)
		}
	}
}

// copyAt returns a draft with all that an event has, under ids of its own, moved by the clocks of its zone.
func (r *record) copyAt(by time.Duration, now time.Time) *record {
	c := r.clone()
	e := &c.Event
	e.ID, e.Status, e.CancelReason, e.SeriesID = ids.New[ids.EventKind](now), api.EventDraft, "", ""
	e.Revision, e.CreatedAt, e.UpdatedAt = 1, now, now
	named := map[ids.Quota]ids.Quota{}
	for i := range e.Quotas {
		id := ids.New[ids.QuotaKind](now)
		named[e.Quotas[i].ID], e.Quotas[i].ID = id, id
	}
	types := map[ids.TicketType]ids.TicketType{}
	for i := range e.TicketTypes {
		t := &e.TicketTypes[i]
		id := ids.New[ids.TicketTypeKind](now)
		types[t.ID], t.ID = id, id
		t.Quotas = slices.Clone(t.Quotas)
		for k, id := range t.Quotas {
			t.Quotas[k] = named[id]
		}
		t.Stages = slices.Clone(t.Stages)
		for k := range t.Stages {
			t.Stages[k].ID = ids.New[ids.StageKind](now)
		}
	}
	for i := range e.TicketTypes {
		t := &e.TicketTypes[i]
		t.Includes = slices.Clone(t.Includes)
		for k := range t.Includes {
			t.Includes[k].TicketTypeID = types[t.Includes[k].TicketTypeID]
		}
	}
	e.Questions = copyQuestions(e.Questions, types)
	c.move(by)
	return c
}

// mayMakeMore returns a fault unless the caller may make events like this one for its organizer.
func (r *record) mayMakeMore(caller rpc.Principal) error {
	if err := r.Require(caller, api.MayEditEvent); err != nil {
		return err
	}
	if !r.Organizer.Can(caller, api.MayEditEvent) {
		return fault.New(fault.Forbidden,
			"events are made by members of the organizer; the caller works for this one alone")
	}
	return nil
}

func (s *Service) copyEvent(ctx context.Context, req *api.CopyOf) (*api.Event, error) {
	caller, now := rpc.Caller(ctx), store.Time(s.now())
	k, err := s.store.load(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := k.mayMakeMore(caller); err != nil {
		return nil, err
	}
	var c fault.Check
	if checkTime(&c, "starts_at", req.StartsAt); c.Err() != nil {
		return nil, c.Err()
	}
	made := k.copyAt(recur.Distance(zone(&k.Event), k.Event.StartsAt, store.Time(req.StartsAt)), now)
	made.Event.StartsAt = store.Time(req.StartsAt) // as it was asked for, also in an hour that there is twice
	made.Event.Name = cmp.Or(req.Name, made.Event.Name)
	made.normalize()
	if err := made.validate(wholeEvent); err != nil {
		return nil, err
	}
	err = s.store.insert(ctx, change{Next: made, Subject: api.EventCreated.Subject,
		Answer: answerTo(ctx, api.CopyEvent.Success())},
		func(t *api.OrganizerTeam) error { return t.Require(caller, api.MayEditEvent) })
	if errors.Is(err, store.ErrUnknown) {
		if _, found := s.store.load(ctx, made.Event.ID); found == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	return &made.Event, nil
}
