package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
	"github.com/starlightsymphony/starlight/svc/notification/webhook"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// harness is webhooks on real NATS, SQL and HTTP. It answers for the event service.
type harness struct {
	t     *testing.T
	nats  *testkit.NATSServer
	clock *testkit.Clock
	url   string
	db    *store.DB
	live  *settings.Live
	keys  *seal.Keys
	stop  func()
	owner rpc.Principal
	sent  int
}

func onBoth(t *testing.T, test func(t *testing.T, h *harness)) {
	for name, url := range map[string]func(testing.TB) string{store.SQLite: testkit.SQLite, store.Postgres: testkit.Postgres} {
		t.Run(name, func(t *testing.T) { test(t, open(t, url(t))) })
	}
}

func open(t *testing.T, url string) *harness {
	t.Helper()
	h := &harness{t: t, nats: testkit.NATS(t), clock: testkit.NewClock(time.Now()), url: url,
		live:  settings.Fixed(api.WebhookPrivate.Is(true), api.WebhooksInAll.Is(0), api.WebhooksPerOrganizer.Is(0)),
		owner: rpc.Principal{User: ids.New[ids.UserKind](time.Now()), Session: ids.New[ids.SessionKind](time.Now()), Fresh: true}}
	keys, err := seal.Parse(base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")))
	if err != nil {
		t.Fatal(err)
	}
	h.keys = keys
	h.nats.Stream(api.EventsStream, "ev.>")
	h.nats.Stream("DEAD", "dead.>")
	h.nats.Stream(api.AuditStream, api.AuditSubjects)
	h.db = testkit.Open(t, url, "notification", notification.Migrations())
	events := rpc.NewServer(h.nats.Connect(), rpc.ServerConfig{Service: "event", Log: testkit.Log(t), Registry: observe.NewRegistry(),
		Answers: idempotency.In(h.db)})
	rpc.Handle(events, api.GetOrganizerTeam, func(_ context.Context, req *api.OfOrganizer) (*api.OrganizerTeam, error) {
		team := api.OwnTeam(h.owner.User)
		team.ID = req.OrganizerID
		team.Members = append(team.Members, api.TeamMember{UserID: finance().User, Role: api.RoleFinance},
			api.TeamMember{UserID: keeper().User, Role: "keeper"})
		team.Roles = []api.Role{{Name: "keeper", Permissions: []api.Permission{api.MayReadEvent, api.MayManageKeys}}}
		return &team, nil
	})
	rpc.Handle(events, api.GetOffer, func(_ context.Context, req *api.OfferRequest) (*api.Offer, error) {
		return &api.Offer{Event: api.Event{ID: req.EventID, OrganizerID: organizerOf(req.EventID)}}, nil
	})
	testkit.Serve(t, events)
	h.start(h.db)
	return h
}

func person(name string) rpc.Principal {
	return rpc.Principal{User: ids.Derive[ids.UserKind](name), Session: ids.Derive[ids.SessionKind](name), Fresh: true}
}
func finance() rpc.Principal { return person("finance") }
func keeper() rpc.Principal  { return person("keeper") }

// organizerOf gives each event an organizer of its own.
func organizerOf(e ids.Event) ids.Organizer { return ids.Organizer("org_" + e.String()[4:]) }

// start starts an instance.
func (h *harness) start(db *store.DB) (stop func()) {
	h.t.Helper()
	nc := h.nats.Connect()
	hooks := webhook.New(webhook.Deps{DB: db, JS: h.nats.JS, Client: rpc.NewClient(nc, rpc.ClientConfig{Name: "notification"}), Live: h.live,
		Log: testkit.Log(h.t), Metrics: observe.NewRegistry(), Now: h.clock.Now, Keys: h.keys})
	srv := rpc.NewServer(nc, rpc.ServerConfig{Service: "notification", Log: testkit.Log(h.t), Registry: observe.NewRegistry(), Answers: idempotency.In(db)})
	hooks.Register(srv)
	if err := srv.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := hooks.Run(ctx); err != nil {
			h.t.Error(err)
		}
	})
	running.Go(func() {
		if err := stream.NewRelay(db, h.nats.JS, testkit.Log(h.t), observe.NewRegistry()).Run(ctx); err != nil {
			h.t.Error(err)
		}
	})
	h.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := srv.Drain(context.Background()); err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(h.stop)
	return h.stop
}

