package config_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "ticketing.hold_ttl" // default 10m, from 1s to 24h

// harness is a running config service and an administrator who calls it.
type harness struct {
	t      *testing.T
	nats   *testkit.NATSServer
	kv     jetstream.KeyValue
	client *rpc.Client
	admin  context.Context

	registry *observe.Registry // of the first instance
}

func open(t *testing.T) *harness {
	t.Helper()
	srv := testkit.NATS(t)
	kv, err := srv.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: config.Bucket, History: 64})
	if err != nil {
		t.Fatal(err)
	}
	srv.Stream(api.AuditStream, api.AuditSubjects)
	h := &harness{t: t, nats: srv, kv: kv, client: rpc.NewClient(srv.Connect(), rpc.ClientConfig{Name: "gateway"})}
	h.registry = h.instance()
	h.admin = rpc.WithPrincipal(t.Context(),
		rpc.Principal{User: ids.New[ids.UserKind](time.Now()), Roles: []string{rpc.RoleAdmin},
			Fresh: true})
	return h
}

// instance starts one of the service, with a connection of its own, and returns what it counts.
func (h *harness) instance() *observe.Registry {
	h.t.Helper()
	nc, registry := h.nats.Connect(), observe.NewRegistry()
	js, err := jetstream.New(nc)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := config.New(h.t.Context(), config.Deps{JS: js, Log: testkit.Log(h.t)})
	if err != nil {
		h.t.Fatal(err)
	}
	server := rpc.NewServer(nc, rpc.ServerConfig{Service: "config", Log: testkit.Log(h.t), Registry: registry})
	s.Register(server)
	testkit.Serve(h.t, server)
	return registry
}

// ask calls an endpoint as the administrator; the call must succeed.
func ask[Req, Resp any](h *harness, ep rpc.Endpoint[Req, Resp], req *Req) *Resp {
	h.t.Helper()
	resp, err := rpc.Call(h.admin, h.client, ep, req)
	if err != nil {
		h.t.Fatalf("%s: %v", ep.Subject(), err)
	}
	return resp
}

// refused calls an endpoint as the administrator; the call must fail with the code.
func refused[Req, Resp any](h *harness, code fault.Code, ep rpc.Endpoint[Req, Resp], req *Req) *fault.Error {
	h.t.Helper()
	_, err := rpc.Call(h.admin, h.client, ep, req)
	if !fault.Is(err, code) {
		h.t.Fatalf("%s: %v, want %s", ep.Subject(), err, code)
	}
	return fault.From(err)
}

// store writes past the service, as the nats tool does.
func (h *harness) store(value string) uint64 {
	h.t.Helper()
	revision, err := h.kv.PutString(h.t.Context(), key, value)
	if err != nil {
		h.t.Fatal(err)
	}
	return revision
}

// holds checks what is in force, and that the service says the same as a process that follows the bucket.
func (h *harness) holds(value string, set bool) {
	h.t.Helper()
	got := ask(h, api.GetSetting, &api.SettingRef{Key: key})
	if got.Value != value || got.IsSet != set {
		h.t.Errorf("the service says %q, set %v; want %q, %v", got.Value, got.IsSet, value, set)
	}
	live, err := settings.Open(h.t.Context(), h.kv, api.Settings(), testkit.Log(h.t), observe.NewRegistry())
	if err != nil {
		h.t.Fatal(err)
	}
	defer live.Close()
	want, err := time.ParseDuration(value)
	if err != nil {
		h.t.Fatal(err)
	}
	if there := api.HoldTTL.Get(live); there != want {
		h.t.Errorf("the service says %s, but %s is in force", value, there)
	}
	if state, _ := live.State(key); state.Set != set || state.Revision != got.Revision ||
		string(state.Source) != got.Source {
		h.t.Errorf("the service says revision %d, set %v; in force is %+v", got.Revision, got.IsSet, state)
	}
}

