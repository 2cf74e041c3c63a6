package system_test

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

// hall is a venue with its computer, the doors of an event, and a line that a test can cut.
type hall struct {
	hub    *site
	edge   *site
	line   *testkit.Proxy
	p      *process // the venue's computer
	folder string   // of its data
	creds  string
	venue  api.Venue
	event  api.Event
	owner  string
	pass   string

	cfg     system.Config
	connect func(context.Context) (jetstream.JetStream, func(), error) // to the system, as ops
}

// openHall starts a system and the computer of a venue, and hands the doors of a free event over.
func openHall(t *testing.T) (*hall, []api.Ticket) {
	t.Helper()
	h, tickets := readyHall(t)
	h.take(t)
	return h, tickets
}

// readyHall is openHall before the doors are handed over.
func readyHall(t *testing.T) (*hall, []api.Ticket) {
	t.Helper()
	cfg := config(t.TempDir())
	cfg.Leaf = "127.0.0.1:0"
	hub, sys, _ := start(t, cfg)
	hub.unlimited(hub.login(adminEmail))
	_, owner := hub.join("owner@example.org")
	h := &hall{hub: hub, owner: owner, event: hub.concert(owner, 100, 0), cfg: cfg,
		connect: ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds"))}
	_, buyer := hub.join("buyer@example.org")
	tickets := h.buy(t, buyer, 6)
	h.open(t, strings.TrimPrefix(leafURL(t, sys), "nats-leaf://"))
	at := testkit.FreeAddress(t)
	h.p = spawn(t, "starlight", nil, "edge", "--venue", h.venue.ID.String(), "--hub", "nats-leaf://"+h.line.Addr, "--creds", h.creds,
		"--data", h.folder, "--http", at)
	h.edge = &site{t: t, url: "http://" + at}
	return h, tickets
}

// openMortalHall starts a system and the computer of a venue that can be told to die, and hands over the doors of an
// event whose seats cost so much.
func openMortalHall(t *testing.T, quantity int, price int64) (h *hall, hub, venue *fuse) {
	t.Helper()
	m := startMortal(t, "")
	m.unlimited(m.admin)
	m.set(m.admin, "user.access_ttl", "30m")
	owner := m.login(adminEmail)
	h = &hall{hub: m.site, owner: owner, event: m.concert(owner, quantity, price), cfg: m.cfg,
		connect: ops(t, "nats://"+m.cfg.NATS, filepath.Join(m.cfg.Data, "creds"))}
	h.open(t, m.cfg.Leaf)
	at := testkit.FreeAddress(t)
	h.p = spawn(t, "venue", nil, h.folder, h.venue.ID.String(), h.line.Addr, h.creds, at, "0s")
	h.edge = &site{t: t, url: "http://" + at, timeout: 5 * time.Second}
	h.take(t)
	return h, m.fuse, &fuse{t: t, p: h.p, dir: h.folder}
}

// open makes a venue with its credentials, and a line to where the system takes leaf nodes.
func (h *hall) open(t *testing.T, leaf string) {
	t.Helper()
	h.found(t, leaf)
	got := call[api.VenueCredentials](h.hub, 201, "POST", "/v1/venues/"+h.venue.ID.String()+"/credentials", h.owner, nil)
	if err := os.WriteFile(h.creds, []byte(got.Credentials), 0o600); err != nil {
		t.Fatal(err)
	}
}

// found makes a venue without credentials.
func (h *hall) found(t *testing.T, leaf string) {
	t.Helper()
	h.venue = call[api.Venue](h.hub, 201, "POST", "/v1/venues", h.owner, api.NewVenue{Name: "Hall", Timezone: "UTC", Gates: []string{"north"}})
	dir := t.TempDir()
	h.creds, h.folder = filepath.Join(dir, "venue.creds"), filepath.Join(dir, "edge")
	h.line = testkit.NewProxy(t, leaf)
}

// take hands the doors over, and waits until the venue admits and knows the pass of its devices.
func (h *hall) take(t *testing.T) {
	t.Helper()
	call[api.Authority](h.hub, 200, "PUT", h.at("/authority"), h.owner, api.NewAuthority{VenueID: h.venue.ID})
	h.pass = call[api.NewPassSecret](h.hub, 201, "POST", h.at("/passes"), h.owner, api.NewPass{Name: "Phone", Gate: "north"}).Secret
	h.awaitDoors(t, "venue")
	testkit.Eventually(t, 20*time.Second, func() error { // the pass comes with the next answer of the hub
		got, err := h.edge.send("GET", h.at("/admissions"), h.pass, nil)
		if err != nil {
			return err
		}
		return got.is(200, "")
	})
}

func (h *hall) at(path string) string { return "/v1/events/" + h.event.ID.String() + path }

func (h *hall) buy(t *testing.T, buyer string, n int) []api.Ticket {
	t.Helper()
	o := call[api.Order](h.hub, 201, "POST", "/v1/orders", buyer, seats(h.event, n))
	h.hub.await(buyer, o, api.OrderPaid)
	return call[api.List[api.Ticket]](h.hub, 200, "GET", "/v1/orders/"+o.ID.String()+"/tickets", buyer, nil).Items
}

func (h *hall) awaitDoors(t *testing.T, state string) {
	t.Helper()
	testkit.Eventually(t, 90*time.Second, func() error {
		err := h.doorsAre(state)
		if err == nil {
			return nil
		}
		venue, failed := h.edge.send("GET", "/v1/status", "", nil)
		return fmt.Errorf("%w; the venue says %s %v", err, venue.body, failed)
	})
}

// doorsAre says how the doors are if they are not so.
func (h *hall) doorsAre(state string) error {
	got, err := h.hub.send("GET", h.at("/authority"), h.owner, nil)
	if err != nil {
		return err
	}
	return got.is(200, `"state":"`+state+`"`)
}

// atVenue and atHub scan a ticket, and return what the person is told.
func (h *hall) atVenue(t *testing.T, ticket api.Ticket) string {
	t.Helper()
	return call[api.AdmissionResult](h.edge, 200, "POST", h.at("/admissions"), h.pass, api.Admission{Code: ticket.Code, Gate: "north"}).Result
}

func (h *hall) atHub(t *testing.T, ticket api.Ticket) string {
	t.Helper()
	return call[api.AdmissionResult](h.hub, 200, "POST", h.at("/admissions"), h.owner, api.Admission{Code: ticket.Code, Gate: "desk"}).Result
}

// sale is a request to sell n seats of the event.
func (h *hall) sale(n int) api.NewSale {
	payment := api.BoxOfficePayment{Method: api.PaidNot}
	if h.event.TicketTypes[0].Price.Amount > 0 {
		payment.Method = api.PaidInCash
	}
	return api.NewSale{EventID: h.event.ID, Items: []api.NewOrderItem{{TicketTypeID: h.event.TicketTypes[0].ID, Quantity: n}}, Payment: payment}
}

// scans returns all scans of the event that a side has.
func (h *hall) scans(at *site, token string) (all []api.Scan) {
	at.t.Helper()
	for cursor := ""; ; {
		page := call[api.List[api.Scan]](at, 200, "GET", h.at("/admissions?limit=200&cursor="+cursor), token, nil)
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

// flagged returns the sales of the venue that are beside its leases.
func (h *hall) flagged() []api.FlaggedSale {
	return call[api.List[api.FlaggedSale]](h.hub, 200, "GET", h.at("/flagged-sales"), h.owner, nil).Items
}

// judge waits until the system has all that the venue has decided, and then looks at both from the outside: each scan
// and each sale counts once at the system, no ticket was admitted twice, each seat is somewhere, and the records agree.
func (h *hall) judge(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, 90*time.Second, func() error {
		got, err := h.edge.send("GET", "/v1/status", "", nil)
		if err != nil {
			return err
		}
		return errors.Join(got.is(200, `"waiting":0,`), got.is(200, `"line":{"up":true`))
	})
	r := doorsRecord{venue: h.scans(h.edge, h.pass), system: h.scans(h.hub, h.owner)}
	for _, fault := range r.faults() {
		t.Error(fault)
	}
	mustAudit(t, h.cfg, h.connect)
	if got := h.hub.left(h.event); got.Available+got.Held+got.Sold+got.Leased != got.Quantity {
		t.Errorf("the seats are %+v", got)
	}
	t.Logf("%d scans at the venue, %d altogether", len(r.venue), len(r.system))
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
	leaf, err := natsconf.StartLeaf(ctx, natsconf.LeafConfig{Venue: args[1], Name: db.Identity().Folder, Hub: "nats-leaf://" + hub,
		Creds: creds, Log: log, Patience: 10 * time.Second, Plain: strings.Contains(hub, ",")}) // a cluster on loopback
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
		Interval: 500 * time.Millisecond, Now: func() time.Time { return time.Now().Add(wrong) }, Line: func() edge.Line {
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
