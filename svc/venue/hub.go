package venue

import (
	"context"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// thereWithin is how long a person at a door of the system waits for the venue.
const thereWithin = 2 * time.Second

// serveHub binds what the edge may ask of the system. An edge is a computer in foreign hands: what it says of its venue
// and of its caller does not count.
func (s *Service) serveHub(a *account) {
	rpc.Handle(a.server, line.SayHello, func(ctx context.Context, req *line.Hello) (*line.Welcome, error) {
		if req.VenueID != "" && req.VenueID != a.venue { // it must not serve the one with the data of the other
			return nil, fault.New(fault.Forbidden, "the credentials are those of the venue %s, and the computer was "+
				"started for %s", a.venue, req.VenueID)
		}
		req.VenueID = a.venue
		return s.hello(inside(ctx), req)
	})
	rpc.Handle(a.server, line.AskState, func(ctx context.Context, req *line.Ask) (*line.State, error) {
		req.VenueID = a.venue
		return s.state(inside(ctx), req)
	})
	rpc.Handle(a.server, line.Login, func(ctx context.Context, req *line.SignIn) (*line.Staff, error) {
		req.VenueID = a.venue
		return s.signIn(inside(ctx), req)
	})
	rpc.Handle(a.server, line.CheckStaff, func(ctx context.Context, req *line.Staffing) (*line.SignedInPeople, error) {
		req.VenueID = a.venue
		return s.staff(inside(ctx), req)
	})
	rpc.Handle(a.server, line.Logout, func(ctx context.Context, req *line.EndedSession) (*rpc.None, error) {
		req.VenueID = a.venue
		return s.signOut(inside(ctx), req)
	})
	rpc.Handle(a.server, line.GetPage, pass(s, a, line.VenueManifest,
		func(r *line.Manifest) *line.Session { return &r.Session }))
	rpc.Handle(a.server, line.Take, pass(s, a, line.VenueTake,
		func(r *line.Taken) *line.Session { return &r.Session }))
	rpc.Handle(a.server, line.Return, pass(s, a, line.VenueReturn,
		func(r *line.Returned) *line.Session { return &r.Session }))
	rpc.Handle(a.server, line.HandUp, pass(s, a, line.VenueJournal,
		func(r *line.Journal) *line.Session { return &r.Session }))
	rpc.Handle(a.server, line.PairDevice, func(ctx context.Context, req *line.Pair) (*api.PairedDevice, error) {
		req.VenueID = a.venue
		return s.pairThere(inside(ctx), req)
	})
	rpc.Handle(a.server, line.ScanAtHub, func(ctx context.Context, req *line.Device) (*api.AdmissionResult, error) {
		req.VenueID = a.venue
		return s.scanHere(inside(ctx), req)
	})
	rpc.Handle(a.server, line.AnswerAtHub, func(
		ctx context.Context, req *line.DeviceAnswers,
	) (*api.AnswerSheet, error) {
		req.VenueID = a.venue
		return s.answerHere(inside(ctx), req)
	})
	rpc.Handle(a.server, line.HandLogs, func(ctx context.Context, req *line.Logs) (*rpc.None, error) {
		req.VenueID = a.venue
		return s.keepLogs(inside(ctx), req)
	})
}

// inside returns the context of a request from outside without what its sender says of itself, for calls on the mesh.
func inside(ctx context.Context) context.Context {
	m := rpc.From(ctx)
	return rpc.WithMeta(ctx, rpc.Meta{Endpoint: m.Endpoint, RequestID: m.RequestID, TraceParent: m.TraceParent})
}

// pass returns a handler that hands a request on to ticketing, if it is of the venue's session.
func pass[Req, Resp any](
	s *Service, a *account, to rpc.Endpoint[Req, Resp], session func(*Req) *line.Session,
) func(context.Context, *Req) (*Resp, error) {
	return func(ctx context.Context, req *Req) (*Resp, error) {
		own := session(req)
		own.VenueID = a.venue
		if err := s.edges.check(ctx, *own); err != nil {
			return nil, err
		}
		return rpc.Call(inside(ctx), s.client, to, req)
	}
}

func (s *Service) hello(ctx context.Context, req *line.Hello) (*line.Welcome, error) {
	var c fault.Check
	named := len(req.Edge) >= minEdge && len(req.Edge) <= maxEdge
	c.Field(named, "edge", "must have %d to %d characters", minEdge, maxEdge)
	c.Field(req.Number > 0, "number", "must be at least 1")
	c.Field(len(req.Version) <= maxName, "version", "must have at most %d characters", maxName)
	if err := c.Err(); err != nil {
		return nil, err
	}
	v, err := s.store.load(ctx, req.VenueID)
	if err != nil {
		return nil, err
	}
	if err := s.edges.bind(ctx, req, s.now()); err != nil {
		if fault.Is(err, fault.Precondition) {
			s.log.WarnContext(ctx, "an edge was refused", "venue", v.ID, "edge", req.Edge, "number", req.Number,
				"error", err)
		}
		return nil, err
	}
	welcome, err := rpc.Call(ctx, s.client, line.VenueHello, req)
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "an edge has said hello", "venue", v.ID, "edge", req.Edge, "number", req.Number,
		"version", req.Version, "journal", req.Journal, "holds", len(req.Holds))
	welcome.Venue, welcome.Now = v, s.now().UTC()
	return welcome, nil
}

