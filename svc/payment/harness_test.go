package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/manual"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/sandbox"
	"github.com/starlightsymphony/starlight/svc/payment/stripe"
	"github.com/starlightsymphony/starlight/svc/payment/stripe/stripetest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// onBoth runs a test against a harness on each database.
func onBoth(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	for name, url := range map[string]func(testing.TB) string{store.SQLite: testkit.SQLite, store.Postgres: testkit.Postgres} {
		t.Run(name, func(t *testing.T) { test(t, newHarness(t, url(t))) })
	}
}

// harness is all that surrounds the payment service: NATS, a database, ticketing, and a receiver of callbacks over HTTP.
type harness struct {
	t      testing.TB
	nats   *testkit.NATSServer
	url    string // of the database
	clock  *testkit.Clock
	live   *settings.Live
	http   *httptest.Server
	stripe string              // the URL of Stripe; "" for none
	others []provider.Provider // that every instance has too
	log    *slog.Logger
	// client calls as the gateway.
	client *rpc.Client

	mu       sync.Mutex
	orders   map[ids.Order]*api.Order
	payments map[ids.Order]ids.Payment // of the last BeginPayment
	held     map[ids.Order]*time.Time  // and until when
	receive  func(rw http.ResponseWriter, r *http.Request, body []byte)

	accepted []string // the providers of every event
	refusal  error    // of ticketing
	// of events that have another organizer than organizerID by now; nil: the event is gone
	moved map[ids.Event]*api.OrganizerTeam
	older bool // ticketing does not say whose event it is
}

const (
	testSandboxSecret = "the secret of the sandbox in tests"
	sandboxSignature  = "Sandbox-Signature"
)

func newHarness(t testing.TB, url string) *harness {
	t.Helper()
	n := testkit.NATS(t)
	n.Stream("EVENTS", "ev.>")
	n.Stream(api.AuditStream, api.AuditSubjects)
	h := &harness{
		t: t, nats: n, url: url, clock: testkit.NewClock(time.Time{}),
		live: settings.Fixed(api.SandboxEnabled.Is(true), api.PaymentPollAfter.Is(api.PaymentPollAfter.Default()),
			api.ReasonRetention.Is(api.ReasonRetention.Default())),
		client: rpc.NewClient(n.Conn, rpc.ClientConfig{Name: "gateway"}), log: testkit.Log(t),
		orders: map[ids.Order]*api.Order{}, payments: map[ids.Order]ids.Payment{}, held: map[ids.Order]*time.Time{},
	}
	h.receive = h.forward
	h.http = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			rw.WriteHeader(400)
			return
		}
		h.mu.Lock()
		receive := h.receive
		h.mu.Unlock()
		receive(rw, r, body)
	}))
	t.Cleanup(h.http.Close)
	h.serveTicketing()
	h.serveOffers()
	return h
}

// forward does with callbacks what the gateway does.
func (h *harness) forward(rw http.ResponseWriter, r *http.Request, body []byte) {
	err := h.callback(r.Header.Get(sandboxSignature), body)
	if err != nil {
		rw.WriteHeader(fault.From(err).Code.Status())
		return
	}
	rw.WriteHeader(http.StatusOK)
}

func (h *harness) callback(signature string, body []byte) error {
	_, err := rpc.Call(context.Background(), h.client, api.ReceiveCallback, &api.Callback{Provider: "sandbox", Headers: map[string]string{sandboxSignature: signature}, Body: body})
	return err
}

// setReceiver replaces what happens to callbacks on their way.
func (h *harness) setReceiver(receive func(rw http.ResponseWriter, r *http.Request, body []byte)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.receive = receive
}

