package rpc_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/identity"
)

// authority certifies identities: a certificate is a name.
type authority map[string]identity.Public

func (a authority) identity(t testing.TB, role, certificate string) *identity.Identity {
	t.Helper()
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, sign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	a[certificate] = identity.Public{Role: role, Exchange: exchange.PublicKey(), Verify: public}
	return identity.New(identity.Keys{Role: role, Exchange: exchange, Sign: sign, Certificate: certificate,
		Verify: func(c string) (identity.Public, error) {
			if p, ok := a[c]; ok {
				return p, nil
			}
			return identity.Public{}, errors.New("not signed")
		}})
}

// proven is a mesh whose members prove who they are: things, which asks parts on behalf of a person.
type proven struct {
	*mesh
	authority authority
	gateway   *rpc.Client
	seen      chan rpc.Principal // by things
	served    chan rpc.Principal // by parts
	now       func() time.Time
}

var (
	buy = rpc.Endpoint[newThing, thing]{Spec: rpc.Spec{Service: "things", Name: "buy", Method: "POST", Path: "/v1/buy",
		Access: rpc.User, PassesOn: true}}
	sell = rpc.Endpoint[newThing, thing]{Spec: rpc.Spec{Service: "things", Name: "sell", Method: "POST", Path: "/v1/sell",
		Access: rpc.User}}
	login = rpc.Endpoint[newThing, thing]{Spec: rpc.Spec{Service: "things", Name: "login", Method: "POST", Path: "/v1/login",
		Access: rpc.Public, Sealed: true}}
	onBehalf = rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "parts", Name: "on_behalf", Access: rpc.Internal,
		Callers: []string{"things"}, OnBehalf: true}}
	asItself = rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "parts", Name: "as_itself", Access: rpc.Internal,
		Callers: []string{"things"}}}
)

func newProven(t *testing.T) *proven {
	t.Helper()
	p := &proven{authority: authority{}, seen: make(chan rpc.Principal, 8), served: make(chan rpc.Principal, 8), now: time.Now}
	now := func() time.Time { return p.now() }
	url := natsServer(t, server.Options{JetStream: true, StoreDir: t.TempDir()})
	p.mesh = &mesh{url: url, nc: connect(t, url), registry: observe.NewRegistry()}
	p.gateway = rpc.NewClient(connect(t, url), rpc.ClientConfig{Name: "gateway", Identity: p.authority.identity(t, "gateway", "g"), Now: now})
	serve := func(service string, own *identity.Identity, bind func(*rpc.Server)) {
		srv := rpc.NewServer(connect(t, url), rpc.ServerConfig{Service: service, Log: slog.New(slog.DiscardHandler), Registry: p.registry, Identity: own, Now: now})
		bind(srv)
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Drain(context.Background()) })
	}
	things := p.authority.identity(t, "things", "t")
	calls := rpc.NewClient(connect(t, url), rpc.ClientConfig{Name: "things", Identity: things, Now: now})
	serve("things", things, func(s *rpc.Server) {
		answer := func(ctx context.Context, req *newThing) (*thing, error) {
			p.seen <- rpc.Caller(ctx)
			if _, err := rpc.Call(ctx, calls, asItself, &rpc.None{}); err != nil {
				return nil, err
			}
			_, err := rpc.Call(ctx, calls, onBehalf, &rpc.None{})
			return &thing{ID: ids.New[ids.EventKind](time.Now()), Name: "secret answer to " + req.Name}, err
		}
		rpc.Handle(s, buy, answer)
		rpc.Handle(s, sell, answer)
		rpc.Handle(s, login, answer)
	})
	serve("parts", p.authority.identity(t, "parts", "p"), func(s *rpc.Server) {
		serving := func(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
			p.served <- rpc.Caller(ctx)
			return nil, nil
		}
		rpc.Handle(s, onBehalf, serving)
		rpc.Handle(s, asItself, serving)
	})
	return p
}

