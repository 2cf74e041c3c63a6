package rpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/goleak"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// thing is what the endpoints under test talk about.
type thing struct {
	ID      ids.Event `json:"id"`
	Name    string    `json:"name"`
	Version string    `json:"version"`
}

func (t thing) ETag() string { return t.Version }

type thingRef struct {
	ID    ids.Event `json:"-" path:"id"`
	Match string    `json:"-" header:"If-Match"`
	Limit int       `json:"-" query:"limit"`
	Since time.Time `json:"-" query:"since"`
	Tags  []string  `json:"-" query:"tag"`
}

type newThing struct {
	Name string `json:"name"`
}

func (n *newThing) Validate() error {
	var c fault.Check
	c.Field(n.Name != "", "name", "must not be empty")
	return c.Err()
}

func get() rpc.Endpoint[thingRef, thing] {
	return rpc.Endpoint[thingRef, thing]{Spec: rpc.Spec{Service: "things", Name: "get", Method: "GET", Path: "/v1/things/{id}", Access: rpc.Optional, Timeout: 2 * time.Second}}
}

func create() rpc.Endpoint[newThing, thing] {
	return rpc.Endpoint[newThing, thing]{Spec: rpc.Spec{Service: "things", Name: "create", Method: "POST", Path: "/v1/things", Access: rpc.User, Status: 201, Idempotent: true}}
}

// work has one worker and room for one more, to see a queue fill up.
func work() rpc.Endpoint[rpc.None, rpc.None] {
	return rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "things", Name: "work", Method: "POST", Path: "/v1/work", Workers: 1, Queue: 1, Timeout: 2 * time.Second}}
}

// natsServer starts a server and returns its URL.
func natsServer(t testing.TB, opts server.Options) string {
	t.Helper()
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", -1, true, true
	s, err := server.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(testkit.Within(5 * time.Second)) {
		t.Fatal("nats is not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.ClientURL()
}

func connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append(opts, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// mesh is one service under test and a client of it.
type mesh struct {
	url      string
	server   *rpc.Server
	client   *rpc.Client
	nc       *nats.Conn // of the client
	registry *observe.Registry
	log      *testkit.Buffer
}

func newMesh(t testing.TB, answers rpc.Answers, bind func(*rpc.Server)) *mesh {
	t.Helper()
	m := &mesh{url: natsServer(t, server.Options{}), registry: observe.NewRegistry(), log: &testkit.Buffer{}}
	m.server = rpc.NewServer(connect(t, m.url), rpc.ServerConfig{Service: "things", Version: "1.2.3", Instance: "a",
		Log: observe.NewLogger(m.log, "things", "a", slog.LevelDebug), Registry: m.registry, Answers: answers})
	bind(m.server)
	if err := m.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		m.server.Drain(ctx)
	})
	m.nc = connect(t, m.url)
	m.client = rpc.NewClient(m.nc, rpc.ClientConfig{Name: "gateway", Grace: -1})
	return m
}

func principal(roles ...string) rpc.Principal {
	return rpc.Principal{User: ids.New[ids.UserKind](time.Now()), Session: ids.New[ids.SessionKind](time.Now()), Roles: roles}
}

func wantCode(t *testing.T, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Fatalf("error is %v, want %s", err, code)
	}
}

func TestCallCarriesEverything(t *testing.T) {
	id, since := ids.New[ids.EventKind](time.Now()), time.Date(2026, 5, 1, 18, 0, 0, 0, time.UTC)
	var got thingRef
	var meta rpc.Meta
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, get(), func(ctx context.Context, r *thingRef) (*thing, error) {
			got, meta = *r, *rpc.From(ctx)
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the handler has no deadline")
			}
			return &thing{ID: r.ID, Name: "a & b", Version: "7"}, nil
		})
	})
	who := principal("admin", "door")
	ctx := rpc.WithMeta(t.Context(), rpc.Meta{Principal: who, RequestID: "req_1", Address: "192.0.2.7",
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	want := thingRef{ID: id, Match: `"7"`, Limit: -3, Since: since, Tags: []string{"x", "y&z"}}
	resp, err := rpc.Call(ctx, m.client, get(), &want)
	if err != nil {
		t.Fatal(err)
	}
	if resp.ID != id || resp.Name != "a & b" {
		t.Errorf("answer is %+v", resp)
	}
	if got.ID != id || got.Match != want.Match || got.Limit != -3 || !got.Since.Equal(since) || strings.Join(got.Tags, " ") != "x y&z" {
		t.Errorf("request arrived as %+v", got)
	}
	if meta.Principal.String() != who.String() || !meta.Principal.Admin() || meta.RequestID != "req_1" || meta.Address != "192.0.2.7" || meta.Caller != "gateway" || meta.Endpoint != "things.get" {
		t.Errorf("meta arrived as %+v", meta)
	}
	if !strings.HasPrefix(meta.TraceParent, "00-0af7651916cd43dd8448eb211c80319c-") || strings.Contains(meta.TraceParent, "b7ad6b7169203331") {
		t.Errorf("trace arrived as %s: want the same trace and a new span", meta.TraceParent)
	}
}

func TestFaultsCrossTheWire(t *testing.T) {
	cause := errors.New("secret cause")
	var answer error
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, work(), func(context.Context, *rpc.None) (*rpc.None, error) { return nil, answer })
	})
	for _, code := range fault.Codes() {
		answer = fault.Wrap(cause, code, "detail of %s", code).After(3 * time.Second)
		_, err := rpc.Call(t.Context(), m.client, work(), &rpc.None{})
		f := fault.From(err)
		if f.Code != code || f.Detail != "detail of "+string(code) || f.RetryAfter != 3*time.Second || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s arrived as %v", code, err)
		}
	}
	answer = cause
	_, err := rpc.Call(t.Context(), m.client, work(), &rpc.None{})
	wantCode(t, err, fault.Internal)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the cause leaked: %v", err)
	}
	if !strings.Contains(m.log.String(), "secret cause") {
		t.Error("the cause is not in the log")
	}
}

