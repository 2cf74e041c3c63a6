package ticketing

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
	"github.com/starlightsymphony/starlight/svc/ticketing/vies"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// harness is a NATS server, a database, and the ticketing service on them, with its neighbours played by small servers
// that keep their side of the contract.
type harness struct {
	t     *testing.T
	nats  *testkit.NATSServer
	db    *store.DB
	clock *testkit.Clock
	live  *settings.Live
	vies  vies.Registry
	conn  *nats.Conn // of the callers
	log   *slog.Logger

	mu        sync.Mutex
	offers    map[ids.Event]*api.Offer
	people    map[string]api.Contact // by address
	unpaid    map[ids.Order]bool     // what the payment service cannot close
	away      bool                   // whether it can be asked at all
	venues    map[ids.Venue]ids.User // their owners
	withdrawn map[ids.Venue]int      // how often the computer of a venue was cut off
	poked     map[ids.Venue]int      // how often a venue was told that something has changed

	// there decides on a code at a venue
	there func(context.Context, *line.There) (*api.AdmissionResult, error)
}

// each runs a test on both databases.
func each(t *testing.T, test func(*testing.T, *harness)) {
	t.Helper()
	testkit.DB(t, "ticketing", Migrations(), func(t *testing.T, db *store.DB) { test(t, newHarness(t, db)) })
}

// fixed are settings without bounds on what a person holds unpaid, unless they are named.
func fixed(named ...settings.Override) *settings.Live {
	return settings.Fixed(append([]settings.Override{api.MaxOpenOrders.Is(0), api.MaxUnpaidSeats.Is(0),
		api.MaxManualSeats.Is(0), api.RenewalPause.Is(0), api.RefundStepUp.Is(0)}, named...)...)
}

func newHarness(t *testing.T, db *store.DB) *harness {
	t.Helper()
	h := &harness{t: t, nats: testkit.NATS(t), db: db, log: testkit.Log(t),
		clock: testkit.NewClock(time.Now().Truncate(time.Second)),
		live:  fixed(api.HoldTTL.Is(time.Minute)), offers: map[ids.Event]*api.Offer{},
		people: map[string]api.Contact{}, unpaid: map[ids.Order]bool{}, venues: map[ids.Venue]ids.User{},
		poked: map[ids.Venue]int{}, withdrawn: map[ids.Venue]int{}}
	if err := natsconf.Ensure(t.Context(), h.nats.JS, api.Streams(), 1); err != nil {
		t.Fatal(err)
	}
	h.conn = h.nats.Connect()
	h.serve("event", func(srv *rpc.Server) { rpc.Handle(srv, api.GetOffer, h.offer) })
	h.serve("payment", func(srv *rpc.Server) { rpc.Handle(srv, api.ClosePayments, h.closePayments) })
	h.serve("venue", func(srv *rpc.Server) {
		rpc.Handle(srv, line.FindVenue, h.findVenue)
		rpc.Handle(srv, line.WithdrawVenue, func(_ context.Context, req *line.VenueRef) (*line.Withdrawn, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.withdrawn[req.VenueID]++
			return &line.Withdrawn{Access: api.AccessEnded}, nil
		})
		rpc.Handle(srv, line.AdmitAt, func(ctx context.Context, req *line.There) (*api.AdmissionResult, error) {
			return h.there(ctx, req)
		})
		rpc.Handle(srv, line.PokeVenue, func(_ context.Context, req *line.VenueRef) (*rpc.None, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.poked[req.VenueID]++
			return nil, nil
		})
	})
	h.serve("user", func(srv *rpc.Server) {
		rpc.Handle(srv, api.FindUserByEmail, h.find)
		rpc.Handle(srv, api.GetContacts, h.contacts)
		rpc.Handle(srv, api.GetContact, h.contact)
	})
	return h
}

func (h *harness) serve(name string, register func(*rpc.Server)) *rpc.Server {
	h.t.Helper()
	srv := rpc.NewServer(h.nats.Connect(),
		rpc.ServerConfig{Service: name, Log: testkit.Log(h.t), Registry: observe.NewRegistry(),
			Answers: idempotency.In(h.db)})
	register(srv)
	if err := srv.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := srv.Drain(context.Background()); err != nil {
			h.t.Error(err)
		}
	})
	return srv
}

