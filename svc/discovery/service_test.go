package discovery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/goleak"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ping() rpc.Endpoint[rpc.None, rpc.None] {
	return rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "things", Name: "ping", Method: "GET",
		Path: "/v1/things"}}
}

func fail() rpc.Endpoint[rpc.None, rpc.None] {
	return rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "things", Name: "fail", Method: "POST",
		Path: "/v1/things"}}
}

// harness is a discovery service, and what it discovers.
type harness struct {
	t      *testing.T
	nats   *testkit.NATSServer
	client *rpc.Client
	admin  context.Context
}

func open(t *testing.T) *harness {
	t.Helper()
	m := &harness{t: t, nats: testkit.NATS(t)}
	nc := m.nats.Connect()
	s, err := discovery.New(t.Context(), discovery.Deps{NATS: nc, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	m.serve(nc, "discovery", "4.5.6", s.Register)
	m.client = rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "gateway"})
	m.admin = rpc.WithPrincipal(t.Context(),
		rpc.Principal{User: ids.New[ids.UserKind](time.Now()), Roles: []string{rpc.RoleAdmin}})
	return m
}

// serve starts an instance and returns what stops it.
func (m *harness) serve(nc *nats.Conn, service, version string, register func(*rpc.Server)) (stop func()) {
	m.t.Helper()
	server := rpc.NewServer(nc, rpc.ServerConfig{Service: service, Version: version, Log: testkit.Log(m.t),
		Registry: observe.NewRegistry()})
	register(server)
	if err := server.Start(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Drain(ctx); err != nil {
			m.t.Error(err)
		}
	}
	m.t.Cleanup(stop)
	return stop
}

func things(srv *rpc.Server) {
	rpc.Handle(srv, ping(), func(context.Context, *rpc.None) (*rpc.None, error) { return nil, nil })
	rpc.Handle(srv, fail(), func(context.Context, *rpc.None) (*rpc.None, error) {
		return nil, fault.New(fault.Conflict, "not today")
	})
}

// list returns the instances of a service, or of all.
func (m *harness) list(service string) []api.ServiceInstance {
	m.t.Helper()
	all, err := rpc.Call(m.admin, m.client, api.ListServices, &rpc.None{})
	if err != nil {
		m.t.Fatal(err)
	}
	var out []api.ServiceInstance
	for _, one := range all.Items {
		if service == "" || one.Service == service {
			out = append(out, one)
		}
	}
	return out
}