func TestNoInstanceAndSilentInstance(t *testing.T) {
	url := natsServer(t, server.Options{})
	nc := connect(t, url)
	client := rpc.NewClient(nc, rpc.ClientConfig{Name: "gateway", Grace: -1})
	start := time.Now()
	_, err := rpc.Call(t.Context(), client, work(), &rpc.None{})
	wantCode(t, err, fault.Unavailable)
	if took := time.Since(start); took > time.Second || fault.From(err).RetryAfter == 0 {
		t.Errorf("took %v, retry after %v", took, fault.From(err).RetryAfter)
	}
	if _, err := nc.Subscribe(work().Subject(), func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = rpc.Call(ctx, client, work(), &rpc.None{})
	wantCode(t, err, fault.Timeout)
}

func TestCallWaitsForAnInstanceThatRestarts(t *testing.T) {
	url := natsServer(t, server.Options{})
	client := rpc.NewClient(connect(t, url), rpc.ClientConfig{Name: "gateway", Grace: 2 * time.Second})
	s := rpc.NewServer(connect(t, url), rpc.ServerConfig{Service: "things", Log: slog.New(slog.DiscardHandler), Registry: observe.NewRegistry()})
	rpc.Handle(s, work(), func(context.Context, *rpc.None) (*rpc.None, error) { return nil, nil })
	result := make(chan error)
	go func() {
		_, err := rpc.Call(t.Context(), client, work(), &rpc.None{})
		result <- err
	}()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Drain(t.Context())
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestPanicIsAnInternalFault(t *testing.T) {
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, work(), func(context.Context, *rpc.None) (*rpc.None, error) { panic("kaboom") })
	})
	for range 2 { // the only worker is still there
		_, err := rpc.Call(t.Context(), m.client, work(), &rpc.None{})
		wantCode(t, err, fault.Internal)
		if strings.Contains(err.Error(), "kaboom") {
			t.Errorf("the panic leaked: %v", err)
		}
	}
	log := m.log.String()
	if strings.Count(log, "kaboom") != 2 || !strings.Contains(log, "rpc_test.go") || !strings.Contains(log, "request_id") {
		t.Errorf("log has no stack, no request id, or not once a panic:\n%s", log)
	}
	if st := endpointStats(t, m, "work"); st.Panics != 2 || st.Errors != 2 {
		t.Errorf("stats are %+v", st)
	}
}

func TestFullQueueIsShedAtOnce(t *testing.T) {
	started, release := make(chan struct{}, 8), make(chan struct{})
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, work(), func(context.Context, *rpc.None) (*rpc.None, error) {
			started <- struct{}{}
			<-release
			return nil, nil
		})
	})
	results := make(chan error, 3)
	call := func() {
		_, err := rpc.Call(t.Context(), m.client, work(), &rpc.None{})
		results <- err
	}
	go call()
	<-started // the worker is taken
	go call() // one of these takes the queue's place, the other is refused
	go call()
	err := <-results
	wantCode(t, err, fault.Unavailable)
	if fault.From(err).RetryAfter <= 0 {
		t.Error("no retry time")
	}
	reply, err := m.client.Forward(t.Context(), work().Spec, nats.Header{}, nil)
	if err != nil || !rpc.Shed(reply) {
		t.Errorf("a refusal is not marked as one: %v, %v", reply, err)
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if st := endpointStats(t, m, "work"); st.Shed != 2 || st.Requests != 4 || st.Busy != 0 {
		t.Errorf("stats are %+v", st)
	}
}

