package venue_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/venue"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// harness is two instances of the service on one database.
type harness struct {
	t       *testing.T
	db      *store.DB
	mesh    *testkit.NATSServer
	clock   *testkit.Clock
	client  *rpc.Client // of the gateway
	inside  *rpc.Client // of ticketing
	one     *instance
	two     *instance
	account *venueAccounts
	logs    *testkit.Buffer // of the venues

	mu     sync.Mutex
	offers map[ids.Event]*api.Offer
	asked  []string // what ticketing was asked, with the identity that came along
	state  line.State
	people map[string]line.CheckedUser
	begun  []line.VenueSession
	ended  []line.EndedSession
}

// instance is one of the service.
type instance struct {
	registry *observe.Registry
	nc       *nats.Conn
	stop     func()
}

func each(t *testing.T, test func(t *testing.T, h *harness)) {
	testkit.DB(t, "venue", venue.Migrations(), func(t *testing.T, db *store.DB) {
		n := testkit.NATS(t)
		h := &harness{t: t, db: db, mesh: n, clock: testkit.NewClock(time.Time{}), logs: &testkit.Buffer{},
			client:  rpc.NewClient(n.Connect(), rpc.ClientConfig{Name: "gateway"}),
			inside:  rpc.NewClient(n.Connect(), rpc.ClientConfig{Name: "ticketing"}),
			account: &venueAccounts{t: t, servers: map[string]*testkit.NATSServer{}},
			offers:  map[ids.Event]*api.Offer{}, people: map[string]line.CheckedUser{}}
		h.others()
		h.one, h.two = h.start("one"), h.start("two")
		test(t, h)
	})
}

// start starts an instance. Its background work ends with the test, or with stop.
func (h *harness) start(name string) *instance {
	i := &instance{registry: observe.NewRegistry(), nc: h.mesh.Connect()}
	js, err := jetstream.New(i.nc)
	if err != nil {
		h.t.Fatal(err)
	}
	s := venue.New(venue.Deps{DB: h.db, NATS: i.nc, JS: js, Client: rpc.NewClient(i.nc, rpc.ClientConfig{Name: "venue"}),
		Accounts: h.account, Log: testkit.Log(h.t), Metrics: i.registry, Now: h.clock.Now, Instance: name, Version: "1.2.3",
		PublicURL: "https://tickets.example/",
		EdgeLog: func(id ids.Venue) *slog.Logger {
			return observe.NewLogger(h.logs, "edge", id.String(), slog.LevelInfo)
		}})
	server := rpc.NewServer(i.nc, rpc.ServerConfig{Service: "venue", Log: testkit.Log(h.t), Registry: i.registry,
		Answers: idempotency.In(h.db)})
	s.Register(server)
	testkit.Serve(h.t, server)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(i.stop)
	return i
}

// others stand in for the services that the venue service asks: what they answer is theirs to test.
func (h *harness) others() {
	nc := h.mesh.Connect()
	server := func(name string) *rpc.Server {
		return rpc.NewServer(nc, rpc.ServerConfig{Service: name, Log: testkit.Log(h.t), Registry: observe.NewRegistry()})
	}
	event, user, ticketing := server("event"), server("user"), server("ticketing")
	rpc.Handle(event, api.GetOffer, func(_ context.Context, req *api.OfferRequest) (*api.Offer, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if o := h.offers[req.EventID]; o != nil {
			return o, nil
		}
		return nil, fault.New(fault.NotFound, api.NoSuchEvent)
	})
	rpc.Handle(user, line.CheckUserPassword, func(_ context.Context, req *line.CheckPassword) (*line.CheckedUser, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if p, ok := h.people[req.Email+" "+req.Password]; ok {
			return &p, nil
		}
		return nil, fault.New(fault.Unauthenticated, "wrong")
	})
	rpc.Handle(user, line.BeginVenueSession, func(_ context.Context, req *line.VenueSession) (*line.BegunSession, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.begun = append(h.begun, *req)
		return &line.BegunSession{SessionID: ids.New[ids.SessionKind](h.clock.Now())}, nil
	})
	rpc.Handle(user, line.EndVenueSession, func(_ context.Context, req *line.EndedSession) (*rpc.None, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ended = append(h.ended, *req)
		return nil, nil
	})
	rpc.Handle(user, line.CheckSignedIn, func(_ context.Context, req *line.SignedInPeople) (*line.SignedInPeople, error) {
		return &line.SignedInPeople{People: slices.DeleteFunc(req.People, func(p line.SignedIn) bool { return p.Generation == 4 })}, nil
	})
	rpc.Handle(ticketing, line.VenueHello, noted(h, "hello", func(r *line.Hello) line.Session { return r.Session },
		func() *line.Welcome { return &line.Welcome{Journal: 7} }))
	rpc.Handle(ticketing, line.VenueState, noted(h, "state", func(r *line.Ask) line.Session { return r.Session },
		func() *line.State { s := h.state; s.Events = slices.Clone(s.Events); return &s }))
	rpc.Handle(ticketing, line.VenueManifest, noted(h, "manifest", func(r *line.Manifest) line.Session { return r.Session },
		func() *line.Page { return &line.Page{Position: 5} }))
	rpc.Handle(ticketing, line.VenueTake, noted(h, "take", func(r *line.Taken) line.Session { return r.Session },
		func() *rpc.None { return nil }))
	rpc.Handle(ticketing, line.VenueReturn, noted(h, "return", func(r *line.Returned) line.Session { return r.Session },
		func() *rpc.None { return nil }))
	rpc.Handle(ticketing, line.VenueJournal, noted(h, "journal", func(r *line.Journal) line.Session { return r.Session },
		func() *line.Receipt { return &line.Receipt{Journal: 9} }))
	rpc.Handle(ticketing, line.VenueScan, func(_ context.Context, r *line.AtHub) (*api.AdmissionResult, error) {
		return &api.AdmissionResult{Result: api.Admitted, FirstGate: r.Gate + " by " + r.PassID.String()}, nil
	})
	rpc.Handle(ticketing, line.VenueAnswers, func(_ context.Context, r *line.AnswersAtHub) (*api.AnswerSheet, error) {
		return &api.AnswerSheet{EventID: r.EventID, OrderID: ids.New[ids.OrderKind](h.clock.Now()),
			Tickets: []api.AnsweredTicket{{TicketID: r.TicketID, TicketTypeID: ids.New[ids.TicketTypeKind](h.clock.Now()),
				Name: r.PassID.String()}}, Answers: r.Answers, Open: r.Answers != nil}, nil
	})
	for _, s := range []*rpc.Server{event, user, ticketing} {
		testkit.Serve(h.t, s)
	}
}

