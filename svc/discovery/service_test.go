package discovery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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

// contract declares more than an instance of things serves, and less.
func contract() []rpc.Descriptor {
	other := fail()
	other.Path = "/v1/other"
	missing := ping()
	missing.Name, missing.Access, missing.Callers = "missing", rpc.Internal, []string{"discovery"}
	missing.Method, missing.Path = "", ""
	absent := ping()
	absent.Service = "absent"
	return append([]rpc.Descriptor{ping().Describe(), other.Describe(), missing.Describe(), absent.Describe()},
		api.ListServices.Describe(), api.GetMesh.Describe(), api.GetTopology.Describe(), api.ListLogs.Describe())
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
	s, err := discovery.New(t.Context(), discovery.Deps{NATS: nc, JS: m.nats.JS, Contract: contract(), Log: testkit.Log(t)})
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

// An instance that others leave alone is shown with how many processes do, each counted once.
func TestWhoIsLeftAlone(t *testing.T) {
	m := open(t)
	m.serve(m.nats.Connect(), "things", "1.2.3", things)
	sick := m.list("things")[0].ID
	for _, process := range []string{"one", "two"} {
		for _, service := range []string{"a", "b"} {
			srv := rpc.NewServer(m.nats.Connect(), rpc.ServerConfig{Service: service, Instance: process,
				Log: testkit.Log(t), Registry: observe.NewRegistry(),
				Ejects: func() []string { return []string{"unknown", sick} }})
			testkit.Serve(t, srv)
		}
	}
	for _, i := range m.list("") {
		if want := map[bool]int{true: 2}[i.ID == sick]; i.EjectedBy != want {
			t.Errorf("%s is left alone by %d processes, want %d", i.Service, i.EjectedBy, want)
		}
	}
	picture, err := rpc.Call(m.admin, m.client, api.GetTopology, &api.TopologyQuery{})
	if err != nil || !bytes.Contains(picture.Data, []byte("1 left alone")) {
		t.Errorf("the picture: %v", err)
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
	s, err := discovery.New(t.Context(), discovery.Deps{NATS: nc, Contract: contract(), Log: testkit.Log(t)})
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

// A gateway and a service of somebody else are there as all others are; what differs from the contract is named.
func TestMesh(t *testing.T) {
	m := open(t)
	m.serve(m.nats.Connect(), "things", "1.2.3", things)
	m.serve(m.nats.Connect(), "things", "1.2.4", things)
	stop, err := rpc.Announce(t.Context(), m.nats.Connect(), rpc.Announcement{Name: "gateway", Version: "4.5.6",
		Metadata: map[string]string{"zone": "east"}, Log: testkit.Log(t), Serves: func() []rpc.Announced {
			return []rpc.Announced{{Name: "http", Stats: rpc.EndpointStats{Requests: 7, Errors: 2, MeanMs: 1.5}}}
		}})
	if err != nil {
		t.Fatal(err)
	}
	theirs := m.nats.Connect()
	other, err := micro.AddService(theirs, micro.Config{Name: "hello", Version: "0.0.1",
		Endpoint: &micro.EndpointConfig{Subject: "x.hello.greet",
			Handler: micro.HandlerFunc(func(r micro.Request) { r.Respond(nil) })}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Stop() })
	if err := theirs.Flush(); err != nil { // before that it may not be there
		t.Fatal(err)
	}

	mesh, err := rpc.Call(m.admin, m.client, api.GetMesh, &rpc.None{})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]api.ServiceInstance{}
	for _, i := range mesh.Instances {
		byName[i.Service] = i
	}
	if g := byName["gateway"]; !g.Healthy || g.Zone != "east" || g.External || len(g.Endpoints) != 1 ||
		g.Endpoints[0].Requests != 7 || g.Endpoints[0].Errors != 2 || g.Endpoints[0].MeanMs != 1.5 {
		t.Errorf("the gateway is %+v", g)
	}
	if h := byName["hello"]; !h.Healthy || !h.External {
		t.Errorf("the third-party service is %+v", h)
	}
	var drift []string
	for _, d := range mesh.Drift {
		drift = append(drift, fmt.Sprintf("%s %s %s", d.Service, d.Kind, d.Endpoint))
	}
	want := []string{"absent absent ", "things differs fail", "things differs fail", "things missing missing",
		"things missing missing", "things versions "}
	if !slices.Equal(drift, want) {
		t.Errorf("drift is %q, want %q", drift, want)
	}
	calls := []api.MeshCall{{From: "discovery", To: "things", Endpoints: 1}, {From: "gateway", To: "absent", Endpoints: 1},
		{From: "gateway", To: "discovery", Endpoints: 4}, {From: "gateway", To: "things", Endpoints: 2}}
	if !slices.Equal(mesh.Calls, calls) {
		t.Errorf("calls are %+v", mesh.Calls)
	}

	picture, err := rpc.Call(m.admin, m.client, api.GetTopology, &api.TopologyQuery{})
	if err != nil {
		t.Fatal(err)
	}
	dec := xml.NewDecoder(bytes.NewReader(picture.Data))
	boxes := 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		if el, ok := token.(xml.StartElement); ok && el.Name.Local == "rect" {
			boxes++
		}
	}
	if picture.ContentType != "image/svg+xml" || boxes != 5 { // discovery, things, gateway, hello, absent
		t.Errorf("%s with %d boxes:\n%s", picture.ContentType, boxes, picture.Data)
	}
	diagram, err := rpc.Call(m.admin, m.client, api.GetTopology, &api.TopologyQuery{Format: "mermaid"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"flowchart LR\n", `things["things 2/2"]`, "class things attention", "gateway -->|1| hello",
		`absent["absent 0/0"]`} {
		if !strings.Contains(string(diagram.Data), line) {
			t.Errorf("the diagram lacks %q:\n%s", line, diagram.Data)
		}
	}
	if _, err := rpc.Call(m.admin, m.client, api.GetTopology, &api.TopologyQuery{Format: "pdf"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("another format: %v", err)
	}

	if err := stop(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if left := m.list("gateway"); len(left) > 0 {
			return fmt.Errorf("%+v is still there", left)
		}
		return nil
	})
}
