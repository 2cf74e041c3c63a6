package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/sync/errgroup"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// An instance has patience to answer at all, and at most stall after the last one that did: long enough for one that a
// busy machine holds up: a healthy instance that is missing from the list would mislead an operator.
const (
	patience = time.Second
	stall    = 300 * time.Millisecond
)

// answer is what an instance said, and how long that took.
type answer[T any] struct {
	value T
	after time.Duration
}

// Answered is what one instance has answered.
type Answered struct {
	micro.ServiceIdentity
	ping  *answer[micro.Ping] // nil, as the others, where it has not answered
	info  *micro.Info
	stats *micro.Stats
}

// Ask asks all instances at once who they are and how they do.
func Ask(ctx context.Context, nc *nats.Conn, log *slog.Logger) ([]*Answered, error) {
	a := asking{nc, log}
	var (
		pings []answer[micro.Ping]
		infos []answer[micro.Info]
		stats []answer[micro.Stats]
		all   errgroup.Group
	)
	all.Go(func() (err error) { pings, err = ask[micro.Ping](ctx, a, micro.PingVerb); return err })
	all.Go(func() (err error) { infos, err = ask[micro.Info](ctx, a, micro.InfoVerb); return err })
	all.Go(func() (err error) { stats, err = ask[micro.Stats](ctx, a, micro.StatsVerb); return err })
	if err := all.Wait(); err != nil {
		return nil, err
	}
	found := make(map[string]*Answered)
	at := func(id micro.ServiceIdentity) *Answered {
		if found[id.ID] == nil {
			found[id.ID] = &Answered{ServiceIdentity: id}
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
	return slices.Collect(maps.Values(found)), nil
}

// asking is whoever asks.
type asking struct {
	nc  *nats.Conn
	log *slog.Logger
}

// Instances describes instances, by service, start and id.
func Instances(found []*Answered) []api.ServiceInstance {
	out := make([]api.ServiceInstance, 0, len(found))
	ejected := ejections(found)
	for _, one := range found {
		described := one.describe()
		described.EjectedBy = ejected[one.ID]
		out = append(out, described)
	}
	slices.SortFunc(out, func(a, b api.ServiceInstance) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// ejections returns how many processes leave an instance alone, by its id. The members of a process say the same.
func ejections(found []*Answered) map[string]int {
	by := map[string]map[string]bool{}
	for _, one := range found {
		if one.info == nil || one.info.Metadata[rpc.Ejects] == "" {
			continue
		}
		for id := range strings.SplitSeq(one.info.Metadata[rpc.Ejects], ",") {
			if by[id] == nil {
				by[id] = map[string]bool{}
			}
			by[id][cmp.Or(one.Metadata["instance"], one.ID)] = true
		}
	}
	out := map[string]int{}
	for id, processes := range by {
		out[id] = len(processes)
	}
	return out
}

// describe puts the answers together. An instance that answered only in part is there, but not healthy.
func (i *Answered) describe() api.ServiceInstance {
	out := api.ServiceInstance{Service: i.Name, ID: i.ID, Version: i.Version, Endpoints: []api.InstanceEndpoint{},
		Zone: i.Metadata["zone"], External: i.external(),
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
		if st := byName[e.Name]; st != nil {
			if len(st.Data) == 0 || json.Unmarshal(st.Data, &own) != nil || own.Requests == 0 { // not one of ours
				own = rpc.EndpointStats{Requests: uint64(max(st.NumRequests, 0)), Errors: uint64(max(st.NumErrors, 0)),
					MeanMs: milliseconds(st.AverageProcessingTime), LastError: st.LastError}
			}
			out.Busy += own.Busy
			one.Requests, one.Errors, one.MeanMs, one.LastError = own.Requests, own.Errors, own.MeanMs, own.LastError
			one.P99Ms = own.P99Ms
		}
		out.Endpoints = append(out.Endpoints, one)
	}
	slices.SortFunc(out.Endpoints, func(a, b api.InstanceEndpoint) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// external reports whether it is a third-party service: all that it serves is below x.
func (i *Answered) external() bool {
	return i.info != nil && len(i.info.Endpoints) > 0 && !slices.ContainsFunc(i.info.Endpoints,
		func(e micro.EndpointInfo) bool { return !strings.HasPrefix(e.Subject, api.ExternalPrefix) })
}

// ask sends one question to all instances and collects what comes back in time.
func ask[T any](ctx context.Context, s asking, verb micro.Verb) ([]answer[T], error) {
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