func noted[Req, Resp any](
	h *harness, name string, session func(*Req) line.Session, answer func() *Resp,
) func(context.Context, *Req) (*Resp, error) {
	return func(ctx context.Context, req *Req) (*Resp, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		s := session(req)
		h.asked = append(h.asked, fmt.Sprintf("%s of %s by %q %d as %q from %q", name, s.VenueID, s.Edge, s.Number,
			rpc.Caller(ctx).String(), rpc.From(ctx).Address))
		return answer(), nil
	}
}

// lastAsked returns the newest request that ticketing got, and how many there were.
func (h *harness) lastAsked() (last string, count int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.asked) == 0 {
		return "", 0
	}
	return h.asked[len(h.asked)-1], len(h.asked)
}

// venueAccounts stand for the accounts of venues: each is a server of its own.
type venueAccounts struct {
	t       *testing.T
	mu      sync.Mutex
	servers map[string]*testkit.NATSServer
}

func (a *venueAccounts) Venues() ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for id := range a.servers {
		out = append(out, id)
	}
	return out, nil
}

func (a *venueAccounts) DialVenue(_ context.Context, id string) (*nats.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return nats.Connect(a.servers[id].URL, nats.CustomInboxPrefix("_INBOX_hub"))
}

// edge is the computer of a venue.
type edge struct {
	h      *harness
	venue  ids.Venue
	name   string
	number int64
	nc     *nats.Conn
	client *rpc.Client
}

// place makes a venue with an account, and waits until both instances serve there.
func (h *harness) place(owner rpc.Principal) (ids.Venue, *testkit.NATSServer) {
	h.t.Helper()
	v := must(h, owner, api.CreateVenue, hall())
	n := testkit.NATS(h.t)
	h.account.mu.Lock()
	h.account.servers[v.ID.String()] = n
	h.account.mu.Unlock()
	nc := n.Connect()
	testkit.Eventually(h.t, 10*time.Second, func() error {
		sub, err := nc.SubscribeSync(nats.NewInbox())
		if err != nil {
			return err
		}
		defer sub.Unsubscribe()
		if err := nc.PublishRequest("$SRV.PING.hub", sub.Subject, nil); err != nil {
			return err
		}
		for range 2 {
			if _, err := sub.NextMsg(200 * time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	})
	return v.ID, n
}

func (h *harness) edge(venue ids.Venue, n *testkit.NATSServer, name string) *edge {
	nc := n.Connect()
	return &edge{h: h, venue: venue, name: name, nc: nc, client: rpc.NewClient(nc, rpc.ClientConfig{Name: line.Edge})}
}

func (e *edge) session() line.Session { return line.Session{Edge: e.name, Number: e.number} }

// hello begins the next session.
func (e *edge) hello() error {
	e.number++
	return e.helloAs(line.Hello{Session: e.session()})
}

func (e *edge) helloAs(req line.Hello) error {
	req.Version = "0.9.0"
	got, err := rpc.Call(e.h.t.Context(), e.client, line.SayHello, &req)
	if err == nil && (got.Venue.ID != e.venue || got.Journal != 7 || !got.Now.Equal(e.h.clock.Now())) {
		err = fmt.Errorf("welcome %+v", got)
	}
	return err
}

func (e *edge) ask(status line.Status) (*line.State, error) {
	return rpc.Call(e.h.t.Context(), e.client, line.AskState, &line.Ask{Session: e.session(), Status: status})
}

// show adds an event with a team to what the event service knows.
func (h *harness) show(organizer ids.User, team ...api.TeamMember) ids.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := ids.New[ids.EventKind](time.Now())
	h.offers[id] = &api.Offer{Organizer: api.OwnTeam(organizer), Event: api.Event{ID: id, OrganizerID: api.OrganizerOf(organizer), Status: api.EventPublished}, Team: team}
	return id
}

func metric(i *instance) string {
	var b bytes.Buffer
	_, _ = i.registry.WriteTo(&b)
	return b.String()
}