// serveTicketing answers for ticketing out of a table of orders, and refuses what a test says. The real service would need
// an event service with offers, streams and a clock of its own, under which orders end while a test waits for a provider,
// and would decide by rules that are not the subject here. The two services meet in svc/system: TestMainPath buys, refunds
// and is late, TestAccessMatrix tries who may do what, and TestPaymentSoak injects faults.
func (h *harness) serveTicketing() {
	h.t.Helper()
	srv := rpc.NewServer(h.nats.Conn, rpc.ServerConfig{Service: "ticketing", Log: testkit.Log(h.t), Registry: observe.NewRegistry()})
	rpc.Handle(srv, api.BeginPayment, func(_ context.Context, req *api.BeginPaymentOf) (*api.Payable, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.refusal != nil {
			return nil, h.refusal
		}
		h.payments[req.OrderID], h.held[req.OrderID] = req.PaymentID, req.HoldUntil
		out := &api.Payable{Order: *h.orders[req.OrderID], Providers: h.accepted}
		if !h.older {
			out.OrganizerID = api.OrganizerOf(organizerID)
		}
		return out, nil
	})
	rpc.Handle(srv, api.DecideRefund, func(_ context.Context, req *api.RefundOrder) (*api.RefundDue, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.refusal != nil {
			return nil, h.refusal
		}
		return &api.RefundDue{RefundID: req.RefundID, OrderID: req.OrderID, PaymentID: req.PaymentID, Amount: *req.Amount, Reason: req.Reason}, nil
	})
	testkit.Serve(h.t, srv)
}

// refuse has ticketing answer everything with a fault; nil ends that.
func (h *harness) refuse(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refusal = err
}

const (
	managerID   = ids.User("usr_01kqx0m0q0q0q0q0q0q0q0q0q1")
	doorID      = ids.User("usr_01kqx0m0q0q0q0q0q0q0q0q0q2")
	organizerID = ids.User("usr_01kqx0m0q0q0q0q0q0q0q0q0q3")
)

// serveOffers answers GetOffer and GetOrganizerTeam: every event has the same team, unless a test has moved it.
func (h *harness) serveOffers() {
	h.t.Helper()
	srv := rpc.NewServer(h.nats.Connect(), rpc.ServerConfig{Service: "event", Log: testkit.Log(h.t), Registry: observe.NewRegistry()})
	rpc.Handle(srv, api.GetOffer, func(_ context.Context, req *api.OfferRequest) (*api.Offer, error) {
		h.mu.Lock()
		team, moved := h.moved[req.EventID]
		h.mu.Unlock()
		if !moved {
			own := api.OwnTeam(organizerID)
			team = &own
		}
		if team == nil {
			return nil, fault.New(fault.NotFound, api.NoSuchEvent)
		}
		return &api.Offer{Organizer: *team, Event: api.Event{ID: req.EventID, OrganizerID: team.ID},
			Team: []api.TeamMember{{UserID: managerID, Role: api.RoleManager}, {UserID: doorID, Role: api.RoleDoor}}}, nil
	})
	rpc.Handle(srv, api.GetOrganizerTeam, func(_ context.Context, req *api.OfOrganizer) (*api.OrganizerTeam, error) {
		team := api.OwnTeam(organizerID)
		if team.ID = req.OrganizerID; team.ID == api.OrganizerOf(organizerID) {
			team.Members = append(team.Members, api.TeamMember{UserID: managerID, Role: api.RoleFinance}, api.TeamMember{UserID: doorID, Role: api.RoleDoor})
		}
		return &team, nil
	})
	testkit.Serve(h.t, srv)
}