// state answers an edge that asks what is new, and keeps how it is.
func (s *Service) state(ctx context.Context, req *line.Ask) (*line.State, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	if err := s.edges.seen(ctx, req.Session, req.Status, s.now()); err != nil {
		return nil, err
	}
	state, err := rpc.Call(ctx, s.client, line.VenueState, req)
	if err != nil {
		return nil, err
	}
	events := make([]ids.Event, len(state.Events))
	for i, e := range state.Events {
		events[i] = e.EventID
	}
	passes, err := s.passes.of(ctx, events)
	if err != nil {
		return nil, err
	}
	for i := range state.Events {
		state.Events[i].Passes = passes[state.Events[i].EventID]
	}
	state.Now = s.now().UTC()
	return state, nil
}

// The length of an edge's name.
const (
	minEdge = 8
	maxEdge = 64
)

// admitThere has the edge of a venue decide on a code.
func (s *Service) admitThere(ctx context.Context, req *line.There) (*api.AdmissionResult, error) {
	row, err := s.edges.load(ctx, req.VenueID)
	if fault.Is(err, fault.NotFound) || err == nil && row.Edge == "" {
		return nil, fault.New(fault.Unavailable, "the venue admits for this event, and no computer serves the venue")
	}
	if err != nil {
		return nil, err
	}
	a := s.accounts.of(req.VenueID)
	if a == nil {
		return nil, errCut()
	}
	admit := req.Admit
	admit.Edge, admit.Until = row.Edge, s.now().Add(thereWithin)
	ctx, cancel := context.WithTimeout(ctx, thereWithin)
	defer cancel()
	result, err := rpc.Call(inside(ctx), a.client, line.AdmitThere, &admit)
	switch {
	case fault.Is(err, fault.Timeout):
		return nil, fault.Wrap(err, fault.Timeout, "the venue admits for this event, and has not answered in time; "+
			"whether it has admitted the ticket is not known: scan it again")
	case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Precondition):
		return nil, errCut()
	}
	return result, err
}

func errCut() error {
	return fault.New(fault.Unavailable, "the venue admits for this event, and there is no line to it now: scan the "+
		"ticket at the venue").After(5 * time.Second)
}

// poke lets the edge of a venue ask what has changed.
func (s *Service) poke(_ context.Context, req *line.VenueRef) (*rpc.None, error) {
	s.pokeEdge(req.VenueID)
	return nil, nil
}

func (s *Service) pokeEdge(venue ids.Venue) {
	if a := s.accounts.of(venue); a != nil {
		_ = a.nc.Publish(line.Poke, nil) // it asks by itself soon
	}
}
