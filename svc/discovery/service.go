// Package discovery tells who is there: every instance of every service, its endpoints, health and numbers, from what
// the instances say of themselves over the NATS micro protocol. It keeps nothing and is told nothing.
package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/sync/errgroup"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// An instance has patience to answer at all, and at most stall after the last one that did: long enough for one that a
// busy machine holds up: a healthy instance that is missing from the list would mislead an operator.
const (
	patience = time.Second
	stall    = 300 * time.Millisecond
)

// Deps is what the service stands on.
type Deps struct {
	NATS *nats.Conn // may publish $SRV.>
	Log  *slog.Logger
}

// Service is one instance of the discovery service.
type Service struct {
	nc  *nats.Conn
	log *slog.Logger
}

// New returns the service.
func New(_ context.Context, d Deps) (*Service, error) {
	return &Service{nc: d.NATS, log: d.Log}, nil
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.ListServices, s.services)
}

// answer is what an instance said, and how long that took.
type answer[T any] struct {
	value T
	after time.Duration
}

// instance is what one instance has answered; nil where it has not.
type instance struct {
	micro.ServiceIdentity
	ping  *answer[micro.Ping]
	info  *micro.Info
	stats *micro.Stats
}

// services asks all instances at once who they are and how they do.
func (s *Service) services(ctx context.Context, _ *rpc.None) (*api.List[api.ServiceInstance], error) {
	var (
		pings []answer[micro.Ping]
		infos []answer[micro.Info]
		stats []answer[micro.Stats]
		all   errgroup.Group
	)
	all.Go(func() (err error) { pings, err = ask[micro.Ping](ctx, s, micro.PingVerb); return err })
	all.Go(func() (err error) { infos, err = ask[micro.Info](ctx, s, micro.InfoVerb); return err })
	all.Go(func() (err error) { stats, err = ask[micro.Stats](ctx, s, micro.StatsVerb); return err })
	if err := all.Wait(); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the services cannot be asked")
	}
	found := make(map[string]*instance)
	at := func(id micro.ServiceIdentity) *instance {
		if found[id.ID] == nil {
			found[id.ID] = &instance{ServiceIdentity: id}
		}
		return found[id.ID]
	}
	for i := range pings {
		at(pings[i].value.ServiceIdentity).ping = &pings[i]
	}
	for i := range infos {
		at(infos[i].value.ServiceIdentity).info = &infos[i].value
	}
	for i := range stats {
		at(stats[i].value.ServiceIdentity).stats = &stats[i].value
	}
	out := &api.List[api.ServiceInstance]{Items: make([]api.ServiceInstance, 0, len(found))}
	for _, one := range found {
		out.Items = append(out.Items, one.describe())
	}
	slices.SortFunc(out.Items, func(a, b api.ServiceInstance) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// describe puts the answers together. An instance that answered only in part is there, but not healthy.
func (i *instance) describe() api.ServiceInstance {
	out := api.ServiceInstance{Service: i.Name, ID: i.ID, Version: i.Version, Endpoints: []api.InstanceEndpoint{},
		Healthy: i.ping != nil && i.info != nil && i.stats != nil}
	if i.ping != nil {
		out.Latency = milliseconds(i.ping.after)
	}
	byName := map[string]*micro.EndpointStats{}
	if i.stats != nil {
		out.StartedAt = i.stats.Started.UTC()
		for _, e := range i.stats.Endpoints {
			byName[e.Name] = e
		}
	}
	if i.info == nil {
		return out
	}
	for _, e := range i.info.Endpoints {
		one := api.InstanceEndpoint{Name: e.Name, Subject: e.Subject, Method: e.Metadata["method"],
			Path: e.Metadata["path"]}
		var own rpc.EndpointStats
		if st := byName[e.Name]; st != nil && json.Unmarshal(st.Data, &own) == nil {
			one.Requests, one.Errors, one.MeanMs, one.LastError = own.Requests, own.Errors, own.MeanMs, own.LastError
		}
		out.Endpoints = append(out.Endpoints, one)
	}
	slices.SortFunc(out.Endpoints, func(a, b api.InstanceEndpoint) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// ask sends one question to all instances and collects what comes back in time.
func ask[T any](ctx context.Context, s *Service, verb micro.Verb) ([]answer[T], error) {
	subject, err := micro.ControlSubject(verb, "", "")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	inbox := s.nc.NewInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	start := time.Now()
	if err := s.nc.PublishRequest(subject, inbox, nil); err != nil {
		return nil, err
	}
	var out []answer[T]
	for {
		wait := patience
		if len(out) > 0 {
			wait = stall
		}
		next, stop := context.WithTimeout(ctx, wait)
		msg, err := sub.NextMsgWithContext(next)
		stop()
		switch {
		case errors.Is(err, context.DeadlineExceeded): // no instance more
			return out, nil
		case err != nil:
			return nil, err
		case len(msg.Data) == 0: // NATS itself: no instance at all
			return out, nil
		}
		var v T
		if err := json.Unmarshal(msg.Data, &v); err != nil {
			s.log.WarnContext(ctx, "unreadable answer of a service", "subject", subject, "error", err)
			continue
		}
		out = append(out, answer[T]{v, time.Since(start)})
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
