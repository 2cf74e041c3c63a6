package event

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // the zones must be there wherever the tests run

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) {
	code := testkit.Run(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// ticketing keeps to the contract of api.ResizeInventory: it sells some tickets and refuses to go below.
type ticketing struct {
	mu       sync.Mutex
	sold     map[ids.TicketType]int
	pools    map[ids.Event]api.Resize
	asked    int
	failure  error         // what it answers instead
	answered chan struct{} // if set, a request waits for it
}

func (k *ticketing) resize(ctx context.Context, req *api.Resize) (*rpc.None, error) {
	k.mu.Lock()
	wait := k.answered
	k.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.failure != nil {
		return nil, k.failure
	}
	old, have := k.pools[req.EventID]
	if have && req.Revision < old.Revision {
		return nil, nil
	}
	for t, sold := range k.sold {
		if _, mine := old.Quantities[t]; req.Quantities[t] < sold && (mine || req.Quantities[t] > 0) {
			return nil, fault.New(fault.Conflict, "%d tickets are held or sold", sold)
		}
	}
	k.pools[req.EventID] = *req
	return nil, nil
}

func (k *ticketing) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

func (k *ticketing) pool(id ids.Event) map[ids.TicketType]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.pools[id].Quantities)
}

// harness is the event service on a real NATS and a real database, with its counterpart.
type harness struct {
	t         testing.TB
	nats      *testkit.NATSServer
	db        *store.DB
	media     *media.Folder
	clock     *testkit.Clock
	service   *Service
	client    *rpc.Client // the gateway's
	ticketing *ticketing
	people    *people
}

// people keeps to the contract of the user service: who has which address. There is everybody who is not unknown.
type people struct {
	mu        sync.Mutex
	addresses map[string]ids.User
	unproven  map[ids.User]bool // have not confirmed theirs
	unknown   ids.User
	isAway    bool
}

// away makes the user service fail, or answer again.
func (p *people) away(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isAway = away
}

// unconfirmed gives an address to a person who has not confirmed it.
func (p *people) unconfirmed(email string, id ids.User) {
	p.set(email, id)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unproven[id] = true
}

func (p *people) of(email string) *api.Contact {
	return &api.Contact{ID: p.addresses[email], Email: email, EmailVerified: !p.unproven[p.addresses[email]], Name: email}
}

func (p *people) set(email string, id ids.User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addresses[email] = id
}

// prove says whether a person has confirmed the own address.
func (p *people) prove(id ids.User, proven bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unproven[id] = !proven
}

func (p *people) find(_ context.Context, req *api.FindUser) (*api.Contact, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.addresses[req.Email]; ok {
		return p.of(req.Email), nil
	}
	return nil, fault.New(fault.NotFound, "there is no such person")
}

func (p *people) contact(_ context.Context, req *api.GetContactOf) (*api.Contact, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isAway {
		return nil, fault.New(fault.Unavailable, "the user service is away")
	}
	for email, id := range p.addresses {
		if id == req.ID {
			return p.of(email), nil
		}
	}
	if req.ID != p.unknown {
		return &api.Contact{ID: req.ID}, nil
	}
	return nil, fault.New(fault.NotFound, "there is no such person")
}

func (p *people) contacts(ctx context.Context, req *api.GetContactsOf) (*api.List[api.Contact], error) {
	list := &api.List[api.Contact]{}
	for _, id := range req.IDs {
		switch c, err := p.contact(ctx, &api.GetContactOf{ID: id}); {
		case fault.Is(err, fault.NotFound):
		case err != nil:
			return nil, err
		default:
			list.Items = append(list.Items, *c)
		}
	}
	return list, nil
}

func start(t testing.TB) *harness { return startOn(t, testkit.NATS(t), testkit.SQLite(t)) }

func startOn(t testing.TB, n *testkit.NATSServer, url string) *harness {
	w := &harness{t: t, nats: n, db: testkit.Open(t, url, "event", Migrations()), clock: testkit.NewClock(time.Time{}),
		ticketing: &ticketing{sold: map[ids.TicketType]int{}, pools: map[ids.Event]api.Resize{}}}
	var err error
	if w.media, err = media.NewFolder(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.JS.CreateOrUpdateStream(t.Context(),
		jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"ev.>"}}); err != nil {
		t.Fatal(err)
	}
	n.Stream("DEAD", "dead.>")
	n.Stream(api.AuditStream, api.AuditSubjects)
	seller := rpc.NewServer(n.Connect(),
		rpc.ServerConfig{Service: "ticketing", Log: testkit.Log(t), Registry: observe.NewRegistry()})
	rpc.Handle(seller, api.ResizeInventory, w.ticketing.resize)
	testkit.Serve(w.t, seller)
	w.people = &people{addresses: map[string]ids.User{}, unproven: map[ids.User]bool{}}
	users := rpc.NewServer(n.Connect(),
		rpc.ServerConfig{Service: "user", Log: testkit.Log(t), Registry: observe.NewRegistry()})
	rpc.Handle(users, api.FindUserByEmail, w.people.find)
	rpc.Handle(users, api.GetContact, w.people.contact)
	rpc.Handle(users, api.GetContacts, w.people.contacts)
	testkit.Serve(w.t, users)
	w.service = w.instance()
	w.client = rpc.NewClient(n.Connect(), rpc.ClientConfig{Name: "gateway"})
	return w
}