// A principal reaches the service that the gateway sends it to. From there it reaches another service only where the
// endpoints say so; otherwise the service that calls acts as itself.
func TestPrincipalsTravel(t *testing.T) {
	p := newProven(t)
	anna := principal("admin")
	ctx := rpc.WithPrincipal(t.Context(), anna)
	for range 2 { // the first request meets services that do not know the gateway yet
		if _, err := rpc.Call(ctx, p.gateway, buy, &newThing{Name: "x"}); err != nil {
			t.Fatal(err)
		}
		if got := <-p.seen; got.String() != anna.String() {
			t.Errorf("things saw %v", got)
		}
		if got := <-p.served; got.Known() {
			t.Errorf("parts was called by a service as %v", got)
		}
		if got := <-p.served; got.String() != anna.String() {
			t.Errorf("parts was called on behalf of %v", got)
		}
	}
	if _, err := rpc.Call(ctx, p.gateway, sell, &newThing{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	if got := [...]rpc.Principal{<-p.seen, <-p.served, <-p.served}; !got[0].Known() || got[1].Known() || got[2].Known() {
		t.Errorf("an endpoint that passes nothing on passed on: %v", got)
	}
}

// A principal counts by its proof and not by its header, whoever sends it.
func TestForgedPrincipals(t *testing.T) {
	p := newProven(t)
	ctx := rpc.WithPrincipal(t.Context(), principal())
	if _, err := rpc.Call(ctx, p.gateway, buy, &newThing{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	<-p.seen
	<-p.served
	<-p.served
	seen, err := p.nc.SubscribeSync(buy.Subject()) // whoever may, sees what the gateway sends
	if err != nil {
		t.Fatal(err)
	}
	if err := p.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Call(ctx, p.gateway, buy, &newThing{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	<-p.seen
	<-p.served
	<-p.served
	real, err := seen.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	admin := principal("admin")
	event := p.authority.identity(t, "event", "e")
	stranger := maps.Clone(p.authority).identity(t, "gateway", "s") // knows the others, but they do not know it
	byEvent := rpc.NewClient(p.nc, rpc.ClientConfig{Name: "gateway", Identity: event})
	byStranger := rpc.NewClient(p.nc, rpc.ClientConfig{Name: "gateway", Identity: stranger})
	byNone := rpc.NewClient(p.nc, rpc.ClientConfig{Name: "gateway"})
	asThings := rpc.NewClient(p.nc, rpc.ClientConfig{Name: "things"})
	with := func(change func(h nats.Header), subject string, data []byte) error {
		h := nats.Header{}
		for k, v := range real.Header {
			h[k] = v
		}
		if change != nil {
			change(h)
		}
		reply, err := p.nc.RequestMsg(&nats.Msg{Subject: subject, Header: h, Data: data}, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if f := rpc.Fault(reply); f != nil {
			return f
		}
		return nil
	}
	call := func(c *rpc.Client) error {
		_, err := rpc.Call(rpc.WithPrincipal(t.Context(), admin), c, buy, &newThing{Name: "x"})
		return err
	}
	for name, err := range map[string]error{
		"without a proof":                 call(byNone),
		"by the credentials of a service": call(byEvent),
		"by one that nothing certifies":   call(byStranger),
		"another principal":               with(func(h nats.Header) { h[rpc.HeaderPrincipal] = []string{admin.String()} }, buy.Subject(), real.Data),
		"another endpoint":                with(nil, sell.Subject(), real.Data),
		"another body":                    with(nil, buy.Subject(), []byte(`{"name":"y"}`)),
		"another request":                 with(func(h nats.Header) { h[rpc.HeaderCall] = []string{"1000|gateway|req_9||"} }, buy.Subject(), real.Data),
		"a certificate that is made up": with(func(h nats.Header) {
			h[rpc.HeaderProof], h[rpc.HeaderCertificate] = []string{"x|1|"}, []string{"made up"}
		}, buy.Subject(), real.Data),
		"a service makes up whom it is for": callOnBehalf(t, asThings, admin),
	} {
		if !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(p.seen)+len(p.served) != 0 {
		t.Error("a handler ran")
	}
	var metrics bytes.Buffer
	p.registry.WriteTo(&metrics)
	if want := `starlight_rpc_forged_total{service="things",endpoint="buy"} 7`; !bytes.Contains(metrics.Bytes(), []byte(want)) {
		t.Errorf("no %s in\n%s", want, metrics.String())
	}
	p.now = func() time.Time { return time.Now().Add(31 * time.Second) }
	if err := with(nil, buy.Subject(), real.Data); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("half a minute later: %v", err)
	}
}

func callOnBehalf(t *testing.T, c *rpc.Client, who rpc.Principal) error {
	t.Helper()
	_, err := rpc.Call(rpc.WithPrincipal(t.Context(), who), c, onBehalf, &rpc.None{})
	return err
}

// A connection with credentials is one of a mesh that has identities: without one, no principal is believed.
func TestServerWithoutIdentity(t *testing.T) {
	url := natsServer(t, server.Options{})
	nc := connect(t, url, nats.UserJWT(func() (string, error) { return "", nil }, func([]byte) ([]byte, error) { return nil, nil }))
	srv := rpc.NewServer(nc, rpc.ServerConfig{Service: "things", Log: slog.New(slog.DiscardHandler), Registry: observe.NewRegistry()})
	rpc.Handle(srv, sell, func(context.Context, *newThing) (*thing, error) { return &thing{}, nil })
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer srv.Drain(context.Background())
	client := rpc.NewClient(connect(t, url), rpc.ClientConfig{Name: "gateway"})
	_, err := rpc.Call(rpc.WithPrincipal(t.Context(), principal()), client, sell, &newThing{Name: "x"})
	wantCode(t, err, fault.Unauthenticated)
}

// Nothing of a sealed exchange is in clear, not even of the first one, and what is not sealed is not served.
func TestSealedBodies(t *testing.T) {
	p := newProven(t)
	all, err := p.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := rpc.Call(t.Context(), p.gateway, login, &newThing{Name: "hunter2"})
		if err != nil || got.Name != "secret answer to hunter2" {
			t.Fatalf("answer is %+v, %v", got, err)
		}
		if who := <-p.seen; who.Known() {
			t.Errorf("login by %v", who)
		}
	}
	for n := 0; ; n++ {
		msg, err := all.NextMsg(100 * time.Millisecond)
		if errors.Is(err, nats.ErrTimeout) {
			if n < 6 {
				t.Errorf("%d messages", n)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(msg.Data, []byte("hunter2")) {
			t.Errorf("on %s in clear: %s", msg.Subject, msg.Data)
		}
	}
	reply, err := p.nc.Request(login.Subject(), []byte(`{"name":"x"}`), 5*time.Second)
	if err != nil || !fault.Is(rpc.Fault(reply), fault.Unavailable) || len(p.seen) != 0 {
		t.Errorf("in clear: %v, %v", reply, err)
	}
}

// What streams and the JetStream API send to an endpoint's subject is no request.
func TestStraysAreNoRequests(t *testing.T) {
	m := newMesh(t, nil, func(s *rpc.Server) {
		rpc.Handle(s, work(), func(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
			t.Errorf("ran for %q", rpc.From(ctx).RequestID)
			return nil, nil
		})
	})
	for name, msg := range map[string]*nats.Msg{
		"without a reply":  {},
		"a republished":    {Header: nats.Header{"Nats-Stream": {"X"}, "Nats-Sequence": {"1"}}, Reply: "_INBOX.x"},
		"a direct get":     {Header: nats.Header{"Nats-Time-Stamp": {"x"}}},
		"asking for a job": {Reply: "$JS.FC.X.c.1"},
	} {
		msg.Subject = work().Subject()
		if err := m.nc.PublishMsg(msg); err != nil {
			t.Fatal(name, err)
		}
	}
	if err := m.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		var metrics bytes.Buffer
		m.registry.WriteTo(&metrics)
		return bytes.Contains(metrics.Bytes(), []byte(`starlight_rpc_stray_total{service="things",endpoint="work"} 4`))
	})
	if n := strings.Count(m.log.String(), "that is no request"); n != 1 {
		t.Errorf("%d lines of log", n)
	}
}