func TestTwoInstancesOneStopped(t *testing.T) {
	m := open(t)
	before := time.Now().Add(-time.Minute)
	m.serve(m.nats.Connect(), "things", "1.2.3", things)
	stop := m.serve(m.nats.Connect(), "things", "1.2.4", things)
	for range 20 {
		if _, err := rpc.Call(m.admin, m.client, ping(), &rpc.None{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rpc.Call(m.admin, m.client, fail(), &rpc.None{}); !fault.Is(err, fault.Conflict) {
		t.Fatal(err)
	}

	all := m.list("")
	if len(all) != 3 || all[0].Service != "discovery" || all[0].Version != "4.5.6" || all[1].Version != "1.2.3" ||
		all[2].Version != "1.2.4" {
		t.Fatalf("instances are %+v", all)
	}
	var requests, errors uint64
	last := ""
	for _, one := range all {
		if !one.Healthy || one.Latency <= 0 || one.Latency > 1000 || one.StartedAt.Before(before) ||
			one.StartedAt.After(time.Now()) || one.ID == "" {
			t.Errorf("instance %+v", one)
		}
		if one.Service != "things" {
			continue
		}
		if len(one.Endpoints) != 2 || one.Endpoints[0].Name != "fail" || one.Endpoints[1].Name != "ping" {
			t.Fatalf("endpoints are %+v", one.Endpoints)
		}
		if e := one.Endpoints[1]; e.Method != "GET" || e.Path != "/v1/things" || e.Subject != "api.things.ping" ||
			e.Requests > 0 && e.MeanMs <= 0 || e.Errors != 0 {
			t.Errorf("endpoint %+v", e)
		}
		requests += one.Endpoints[1].Requests
		errors += one.Endpoints[0].Errors
		last += one.Endpoints[0].LastError
	}
	if requests != 20 || errors != 1 || last != "conflict: not today" {
		t.Errorf("%d requests, %d errors, the last %q", requests, errors, last)
	}
	if all[1].ID == all[2].ID {
		t.Error("two instances have one id")
	}

	gone := all[2].ID
	stop()
	left := m.list("things")
	if len(left) != 1 || left[0].ID == gone || !left[0].Healthy {
		t.Errorf("after one stopped: %+v", left)
	}
}

// An instance that is there only in part, as one is that hangs, is shown and is not healthy.
func TestHalfAnInstance(t *testing.T) {
	for _, silent := range []micro.Verb{micro.PingVerb, micro.InfoVerb, micro.StatsVerb} {
		t.Run(silent.String(), func(t *testing.T) {
			m := open(t)
			id := micro.ServiceIdentity{Name: "things", ID: "half", Version: "1.0.0"}
			answers := map[micro.Verb]any{
				micro.PingVerb: micro.Ping{ServiceIdentity: id, Type: micro.PingResponseType},
				micro.InfoVerb: micro.Info{ServiceIdentity: id, Type: micro.InfoResponseType,
					Endpoints: []micro.EndpointInfo{{Name: "ping"}}},
				micro.StatsVerb: micro.Stats{ServiceIdentity: id, Type: micro.StatsResponseType, Started: time.Now()},
			}
			delete(answers, silent)
			nc := m.nats.Connect()
			for verb, what := range answers {
				text, err := json.Marshal(what)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := nc.Subscribe("$SRV."+verb.String(),
					func(msg *nats.Msg) { msg.Respond(text) }); err != nil {
					t.Fatal(err)
				}
			}
			// One that talks nonsense must not hide the others.
			if _, err := nc.Subscribe("$SRV.*", func(msg *nats.Msg) { msg.Respond([]byte("{")) }); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			half := m.list("things")
			if len(half) != 1 || half[0].ID != "half" || half[0].Version != "1.0.0" || half[0].Healthy ||
				half[0].Endpoints == nil {
				t.Errorf("instances are %+v", half)
			}
			if whole := m.list("discovery"); len(whole) != 1 || !whole[0].Healthy {
				t.Errorf("the service itself is %+v", whole)
			}
		})
	}
}

func TestManyInstances(t *testing.T) {
	m := open(t)
	const many = 30
	for range many {
		m.serve(m.nats.Connect(), "things", "1.0.0", things)
	}
	all := m.list("things")
	seen := map[string]bool{}
	for i, one := range all {
		seen[one.ID] = true
		if !one.Healthy || i > 0 && one.StartedAt.Before(all[i-1].StartedAt) {
			t.Errorf("instance %d is %+v", i, one)
		}
	}
	if len(seen) != many {
		t.Errorf("%d instances, want %d", len(seen), many)
	}
}

// Without NATS the answer is a fault, not an empty list.
func TestWithoutNATS(t *testing.T) {
	m := open(t)
	nc := m.nats.Connect()
	s, err := discovery.New(t.Context(), discovery.Deps{NATS: nc, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	m.serve(m.nats.Connect(), "discovery", "9.9.9", s.Register) // answers, but asks over a connection of its own
	nc.Close()
	testkit.Eventually(t, 10*time.Second, func() error { // until that instance is the one that is asked
		_, err := rpc.Call(m.admin, m.client, api.ListServices, &rpc.None{})
		if !fault.Is(err, fault.Unavailable) {
			return fmt.Errorf("the answer is %v", err)
		}
		return nil
	})
}

func TestOnlyForAdministrators(t *testing.T) {
	m := open(t)
	stranger := rpc.WithPrincipal(t.Context(), rpc.Principal{User: ids.New[ids.UserKind](time.Now())})
	if _, err := rpc.Call(stranger, m.client, api.ListServices, &rpc.None{}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a person gets %v", err)
	}
}