func TestExpiredRequestIsNotRun(t *testing.T) {
	started, release := make(chan struct{}, 8), make(chan struct{})
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, work(), func(context.Context, *rpc.None) (*rpc.None, error) {
			started <- struct{}{}
			<-release
			return nil, nil
		})
	})
	first := make(chan error, 1)
	go func() {
		_, err := rpc.Call(t.Context(), m.client, work(), &rpc.None{})
		first <- err
	}()
	<-started
	const patience = 30 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := rpc.Call(ctx, m.client, work(), &rpc.None{}) // queued behind the first, and gone when its turn comes
	wantCode(t, err, fault.Timeout)
	// The service counts from the moment at which the request arrived, which is later than when it was sent.
	eventually(t, func() bool { return endpointStats(t, m, "work").Busy == 2 })
	arrived, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	<-arrived.Done()
	close(release)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if err := m.server.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(started) != 0 {
		t.Error("the expired request ran")
	}
	var metrics bytes.Buffer
	m.registry.WriteTo(&metrics)
	if want := `starlight_rpc_expired_total{service="things",endpoint="work"} 1`; !strings.Contains(metrics.String(), want) {
		t.Errorf("no %s in\n%s", want, metrics.String())
	}
}

func TestHandlerSeesTheDeadline(t *testing.T) {
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, work(), func(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := rpc.Call(ctx, m.client, work(), &rpc.None{})
	wantCode(t, err, fault.Timeout)
	if err := m.server.Drain(t.Context()); err != nil { // returns: the handler has ended
		t.Fatal(err)
	}
}

func TestDrainAnswersWhatIsUnderWay(t *testing.T) {
	started, release := make(chan struct{}, 8), make(chan struct{})
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, work(), func(context.Context, *rpc.None) (*rpc.None, error) {
			started <- struct{}{}
			<-release
			return nil, nil
		})
	})
	results := make(chan error, 2)
	for range 2 { // one runs, one is queued
		go func() {
			_, err := rpc.Call(t.Context(), m.client, work(), &rpc.None{})
			results <- err
		}()
	}
	<-started
	eventually(t, func() bool { return endpointStats(t, m, "work").Busy == 2 })
	drained := make(chan error, 1)
	go func() { drained <- m.server.Drain(t.Context()) }()
	eventually(t, func() bool { return !m.server.Ready() })
	select {
	case err := <-drained:
		t.Fatalf("drained with a request under way: %v", err)
	default:
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	_, err := rpc.Call(t.Context(), m.client, work(), &rpc.None{})
	wantCode(t, err, fault.Unavailable)
}

func TestDrainGivesUpInTime(t *testing.T) {
	started := make(chan struct{})
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, work(), func(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
			close(started)
			<-ctx.Done() // cancelled by the drain, long before its own deadline
			return nil, ctx.Err()
		})
	})
	go rpc.Call(t.Context(), m.client, work(), &rpc.None{})
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := m.server.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain returned %v, want a deadline", err)
	}
}

func TestStartSeesMissingPermissions(t *testing.T) {
	deny := &server.SubjectPermission{Deny: []string{"api.>"}}
	url := natsServer(t, server.Options{Users: []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{Subscribe: deny}}}})
	s := rpc.NewServer(connect(t, url, nats.UserInfo("u", "p")), rpc.ServerConfig{Service: "things", Log: slog.New(slog.DiscardHandler), Registry: observe.NewRegistry()})
	rpc.Handle(s, work(), func(context.Context, *rpc.None) (*rpc.None, error) { return nil, nil })
	if err := s.Start(t.Context()); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("Start returned %v, want a permission violation", err)
	}
	if s.Ready() {
		t.Error("ready without its subscriptions")
	}
}

func TestStartReportsWrongBindings(t *testing.T) {
	type noID struct{}
	wrong := rpc.Endpoint[noID, rpc.None]{Spec: rpc.Spec{Service: "things", Name: "wrong", Method: "GET", Path: "/v1/{id}"}}
	foreign := rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "others", Name: "foreign"}}
	s := rpc.NewServer(nil, rpc.ServerConfig{Service: "things", Registry: observe.NewRegistry()})
	none := func(context.Context, *rpc.None) (*rpc.None, error) { return nil, nil }
	rpc.Handle(s, wrong, func(context.Context, *noID) (*rpc.None, error) { return nil, nil })
	rpc.Handle(s, foreign, none)
	rpc.Handle(s, work(), none)
	rpc.Handle(s, work(), none)
	rpc.Handle(s, create(), func(context.Context, *newThing) (*thing, error) { return nil, nil })
	for name, change := range map[string]func(*rpc.Spec){
		"posted":    func(s *rpc.Spec) { s.Method, s.Live = "POST", rpc.LiveByPath("id") },
		"nameless":  func(s *rpc.Spec) { s.Live = rpc.LiveByPath("other") },
		"distant":   func(s *rpc.Spec) { s.Near = &rpc.Near{Path: "other"} },
		"unawaited": func(s *rpc.Spec) { s.Waits = "other" },
		"uncounted": func(s *rpc.Spec) { s.Traffic = &rpc.Traffic{Path: "other"} },
	} {
		ep := get()
		ep.Name = name
		change(&ep.Spec)
		rpc.Handle(s, ep, func(context.Context, *thingRef) (*thing, error) { return nil, nil })
	}
	lost := rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "things", Name: "lost", Method: "POST", Path: "/v1/lost", Location: "/v1/lost/{id}"}}
	rpc.Handle(s, lost, none)
	err := s.Start(t.Context())
	for _, want := range []string{`no field is tagged path:"id"`, "not an endpoint of things", "two handlers", "no store of answers", "posted is live, but no GET",
		"nameless is live by {other}", "uncounted counts {other}", "unawaited waits for {other}", "distant is kept near by {other}", "lost has a location"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Start returned %v, want %q in it", err, want)
		}
	}
}