func call[Req, Resp any](h *harness, p rpc.Principal, e rpc.Endpoint[Req, Resp], req Req) (*Resp, error) {
	h.t.Helper()
	ctx := rpc.WithMeta(h.t.Context(), rpc.Meta{RequestID: "req_test", Principal: p})
	return rpc.Call(ctx, rpc.NewClient(h.nats.Conn, rpc.ClientConfig{Name: "gateway"}), e, &req)
}

func must[Req, Resp any](h *harness, e rpc.Endpoint[Req, Resp], req Req) *Resp {
	h.t.Helper()
	out, err := call(h, h.owner, e, req)
	if err != nil {
		h.t.Fatalf("%s: %v", e.Name, err)
	}
	return out
}

// publish publishes a domain event.
func publish[T any](h *harness, topic api.Topic[T], payload T) {
	h.t.Helper()
	data, err := json.Marshal(payload)
	if err != nil {
		h.t.Fatal(err)
	}
	h.sent++
	if _, err := h.nats.JS.Publish(h.t.Context(), topic.Subject, data, jetstream.WithMsgID(fmt.Sprintf("m%d", h.sent))); err != nil {
		h.t.Fatal(err)
	}
}

// paid publishes that an order is paid, and returns its id.
func (h *harness) paid(event ids.Event) string {
	h.t.Helper()
	o := api.Order{ID: ids.New[ids.OrderKind](h.clock.Now()), EventID: event, UserID: finance().User, Status: api.OrderPaid, Total: api.Money{Amount: 1000, Currency: "EUR"},
		UpdatedAt: h.clock.Now()}
	publish(h, api.OrderWasPaid, api.OrderEvent{Order: o})
	return o.ID.String()
}

// receiver is the system of an organizer.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []delivery
}

type delivery struct {
	header http.Header
	body   []byte
	Type   string    `json:"type"`
	At     time.Time `json:"timestamp"`
	Data   struct {
		ID string `json:"id"`
	} `json:"data"`
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: 204}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		d := delivery{header: req.Header}
		d.body, _ = io.ReadAll(req.Body)
		if err := json.Unmarshal(d.body, &d); err != nil {
			t.Error(err)
		}
		r.got = append(r.got, d)
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) all() []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// objects returns what was delivered about, in order.
func (r *receiver) objects() (objects []string) {
	for _, d := range r.all() {
		objects = append(objects, d.Data.ID)
	}
	return objects
}

func (h *harness) eventually(r *receiver, want ...string) {
	h.t.Helper()
	testkit.Eventually(h.t, 20*time.Second, func() error {
		if got := r.objects(); !slices.Equal(got, want) {
			return fmt.Errorf("delivered %v, want %v", got, want)
		}
		return nil
	})
}

func (h *harness) hook(event ids.Event, url string, topics ...string) *api.WebhookSecret {
	h.t.Helper()
	return must(h, api.CreateWebhook, api.NewWebhook{ID: organizerOf(event), URL: url, Topics: topics})
}

// verify checks a signature as the specification says, by code of its own.
func verify(d delivery, secret string) bool {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(d.header.Get("webhook-id") + "." + d.header.Get("webhook-timestamp") + "." + string(d.body)))
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return slices.Contains(strings.Split(d.header.Get("webhook-signature"), " "), want)
}

// The example of the specification of Standard Webhooks.
func TestSignature(t *testing.T) {
	got, err := webhook.Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0),
		[]byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