// start starts an instance of the service. It is stopped when the test ends.
func (h *harness) start() *Service {
	h.t.Helper()
	nc := h.nats.Connect()
	js, err := jetstream.New(nc)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := New(h.t.Context(), Deps{DB: h.db, NATS: nc, JS: js,
		Client: rpc.NewClient(nc, rpc.ClientConfig{Name: "ticketing"}), Live: h.live,
		Log: h.log, Metrics: observe.NewRegistry(), Now: h.clock.Now, VIES: h.vies})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		s.Close()
	})
	h.serve("ticketing", s.Register)
	return s
}

func (h *harness) offer(_ context.Context, req *api.OfferRequest) (*api.Offer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o := h.offers[req.EventID]; o != nil {
		c := *o
		return &c, nil
	}
	return nil, fault.New(fault.NotFound, "there is no such event")
}

func (h *harness) closePayments(_ context.Context, req *api.OrdersToClose) (*api.ClosedOrders, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		return nil, fault.New(fault.Unavailable, "the provider is away")
	}
	var out api.ClosedOrders
	for _, id := range req.OrderIDs {
		if !h.unpaid[id] {
			out.OrderIDs = append(out.OrderIDs, id)
		}
	}
	return &out, nil
}

func (h *harness) find(_ context.Context, req *api.FindUser) (*api.Contact, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.people[req.Email]; ok {
		return &c, nil
	}
	return nil, fault.New(fault.NotFound, "there is no such person")
}

// contact answers for everybody: who has no address in people has confirmed another.
func (h *harness) contact(_ context.Context, req *api.GetContactOf) (*api.Contact, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.people {
		if c.ID == req.ID {
			return &c, nil
		}
	}
	return &api.Contact{ID: req.ID, Email: req.ID.String() + "@example.org", EmailVerified: true, Name: "Somebody"}, nil
}

// publish makes an event with one ticket type for each price, of quantity tickets each.
func (h *harness) publish(quantity int, prices ...int64) *api.Offer {
	now := h.clock.Now()
	own := api.OwnTeam(person())
	o := &api.Offer{Organizer: own, Event: api.Event{ID: ids.New[ids.EventKind](now), OrganizerID: own.ID, Status: api.EventPublished,
		Name: "Nocturne", Revision: 1,
		StartsAt: now.Add(30 * 24 * time.Hour), EndsAt: now.Add(30*24*time.Hour + 3*time.Hour),
		Timezone: "Europe/Berlin"}}
	for i, price := range prices {
		o.Event.TicketTypes = append(o.Event.TicketTypes,
			api.TicketType{ID: ids.New[ids.TicketTypeKind](now), Name: fmt.Sprintf("type %d", i),
				Price: api.Money{Amount: price, Currency: "EUR"}, Quantity: quantity})
	}
	o.Event.Capacity = quantity * len(prices)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offers[o.Event.ID] = o
	return o
}

// ownerOf returns who owns the organizer of an event.
func ownerOf(o *api.Offer) ids.User { return o.Organizer.Members[0].UserID }

// change changes an event and tells of it, as the event service does.
func (h *harness) change(id ids.Event, subject string, f func(*api.Offer)) {
	h.t.Helper()
	h.mu.Lock()
	o := *h.offers[id]
	o.Event.Revision++
	f(&o)
	h.offers[id] = &o
	h.mu.Unlock()
	h.announce(subject, o)
}

// announce publishes a domain event of another service.
func (h *harness) announce(subject string, payload any) {
	h.t.Helper()
	row := stream.NewMessage(h.t.Context(), subject, payload)
	if err := h.db.Tx(h.t.Context(), func(ctx context.Context,
		tx bun.Tx) error {
		return stream.AddAll(ctx, tx, row)
	}); err != nil {
		h.t.Fatal(err)
	}
}

func person() ids.User { return ids.New[ids.UserKind](time.Now()) }

// as returns a context in which the person is the caller.
func (h *harness) as(user ids.User, roles ...string) context.Context {
	return rpc.WithPrincipal(h.t.Context(), rpc.Principal{User: user, Roles: roles})
}

// caller returns a client that may call the endpoint.
func (h *harness) caller(spec rpc.Spec) *rpc.Client {
	name := "gateway"
	if spec.Access == rpc.Internal {
		name = spec.Callers[0]
	}
	return rpc.NewClient(h.conn, rpc.ClientConfig{Name: name})
}