func TestAccessIsCheckedInTheService(t *testing.T) {
	spec := func(name string, a rpc.Access, callers ...string) rpc.Endpoint[rpc.None, rpc.None] {
		return rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "things", Name: name, Access: a, Callers: callers}}
	}
	open, user, admin := spec("open", rpc.Optional), spec("user", rpc.User), spec("admin", rpc.Admin)
	ours, theirs := spec("ours", rpc.Internal, "gateway"), spec("theirs", rpc.Internal, "payment")
	m := newMesh(t, nil, func(s *rpc.Server) {
		for _, ep := range []rpc.Endpoint[rpc.None, rpc.None]{open, user, admin, ours, theirs} {
			rpc.Handle(s, ep, func(context.Context, *rpc.None) (*rpc.None, error) { return nil, nil })
		}
	})
	anonymous, anna, root := rpc.Principal{}, principal(), principal(rpc.RoleAdmin)
	for _, c := range []struct {
		ep   rpc.Endpoint[rpc.None, rpc.None]
		who  rpc.Principal
		want fault.Code // "" for none
	}{
		{open, anonymous, ""}, {open, anna, ""},
		{user, anonymous, fault.Unauthenticated}, {user, anna, ""}, {user, root, ""},
		{admin, anonymous, fault.Unauthenticated}, {admin, anna, fault.Forbidden}, {admin, root, ""},
		{ours, anonymous, ""}, {theirs, root, fault.Forbidden},
	} {
		_, err := rpc.Call(rpc.WithPrincipal(t.Context(), c.who), m.client, c.ep, &rpc.None{})
		if c.want == "" && err != nil || c.want != "" && !fault.Is(err, c.want) {
			t.Errorf("%s as %q: %v, want %q", c.ep.Name, c.who, err, c.want)
		}
	}
	msg := nats.NewMsg(user.Subject())
	msg.Header.Set(rpc.HeaderPrincipal, "usr_>;;admin")
	reply, err := m.nc.RequestMsg(msg, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if f := rpc.Fault(reply); f == nil || f.Code != fault.Unauthenticated {
		t.Errorf("an unreadable principal gives %v", f)
	}
}

// memory stores answers as the table of a service does.
type memory struct {
	mu   sync.Mutex
	rows map[string]stored
	miss int // lookups that find nothing although there is something, as when a transaction is not committed yet
}

type stored struct {
	hash   string
	status int
	body   []byte
}

func (m *memory) Lookup(_ context.Context, scope, key string) (string, int, []byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[scope+" "+key]
	if ok && m.miss > 0 {
		m.miss--
		ok = false
	}
	return r.hash, r.status, r.body, ok, nil
}