// What happens is told in order, signed, to the webhooks of the organizer that want it, and to no other.
func TestFactsAreTold(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		e, other := ids.New[ids.EventKind](h.clock.Now()), ids.New[ids.EventKind](h.clock.Now())
		all, some, foreign := newReceiver(t), newReceiver(t), newReceiver(t)
		hook := h.hook(e, all.URL)
		h.hook(e, some.URL, api.HookTicketAdmitted)
		h.hook(other, foreign.URL)
		if strings.Contains(fmt.Sprint(must(h, api.ListWebhooks, api.OrganizerRef{ID: organizerOf(e)})), hook.Secret) {
			t.Error("the secret is shown again")
		}
		var stored string
		if err := h.db.Read().NewRaw("SELECT secret FROM webhooks WHERE id = ?", hook.ID).Scan(t.Context(), &stored); err != nil ||
			!strings.HasPrefix(stored, "sealed.") {
			t.Errorf("the secret lies there as %q, %v", stored, err)
		}
		offer := api.Offer{Event: api.Event{ID: e, OrganizerID: organizerOf(e), Status: api.EventPublished}, Organizer: api.OwnTeam(h.owner.User)}
		publish(h, api.EventWasPublished, offer)
		order := api.Order{ID: ids.New[ids.OrderKind](h.clock.Now()), EventID: e, UserID: finance().User, Total: api.Money{Amount: 1000, Currency: "EUR"}, Status: api.OrderPaid}
		ticket := ids.New[ids.TicketKind](h.clock.Now())
		publish(h, api.OrderWasPaid, api.OrderEvent{Order: order, Tickets: []ids.Ticket{ticket}})
		publish(h, api.TicketAdmission, api.TicketEvent{TicketID: ticket, EventID: e, TicketTypeID: ids.New[ids.TicketTypeKind](h.clock.Now()), OwnerID: finance().User, Gate: "north", At: h.clock.Now()})
		publish(h, api.OrderWasRefunded, api.OrderEvent{Order: order})
		publish(h, api.EventWasCancelled, offer)
		h.eventually(all, e.String(), order.ID.String(), ticket.String(), ticket.String(), order.ID.String(), e.String())
		h.eventually(some, ticket.String())
		var types []string
		for _, d := range all.all() {
			types = append(types, d.Type)
			if !verify(d, hook.Secret) || verify(d, "whsec_AAAA") || !strings.HasPrefix(d.header.Get("webhook-id"), "msg_") {
				t.Errorf("signed as %v", d.header)
			}
		}
		if want := []string{"event.published", "order.paid", "ticket.issued", "ticket.admitted", "order.refunded", "event.cancelled"}; !slices.Equal(types, want) {
			t.Errorf("told %v, want %v", types, want)
		}
		if len(foreign.all()) > 0 {
			t.Errorf("another organizer was told %v", foreign.all())
		}
		// While the secret before is good, there are both signatures.
		hour := 3600
		next := must(h, api.RotateWebhookSecret, api.RotateWebhook{ID: organizerOf(e), WebhookID: hook.ID, Grace: &hour})
		h.paid(e)
		testkit.Eventually(t, 20*time.Second, func() error {
			if d := all.all(); len(d) != 7 || !verify(d[6], hook.Secret) || !verify(d[6], next.Secret) {
				return fmt.Errorf("%d were told", len(d))
			}
			return nil
		})
		h.clock.Advance(time.Hour)
		h.paid(e)
		testkit.Eventually(t, 20*time.Second, func() error {
			if d := all.all(); len(d) != 8 || verify(d[7], hook.Secret) || !verify(d[7], next.Secret) {
				return fmt.Errorf("%d were told", len(d))
			}
			return nil
		})
		log := must(h, api.ListWebhookAttempts, api.WebhookPage{ID: organizerOf(e), WebhookID: hook.ID, Page: api.Page{Limit: 3}})
		if len(log.Items) != 3 || log.NextCursor == "" || !log.Items[0].Delivered || log.Items[0].Status != 204 {
			t.Errorf("the log is %+v", log)
		}
	})
}