func do[Req, Resp any](ctx context.Context, h *harness, ep rpc.Endpoint[Req, Resp], req Req) (*Resp, error) {
	return rpc.Call(ctx, h.caller(ep.Spec), ep, &req)
}

func must[Req, Resp any](ctx context.Context, h *harness, ep rpc.Endpoint[Req, Resp], req Req) *Resp {
	h.t.Helper()
	resp, err := do(ctx, h, ep, req)
	if err != nil {
		h.t.Fatalf("%s: %v", ep.Subject(), err)
	}
	return resp
}

// order asks for n tickets of the event's first type.
func order(o *api.Offer, n int) api.NewOrder {
	return api.NewOrder{EventID: o.Event.ID,
		Items: []api.NewOrderItem{{TicketTypeID: o.Event.TicketTypes[0].ID, Quantity: n}}}
}

// send orders with an idempotency key.
func (h *harness) send(buyer ids.User, key string, o api.NewOrder) (*api.Order, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	header := map[string][]string{rpc.HeaderPrincipal: {rpc.Principal{User: buyer}.String()},
		rpc.HeaderHTTP + rpc.IdempotencyKey: {key}}
	reply, err := h.caller(api.CreateOrder.Spec).Forward(h.t.Context(), api.CreateOrder.Spec, header, body)
	if err != nil {
		return nil, err
	}
	if err := rpc.Fault(reply); err != nil {
		return nil, err
	}
	var made api.Order
	return &made, json.Unmarshal(reply.Data, &made)
}

// createWithRetry orders as a good client does: without an answer, or when the service is too busy, it asks again with
// the same key.
func (h *harness) createWithRetry(buyer ids.User, o api.NewOrder) (*api.Order, error) {
	key := "order-of-" + buyer.String()
	for {
		made, err := h.send(buyer, key, o)
		if !fault.Is(err, fault.Timeout) && !fault.Is(err, fault.Unavailable) {
			return made, err
		}
		select {
		case <-h.t.Context().Done():
			return nil, err
		case <-time.After(max(fault.From(err).RetryAfter, 50*time.Millisecond)):
		}
	}
}

// pay begins a payment of the order and tells that it has succeeded.
func (h *harness) pay(user ids.User, o *api.Order) ids.Payment {
	h.t.Helper()
	id := ids.New[ids.PaymentKind](h.clock.Now())
	must(h.as(user), h, api.BeginPayment, api.BeginPaymentOf{OrderID: o.ID, PaymentID: id})
	h.paid(o, id)
	return id
}

func (h *harness) paid(o *api.Order, id ids.Payment) {
	h.announce(api.PaymentHasSucceeded.Subject,
		api.PaymentEvent{Payment: api.Payment{ID: id, OrderID: o.ID, UserID: o.UserID, Amount: o.Total,
			Status: api.PaymentSucceeded}})
}

// becomes waits until the order has the status.
func (h *harness) becomes(user ids.User, id ids.Order, status string) *api.Order {
	h.t.Helper()
	var got *api.Order
	testkit.Eventually(h.t, 15*time.Second, func() error {
		var err error
		if got, err = do(h.as(user), h, api.GetOrder, api.OrderRef{ID: id}); err != nil {
			return err
		}
		if got.Status != status {
			return fmt.Errorf("order is %s, want %s", got.Status, status)
		}
		return nil
	})
	return got
}

// audit fails the test if the records do not agree, now or in a moment.
func (h *harness) audit() {
	h.t.Helper()
	testkit.Eventually(h.t, 15*time.Second, func() error {
		findings, err := audit.Run(h.t.Context(), h.db, h.nats.JS)
		if err != nil {
			return err
		}
		for _, f := range findings {
			if len(f.Broken) > 0 || len(f.Pending) > 0 {
				return fmt.Errorf("%s: %v, pending %v", f.Check, f.Broken, f.Pending)
			}
		}
		return nil
	})
}

// published returns the messages of stream EVENTS with the subject, in order.
func (h *harness) published(subject string) []*jetstream.RawStreamMsg {
	var out []*jetstream.RawStreamMsg
	for _, m := range h.nats.Messages("EVENTS") {
		if m.Subject == subject {
			out = append(out, m)
		}
	}
	return out
}