// order makes a pending order and returns it with the context of its owner.
func (h *harness) order() (context.Context, *api.Order) {
	now := h.clock.Now()
	o := &api.Order{ID: ids.New[ids.OrderKind](now), UserID: ids.New[ids.UserKind](now), EventID: ids.New[ids.EventKind](now), Status: api.OrderPending,
		Items: []api.OrderItem{{TicketTypeID: ids.New[ids.TicketTypeKind](now), Name: "Standing", Quantity: 2}}, Total: api.Money{Amount: 5000, Currency: "EUR"}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.orders[o.ID] = o
	return as(o.UserID), o
}

func as(user ids.User, roles ...string) context.Context {
	return rpc.WithPrincipal(context.Background(), rpc.Principal{User: user, Roles: roles})
}

// instance is one running payment service.
type instance struct {
	*Service
	sandbox  *sandbox.Provider
	manual   *manual.Provider
	registry *observe.Registry
	stop     func()
}

// prepare makes an instance that serves nothing and does nothing in the background.
func (h *harness) prepare() *instance {
	h.t.Helper()
	db := testkit.Open(h.t, h.url, "payment", Migrations())
	nc := h.nats.Connect(nats.Name("payment"))
	reg := observe.NewRegistry()
	box, err := sandbox.New(h.t.Context(), sandbox.Config{DB: db, Live: h.live, Log: h.log, Metrics: reg, Now: h.clock.Now, PublicURL: h.http.URL + "/",
		Secret: testSandboxSecret})
	if err != nil {
		h.t.Fatal(err)
	}
	hand, err := manual.New(manual.Config{DB: db, Live: h.live, Log: h.log, Now: h.clock.Now, PublicURL: h.http.URL + "/"})
	if err != nil {
		h.t.Fatal(err)
	}
	list := append([]provider.Provider{box, hand}, h.others...)
	if h.stripe != "" {
		cfg := stripe.Config{Key: stripetest.Key, WebhookSecrets: stripetest.Secret + ", " + stripetest.SecondSecret, URL: h.stripe}
		p, err := stripe.New(cfg, h.clock.Now, h.log)
		if err != nil {
			h.t.Fatal(err)
		}
		list = append(list, p)
	}
	s := New(Deps{
		DB: db, JS: h.nats.JS, Client: rpc.NewClient(nc, rpc.ClientConfig{Name: "payment"}), Live: h.live, Log: h.log,
		Metrics: reg, Now: h.clock.Now, PublicURL: h.http.URL + "/", Providers: list,
	})
	return &instance{Service: s, sandbox: box, manual: hand, registry: reg}
}

// run starts an instance and stops it with the test, or before by its stop.
func (h *harness) run() *instance {
	h.t.Helper()
	i := h.prepare()
	h.start(i)
	return i
}

// start runs an instance.
func (h *harness) start(i *instance) {
	h.t.Helper()
	h.startWith(i, i.Run)
}

// startWith serves the endpoints of an instance and calls run, until the instance is stopped.
func (h *harness) startWith(i *instance, run func(context.Context) error) {
	h.t.Helper()
	srv := rpc.NewServer(h.nats.Connect(), rpc.ServerConfig{Service: "payment", Log: i.log, Registry: i.registry, Answers: idempotency.In(i.db)})
	i.Register(srv)
	if err := srv.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		deadline, end := context.WithTimeout(context.Background(), 10*time.Second)
		defer end()
		if err := srv.Drain(deadline); err != nil {
			h.t.Error(err)
		}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				h.t.Errorf("Run: %v", err)
			}
		case <-deadline.Done():
			h.t.Error("Run does not return")
		}
		i.Close()
	})
	h.t.Cleanup(i.stop)
}

// create creates the payment of an order.
func (h *harness) create(ctx context.Context, order ids.Order) *api.Payment {
	h.t.Helper()
	p, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order, Provider: "sandbox"})
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// decide acts as the payer.
func (h *harness) decide(id ids.Payment, outcome string) error {
	_, err := rpc.Call(context.Background(), h.client, api.DecideSandboxPayment, &api.SandboxOutcome{ID: id, Outcome: outcome})
	return err
}

func (h *harness) mustDecide(id ids.Payment, outcome string) {
	h.t.Helper()
	if err := h.decide(id, outcome); err != nil {
		h.t.Fatal(err)
	}
}