// A receiver that fails gets everything once it is well, in order and with the same ids; replays bring it again.
func TestFailuresAreTriedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		e := ids.New[ids.EventKind](h.clock.Now())
		r := newReceiver(t)
		r.answer(500)
		hook := h.hook(e, r.URL)
		first := h.paid(e)
		h.eventually(r, first)
		h.clock.Advance(time.Second)
		moment := h.clock.Now()
		second := h.paid(e)
		ref := api.WebhookRef{ID: organizerOf(e), WebhookID: hook.ID}
		testkit.Eventually(t, 20*time.Second, func() error {
			if w := must(h, api.GetWebhook, ref); w.Waiting != 2 || w.FailingSince == nil || w.NextAt == nil {
				return fmt.Errorf("%+v", w)
			}
			return nil
		})
		r.answer(200)
		h.stop() // nothing is lost with an instance
		h.start(h.db)
		h.clock.Advance(6 * time.Second)
		h.eventually(r, first, first, second)
		if d := r.all(); d[0].header.Get("webhook-id") != d[1].header.Get("webhook-id") {
			t.Error("the same message has two ids")
		}
		must(h, api.ReplayWebhookFrom, api.ReplayWebhook{ID: ref.ID, WebhookID: ref.WebhookID, From: moment})
		h.eventually(r, first, first, second, second)
		if d := r.all(); d[2].header.Get("webhook-id") != d[3].header.Get("webhook-id") {
			t.Error("a replayed message has another id")
		}
		testkit.Eventually(t, 20*time.Second, func() error { // it is written down after the answer
			if w := must(h, api.GetWebhook, ref); w.Waiting != 0 || w.FailingSince != nil {
				return fmt.Errorf("well again: %+v", w)
			}
			return nil
		})

		// One that takes nothing for three days is switched off, and goes on where it was when it is switched on.
		r.answer(503)
		third := h.paid(e)
		testkit.Eventually(t, 60*time.Second, func() error {
			h.clock.Advance(10 * time.Hour)
			if w := must(h, api.GetWebhook, ref); w.Enabled || w.DisabledReason != "failing" {
				return fmt.Errorf("%+v", w)
			}
			return nil
		})
		testkit.Eventually(t, 20*time.Second, func() error {
			for _, m := range h.nats.Messages(api.EventsStream) {
				if m.Subject == api.WebhookWasDisabled.Subject && strings.Contains(string(m.Data), hook.ID.String()) {
					return nil
				}
			}
			return fmt.Errorf("nobody is told")
		})
		r.answer(200)
		n := len(r.all())
		fourth := h.paid(e)
		yes := true
		must(h, api.UpdateWebhook, api.PatchWebhook{ID: ref.ID, WebhookID: ref.WebhookID, Enabled: &yes})
		testkit.Eventually(t, 20*time.Second, func() error {
			if got := r.objects()[n:]; !slices.Equal(got, []string{third, fourth}) {
				return fmt.Errorf("delivered %v", got)
			}
			return nil
		})
		must(h, api.DeleteWebhook, ref)
		_, err := call(h, h.owner, api.GetWebhook, ref)
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("deleted: %v", err)
		}
	})
}

