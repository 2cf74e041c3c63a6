package event

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// sharedFor is how long gateways may keep an answer. A change invalidates it at once; this bounds what a change costs
// that was never acknowledged, because its instance died between the commit and the invalidation.
const sharedFor = 10 * time.Second

// invalidate drops the copies of an event, here and everywhere, before a change of it is acknowledged.
func (s *Service) invalidate(ctx context.Context, params string) error {
	values, err := url.ParseQuery(params)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the path is not readable")
	}
	if later(values.Get("scope")) { // of which dates is not known before they are read again: all copies go
		return s.copies.Invalidate(ctx, "")
	}
	// Without an id an event was created, as a draft, which is not shared. Of organizers there are no copies.
	if id, err := ids.Parse[ids.EventKind](values.Get("id")); err == nil {
		return s.copies.Invalidate(ctx, id.String())
	}
	return nil
}

// invalidated drops the copies that this instance keeps of an event, or of all. Lists are kept for outages alone, and
// follow the domain events.
func (s *Service) invalidated(tag string) {
	if tag == "" {
		s.cache.clear()
		return
	}
	s.cache.drop(ids.Event(tag))
}

// sweepHolders removes holders that a crash has left, once.
func (s *Service) sweepHolders(ctx context.Context) error {
	if err := s.copies.Sweep(ctx); err != nil && ctx.Err() == nil {
		s.log.Info("holders of copies are swept by the next change", "error", err)
	}
	<-ctx.Done()
	return nil
}

// encodedList is list, with how long the answer is shared.
func (s *Service) encodedList(ctx context.Context, req *api.EventQuery) (rpc.Encoded, error) {
	page, stale, err := s.list(ctx, req)
	if err != nil {
		return rpc.Encoded{}, err
	}
	out := rpc.Encoded{}
	published := req.Status == "" || req.Status == api.EventPublished
	if published && slices.ContainsFunc(page.Items, func(e api.Event) bool { return e.Hides() }) {
		shown := *page
		shown.Items = slices.Clone(page.Items)
		for i := range shown.Items {
			shown.Items[i] = shown.Items[i].Shown()
		}
		page = &shown
	}
	if out.JSON, err = json.Marshal(page); err != nil {
		return rpc.Encoded{}, fault.Wrap(err, fault.Internal, "the events cannot be written")
	}
	if stale || !published {
		return out, nil
	}
	out.Shared = sharedFor
	for _, e := range page.Items { // the list that begins now loses an event when it is over
		out.Shared = min(out.Shared, max(e.EndsAt.Sub(s.now()), 0))
	}
	return out, nil
}
