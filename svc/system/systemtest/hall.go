package systemtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
	"github.com/starlightsymphony/starlight/svc/system"
)

// Hall is a venue with its computer, the doors of an event, and a line that a test can cut.
type Hall struct {
	Hub    *Site
	Edge   *Site
	Line   *testkit.Proxy
	P      *Process // the venue's computer
	Folder string   // of its data
	Creds  string
	Venue  api.Venue
	Event  api.Event
	Owner  string
	Pass   string

	Cfg     system.Config
	Connect func(context.Context) (jetstream.JetStream, func(), error) // to the system, as ops
}

// OpenHall starts a system and the computer of a venue, and hands the doors of a free event over.
func OpenHall(t *testing.T) (*Hall, []api.Ticket) {
	t.Helper()
	h, tickets := ReadyHall(t)
	h.Take(t)
	return h, tickets
}

// ReadyHall is openHall before the doors are handed over.
func ReadyHall(t *testing.T) (*Hall, []api.Ticket) {
	t.Helper()
	cfg := Config(t.TempDir())
	cfg.Leaf = "127.0.0.1:0"
	hub, sys, _ := Start(t, cfg)
	hub.Unlimited(hub.Login(AdminEmail))
	_, owner := hub.Join("owner@example.org")
	h := &Hall{Hub: hub, Owner: owner, Event: hub.Concert(owner, 100, 0), Cfg: cfg,
		Connect: Ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds"))}
	_, buyer := hub.Join("buyer@example.org")
	tickets := h.Buy(t, buyer, 6)
	h.Open(t, strings.TrimPrefix(LeafURL(t, sys), "nats-leaf://"))
	at := testkit.FreeAddress(t)
	h.P = Spawn(t, "starlight", nil, "edge", "--venue", h.Venue.ID.String(), "--hub", "nats-leaf://"+h.Line.Addr,
		"--creds", h.Creds, "--data", h.Folder, "--http", at)
	h.Edge = &Site{T: t, URL: "http://" + at}
	return h, tickets
}

// OpenMortalHall starts a system and the computer of a venue that can be told to die, and hands over the doors of an
// event whose seats cost so much.
func OpenMortalHall(t *testing.T, quantity int, price int64) (h *Hall, hub, venue *Fuse) {
	t.Helper()
	m := StartMortal(t, "")
	m.Unlimited(m.Admin)
	m.Set(m.Admin, "user.access_ttl", "30m")
	owner := m.Login(AdminEmail)
	h = &Hall{Hub: m.Site, Owner: owner, Event: m.Concert(owner, quantity, price), Cfg: m.Cfg,
		Connect: Ops(t, "nats://"+m.Cfg.NATS, filepath.Join(m.Cfg.Data, "creds"))}
	h.Open(t, m.Cfg.Leaf)
	at := testkit.FreeAddress(t)
	h.P = Spawn(t, "venue", nil, h.Folder, h.Venue.ID.String(), h.Line.Addr, h.Creds, at, "0s")
	h.Edge = &Site{T: t, URL: "http://" + at, Timeout: 5 * time.Second}
	h.Take(t)
	return h, m.Fuse, &Fuse{t: t, P: h.P, Dir: h.Folder}
}

// Open makes a venue with its credentials, and a line to where the system takes leaf nodes.
func (h *Hall) Open(t *testing.T, leaf string) {
	t.Helper()
	h.Found(t, leaf)
	got := Call[api.VenueCredentials](h.Hub, 201, "POST", "/v1/venues/"+h.Venue.ID.String()+"/credentials", h.Owner,
		nil)
	if err := os.WriteFile(h.Creds, []byte(got.Credentials), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Found makes a venue without credentials.
func (h *Hall) Found(t *testing.T, leaf string) {
	t.Helper()
	h.Venue = Call[api.Venue](h.Hub, 201, "POST", "/v1/venues", h.Owner,
		api.NewVenue{Name: "Hall", Timezone: "UTC", Gates: []string{"north"}})
	dir := t.TempDir()
	h.Creds, h.Folder = filepath.Join(dir, "venue.creds"), filepath.Join(dir, "edge")
	h.Line = testkit.NewProxy(t, leaf)
}

// Take hands the doors over, and waits until the venue admits and knows the pass of its devices.
func (h *Hall) Take(t *testing.T) {
	t.Helper()
	Call[api.Authority](h.Hub, 200, "PUT", h.At("/authority"), h.Owner, api.NewAuthority{VenueID: h.Venue.ID})
	h.Pass = Call[api.NewPassSecret](h.Hub, 201, "POST", h.At("/passes"), h.Owner,
		api.NewPass{Name: "Phone", Gate: "north"}).Secret
	h.AwaitDoors(t, "venue")
	testkit.Eventually(t, 20*time.Second, func() error { // the pass comes with the next answer of the hub
		got, err := h.Edge.Send("GET", h.At("/admissions"), h.Pass, nil)
		if err != nil {
			return err
		}
		return got.Is(200, "")
	})
}

// At returns the path of something of the hall's event.
func (h *Hall) At(path string) string { return "/v1/events/" + h.Event.ID.String() + path }

// Buy orders free tickets of the event, and waits for them.
func (h *Hall) Buy(t *testing.T, buyer string, n int) []api.Ticket {
	t.Helper()
	o := Call[api.Order](h.Hub, 201, "POST", "/v1/orders", buyer, Seats(h.Event, n))
	h.Hub.Await(buyer, o, api.OrderPaid)
	return Call[api.List[api.Ticket]](h.Hub, 200, "GET", "/v1/orders/"+o.ID.String()+"/tickets", buyer, nil).Items
}

// AwaitDoors waits until the doors are in the state.
func (h *Hall) AwaitDoors(t *testing.T, state string) {
	t.Helper()
	testkit.Eventually(t, 90*time.Second, func() error {
		err := h.DoorsAre(state)
		if err == nil {
			return nil
		}
		venue, failed := h.Edge.Send("GET", "/v1/status", "", nil)
		return fmt.Errorf("%w; the venue says %s %v", err, venue.Body, failed)
	})
}

// DoorsAre says how the doors are if they are not so.
func (h *Hall) DoorsAre(state string) error {
	got, err := h.Hub.Send("GET", h.At("/authority"), h.Owner, nil)
	if err != nil {
		return err
	}
	return got.Is(200, `"state":"`+state+`"`)
}

// AtVenue and atHub scan a ticket, and return what the person is told.
func (h *Hall) AtVenue(t *testing.T, ticket api.Ticket) string {
	t.Helper()
	return Call[api.AdmissionResult](h.Edge, 200, "POST", h.At("/admissions"), h.Pass,
		api.Admission{Code: ticket.Code, Gate: "north"}).Result
}

// AtHub shows a ticket at the system, and returns what came of it.
func (h *Hall) AtHub(t *testing.T, ticket api.Ticket) string {
	t.Helper()
	return Call[api.AdmissionResult](h.Hub, 200, "POST", h.At("/admissions"), h.Owner,
		api.Admission{Code: ticket.Code, Gate: "desk"}).Result
}

// Sale is a request to sell n seats of the event.
func (h *Hall) Sale(n int) api.NewSale {
	payment := api.BoxOfficePayment{Method: api.PaidNot}
	if h.Event.TicketTypes[0].Price.Amount > 0 {
		payment.Method = api.PaidInCash
	}
	return api.NewSale{
		EventID: h.Event.ID,
		Items:   []api.NewOrderItem{{TicketTypeID: h.Event.TicketTypes[0].ID, Quantity: n}},
		Payment: payment,
	}
}

// Scans returns all scans of the event that a side has.
func (h *Hall) Scans(at *Site, token string) (all []api.Scan) {
	at.T.Helper()
	for cursor := ""; ; {
		page := Call[api.List[api.Scan]](at, 200, "GET", h.At("/admissions?limit=200&cursor="+cursor), token, nil)
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

// Flagged returns the sales of the venue that are beside its leases.
func (h *Hall) Flagged() []api.FlaggedSale {
	return Call[api.List[api.FlaggedSale]](h.Hub, 200, "GET", h.At("/flagged-sales"), h.Owner, nil).Items
}

// venueComputer is a process with the computer of a venue that kills itself where it is told to, and whose clock is
// wrong by the last argument.
func venueComputer(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := runVenueComputer(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runVenueComputer(ctx context.Context, args []string) error {
	dir, venue, hub, creds, at := args[0], ids.Venue(args[1]), args[2], args[3], args[4]
	wrong, err := time.ParseDuration(args[5])
	if err != nil {
		return err
	}
	db, err := disk.Open(dir, venue)
	if err != nil {
		return err
	}
	defer db.Close()
	around := dieAround(dir)
	db.AroundCommit(func(done bool) { around("edge", done) })
	log := observe.NewLogger(os.Stderr, "edge", db.Identity().Folder, slog.LevelInfo)
	leaf, err := natsconf.StartLeaf(ctx, natsconf.LeafConfig{Venue: args[1], Name: db.Identity().Folder,
		Hub: "nats-leaf://" + hub, Creds: creds, Log: log, Patience: 10 * time.Second,
		Plain: strings.Contains(hub, ",")}) // a cluster on loopback
	if err != nil {
		return err
	}
	defer func() { _ = leaf.Shutdown(context.Background()) }()
	nc, err := leaf.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	service, err := edge.New(edge.Config{DB: db, NATS: nc, Log: log, Registry: observe.NewRegistry(), Version: "test",
		Interval: 500 * time.Millisecond, Now: func() time.Time { return time.Now().Add(wrong) },
		Line: func() edge.Line {
			l := leaf.State()
			return edge.Line{Up: l.Up, Since: l.Since, Reason: l.Reason}
		}})
	if err != nil {
		return err
	}
	defer service.Close()
	server, err := edge.NewServer(service, observe.NewHealth(nil, service.Checks()...))
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	fmt.Println("ready")
	err = service.Run(ctx)
	return errors.Join(err, server.Shutdown(context.Background()), <-served)
}

// LeafURL returns where a system takes leaf nodes.
func LeafURL(t *testing.T, sys *system.System) string {
	t.Helper()
	_, url, found := strings.Cut(sys.Ready(), "  leaf ")
	if !found {
		t.Fatalf("no leaf nodes: %s", sys.Ready())
	}
	return url
}
