package event

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/event/organizer"
	"github.com/starlightsymphony/starlight/svc/event/recur"
)

// later reports whether a request is about more dates than the one that it names.
func later(scope string) bool { return scope == api.ScopeLater || scope == api.ScopeAll }

func checkScope(scope string) error {
	var c fault.Check
	c.Field(scope == "" || scope == api.ScopeThis || later(scope), "scope", "must be this, later or all")
	return c.Err()
}

// dated is a change of one date of a series.
type dated struct {
	before storedEvent // of a new one there is none
	change
}

// writeAll makes all changes of a series in one transaction, or none: then it returns errMoved, or why.
func (b eventStore) writeAll(ctx context.Context, all []dated, first func(context.Context, bun.Tx) error) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := first(ctx, tx); err != nil {
			return err
		}
		for _, d := range all {
			write := func() error { return b.replaceIn(ctx, tx, d.before, d.change) }
			if d.before.record == nil {
				write = func() error { return b.insertIn(ctx, tx, d.change) }
			}
			if err := write(); err != nil {
				return err
			}
		}
		return nil
	})
}

// sameSeries returns errMoved if a series does not have that many dates any more. Until the transaction ends no other
// gets past this.
func (b eventStore) sameSeries(ctx context.Context, tx bun.Tx, id ids.Series, dates int) error {
	if id == "" {
		return nil
	}
	if err := b.db.Alone(ctx, tx, "series "+id.String()); err != nil {
		return err
	}
	var n int
	err := tx.NewRaw("SELECT count(*) FROM events WHERE series_id = ?", id).Scan(ctx, &n)
	if err == nil && n != dates {
		return errMoved
	}
	return err
}

// createSeries makes the dates of a rule, or shows them.
func (s *Service) createSeries(ctx context.Context, req *api.NewSeries) (*api.EventSeries, error) {
	for attempt := range maxAttempts {
		if attempt > 0 && !pause(ctx, attempt) {
			return nil, ctx.Err()
		}
		out, err := s.trySeries(ctx, req)
		if !errors.Is(err, errMoved) {
			return out, err
		}
	}
	return nil, fault.New(fault.Conflict, "the event is being changed by others; try again")
}