// instance starts one more instance of the service on the same database.
func (w *harness) instance() *Service {
	w.t.Helper()
	nc := w.nats.Connect()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	metrics := observe.NewRegistry()
	s, err := New(w.t.Context(), Deps{DB: w.db, JS: js, Media: w.media,
		Client: rpc.NewClient(nc, rpc.ClientConfig{Name: "event", Grace: -1}),
		Log:    testkit.Log(w.t), Metrics: metrics, Now: w.clock.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	srv := rpc.NewServer(nc, rpc.ServerConfig{Service: "event", Log: testkit.Log(w.t), Registry: metrics,
		Answers: idempotency.In(w.db)})
	s.Register(srv)
	testkit.Serve(w.t, srv)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error("run:", err)
		}
	})
	return s
}

// as returns a context with a caller.
func (w *harness) as(p rpc.Principal) context.Context {
	return rpc.WithPrincipal(w.t.Context(), p)
}

func person(name string) rpc.Principal {
	id := "usr_" + name + strings.Repeat("0", 26-len(name))
	user, err := ids.Parse[ids.UserKind](id)
	if err != nil {
		panic(err)
	}
	return rpc.Principal{User: user}
}

var (
	anna  = person("anna")
	ben   = person("ben")
	nob   = rpc.Principal{}
	admin = rpc.Principal{User: person("adm").User, Roles: []string{rpc.RoleAdmin}}
)

func call[Req, Resp any](w *harness, p rpc.Principal, ep rpc.Endpoint[Req, Resp], req Req) (*Resp, error) {
	return rpc.Call(w.as(p), w.client, ep, &req)
}

func must[Req, Resp any](w *harness, p rpc.Principal, ep rpc.Endpoint[Req, Resp], req Req) *Resp {
	w.t.Helper()
	resp, err := call(w, p, ep, req)
	if err != nil {
		w.t.Fatalf("%s: %v", ep.Subject(), err)
	}
	return resp
}

// draftOf returns a valid request, for a concert a month from the test clock's start.
func draftOf(name string) api.NewEvent {
	day := time.Date(2030, 6, 17, 18, 0, 0, 0, time.UTC)
	return api.NewEvent{
		Name: name, Description: "An evening of strings.", Category: "music", StartsAt: day,
		EndsAt:   day.Add(3 * time.Hour),
		Timezone: "Europe/Berlin", Location: api.Location{Name: "Philharmonie", City: "Berlin", Country: "DE"},
		Capacity: 150,
		TicketTypes: []api.NewTicketType{
			{Name: "Stalls", Price: api.Money{Amount: 2500, Currency: "EUR"}, Quantity: 100},
			{Name: "Balcony", Price: api.Money{Amount: 1500, Currency: "EUR"}, Quantity: 40, MaxPerOrder: 4},
		},
	}
}

func (w *harness) draft(name string) *api.Event {
	w.t.Helper()
	return must(w, anna, api.CreateEvent, draftOf(name))
}

func (w *harness) published(name string) *api.Event {
	w.t.Helper()
	return must(w, anna, api.PublishEvent, api.EventToPublish{ID: w.draft(name).ID})
}

// events returns the domain events about an event so far, as subject and revision.
func (w *harness) events(id ids.Event) (subjects []string, offers []api.Offer) {
	for _, m := range w.nats.Messages("EVENTS") {
		if !strings.HasPrefix(m.Subject, "ev.event.event.") {
			continue
		}
		var o api.Offer
		if err := json.Unmarshal(m.Data, &o); err != nil {
			w.t.Fatal(err)
		}
		if o.Event.ID == id {
			subjects, offers = append(subjects, m.Subject), append(offers, o)
		}
	}
	return subjects, offers
}

func wantCode(t testing.TB, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Fatalf("error %v, want %s", err, code)
	}
}

// fields returns the names of the fields at fault, sorted.
func fields(err error) []string {
	var names []string
	if err != nil {
		for _, f := range fault.From(err).Fields {
			names = append(names, f.Field)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func at[T any](v T) *T { return &v }

func jsonInto(data []byte, v any) error { return json.Unmarshal(data, v) }

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
