package gateway_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) {
	// These of fasthttp sleep for some seconds before they check whether they are still needed, or run for ever.
	var idle []goleak.Option
	for _, name := range []string{"(*workerPool).Start.func2", "updateServerDate.func1", "(*HostClient).connsCleaner", "(*Client).mCleaner", "(*TCPDialer).tcpAddrsClean"} {
		idle = append(idle, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp."+name))
	}
	goleak.VerifyTestMain(m, idle...)
}

// door is a gateway on a real listener with a few small services behind it.
type door struct {
	t       testing.TB
	url     string
	gateway *gateway.Gateway
	clock   *testkit.Clock
	live    *settings.Live
	nats    *testkit.NATSServer
	log     *testkit.Buffer
	http    *http.Client

	signer   ed25519.PrivateKey // with keyID guarded by mu, once served
	keyID    string
	keyCalls atomic.Int64
	keyFault atomic.Pointer[fault.Error]

	mu   sync.Mutex
	last rpc.Meta // of the last request that reached a service
	body string   // what the last handler was given, as text

	checks   int // of sessions at their source; standing answers them, and knows all others as administrators
	standing map[string]func() (*api.Standing, error)

	handle func(ctx context.Context) error // what GetEvent does, besides answering; set by does
}

func open(t testing.TB, change ...func(*gateway.Config)) *door {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, clock: testkit.NewClock(time.Time{}), live: settings.Fixed(api.RatePerAddress.Is(0), api.RatePerPerson.Is(0), api.RateLogin.Is(0), api.AdminFactor.Is(false)), nats: testkit.NATS(t), log: &testkit.Buffer{},
		signer: private, keyID: "k1", http: &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	d.serveUser()
	d.serveEvent()
	d.servePayment()
	document, err := api.OpenAPI("1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := gateway.Config{
		NATS:      d.nats.Conn,
		Client:    rpc.NewClient(d.nats.Connect(), rpc.ClientConfig{Name: "gateway", Grace: -1}),
		Endpoints: api.All(), Settings: d.live, Revoked: d.revocations(), Registry: observe.NewRegistry(), Now: d.clock.Now, OpenAPI: document,
		Log: slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	if d.gateway, err = gateway.New(cfg); err != nil {
		t.Fatal(err)
	}
	d.url = "http://" + d.listen(func(ln net.Listener) net.Listener { return ln })
	t.Cleanup(func() {
		d.http.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := d.gateway.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return d
}

// revocations follows a fresh bucket.
func (d *door) revocations() *revocation.List {
	d.t.Helper()
	kv, err := d.nats.JS.CreateKeyValue(d.t.Context(), jetstream.KeyValueConfig{Bucket: revocation.Bucket})
	if err != nil {
		d.t.Fatal(err)
	}
	return d.follow(kv, revocation.DefaultGrace)
}

func (d *door) follow(kv jetstream.KeyValue, grace time.Duration) *revocation.List {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	list, err := revocation.Open(ctx, revocation.Config{KV: kv, Grace: grace})
	if err != nil {
		cancel()
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		cancel()
		<-list.Done()
	})
	return list
}

// listen serves the gateway on one more listener and returns its address.
func (d *door) listen(wrap func(net.Listener) net.Listener) string {
	d.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	go d.gateway.Serve(wrap(ln))
	return ln.Addr().String()
}

func (d *door) server(service string) *rpc.Server {
	return rpc.NewServer(d.nats.Connect(), rpc.ServerConfig{Service: service, Log: slog.New(slog.DiscardHandler), Registry: observe.NewRegistry(), Answers: noAnswers{}})
}

type noAnswers struct{}

func (noAnswers) Lookup(context.Context, string, string) (string, int, []byte, bool, error) {
	return "", 0, nil, false, nil
}

func (d *door) saw(ctx context.Context, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.body = *rpc.From(ctx), fmt.Sprintf(format, args...)
}

// arrived returns what the last request was when it reached a service.
func (d *door) arrived() (rpc.Meta, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, d.body
}

// does sets what GetEvent does besides answering.
func (d *door) does(handle func(context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handle = handle
}

// occupy returns once a request is under way that goes on until it is released, and where its status will be.
func (d *door) occupy() (release func(), status <-chan int) {
	entered, released := make(chan struct{}), make(chan struct{})
	d.does(func(context.Context) error {
		close(entered)
		<-released
		return nil
	})
	first := make(chan int, 1)
	go func() { first <- d.do("GET", "/v1/events/"+string(theEvent), "").StatusCode }()
	<-entered
	return func() { close(released) }, first
}

func (d *door) serveUser() {
	s := d.server("user")
	rpc.Handle(s, api.GetKeys, func(context.Context, *rpc.None) (*api.KeySet, error) {
		d.keyCalls.Add(1)
		if f := d.keyFault.Load(); f != nil {
			return nil, f
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		x := base64.RawURLEncoding.EncodeToString(d.signer.Public().(ed25519.PublicKey))
		return &api.KeySet{Keys: []api.Key{{KeyType: "OKP", Curve: "Ed25519", ID: d.keyID, Use: "sig", Algorithm: "EdDSA", X: x}}}, nil
	})
	rpc.Handle(s, api.CreateSession, func(ctx context.Context, r *api.Login) (*api.SignIn, error) {
		d.saw(ctx, "%s", r.Email)
		return &api.SignIn{Tokens: &api.Tokens{TokenType: "Bearer"}}, nil
	})
	rpc.Handle(s, api.CheckSession, func(_ context.Context, r *api.SessionCheck) (*api.Standing, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.checks++
		if f := d.standing[string(r.SessionID)]; f != nil {
			return f()
		}
		return &api.Standing{Roles: []string{rpc.RoleAdmin}}, nil
	})
	testkit.Serve(d.t, s)
}

func (d *door) serveEvent() {
	s := d.server("event")
	rpc.Handle(s, api.GetEvent, func(ctx context.Context, r *api.EventRef) (*api.Event, error) {
		d.saw(ctx, "%s", r.ID)
		d.mu.Lock()
		handle := d.handle
		d.mu.Unlock()
		if handle != nil {
			if err := handle(ctx); err != nil {
				return nil, err
			}
		}
		return &api.Event{ID: r.ID, OrganizerID: ids.New[ids.OrganizerKind](d.clock.Now()), Name: "Ämter & Würden", Revision: 35}, nil
	})
	rpc.Handle(s, api.ListEvents, func(ctx context.Context, r *api.EventQuery) (*api.List[api.Event], error) {
		d.saw(ctx, "q=%s limit=%d cursor=%s", r.Q, r.Limit, r.Cursor)
		return &api.List[api.Event]{Items: []api.Event{}}, nil
	})
	rpc.Handle(s, api.CreateEvent, func(ctx context.Context, r *api.NewEvent) (*api.Event, error) {
		d.saw(ctx, "%s key=%s", r.Name, rpc.From(ctx).IdempotencyKey)
		return &api.Event{ID: theEvent, OrganizerID: api.OrganizerOf(rpc.Caller(ctx).User), Name: r.Name, Revision: 1}, nil
	})
	rpc.Handle(s, api.UpdateEvent, func(ctx context.Context, r *api.PatchEvent) (*api.Event, error) {
		d.saw(ctx, "%s", r.IfMatch)
		if !rpc.MatchETag(r.IfMatch, "z") {
			return nil, fault.New(fault.Precondition, "it was changed meanwhile")
		}
		return &api.Event{ID: r.ID, OrganizerID: api.OrganizerOf(rpc.Caller(ctx).User), Revision: 36}, nil
	})
	rpc.Handle(s, api.DeleteEvent, func(context.Context, *api.EventRef) (*rpc.None, error) { return nil, nil })
	rpc.Handle(s, api.GetCalendar, func(context.Context, *api.EventRef) (*rpc.Blob, error) {
		return &rpc.Blob{ContentType: "text/calendar; charset=utf-8", Filename: "event.ics", Data: []byte("BEGIN:VCALENDAR")}, nil
	})
	testkit.Serve(d.t, s)
}

func (d *door) servePayment() {
	s := d.server("payment")
	rpc.Handle(s, api.ReceiveCallback, func(ctx context.Context, r *api.Callback) (*rpc.None, error) {
		d.saw(ctx, "%+v", *r)
		return nil, nil
	})
	testkit.Serve(d.t, s)
}

const theEvent = ids.Event("evt_01hzzzzzzzzzzzzzzzzzzzzzzz")

// token signs claims as the user service would, after change had its way with them.
func (d *door) token(p rpc.Principal, change ...func(jwt.MapClaims, map[string]any)) string {
	d.t.Helper()
	c := jwt.MapClaims{"iss": "starlight", "aud": "starlight", "sub": string(p.User), "sid": string(p.Session), "roles": p.Roles,
		"jti": "1", "iat": d.clock.Now().Unix(), "exp": d.clock.Now().Add(30 * time.Minute).Unix()}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	t.Header["typ"], t.Header["kid"] = "at+jwt", d.keyID
	for _, f := range change {
		f(c, t.Header)
	}
	s, err := t.SignedString(d.signer)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func person(roles ...string) rpc.Principal {
	return rpc.Principal{User: ids.New[ids.UserKind](time.Now()), Session: ids.New[ids.SessionKind](time.Now()), Roles: roles}
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

// do sends a request. Headers are given as name, value, name, value.
func (d *door) do(method, path, body string, headers ...string) answer {
	d.t.Helper()
	return d.send(d.url, method, path, body, headers...)
}

// send is do for any gateway.
func (d *door) send(gateway, method, path, body string, headers ...string) answer {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, gateway+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := d.http.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{resp, string(b)}
}

type problem struct {
	Type, Title, Detail, Code string
	Status                    int
	RequestID                 string `json:"request_id"`
	Errors                    []fault.Field
}

// wantProblem checks that an answer is a complete problem of the code.
func wantProblem(t *testing.T, a answer, status int, code fault.Code) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("status %d, body %q: %v", a.StatusCode, a.body, err)
	}
	if a.StatusCode != status || p.Status != status || p.Code != string(code) || p.Title == "" || p.Type == "" || p.Detail == "" ||
		p.RequestID == "" || p.RequestID != a.Header.Get("X-Request-Id") || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %s %s, want %d %s", a.StatusCode, a.Header.Get("Content-Type"), a.body, status, code)
	}
	return p
}

func TestScenarios(t *testing.T) {
	d := open(t)
	anna, root := "Bearer "+d.token(person()), "Bearer "+d.token(person("admin"))
	event := "/v1/events/" + string(theEvent)
	big := `{"name":"` + strings.Repeat("x", 70<<10) + `"}`
	newEvent := `{"name":"n","description":"","category":"","starts_at":"2030-01-01T00:00:00Z","ends_at":"2030-01-02T00:00:00Z","timezone":"UTC","location":{"name":"","city":"","country":""},"capacity":1,"ticket_types":[]}`
	json := []string{"Content-Type", "application/json"}
	with := func(h []string, more ...string) []string { return append(append([]string{}, h...), more...) }
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     fault.Code
		want                     map[string]string // headers of the answer; "body" and "arrived" are not headers
	}{
		{"read", "GET", event, "", nil, 200, "", map[string]string{"body": `"Ämter`, "Content-Type": "application/json", "Etag": `"z"`, "Cache-Control": "no-cache", "arrived": string(theEvent)}},
		{"head", "HEAD", event, "", nil, 200, "", map[string]string{"Etag": `"z"`, "body": ""}},
		{"not modified", "GET", event, "", []string{"If-None-Match", `W/"z"`}, 304, "", map[string]string{"Etag": `"z"`, "body": ""}},
		{"modified", "GET", event, "", []string{"If-None-Match", `"y"`}, 200, "", nil},
		{"create", "POST", "/v1/events", newEvent, with(json, "Authorization", anna, "Idempotency-Key", "k 1"), 201, "",
			map[string]string{"Location": event, "Cache-Control": "no-store", "arrived": "n key=k 1"}},
		{"delete", "DELETE", event, "", []string{"Authorization", anna}, 204, "", map[string]string{"body": "", "Content-Type": ""}},
		{"delete with an empty object", "DELETE", event, "{}", with(json, "Authorization", anna), 204, "", nil},
		{"change with the right tag", "PATCH", event, `{}`, with(json, "Authorization", anna, "If-Match", `"z"`), 200, "", map[string]string{"arrived": `"z"`}},
		{"change with a stale tag", "PATCH", event, `{}`, with(json, "Authorization", anna, "If-Match", `"y"`), 412, fault.Precondition, nil},
		{"search", "GET", "/v1/events?q=a%26b+c%C3%A9&limit=3&cursor=x", "", nil, 200, "", map[string]string{"arrived": "q=a&b cé limit=3 cursor=x"}},
		{"calendar", "GET", event + "/calendar.ics", "", nil, 200, "", map[string]string{"Content-Type": "text/calendar; charset=utf-8",
			"Content-Disposition": "attachment; filename=event.ics", "body": "BEGIN:VCALENDAR"}},
		{"raw webhook", "POST", "/v1/payments/callbacks/sandbox", "\xff not json", []string{"Content-Type", "text/plain", "Sandbox-Signature", "t=1,v1=2"}, 200, "", map[string]string{"arrived": "Sandbox-Signature:t=1,v1=2"}},
		{"health", "GET", "/healthz", "", nil, 200, "", map[string]string{"body": "ok"}},
		{"readiness", "GET", "/readyz", "", nil, 200, "", map[string]string{"body": "ready"}},

		{"no such address", "GET", "/v1/nothing", "", nil, 404, fault.NotFound, nil},
		{"trailing slash", "GET", "/v1/events/", "", nil, 404, fault.NotFound, nil},
		{"wrong case", "GET", "/V1/events", "", nil, 404, fault.NotFound, nil},
		{"internal endpoints have no address", "POST", "/api.event.offer", "{}", json, 404, fault.NotFound, nil},
		{"dots in the path", "GET", "/v1/x/../events", "", nil, 404, fault.NotFound, nil},
		{"wrong method", "PUT", "/v1/events", "{}", json, 405, fault.WrongMethod, map[string]string{"Allow": "GET, HEAD, POST"}},
		{"unknown method", "TRACE", "/v1/events", "", nil, 405, fault.WrongMethod, nil},
		{"what can be done", "OPTIONS", "/v1/events", "", nil, 204, "", map[string]string{"Allow": "GET, HEAD, POST, OPTIONS"}},
		{"what can be done nowhere", "OPTIONS", "/v1/nothing", "", nil, 404, fault.NotFound, nil},
		{"wild id", "GET", "/v1/events/*", "", nil, 404, fault.NotFound, nil},
		{"wilder id", "GET", "/v1/events/%3E", "", nil, 404, fault.NotFound, nil},
		{"dot id", "GET", "/v1/events/.", "", nil, 404, fault.NotFound, nil},
		{"NUL id", "GET", event + "%00", "", nil, 404, fault.NotFound, nil},
		{"CRLF id", "GET", event + "%0d%0aStarlight-Principal:x", "", nil, 404, fault.NotFound, nil},
		{"slash in an id", "GET", event[:20] + "%2F" + event[20:], "", nil, 404, fault.NotFound, nil},
		{"another kind of id", "GET", "/v1/events/usr_01hzzzzzzzzzzzzzzzzzzzzzzz", "", nil, 404, fault.NotFound, nil},
		{"bad escape in the path", "GET", "/v1/events?q=%zz", "", nil, 400, fault.Invalid, nil},
		{"unknown parameter", "GET", "/v1/events?sort=x", "", nil, 400, fault.Invalid, map[string]string{"body": `"field":"sort"`}},
		{"path value in the query", "GET", event + "?id=evt_x", "", nil, 400, fault.Invalid, map[string]string{"body": `"field":"id"`}},
		{"path value in the query, escaped", "GET", event + "?%69d=evt_x", "", nil, 400, fault.Invalid, nil},
		{"NUL in the query", "GET", "/v1/events?q=%00", "", nil, 400, fault.Invalid, map[string]string{"body": `"field":"q"`}},
		{"CRLF in the query", "GET", "/v1/events?q=a%0d%0ab", "", nil, 400, fault.Invalid, nil},
		{"number out of range", "GET", "/v1/events?limit=99999999999999999999", "", nil, 400, fault.Invalid, nil},
		{"not JSON", "POST", "/v1/events", `{"name":`, with(json, "Authorization", anna), 400, fault.Invalid, nil},
		{"unknown field", "POST", "/v1/sessions", `{"email":"a","password":"b","admin":true}`, json, 400, fault.Invalid, map[string]string{"body": `"field":"admin"`}},
		{"wrong type", "POST", "/v1/sessions", `{"email":5,"password":"b"}`, json, 400, fault.Invalid, map[string]string{"body": `"field":"email"`}},
		{"NUL in a body", "POST", "/v1/sessions", `{"email":"a\u0000","password":"b"}`, json, 400, fault.Invalid, map[string]string{"body": `"field":"email"`}},
		{"no body", "POST", "/v1/sessions", "", json, 400, fault.Invalid, nil},
		{"a form", "POST", "/v1/sessions", "email=a", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, fault.WrongMedia, nil},
		{"no content type", "POST", "/v1/sessions", "{}", nil, 415, fault.WrongMedia, nil},
		{"strange charset", "POST", "/v1/sessions", "{}", []string{"Content-Type", "application/json; charset=utf-7"}, 415, fault.WrongMedia, nil},
		{"compressed body", "POST", "/v1/sessions", "{}", with(json, "Content-Encoding", "gzip"), 415, fault.WrongMedia, nil},
		{"body over the endpoint's limit", "POST", "/v1/sessions", big, json, 413, fault.TooLarge, nil},
		{"the same body where there is room", "POST", "/v1/events", strings.Replace(newEvent, `"name":"n"`, `"name":"`+strings.Repeat("x", 70<<10)+`"`, 1), with(json, "Authorization", anna), 201, "", nil},
		{"deep nesting", "POST", "/v1/sessions", strings.Repeat("[", 60000), json, 400, fault.Invalid, nil},

		{"no token", "POST", "/v1/events", newEvent, json, 401, fault.Unauthenticated, map[string]string{"Www-Authenticate": `Bearer realm="starlight"`}},
		{"another scheme", "POST", "/v1/events", newEvent, with(json, "Authorization", "Basic YTpi"), 401, fault.Unauthenticated, nil},
		{"bad token where none is needed", "GET", event, "", []string{"Authorization", "Bearer x"}, 401, fault.Unauthenticated, nil},
		{"not an administrator", "GET", "/v1/config", "", []string{"Authorization", anna}, 403, fault.Forbidden, nil},
		{"administrator, but the service is not there", "GET", "/v1/config", "", []string{"Authorization", root}, 503, fault.Unavailable, map[string]string{"Retry-After": "1"}},
		{"a token in the query is none", "DELETE", event + "?access_token=x", "", nil, 401, fault.Unauthenticated, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := d.do(c.method, c.path, c.body, c.headers...)
			if c.code != "" {
				wantProblem(t, a, c.status, c.code)
			} else if a.StatusCode != c.status {
				t.Fatalf("status %d %s, want %d", a.StatusCode, a.body, c.status)
			}
			for name, want := range c.want {
				switch name {
				case "body":
					if !strings.Contains(a.body, want) || want == "" && a.body != "" {
						t.Errorf("body is %q, want %q in it", a.body, want)
					}
				case "arrived":
					if _, got := d.arrived(); !strings.Contains(got, want) {
						t.Errorf("%q arrived, want %q", got, want)
					}
				default:
					if got := a.Header.Get(name); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
				if a.Header.Get(name) != want {
					t.Errorf("%s is %q", name, a.Header.Get(name))
				}
			}
			if !strings.Contains(a.Header.Get("Content-Security-Policy"), "base-uri 'none'") || a.Header.Get("X-Request-Id") == "" || a.Header.Get("Server") != "" {
				t.Errorf("headers are %v", a.Header)
			}
		})
	}
	if log := d.log.String(); strings.Contains(log, anna[7:40]) || strings.Contains(log, "panic") {
		t.Error("a token or a panic is in the log")
	}
}

func TestIdentityOfARequest(t *testing.T) {
	d := open(t, func(c *gateway.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	path := "/v1/events/" + string(theEvent)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	who := person("admin")
	a := d.do("GET", path, "", "X-Request-Id", "from.outside-1", "traceparent", trace, "Authorization", "Bearer "+d.token(who),
		"X-Forwarded-For", "6.6.6.6, 192.0.2.9, 10.1.1.1", "Starlight-Principal", "usr_x;;admin", "Starlight-Address", "1.1.1.1")
	m, _ := d.arrived()
	if a.Header.Get("X-Request-Id") != "from.outside-1" || m.RequestID != "from.outside-1" {
		t.Errorf("request id %q arrived as %q", a.Header.Get("X-Request-Id"), m.RequestID)
	}
	if !strings.HasPrefix(m.TraceParent, trace[:36]) || m.TraceParent == trace {
		t.Errorf("trace is %s: want the caller's with a new span", m.TraceParent)
	}
	if m.Principal.String() != who.String() || m.Caller != "gateway" {
		t.Errorf("arrived as %+v", m)
	}
	if m.Address != "192.0.2.9" {
		t.Errorf("address is %s, want the one before the trusted proxies", m.Address)
	}
	for _, bad := range []string{strings.Repeat("x", 65), "a b", "a;b", "ü"} {
		a := d.do("GET", path, "", "X-Request-Id", bad)
		if m, _ := d.arrived(); a.Header.Get("X-Request-Id") == bad || m.RequestID == bad {
			t.Errorf("request id %q was taken", bad)
		}
	}
	d.do("GET", path, "")
	if m, _ := d.arrived(); m.Principal.Known() || !strings.HasSuffix(m.TraceParent, "-00") {
		t.Errorf("an anonymous request arrived as %+v", m)
	}
}

func TestForwardedForFromStrangersIsIgnored(t *testing.T) {
	d := open(t)
	d.do("GET", "/v1/events", "", "X-Forwarded-For", "6.6.6.6")
	if m, _ := d.arrived(); m.Address != "127.0.0.1" {
		t.Errorf("address is %s", m.Address)
	}
}

func TestFaultsBecomeProblems(t *testing.T) {
	d := open(t)
	for _, code := range fault.Codes() {
		d.does(func(context.Context) error {
			f := fault.New(code, "about %s", code).After(1500 * time.Millisecond)
			f.Fields = []fault.Field{{Field: "f", Detail: "g"}}
			return f
		})
		a := d.do("GET", "/v1/events/"+string(theEvent), "")
		p := wantProblem(t, a, code.Status(), code)
		if p.Detail != "about "+string(code) || len(p.Errors) != 1 {
			t.Errorf("%s: %+v", code, p)
		}
		retry := a.Header.Get("Retry-After")
		if code == fault.RateLimited || code == fault.Unavailable {
			if retry != "2" {
				t.Errorf("%s: Retry-After is %q", code, retry)
			}
		} else if retry != "" {
			t.Errorf("%s: Retry-After is %q, want none", code, retry)
		}
	}
	d.does(func(context.Context) error { panic("secret") })
	if a := d.do("GET", "/v1/events/"+string(theEvent), ""); strings.Contains(a.body, "secret") {
		t.Errorf("a panic reached the caller: %s", a.body)
	}
}

func TestOverloadIsRefused(t *testing.T) {
	d := open(t, func(c *gateway.Config) { c.InFlight = 1 })
	release, first := d.occupy()
	if a := d.do("GET", "/v1/events", ""); wantProblem(t, a, 503, fault.Unavailable).Code != "" && a.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	release()
	if status := <-first; status != 200 {
		t.Errorf("the first request got %d", status)
	}
}

// What a service refuses for want of time is counted, not logged: that would be work when there is too much of it. An
// endpoint whose service says for other reasons that something is not available goes on being asked.
func TestRefusals(t *testing.T) {
	d := open(t, func(c *gateway.Config) { c.InFlight = 2 }) // half of it for each endpoint
	entered, release := make(chan struct{}, 1), make(chan struct{})
	d.does(func(context.Context) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	path := "/v1/events/" + string(theEvent)
	first := make(chan int, 1)
	go func() { first <- d.do("GET", path, "").StatusCode }()
	<-entered
	wantProblem(t, d.do("GET", path, ""), 503, fault.Unavailable)
	close(release)
	if status := <-first; status != 200 {
		t.Errorf("the first request got %d", status)
	}
	if log := d.log.String(); !strings.Contains(log, "status=503") || strings.Contains(log, "level=INFO msg=\"a request was answered\"") {
		t.Errorf("log:\n%s", log)
	}
	for range 3 * 64 {
		d.does(func(context.Context) error { return fault.New(fault.Unavailable, "the provider is away") })
		if p := wantProblem(t, d.do("GET", path, ""), 503, fault.Unavailable); p.Detail != "the provider is away" {
			t.Fatal(p.Detail)
		}
	}
}

func TestShutdownFinishesWhatIsUnderWay(t *testing.T) {
	d := open(t)
	entered, release := make(chan struct{}), make(chan struct{})
	d.does(func(context.Context) error {
		close(entered)
		<-release
		return nil
	})
	result := make(chan answer, 1)
	go func() { result <- d.do("GET", "/v1/events/"+string(theEvent), "") }()
	<-entered
	down := make(chan error, 1)
	go func() { down <- d.gateway.Shutdown(t.Context()) }()
	testkit.Eventually(t, 5*time.Second, func() error {
		c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
		if err != nil {
			return nil
		}
		c.Close()
		return fmt.Errorf("it still listens")
	})
	close(release)
	if a := <-result; a.StatusCode != 200 {
		t.Errorf("the request under way got %d", a.StatusCode)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestCrossOrigin(t *testing.T) {
	d := open(t, func(c *gateway.Config) {
		c.Settings = settings.Fixed(api.Origins.Is("https://a.example, https://shop.example"))
	})
	preflight := []string{"Access-Control-Request-Method", "POST", "Origin"}
	if a := d.do("OPTIONS", "/v1/orders", "", append(preflight, "https://shop.example")...); a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
	if a := d.do("OPTIONS", "/v1/orders", "", append(preflight, "https://evil.example")...); a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("foreign preflight: %d %v", a.StatusCode, a.Header)
	}
	if a := d.do("GET", "/v1/events", "", "Origin", "https://shop.example"); a.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" || a.StatusCode != 200 {
		t.Errorf("request: %d %v", a.StatusCode, a.Header)
	}
	anyOrigin := open(t, func(c *gateway.Config) { c.Settings = settings.Fixed(api.Origins.Is("*")) })
	if a := anyOrigin.do("OPTIONS", "/v1/orders", "", append(preflight, "https://any.example")...); a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "https://any.example" {
		t.Errorf("preflight of any: %d %v", a.StatusCode, a.Header)
	}
	for text, good := range map[string]bool{"": true, "*": true, "https://a.example,http://localhost:5173": true, "a.example": false, "https://a.example/": false, "https://a.example ,http://b.example": true,
		"https://A.example": false, "*,https://a.example": false, "null": false} {
		if err := api.Origins.Check(text); (err == nil) != good {
			t.Errorf("the setting %q: %v", text, err)
		}
	}
	same := open(t)
	if a := same.do("GET", "/v1/events", "", "Origin", "https://shop.example"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("the default allows another origin")
	}
}

func TestDocumentation(t *testing.T) {
	d := open(t)
	a := d.do("GET", "/docs", "")
	if a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	if strings.Contains(a.body, "http://") || strings.Contains(a.body, "https://") {
		t.Error("the page names another host")
	}
	if p := a.Header.Get("Content-Security-Policy"); !strings.Contains(p, "script-src 'self';") || strings.Contains(p, "http") {
		t.Errorf("policy is %s", p)
	}
	for _, path := range []string{"/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js", "/openapi.json"} {
		if !strings.Contains(a.body+"/docs/start.js /openapi.json", path) {
			t.Errorf("the page does not use %s", path)
		}
		plain := d.do("GET", path, "", "Accept-Encoding", "identity")
		if plain.StatusCode != 200 || len(plain.body) < 100 || plain.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d, %d bytes", path, plain.StatusCode, len(plain.body))
		}
		if zipped := d.do("GET", path, "", "Accept-Encoding", "gzip"); zipped.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s is not compressed", path)
		}
		if again := d.do("GET", path, "", "If-None-Match", plain.Header.Get("ETag")); again.StatusCode != 304 {
			t.Errorf("%s: %d for its own ETag", path, again.StatusCode)
		}
	}
}

// A webhook brings all its headers along, since each provider signs in another one, but no credentials.
func TestHeadersOfAWebhook(t *testing.T) {
	d := open(t)
	a := d.do("POST", "/v1/payments/callbacks/sandbox", "{}", "X-Provider-Signature", "abc", "Authorization", "Bearer x", "Proxy-Authorization", "Basic x",
		"Cookie", "session=x")
	if a.StatusCode != 200 {
		t.Fatalf("answered %d", a.StatusCode)
	}
	_, got := d.arrived()
	if !strings.Contains(got, "X-Provider-Signature:abc") || strings.Contains(got, "Authorization") || strings.Contains(got, "Cookie") {
		t.Errorf("%s arrived", got)
	}
}