func (s *Service) trySeries(ctx context.Context, req *api.NewSeries) (*api.EventSeries, error) {
	caller, now := rpc.Caller(ctx), store.Time(s.now())
	k, err := s.store.load(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(k.mayMakeMore(caller), k.open()); err != nil {
		return nil, err
	}
	if k.pending != "" {
		s.takeOver(ctx, k)
		return nil, errMoved
	}
	have, err := s.store.loadSeries(ctx, k.Event.SeriesID, time.Time{})
	if err != nil {
		return nil, err
	}
	dates, err := (recur.Rule{Text: req.Rule, Start: k.Event.StartsAt, Zone: zone(&k.Event), Until: req.Until,
		Count: req.Count, Except: req.Except}).Dates()
	if err != nil {
		return nil, err
	}
	all, err := s.newDates(k, have, dates, now)
	if err != nil {
		return nil, err
	}
	out := seriesOf(k.record, have, all)
	if req.DryRun {
		return out.Preview(), nil
	}
	for i := range all {
		out.Dates[slices.IndexFunc(out.Dates, func(d api.SeriesDate) bool {
			return d.StartsAt.Equal(all[i].Next.Event.StartsAt)
		})].EventID = all[i].Next.Event.ID
	}
	if out.ID = k.Event.SeriesID; out.ID == "" {
		out.ID = ids.New[ids.SeriesKind](now)
		joined := k.clone()
		joined.Event.SeriesID, joined.Event.UpdatedAt = out.ID, now
		joined.Event.Revision++
		all = append(all, dated{k, change{Next: joined, Subject: api.EventUpdated.Subject}})
	}
	for i := range all {
		all[i].Next.Event.SeriesID = out.ID
	}
	err = s.store.writeAll(ctx, all, func(ctx context.Context, tx bun.Tx) error {
		team, err := organizer.Team(ctx, tx, k.Event.OrganizerID)
		if err != nil {
			return err
		}
		if err := team.Require(caller, api.MayEditEvent); err != nil {
			return err
		}
		if err := s.store.sameSeries(ctx, tx, k.Event.SeriesID, len(have)); err != nil {
			return err
		}
		return idempotency.KeepFor(ctx, tx, api.CreateSeries.Success(), out)
	})
	s.evict(k.Event.ID)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// newDates returns drafts for the dates that a series lacks.
func (s *Service) newDates(k storedEvent, have []storedEvent, dates []time.Time, now time.Time) ([]dated, error) {
	var all []dated
	for _, at := range dates {
		there := func(h storedEvent) bool { return h.Event.StartsAt.Equal(at) }
		if at.Equal(k.Event.StartsAt) || slices.ContainsFunc(have, there) {
			continue
		}
		made := k.copyAt(recur.Distance(zone(&k.Event), k.Event.StartsAt, at), now)
		made.normalize()
		if err := made.validate(wholeEvent); err != nil {
			return nil, ofDate(err, made)
		}
		all = append(all, dated{change: change{Next: made, Subject: api.EventCreated.Subject}})
	}
	var c fault.Check
	c.Field(max(len(have), 1)+len(all) <= recur.Most, "rule", "makes %d dates more, and a series has at most %d",
		len(all), recur.Most)
	return all, c.Err()
}

// seriesOf returns the dates that there are and those that are new, by their begin.
func seriesOf(k *record, have []storedEvent, more []dated) *api.EventSeries {
	out := &api.EventSeries{}
	add := func(r *record, id ids.Event) {
		out.Dates = append(out.Dates, api.SeriesDate{EventID: id, StartsAt: r.Event.StartsAt, EndsAt: r.Event.EndsAt})
	}
	if k.Event.SeriesID == "" {
		add(k, k.Event.ID)
	}
	for _, h := range have {
		add(h.record, h.Event.ID)
	}
	for _, m := range more {
		add(m.Next, "")
	}
	slices.SortStableFunc(out.Dates, func(a, b api.SeriesDate) int { return a.StartsAt.Compare(b.StartsAt) })
	return out
}

// ofDate says in a fault which date of a series it is about.
func ofDate(err error, r *record) error {
	f := *fault.From(err)
	f.Detail = "on " + r.Event.StartsAt.In(zone(&r.Event)).Format("2006-01-02 15:04") + ": " + f.Detail
	return &f
}

// editedIn makes an edit of an event, or of more dates of its series: all of them, or none.
func (s *Service) editedIn(ctx context.Context, scope string, ed edit) (*api.Event, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	if !later(scope) {
		return s.edited(ctx, ed)
	}
	return s.editSeries(ctx, scope, ed, func(r, _ *record) error { return ed.apply(r) })
}

// updateSeries changes what many dates can have alike. Their times move as far as those of the one that is named.
func (s *Service) updateSeries(ctx context.Context, req *api.PatchEvent) (*api.Event, error) {
	var c fault.Check
	c.Field(!req.Capacity.Given, "capacity", "is of one date alone")
	c.Field(!req.Quotas.Given, "quotas", "are of one date alone")
	c.Field(req.Timezone == nil, "timezone", "is of one date alone")
	if err := c.Err(); err != nil {
		return nil, err
	}
	ed := edit{event: req.ID, need: api.MayEditEvent, ifMatch: req.IfMatch, topic: api.EventUpdated}
	return s.editSeries(ctx, req.Scope, ed, func(r, named *record) error {
		own := *req
		own.StartsAt = movedLike(named, named.Event.StartsAt, req.StartsAt, r.Event.StartsAt)
		own.EndsAt = movedLike(named, named.Event.EndsAt, req.EndsAt, r.Event.EndsAt)
		return s.patch(r, &own)
	})
}

// movedLike returns own, moved as far by the clocks as from is moved to. Nothing moves without to.
func movedLike(r *record, from time.Time, to *time.Time, own time.Time) *time.Time {
	if to == nil {
		return nil
	}
	z := zone(&r.Event)
	moved := recur.Move(z, own, recur.Distance(z, from, *to))
	if own.Equal(from) {
		moved = *to // as it was asked for, also in an hour that there is twice
	}
	return &moved
}

// editSeries makes an edit of the event and of other dates of its series that are not over and not cancelled, in one
// transaction. Such an edit moves no quantities, so that ticketing has nothing to decide.
func (s *Service) editSeries(ctx context.Context, scope string, ed edit,
	apply func(r, named *record) error,
) (*api.Event, error) {
	for attempt := range maxAttempts {
		if attempt > 0 && !pause(ctx, attempt) {
			return nil, ctx.Err()
		}
		named, all, err := s.draftSeries(ctx, scope, ed, apply)
		if err == nil && len(all) > 0 {
			err = s.store.writeAll(ctx, all, func(context.Context, bun.Tx) error { return nil })
			for _, d := range all {
				s.evict(d.Next.Event.ID)
			}
		}
		if err == nil {
			return named, nil
		}
		if !errors.Is(err, errMoved) {
			return nil, err
		}
	}
	return nil, fault.New(fault.Unavailable, "dates of this series are being changed by others").After(unfinishedAfter)
}

// draftSeries applies an edit to each date that it is about, and returns the named one as it will be.
func (s *Service) draftSeries(ctx context.Context, scope string, ed edit, apply func(r, named *record) error) (
	*api.Event, []dated, error) {
	k, err := s.store.load(ctx, ed.event)
	if err != nil {
		return nil, nil, err
	}
	if err := k.Require(rpc.Caller(ctx), ed.need); err != nil {
		return nil, nil, err
	}
	if !rpc.MatchETag(ed.ifMatch, k.Event.ETag()) {
		return nil, nil, fault.New(fault.Precondition, "the event was changed meanwhile")
	}
	series, err := s.store.loadSeries(ctx, k.Event.SeriesID, s.now())
	if err != nil {
		return nil, nil, err
	}
	about := []storedEvent{k}
	for _, d := range series {
		if d.Event.ID != k.Event.ID && (scope == api.ScopeAll || d.Event.StartsAt.After(k.Event.StartsAt)) &&
			d.Event.Status != api.EventCancelled && (d.public() || ed.topic.Subject != api.EventWasCancelled.Subject) {
			about = append(about, d)
		}
	}
	named, all := &k.Event, []dated{}
	for _, d := range about {
		if err := d.Require(rpc.Caller(ctx), ed.need); err != nil {
			return nil, nil, ofDate(err, d.record)
		}
		if d.pending != "" {
			s.takeOver(ctx, d)
			return nil, nil, errMoved
		}
		next := d.clone()
		switch err := apply(next, k.record); {
		case errors.Is(err, errUnchanged):
			continue
		case err != nil:
			return nil, nil, ofDate(err, d.record)
		}
		next.Event.Revision++
		next.Event.UpdatedAt = store.Time(s.now())
		if d.Event.ID == k.Event.ID {
			named = &next.Event
		}
		all = append(all, dated{d, change{Next: next, Subject: ed.topic.Subject, Act: rpc.From(ctx).Endpoint,
			By: auditlog.Author(ctx, "event")}})
	}
	return named, all, nil
}