// awaitStatus waits until a payment has the status. The clock moves on meanwhile, by step for each look.
func (h *harness) awaitStatus(id ids.Payment, status string, step time.Duration) *api.Payment {
	h.t.Helper()
	var p *api.Payment
	testkit.Eventually(h.t, 20*time.Second, func() error {
		h.clock.Advance(step)
		var err error
		if p, err = rpc.Call(as(adminID, rpc.RoleAdmin), h.client, api.GetPayment, &api.PaymentRef{ID: id}); err != nil {
			return err
		}
		if p.Status != status {
			return fmt.Errorf("payment is %s, want %s", p.Status, status)
		}
		return nil
	})
	return p
}

const adminID = ids.User("usr_01kqx0m0q0q0q0q0q0q0q0q0q0")

// published returns the payments in the events of a topic, once there are at least n, oldest first.
func (h *harness) published(topic api.Topic[api.PaymentEvent], n int) []api.Payment {
	h.t.Helper()
	var list []api.Payment
	testkit.Eventually(h.t, 20*time.Second, func() error {
		list = list[:0]
		for _, m := range h.nats.Messages("EVENTS") {
			if m.Subject != topic.Subject {
				continue
			}
			var e api.PaymentEvent
			if err := json.Unmarshal(m.Data, &e); err != nil {
				return err
			}
			list = append(list, e.Payment)
		}
		if len(list) < n {
			return fmt.Errorf("%d of %d events %s", len(list), n, topic.Subject)
		}
		return nil
	})
	return list
}

// count reads one number from the database of an instance.
func (i *instance) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := i.db.Read().NewRaw(query, args...).Scan(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// counter reads a metric of an instance.
func (i *instance) counter(name, help string, labels ...string) uint64 {
	return i.registry.Counter(name, help, labels...).Get()
}

// awaitCounter waits until a metric of an instance is want: what is counted is counted just after its commit.
func (i *instance) awaitCounter(t testing.TB, want uint64, name string, labels ...string) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, func() error {
		if got := i.counter(name, "-", labels...); got != want {
			return fmt.Errorf("%s of %v is %d, want %d", name, labels, got, want)
		}
		return nil
	})
}

func wantFault(t testing.TB, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("got %v, want %s", err, code)
	}
}

// recorder records callbacks instead of passing them on. The sender believes that they arrived.
type recorder struct {
	mu    sync.Mutex
	calls []recorded
}

type recorded struct {
	signature string
	body      []byte
}

func (c *recorder) receive(rw http.ResponseWriter, r *http.Request, body []byte) {
	c.mu.Lock()
	c.calls = append(c.calls, recorded{r.Header.Get(sandboxSignature), body})
	c.mu.Unlock()
	rw.WriteHeader(http.StatusOK)
}

// wait returns the callbacks once there are n.
func (c *recorder) wait(t testing.TB, n int) []recorded {
	t.Helper()
	var calls []recorded
	testkit.Eventually(t, 20*time.Second, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if calls = slices.Clone(c.calls); len(calls) < n {
			return errors.New("callbacks are missing")
		}
		return nil
	})
	return calls
}

// audit fails the test if the records of payments do not agree with each other or with the provider's, now or in a moment.
func (i *instance) audit(t testing.TB) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, func() error {
		_, broken, err := ledger.Audit(t.Context(), i.db)
		if err != nil {
			return err
		}
		_, differences, err := sandbox.Audit(t.Context(), i.db)
		if err != nil {
			return err
		}
		if broken = append(broken, differences...); len(broken) > 0 {
			return fmt.Errorf("%q", broken)
		}
		return nil
	})
}

// audited are the lines of the audit log about an act.
func (h *harness) audited(act string) (lines []api.AuditLine) {
	h.t.Helper()
	for _, m := range h.nats.Messages(api.AuditStream) {
		var l api.AuditLine
		if err := json.Unmarshal(m.Data, &l); err != nil {
			h.t.Fatal(err)
		}
		if l.Act == act {
			lines = append(lines, l)
		}
	}
	return lines
}