// A thousand receivers that never answer delay nobody else.
func TestTarpitsDelayNobody(t *testing.T) {
	h := open(t, testkit.SQLite(t))
	tarpit, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tarpit.Close() })
	go func() {
		for { // accepted by the kernel, answered by nobody
			c, err := tarpit.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	e, stranger := ids.New[ids.EventKind](h.clock.Now()), ids.New[ids.EventKind](h.clock.Now())
	for i := range 1000 { // at as many hosts
		h.hook(e, fmt.Sprintf("http://127.0.%d.%d:%d/", 1+i/250, 1+i%250, tarpit.Addr().(*net.TCPAddr).Port))
	}
	r := newReceiver(t)
	h.hook(stranger, r.URL)
	h.paid(e)
	began := time.Now()
	var want []string
	for range 5 {
		want = append(want, h.paid(stranger))
	}
	h.eventually(r, want...)
	if took := time.Since(began); took > 8*time.Second { // who waits for a place behind one of them waits for ten
		t.Errorf("the stranger waited for %s", took)
	}
}

// Two instances tell each thing once while nothing fails, in order.
func TestTwoInstances(t *testing.T) {
	h := open(t, testkit.Postgres(t))
	e := ids.New[ids.EventKind](h.clock.Now())
	r := newReceiver(t)
	h.hook(e, r.URL)
	first := h.stop
	h.start(testkit.Open(t, h.url, "notification", notification.Migrations()))
	var want []string
	for range 100 {
		want = append(want, h.paid(e))
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if n := len(r.all()); n < 50 {
			return fmt.Errorf("%d were told", n)
		}
		return nil
	})
	first()
	h.eventually(r, want...)
}