func TestReadAndChange(t *testing.T) {
	h := open(t)
	all := ask(h, api.ListSettings, &rpc.None{}).Items
	if len(all) != len(api.Settings()) {
		t.Fatalf("%d settings, want %d", len(all), len(api.Settings()))
	}
	for i, one := range all {
		spec := api.Settings()[i].Spec()
		if one.Key != spec.Key || one.Doc == "" || one.Kind == "" || one.Value != spec.Default || one.IsSet ||
			one.Access != string(spec.Access) || one.Source != "default" || one.Base != nil || one.Revision != 0 || one.UpdatedAt != nil {
			t.Errorf("setting %d is %+v", i, one)
		}
	}
	h.holds("10m", false)

	if dry := ask(h, api.PutSetting, &api.SetSetting{Key: key, Value: " 5m ", DryRun: true}); dry.Value != "5m" ||
		!dry.IsSet || dry.Revision != 0 {
		t.Errorf("a dry run answers %+v", dry)
	}
	refused(h, fault.Invalid, api.PutSetting, &api.SetSetting{Key: key, Value: "soon", DryRun: true})
	refused(h, fault.NotFound, api.PutSetting, &api.SetSetting{Key: "no.such", Value: "5m", DryRun: true})
	h.holds("10m", false)
	if history := ask(h, api.GetSettingHistory, &api.SettingRef{Key: key}).Items; len(history) != 0 {
		t.Errorf("a dry run is in the history: %+v", history)
	}
	before := time.Now().Add(-time.Second)
	put := ask(h, api.PutSetting, &api.SetSetting{Key: key, Value: " 5m "})
	if put.Value != "5m" || !put.IsSet || put.Revision == 0 || put.UpdatedAt == nil || put.UpdatedAt.Before(before) {
		t.Errorf("put answers %+v", put)
	}
	h.holds("5m", true)
	for _, one := range ask(h, api.ListSettings, &rpc.None{}).Items {
		if one.IsSet != (one.Key == key) {
			t.Errorf("in the list: %+v", one)
		}
	}
	ask(h, api.DeleteSetting, &api.SettingRef{Key: key})
	h.holds("10m", false)
	h.store("7m")
	h.holds("7m", true)
}

func TestRefusals(t *testing.T) {
	h := open(t)
	h.store("5m")
	for _, value := range []string{"", "soon", "-1s", "999ms", "25h", "5m\n6m", strings.Repeat("9", 2000), "\x00"} {
		f := refused(h, fault.Invalid, api.PutSetting, &api.SetSetting{Key: key, Value: value})
		if len(f.Fields) != 1 || f.Fields[0].Field != "value" || f.Fields[0].Detail == "" {
			t.Errorf("%.20q: fields are %+v", value, f.Fields)
		}
	}
	h.holds("5m", true)

	before, err := h.kv.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"no.such", "", "*", ">", "ticketing.*", "ticketing.>", "ticketing.hold_ttl.x",
		"TICKETING.HOLD_TTL", "ticketing.hold_ttl ", "a\r\nb", "\x00", strings.Repeat("a.", 500)} {
		refused(h, fault.NotFound, api.GetSetting, &api.SettingRef{Key: bad})
		refused(h, fault.NotFound, api.PutSetting, &api.SetSetting{Key: bad, Value: "5m"})
		refused(h, fault.NotFound, api.DeleteSetting, &api.SettingRef{Key: bad})
		refused(h, fault.NotFound, api.GetSettingHistory, &api.SettingRef{Key: bad})
		refused(h, fault.NotFound, api.RollbackToSetting, &api.RollbackSetting{Key: bad})
	}
	after, err := h.kv.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Values() != before.Values() {
		t.Errorf("the bucket had %d entries and has %d", before.Values(), after.Values())
	}
}

// Calls go wrong on purpose only where that is allowed, and rules name endpoints that are there.
func TestFaultsOnPurposeHaveToBeAllowed(t *testing.T) {
	h := open(t)
	faults := &api.SetSetting{Key: api.MeshFaults.Key(), Value: "event.list=10% delay 200ms"}
	refused(h, fault.Conflict, api.PutSetting, faults)
	refused(h, fault.Conflict, api.PutSetting, &api.SetSetting{Key: faults.Key, Value: faults.Value, DryRun: true})
	ask(h, api.PutSetting, &api.SetSetting{Key: api.MeshFaultsAllowed.Key(), Value: "true"})
	ask(h, api.PutSetting, faults)
	ask(h, api.PutSetting, &api.SetSetting{Key: api.MeshFaultsAllowed.Key(), Value: "false"})
	ask(h, api.PutSetting, &api.SetSetting{Key: faults.Key}) // none can always be set
	refused(h, fault.Invalid, api.PutSetting, &api.SetSetting{Key: api.MeshTimeouts.Key(), Value: "event.gone=1s"})
}