func (m *memory) remember(ctx context.Context, status int, v any) error {
	scope, key, hash, ok := rpc.Answer(ctx)
	if !ok {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.rows[scope+" "+key]; taken {
		return rpc.ErrDuplicateAnswer
	}
	body, err := json.Marshal(v)
	m.rows[scope+" "+key] = stored{hash, status, body}
	return err
}

func TestIdempotencyKeys(t *testing.T) {
	answers := &memory{rows: map[string]stored{}}
	runs := 0
	m := newMesh(t, answers, func(s *rpc.Server) {
		rpc.Handle(s, create(), func(ctx context.Context, r *newThing) (*thing, error) {
			runs++
			out := &thing{ID: ids.New[ids.EventKind](time.Now()), Name: r.Name}
			return out, answers.remember(ctx, 201, out)
		})
	})
	anna, bert := principal(), principal()
	send := func(who rpc.Principal, key, body string) *nats.Msg {
		t.Helper()
		h := nats.Header{rpc.HeaderPrincipal: {who.String()}}
		if key != "" {
			h[rpc.HeaderHTTP+rpc.IdempotencyKey] = []string{key}
		}
		reply, err := m.client.Forward(t.Context(), create().Spec, h, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	first := send(anna, "k", `{"name":"x"}`)
	again := send(anna, "k", `{"name":"x"}`)
	if runs != 1 || !bytes.Equal(first.Data, again.Data) || again.Header.Get(rpc.HeaderReplayed) != "true" || first.Header.Get(rpc.HeaderReplayed) != "" {
		t.Errorf("%d runs; first %s, again %s %v", runs, first.Data, again.Data, again.Header)
	}
	if f := rpc.Fault(send(anna, "k", `{"name":"y"}`)); f == nil || f.Code != fault.Unprocessable {
		t.Errorf("the key with another body gives %v", f)
	}
	send(bert, "k", `{"name":"y"}`) // another person's key is another key
	send(anna, "", `{"name":"x"}`)
	send(anna, "", `{"name":"x"}`)
	if runs != 4 {
		t.Errorf("%d runs, want 4", runs)
	}
	answers.miss = 1 // two at once: the second finds nothing, runs, and loses the race to store
	lost := send(anna, "k", `{"name":"x"}`)
	if runs != 5 || !bytes.Equal(first.Data, lost.Data) || lost.Header.Get(rpc.HeaderReplayed) != "true" {
		t.Errorf("%d runs; the loser got %s, want %s", runs, lost.Data, first.Data)
	}
	if f := rpc.Fault(send(anna, strings.Repeat("k", 256), `{"name":"x"}`)); f == nil || f.Code != fault.Invalid {
		t.Errorf("a key of 256 bytes gives %v", f)
	}
}

func TestNotModified(t *testing.T) {
	m := newMesh(t, nil, func(s *rpc.Server) {
		missing := func(context.Context, *thingRef) (rpc.Encoded, bool) { return rpc.Encoded{}, false }
		rpc.HandleCached(s, get(), missing, func(context.Context, *thingRef) (rpc.Encoded, error) {
			return rpc.Encoded{JSON: []byte(`{"version":"7"}`), Tag: "7"}, nil
		})
	})
	for header, want := range map[string]string{"": "", `"7"`: "304", `W/"7"`: "304", `"1", W/"7" , "9"`: "304", "*": "304", `"8"`: "", "7": "", `"7`: ""} {
		h := nats.Header{rpc.HeaderParams: {"id=" + string(ids.New[ids.EventKind](time.Now()))}}
		if header != "" {
			h[rpc.HeaderHTTP+rpc.IfNoneMatch] = []string{header}
		}
		reply, err := m.client.Forward(t.Context(), get().Spec, h, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := reply.Header.Get(rpc.HeaderStatus); got != want || reply.Header.Get(rpc.HeaderETag) != `"7"` || (want == "304") != (len(reply.Data) == 0) {
			t.Errorf("If-None-Match %s: status %q, %d bytes, want %q", header, got, len(reply.Data), want)
		}
	}
}

func TestHandleCached(t *testing.T) {
	hot, broken := ids.New[ids.EventKind](time.Now()), ids.New[ids.EventKind](time.Now())
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.HandleCached(s, get(), func(ctx context.Context, r *thingRef) (rpc.Encoded, bool) {
			if r.ID == broken {
				panic("kaboom")
			}
			return rpc.Encoded{JSON: []byte(`{"name":"from memory, for ` + string(rpc.Caller(ctx).User) + `"}`), Tag: "7"}, r.ID == hot
		}, func(context.Context, *thingRef) (rpc.Encoded, error) {
			return rpc.Encoded{JSON: []byte(`{"name":"found"}`)}, nil
		})
	})
	who := principal()
	for id, want := range map[ids.Event]string{hot: "from memory, for " + string(who.User), broken: "found", ids.New[ids.EventKind](time.Now()): "found"} {
		got, err := rpc.Call(rpc.WithPrincipal(t.Context(), who), m.client, get(), &thingRef{ID: id})
		if err != nil || got.Name != want {
			t.Errorf("got %+v, %v, want %q", got, err, want)
		}
	}
	bad, err := m.client.Forward(t.Context(), get().Spec, nats.Header{rpc.HeaderParams: {"id=" + string(hot) + "&limit=x"}}, nil)
	if err != nil || rpc.Fault(bad) == nil {
		t.Errorf("a wrong parameter gives %v, %v", bad, err)
	}
	known, err := m.client.Forward(t.Context(), get().Spec, nats.Header{rpc.HeaderParams: {"id=" + string(hot)}, rpc.HeaderHTTP + rpc.IfNoneMatch: {`"7"`}}, nil)
	if err != nil || known.Header.Get(rpc.HeaderStatus) != "304" {
		t.Errorf("a known version gives %v, %v", known, err)
	}
	if st := endpointStats(t, m, "get"); st.Requests != 5 || st.Errors != 1 || st.Panics != 1 {
		t.Errorf("stats are %+v", st)
	}
}

func TestMatchETag(t *testing.T) {
	for header, want := range map[string]bool{"": true, "*": true, `"7"`: true, `"1","7"`: true, `W/"7"`: false, `"8"`: false, "7": false} {
		if got := rpc.MatchETag(header, "7"); got != want {
			t.Errorf("MatchETag(%s) = %v", header, got)
		}
	}
}

func TestBlob(t *testing.T) {
	ep := rpc.Endpoint[rpc.None, rpc.Blob]{Spec: rpc.Spec{Service: "things", Name: "file", Method: "GET", Path: "/file"}}
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, ep, func(context.Context, *rpc.None) (*rpc.Blob, error) {
			return &rpc.Blob{ContentType: "text/calendar", Filename: "a\"\r\nb.ics", Data: []byte{0, 1}}, nil
		})
	})
	got, err := rpc.Call(t.Context(), m.client, ep, &rpc.None{})
	if err != nil || got.ContentType != "text/calendar" || !bytes.Equal(got.Data, []byte{0, 1}) {
		t.Errorf("got %+v, %v", got, err)
	}
	reply, err := m.client.Forward(t.Context(), ep.Spec, nats.Header{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := reply.Header.Get(rpc.HeaderDisposition); !strings.HasPrefix(d, "attachment") || strings.ContainsAny(d, "\r\n") {
		t.Errorf("disposition is %q", d)
	}
}

func TestMicroShowsTheService(t *testing.T) {
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, get(), func(_ context.Context, r *thingRef) (*thing, error) {
			if r.Limit == 1 {
				return nil, fault.New(fault.Conflict, "not now")
			}
			return &thing{ID: r.ID}, nil
		})
	})
	id := ids.New[ids.EventKind](time.Now())
	rpc.Call(t.Context(), m.client, get(), &thingRef{ID: id})
	rpc.Call(t.Context(), m.client, get(), &thingRef{ID: id, Limit: 1})

	reply, err := m.nc.Request("$SRV.INFO.things", nil, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(reply.Data, &info); err != nil {
		t.Fatal(err)
	}
	ep := info.Endpoints[0]
	if info.Version != "1.2.3" || info.Metadata["instance"] != "a" || ep.Subject != "api.things.get" || ep.QueueGroup != "things" ||
		ep.Metadata["method"] != "GET" || ep.Metadata["path"] != "/v1/things/{id}" || ep.Metadata["access"] != "optional" || !strings.Contains(ep.Metadata["response"], `"pattern":"^evt_`) {
		t.Errorf("info is %s", reply.Data)
	}
	st := endpointStats(t, m, "get")
	if st.Requests != 2 || st.Errors != 1 || st.Codes["conflict"] != 1 || st.LastError != "conflict: not now" || st.P99Ms <= 0 {
		t.Errorf("stats are %+v", st)
	}
	var metrics bytes.Buffer
	m.registry.WriteTo(&metrics)
	for _, want := range []string{`starlight_rpc_requests_total{service="things",endpoint="get",code="ok"} 1`,
		`starlight_rpc_requests_total{service="things",endpoint="get",code="conflict"} 1`, `starlight_rpc_duration_seconds_count{service="things",endpoint="get"} 2`} {
		if !strings.Contains(metrics.String(), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestPrincipal(t *testing.T) {
	p := principal("admin", "x_1")
	q, err := rpc.ParsePrincipal(p.String())
	if err != nil || q.String() != p.String() || q.Session != p.Session || !q.Is("x_1") {
		t.Errorf("%s parses as %+v, %v", p, q, err)
	}
	p.Fresh = true
	for _, roles := range [][]string{{"admin"}, nil} {
		p.Roles = roles
		if q, err := rpc.ParsePrincipal(p.String()); err != nil || !q.Fresh || len(q.Roles) != len(roles) {
			t.Errorf("%s parses as %+v, %v", p, q, err)
		}
	}
	k := rpc.Principal{Key: ids.New[ids.KeyKind](time.Now()), Organizer: ids.New[ids.OrganizerKind](time.Now()), Scopes: []string{"read", "sell"}}
	if q, err := rpc.ParsePrincipal(k.String()); err != nil || q.String() != k.String() || q.Known() || q.Admin() || q.Fresh || q.ID() != k.Key.String() {
		t.Errorf("%s parses as %+v, %v", k, q, err)
	}
	u, key := string(p.User), string(k.Key)+";"+string(k.Organizer)
	for _, bad := range []string{u, u + ";", "x;;", u + ";;Admin", u + ";;a,", u + ";;,a", u + ";;a b", u + ";ses_>;", u + ";;a;b", u + ";;a;fresh;fresh", u + ";;fresh;a", u + ";fresh", ";;admin", " ",
		key, key + ";", key + ";read,", key + ";read;fresh", key + ";read;", string(k.Key) + ";;read", string(k.Key) + ";" + u + ";read", "key_x;" + string(k.Organizer) + ";read"} {
		if p, err := rpc.ParsePrincipal(bad); err == nil {
			t.Errorf("%q parses as %+v", bad, p)
		}
	}
}

// The numbers that `nats micro stats` shows are those of the handlers, although these answer after the callback.
func TestMicroCountsWhatHandlersDo(t *testing.T) {
	entered, release := make(chan time.Time), make(chan struct{})
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, get(), func(_ context.Context, r *thingRef) (*thing, error) {
			entered <- time.Now()
			<-release
			if r.Limit == 1 {
				return nil, fault.New(fault.Conflict, "not now")
			}
			return &thing{ID: r.ID}, nil
		})
	})
	if st := microStats(t, m, "get"); st.NumRequests != 0 || st.AverageProcessingTime != 0 || st.QueueGroup != "things" || st.Subject != "api.things.get" {
		t.Errorf("before the first request: %+v", st)
	}
	var least time.Duration // that the handlers took
	for limit := range 2 {
		done := make(chan error)
		go func() {
			_, err := rpc.Call(t.Context(), m.client, get(), &thingRef{ID: ids.New[ids.EventKind](time.Now()), Limit: limit})
			done <- err
		}()
		start := <-entered
		for range 20 { // it takes a while
			microStats(t, m, "get")
		}
		least += time.Since(start)
		release <- struct{}{}
		if err := <-done; (err != nil) != (limit == 1) {
			t.Fatal(err)
		}
	}
	st := microStats(t, m, "get")
	if st.NumRequests != 2 || st.NumErrors != 1 || st.LastError != "conflict: not now" {
		t.Errorf("%d requests, %d errors, the last %q; want 2, 1, conflict", st.NumRequests, st.NumErrors, st.LastError)
	}
	if st.ProcessingTime < least || st.AverageProcessingTime != st.ProcessingTime/2 {
		t.Errorf("they took %v, %v each; want at least %v in all", st.ProcessingTime, st.AverageProcessingTime, least)
	}
}