// Addresses within networks are refused, at the door and when a name leads there.
func TestPrivateAddressesAreRefused(t *testing.T) {
	h := open(t, testkit.SQLite(t))
	if err := h.live.Change(api.WebhookPrivate.Is(false)); err != nil {
		t.Fatal(err)
	}
	e := ids.New[ids.EventKind](h.clock.Now())
	for _, bad := range []string{"", "x", "ftp://example.org", "http://example.org/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/",
		"https://10.0.0.1/", "https://169.254.169.254/latest", "https://u:p@example.org/", "https://[::ffff:10.0.0.1]/", "https://" + strings.Repeat("a", 2000) + ".org/"} {
		_, err := call(h, h.owner, api.CreateWebhook, api.NewWebhook{ID: organizerOf(e), URL: bad})
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	r := newReceiver(t)
	if err := h.live.Change(api.WebhookPrivate.Is(true)); err != nil {
		t.Fatal(err)
	}
	hook := h.hook(e, r.URL)
	if err := h.live.Change(api.WebhookPrivate.Is(false)); err != nil {
		t.Fatal(err)
	}
	h.paid(e)
	testkit.Eventually(t, 20*time.Second, func() error {
		log := must(h, api.ListWebhookAttempts, api.WebhookPage{ID: organizerOf(e), WebhookID: hook.ID})
		if len(log.Items) != 1 || log.Items[0].Problem != "the address is not a public one" || log.Items[0].Status != 0 {
			return fmt.Errorf("%+v", log.Items)
		}
		return nil
	})
	if len(r.all()) > 0 {
		t.Error("a private address was called")
	}
}

// Webhooks are for those who manage machines, tell these no more than they may read, and need a fresh proof.
func TestWhoMayHaveWebhooks(t *testing.T) {
	h := open(t, testkit.SQLite(t))
	e := ids.New[ids.EventKind](h.clock.Now())
	req := api.NewWebhook{ID: organizerOf(e), URL: "https://hooks.example.org/"}
	stale := h.owner
	stale.Fresh = false
	for name, try := range map[string]struct {
		p      rpc.Principal
		topics []string
		want   fault.Code
	}{
		"stranger": {person("stranger"), nil, fault.NotFound}, "finance": {finance(), nil, fault.Forbidden}, "no proof": {stale, nil, fault.Forbidden},
		"keeper, everything": {keeper(), nil, fault.Forbidden}, "keeper, orders": {keeper(), []string{"order.paid", "event.published"}, fault.Forbidden},
		"unknown topic": {h.owner, []string{"order.bought"}, fault.Invalid}, "twice": {h.owner, []string{"order.paid", "order.paid"}, fault.Invalid},
	} {
		req.Topics = try.topics
		if _, err := call(h, try.p, api.CreateWebhook, req); !fault.Is(err, try.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	req.Topics = []string{"event.published"}
	hook, err := call(h, keeper(), api.CreateWebhook, req)
	if err != nil {
		t.Fatal(err)
	}
	none := []string{}
	if _, err := call(h, keeper(), api.UpdateWebhook, api.PatchWebhook{ID: req.ID, WebhookID: hook.ID, Topics: &none}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("everything, later: %v", err)
	}
	// A webhook that is told about orders stays with those who may read them: it is not told elsewhere, and shows no secret.
	req.Topics = []string{"order.paid"}
	orders, err := call(h, h.owner, api.CreateWebhook, req)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, on := "https://keeper.example.org/", true
	for name, try := range map[string]func() error{
		"another address": func() error {
			_, err := call(h, keeper(), api.UpdateWebhook, api.PatchWebhook{ID: req.ID, WebhookID: orders.ID, URL: &elsewhere})
			return err
		},
		"another address, for less": func() error {
			_, err := call(h, keeper(), api.UpdateWebhook,
				api.PatchWebhook{ID: req.ID, WebhookID: orders.ID, URL: &elsewhere, Topics: &[]string{"event.published"}, Enabled: &on})
			return err
		},
		"its secret": func() error {
			_, err := call(h, keeper(), api.RotateWebhookSecret, api.RotateWebhook{ID: req.ID, WebhookID: orders.ID})
			return err
		},
		"all of it again": func() error {
			_, err := call(h, keeper(), api.ReplayWebhookFrom, api.ReplayWebhook{ID: req.ID, WebhookID: orders.ID, From: h.clock.Now()})
			return err
		},
	} {
		if err := try(); !fault.Is(err, fault.Forbidden) {
			t.Errorf("who may not read orders has %s: %v", name, err)
		}
	}
	foreign := api.WebhookRef{ID: organizerOf(ids.New[ids.EventKind](h.clock.Now())), WebhookID: hook.ID}
	if _, err := call(h, h.owner, api.GetWebhook, foreign); !fault.Is(err, fault.NotFound) {
		t.Errorf("of another organizer: %v", err)
	}
}

// Every change of a webhook has its line in the audit log, without the secret and without the address.
func TestChangesAreAudited(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		e := ids.New[ids.EventKind](h.clock.Now())
		hook := h.hook(e, "https://hooks.example.org/a-secret-path", "event.deleted")
		ref := api.WebhookRef{ID: organizerOf(e), WebhookID: hook.ID}
		h.clock.Advance(time.Second)
		no := false
		must(h, api.UpdateWebhook, api.PatchWebhook{ID: ref.ID, WebhookID: ref.WebhookID, Enabled: &no})
		next := must(h, api.RotateWebhookSecret, api.RotateWebhook{ID: ref.ID, WebhookID: ref.WebhookID})
		h.clock.Advance(time.Second)
		must(h, api.ReplayWebhookFrom, api.ReplayWebhook{ID: ref.ID, WebhookID: ref.WebhookID, From: h.clock.Now()})
		must(h, api.DeleteWebhook, ref)
		want := []string{"notification.create_webhook", "notification.update_webhook", "notification.rotate_webhook",
			"notification.replay_webhook", "notification.delete_webhook"}
		testkit.Eventually(t, 20*time.Second, func() error {
			var acts []string
			for _, m := range h.nats.Messages(api.AuditStream) {
				var line api.AuditLine
				if err := json.Unmarshal(m.Data, &line); err != nil {
					return err
				}
				acts = append(acts, line.Act)
				if line.Object != ref.ID.String() || line.By.UserID != h.owner.User || len(line.Before)+len(line.After) == 0 {
					t.Errorf("line %s", m.Data)
				}
				for _, secret := range []string{"a-secret-path", hook.Secret[6:], next.Secret[6:], "sealed."} {
					if strings.Contains(string(m.Data), secret) {
						t.Errorf("a secret is in %s", m.Data)
					}
				}
			}
			if !slices.Equal(acts, want) {
				return fmt.Errorf("lines %v, want %v", acts, want)
			}
			return nil
		})
	})
}