func TestOnlyForAdministrators(t *testing.T) {
	h := open(t)
	stranger := rpc.WithPrincipal(t.Context(), rpc.Principal{User: ids.New[ids.UserKind](time.Now())})
	for code, ctx := range map[fault.Code]context.Context{fault.Unauthenticated: t.Context(),
		fault.Forbidden: stranger} {
		if _, err := rpc.Call(ctx, h.client, api.ListSettings, &rpc.None{}); !fault.Is(err, code) {
			t.Errorf("list: %v, want %s", err, code)
		}
		if _, err := rpc.Call(ctx, h.client, api.PutSetting, &api.SetSetting{Key: key, Value: "5m"}); !fault.Is(err,
			code) {
			t.Errorf("put: %v, want %s", err, code)
		}
	}
	h.holds("10m", false)
}

// A bad value that was stored with another tool is shown, but the last good one stays.
func TestBadValueInTheBucket(t *testing.T) {
	h := open(t)
	h.store("rubbish")
	h.holds("10m", false)
	h.store("5m")
	h.store("rubbish")
	h.store("-1s")
	h.holds("5m", true)
	if err := h.kv.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	h.store("rubbish")
	h.holds("10m", false)

	history := ask(h, api.GetSettingHistory, &api.SettingRef{Key: key}).Items
	type entry struct {
		value          string
		deleted, valid bool
	}
	want := []entry{{"rubbish", false, false}, {"", true, true}, {"-1s", false, false}, {"rubbish", false, false},
		{"5m", false, true}, {"rubbish", false, false}}
	if len(history) != len(want) {
		t.Fatalf("%d entries, want %d", len(history), len(want))
	}
	for i, w := range want {
		got := entry{history[i].Value, history[i].Deleted, history[i].Valid}
		if got != w || history[i].At.IsZero() || i > 0 && history[i].Revision >= history[i-1].Revision {
			t.Errorf("entry %d is %+v, want %+v", i, history[i], w)
		}
	}
}

func TestRollback(t *testing.T) {
	h := open(t)
	refused(h, fault.Conflict, api.RollbackToSetting, &api.RollbackSetting{Key: key})
	first := h.store("5m")
	back := func(revision uint64) *api.Setting {
		t.Helper()
		return ask(h, api.RollbackToSetting, &api.RollbackSetting{Key: key, Revision: revision})
	}
	if got := back(0); got.Value != "10m" || got.IsSet {
		t.Errorf("before the first value: %+v", got)
	}
	h.holds("10m", false)
	if got := back(first); got.Value != "5m" || !got.IsSet || got.Revision <= first {
		t.Errorf("back to revision %d: %+v", first, got)
	}
	h.holds("5m", true)

	h.store("6m")
	bad := h.store("rubbish")
	back(0) // 6m is in force; the newest entry is not
	h.holds("6m", true)
	h.store("rubbish")
	h.store("8m")
	back(0) // past the value that was never in force
	h.holds("6m", true)
	f := refused(h, fault.Invalid, api.RollbackToSetting, &api.RollbackSetting{Key: key, Revision: bad})
	if len(f.Fields) != 1 || f.Fields[0].Field != "revision" {
		t.Errorf("fields are %+v", f.Fields)
	}
	refused(h, fault.NotFound, api.RollbackToSetting, &api.RollbackSetting{Key: key, Revision: bad + 1000})
	h.holds("6m", true)

	ask(h, api.DeleteSetting, &api.SettingRef{Key: key})
	marker := ask(h, api.GetSettingHistory, &api.SettingRef{Key: key}).Items[0]
	h.store("7m")
	if !marker.Deleted {
		t.Fatalf("the newest entry was %+v", marker)
	}
	back(marker.Revision)
	h.holds("10m", false)
	back(0)
	h.holds("7m", true)
	back(0)
	h.holds("10m", false)
}

// Each rollback undoes what it saw: of those that come at the same time, one wins and the others are told.
func TestRollbacksAtTheSameTime(t *testing.T) {
	h := open(t)
	h.store("5m")
	h.store("6m")
	results := make(chan error, 20)
	for range cap(results) {
		go func() {
			_, err := rpc.Call(h.admin, h.client, api.RollbackToSetting, &api.RollbackSetting{Key: key})
			results <- err
		}()
	}
	won := 0
	for range cap(results) {
		if err := <-results; err == nil {
			won++
		} else if !fault.Is(err, fault.Conflict) {
			t.Error(err)
		}
	}
	history := ask(h, api.GetSettingHistory, &api.SettingRef{Key: key}).Items
	if won == 0 || len(history) != won+2 {
		t.Errorf("%d rollbacks have won, and the history has %d entries", won, len(history))
	}
	for i := range history[1:] {
		if history[i].Value == history[i+1].Value {
			t.Errorf("entry %d repeats %q: two rollbacks undid the same change", i, history[i].Value)
		}
	}
}