// Every way to ask for services finds one, once; after the end nothing does.
func TestMicroAnswers(t *testing.T) {
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, get(), func(context.Context, *thingRef) (*thing, error) { return nil, nil })
	})
	reply, err := m.nc.Request("$SRV.PING", nil, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var ping micro.Ping
	if err := json.Unmarshal(reply.Data, &ping); err != nil || ping.Name != "things" || ping.ID == "" || ping.Type != micro.PingResponseType {
		t.Fatalf("ping is %s, %v", reply.Data, err)
	}
	var all []string
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		for _, scope := range []string{"", ".things", ".things." + ping.ID} {
			all = append(all, "$SRV."+verb+scope)
		}
	}
	for _, subject := range all {
		inbox := nats.NewInbox()
		sub, err := m.nc.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.nc.PublishRequest(subject, inbox, nil); err != nil {
			t.Fatal(err)
		}
		var id micro.ServiceIdentity
		if msg, err := sub.NextMsg(time.Second); err != nil || json.Unmarshal(msg.Data, &id) != nil || id.ID != ping.ID {
			t.Errorf("%s: %+v, %v", subject, msg, err)
		}
		if msg, err := sub.NextMsg(20 * time.Millisecond); err == nil {
			t.Errorf("%s: a second answer, %s", subject, msg.Data)
		}
	}
	if err := m.server.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, subject := range all {
		if msg, err := m.nc.Request(subject, nil, time.Second); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s after the end: %+v, %v", subject, msg, err)
		}
	}
}

