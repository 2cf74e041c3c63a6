package venue

import (
	"context"
	"errors"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

// The bounds of a venue. Texts are counted in characters.
const (
	maxName    = 200
	maxAddress = 500
	maxGate    = 80
	maxGates   = 100
)

// updateAttempts bounds how often a change is tried again because another one was faster.
const updateAttempts = 10

func (s *Service) create(ctx context.Context, req *api.NewVenue) (*api.Venue, error) {
	now := store.Time(s.now())
	v := api.Venue{ID: ids.New[ids.VenueKind](now), Owner: rpc.Caller(ctx).User, Name: req.Name, Address: req.Address,
		Timezone: req.Timezone, Gates: req.Gates, Revision: 1, CreatedAt: now, UpdatedAt: now}
	if err := check(&v); err != nil {
		return nil, err
	}
	err := s.store.insert(ctx, v)
	if errors.Is(err, store.ErrUnknown) {
		if _, found := s.store.load(ctx, v.ID); found == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func (s *Service) list(ctx context.Context, req *api.Page) (*api.List[api.Venue], error) {
	caller := rpc.Caller(ctx)
	owner := caller.User
	if caller.Admin() {
		owner = ""
	}
	return s.store.newest(ctx, owner, *req)
}

func (s *Service) get(ctx context.Context, req *api.VenueRef) (*api.Venue, error) {
	v, err := s.store.load(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if caller := rpc.Caller(ctx); v.Owner != caller.User && !caller.Admin() {
		return nil, errNoVenue()
	}
	return &v, nil
}

// find returns a venue to ticketing, which knows who may do what at an event's doors.
func (s *Service) find(ctx context.Context, req *line.VenueRef) (*api.Venue, error) {
	v, err := s.store.load(ctx, req.VenueID)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func (s *Service) update(ctx context.Context, req *api.PatchVenue) (*api.Venue, error) {
	for range updateAttempts {
		before, err := s.get(ctx, &api.VenueRef{ID: req.ID})
		if err != nil {
			return nil, err
		}
		if !rpc.MatchETag(req.IfMatch, before.ETag()) {
			return nil, fault.New(fault.Precondition, "the venue has changed since it was read")
		}
		next := *before
		if req.Name != nil {
			next.Name = *req.Name
		}
		if req.Timezone != nil {
			next.Timezone = *req.Timezone
		}
		req.Address.Apply(&next.Address)
		req.Gates.Apply(&next.Gates)
		if err := check(&next); err != nil {
			return nil, err
		}
		if same(before, &next) {
			return before, nil
		}
		next.Revision++
		next.UpdatedAt = store.Time(s.now())
		replaced, err := s.store.replace(ctx, *before, next)
		if err != nil {
			return nil, err
		}
		if replaced {
			return &next, nil
		}
	}
	return nil, fault.New(fault.Unavailable, "the venue is being changed by too many callers at once")
}

func same(a, b *api.Venue) bool {
	return a.Name == b.Name && a.Address == b.Address && a.Timezone == b.Timezone && slices.Equal(a.Gates, b.Gates)
}

// check normalizes a venue, and returns a fault that names every field that breaks a rule.
func check(v *api.Venue) error {
	v.Name, v.Address = text.Clean(v.Name), text.Clean(v.Address)
	v.Gates = slices.Clone(v.Gates)
	if v.Gates == nil {
		v.Gates = []string{}
	}
	var c fault.Check
	text.CheckLine(&c, "name", v.Name, 1, maxName)
	text.CheckLine(&c, "address", v.Address, 0, maxAddress)
	c.Field(text.Zone(v.Timezone), "timezone", "must be a time zone of the IANA database, such as Europe/Berlin")
	c.Field(len(v.Gates) <= maxGates, "gates", "must be at most %d", maxGates)
	for i, name := range v.Gates {
		v.Gates[i] = text.Clean(name)
		text.CheckLine(&c, "gates", v.Gates[i], 1, maxGate)
		c.Field(!slices.Contains(v.Gates[:i], v.Gates[i]), "gates", "must name each gate once")
	}
	return c.Err()
}

func errNoVenue() error { return fault.New(fault.NotFound, "there is no such venue") }