// endpointStats returns our own numbers of an endpoint.
func endpointStats(t *testing.T, m *mesh, name string) rpc.EndpointStats {
	t.Helper()
	var st rpc.EndpointStats
	if err := json.Unmarshal(microStats(t, m, name).Data, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// microStats asks over the micro protocol, as the nats command line does.
func microStats(t *testing.T, m *mesh, name string) *micro.EndpointStats {
	t.Helper()
	reply, err := m.nc.Request("$SRV.STATS.things", nil, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var all micro.Stats
	if err := json.Unmarshal(reply.Data, &all); err != nil {
		t.Fatal(err)
	}
	for _, e := range all.Endpoints {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("no endpoint %s", name)
	return nil
}

// eventually polls until ok or for five seconds.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, 5*time.Second, func() error {
		if !ok() {
			return errors.New("it did not happen")
		}
		return nil
	})
}

func BenchmarkRoundTrip(b *testing.B) {
	m := newMesh(b, nil, func(s *rpc.Server) {
		answer := rpc.Encoded{JSON: bytes.Repeat([]byte("x"), 1024), Tag: "7"}
		rpc.HandleCached(s, get(), func(context.Context, *thingRef) (rpc.Encoded, bool) { return answer, true },
			func(context.Context, *thingRef) (rpc.Encoded, error) { return answer, nil })
	})
	id := "id=" + string(ids.New[ids.EventKind](time.Now()))
	ctx := rpc.WithMeta(context.Background(), rpc.Meta{RequestID: "req_1", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", Address: "127.0.0.1"})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h := nats.Header{rpc.HeaderParams: {id}}
			if _, err := m.client.Forward(ctx, get().Spec, h, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBareEcho is what NATS alone does with the same bytes.
func BenchmarkBareEcho(b *testing.B) {
	url := natsServer(b, server.Options{})
	reply := bytes.Repeat([]byte("x"), 1024)
	service := connect(b, url)
	if _, err := service.QueueSubscribe("echo", "q", func(m *nats.Msg) { m.Respond(reply) }); err != nil {
		b.Fatal(err)
	}
	service.Flush()
	nc := connect(b, url)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := nc.Request("echo", nil, time.Second); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A JetStream consumer can be made to deliver stored messages to an endpoint's subject. They are not requests.
func TestStreamDeliveryIsNoRequest(t *testing.T) {
	nc := connect(t, natsServer(t, server.Options{JetStream: true, StoreDir: t.TempDir()}))
	ran := make(chan string, 2)
	srv := rpc.NewServer(nc, rpc.ServerConfig{Service: "things", Log: slog.New(slog.DiscardHandler), Registry: observe.NewRegistry()})
	rpc.Handle(srv, work(), func(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
		ran <- rpc.From(ctx).RequestID
		return nil, nil
	})
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer srv.Drain(context.Background())

	// A user who may write to a stream stores a request with a principal of their choice, and one who may create a
	// consumer has it delivered to the endpoint.
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "EVENTS", Subjects: []string{"ev.>"}}); err != nil {
		t.Fatal(err)
	}
	forged := nats.NewMsg("ev.things.forged")
	forged.Header.Set(rpc.HeaderPrincipal, principal(rpc.RoleAdmin).String())
	if _, err := js.PublishMsg(forged); err != nil {
		t.Fatal(err)
	}
	seen, err := nc.SubscribeSync(work().Subject())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddConsumer("EVENTS", &nats.ConsumerConfig{DeliverSubject: work().Subject(), AckPolicy: nats.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	if msg, err := seen.NextMsg(5 * time.Second); err != nil || !strings.HasPrefix(msg.Reply, "$JS.") {
		t.Fatalf("what the consumer delivers is %+v, %v", msg, err)
	}
	if err := seen.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Call(rpc.WithMeta(t.Context(), rpc.Meta{RequestID: "honest"}), rpc.NewClient(nc, rpc.ClientConfig{Name: "test"}), work(), &rpc.None{}); err != nil {
		t.Fatal(err)
	}
	if got := <-ran; got != "honest" || len(ran) != 0 {
		t.Errorf("the handler ran for %q first", got)
	}
}

// What must be done before a change is acknowledged is done for each success that acknowledges one, a stored answer too.
func TestBeforeAcknowledging(t *testing.T) {
	answers := &memory{rows: map[string]stored{}}
	var before []string
	var refuse error
	m := newMesh(t, answers, func(s *rpc.Server) {
		rpc.Handle(s, create(), func(ctx context.Context, req *newThing) (*thing, error) {
			made := &thing{ID: ids.New[ids.EventKind](time.Now()), Name: req.Name}
			return made, answers.remember(ctx, 201, made)
		})
		rpc.Handle(s, get(), func(context.Context, *thingRef) (*thing, error) { return &thing{}, nil })
		s.BeforeAcknowledging(func(_ context.Context, params string) error {
			before = append(before, params)
			return refuse
		})
	})
	anna := principal()
	send := func() *nats.Msg {
		t.Helper()
		h := nats.Header{rpc.HeaderHTTP + rpc.IdempotencyKey: {"k"}, rpc.HeaderPrincipal: {anna.String()}}
		reply, err := m.client.Forward(t.Context(), create().Spec, h, []byte(`{"name":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	refuse = fault.New(fault.Unavailable, "not now")
	if f := rpc.Fault(send()); f == nil || f.Code != fault.Unavailable {
		t.Errorf("a change was acknowledged though %v", f)
	}
	refuse = nil
	if f := rpc.Fault(send()); f != nil {
		t.Errorf("repeated: %v", f)
	}
	rpc.Call(t.Context(), m.client, get(), &thingRef{ID: ids.New[ids.EventKind](time.Now())})
	if len(before) != 2 {
		t.Errorf("done %d times, want 2", len(before))
	}
}
