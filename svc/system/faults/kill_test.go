package faults_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/command"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// sale lets buyers order and pay as fast as they can, until it is stopped. It remembers what was acknowledged.
type sale struct {
	s      *systemtest.Site
	event  api.Event
	token  string
	before int // seats that were sold before the sale
	stop   chan struct{}
	wg     sync.WaitGroup

	mu     sync.Mutex
	orders []api.Order
	asked  int      // payments that the provider has accepted
	failed []string // what was not answered as it should be
}

func startSale(s *systemtest.Site, event api.Event, token string, buyers int) *sale {
	x := &sale{s: s, event: event, token: token, before: s.Left(event).Sold, stop: make(chan struct{})}
	for range buyers {
		x.wg.Go(func() {
			for {
				select {
				case <-x.stop:
					return
				default:
					x.one()
				}
			}
		})
	}
	return x
}

// impatient returns a site with buyers who do not wait for what was under way in a process that was killed.
func impatient(s *systemtest.Site) *systemtest.Site {
	fast := *s
	fast.Timeout = 4 * time.Second
	return &fast
}

// one makes an order and pays every second of them. Errors are what happens when a process is killed.
func (x *sale) one() {
	var o api.Order
	if !x.ask("POST", "/v1/orders", x.token, systemtest.Seats(x.event, 1), 201, &o) {
		select { // a refused buyer pauses before the next try
		case <-x.stop:
		case <-time.After(5 * time.Millisecond):
		}
		return
	}
	x.mu.Lock()
	x.orders = append(x.orders, o)
	n := len(x.orders)
	x.mu.Unlock()
	if n%2 == 0 {
		return
	}
	var p api.Payment
	if x.ask("POST", "/v1/orders/"+o.ID.String()+"/payments", x.token, api.NewPayment{Provider: "sandbox"}, 201, &p) &&
		x.ask("POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"}, 202, nil) {
		x.mu.Lock()
		x.asked++
		x.mu.Unlock()
	}
}

// ask reports whether a request got the answer that it should, decoded into what, and remembers it if not.
func (x *sale) ask(method, path, token string, body any, want int, into any) bool {
	got, err := x.s.Send(method, path, token, body)
	if err == nil && got.Status == want && (into == nil || json.Unmarshal(got.Body, into) == nil) {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed = append(x.failed, fmt.Sprintf("%s %s: %d %s %v", method, path, got.Status, got.Body, err))
	return false
}

// progress waits until so many more orders have been acknowledged.
func (x *sale) progress(n int) {
	x.s.T.Helper()
	count := func() int { x.mu.Lock(); defer x.mu.Unlock(); return len(x.orders) }
	from := count()
	testkit.Eventually(x.s.T, 60*time.Second, func() error {
		if got := count() - from; got < n {
			return fmt.Errorf("%d of %d orders", got, n)
		}
		return nil
	})
}

func (x *sale) end() {
	close(x.stop)
	x.wg.Wait()
}

// check proves, once the holds have ended, that everything that was acknowledged is there: an order is paid and has its
// ticket, or its seat is back; and whatever the provider has accepted is sold.
func (x *sale) check(s *systemtest.Site, token string) {
	s.T.Helper()
	s.T.Logf("%d orders were acknowledged, %d payments accepted", len(x.orders), x.asked)
	if x.asked == 0 || len(x.orders) == x.asked {
		s.T.Errorf("a sale that proves nothing")
	}
	testkit.Eventually(s.T, 90*time.Second, func() error {
		if got := s.Left(x.event); got.Held != 0 || got.Sold-x.before < x.asked || got.Available+got.Sold != got.Quantity {
			return fmt.Errorf("%d payments were accepted: %+v", x.asked, got)
		}
		return nil
	})
	paid := 0
	for _, o := range x.orders {
		path := "/v1/orders/" + o.ID.String()
		var got api.Order
		// Seats are sold before their order says so: what an instance that was killed had in hand, another one gets later.
		testkit.Eventually(s.T, 90*time.Second, func() error {
			a, err := s.Send("GET", path, token, nil) // who reads just after a fault may have to ask again
			if err == nil {
				err = a.Is(200, "")
			}
			if err == nil {
				err = json.Unmarshal(a.Body, &got)
			}
			if err == nil && got.Status == api.OrderPending {
				err = fmt.Errorf("order %s is pending", o.ID)
			}
			return err
		})
		switch got.Status {
		case api.OrderPaid:
			paid++
			if tickets := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", path+"/tickets", token, nil).Items; len(tickets) != 1 {
				s.T.Errorf("paid order %s has %d tickets", o.ID, len(tickets))
			}
		case api.OrderExpired:
		default:
			s.T.Errorf("order %s is %s", o.ID, got.Status)
		}
	}
	if paid < x.asked {
		s.T.Errorf("%d payments were accepted, %d orders are paid", x.asked, paid)
	}
}

// shortHolds lets unpaid holds end while the test runs, but not before a payment that is on its way.
func shortHolds(s *systemtest.Site, admin string) {
	s.T.Helper()
	s.AnyOrders(admin)
	s.Set(admin, "ticketing.hold_ttl", "5s")
	s.Set(admin, "payment.sandbox", "true")
	event := s.Concert(admin, 10, 1000)
	testkit.Eventually(s.T, 5*time.Second, func() error { // every process takes settings over in their order
		o := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 1))
		if d := o.ExpiresAt.Sub(o.CreatedAt); d != 5*time.Second {
			return fmt.Errorf("orders are held for %s", d)
		}
		got, err := s.Send("POST", "/v1/orders/"+o.ID.String()+"/payments", admin, api.NewPayment{Provider: "sandbox"})
		if err != nil || got.Status != 201 {
			return fmt.Errorf("the sandbox is not on: %d %s %v", got.Status, got.Body, err)
		}
		return nil
	})
}

// One process, as people start it, killed in the middle of a sale and started again on the same folder.
func TestKillInTheMiddleOfASale(t *testing.T) {
	t.Parallel() // most of it is waiting
	cfg := systemtest.Config(t.TempDir())
	cfg.HTTP, cfg.NATS = testkit.FreeAddress(t), testkit.FreeAddress(t)
	p := systemtest.Spawn(t, "starlight", []string{"STARLIGHT_ADMIN_PASSWORD=" + systemtest.Password},
		"up", "--data", cfg.Data, "--http", cfg.HTTP, "--nats", cfg.NATS, "--ops", "off", "--admin-email", systemtest.AdminEmail)
	s := &systemtest.Site{T: t, URL: "http://" + cfg.HTTP}
	admin := s.Login(systemtest.AdminEmail)
	shortHolds(s, admin)
	event := s.Concert(admin, 100000, 1500)
	x := startSale(impatient(s), event, admin, 8)
	for range 2 {
		x.progress(60)
		p.Kill()
		p.Again()
	}
	x.progress(20)
	x.end()
	x.check(s, s.Login(systemtest.AdminEmail))
	connect := systemtest.Ops(t, "nats://"+cfg.NATS, filepath.Join(cfg.Data, "creds"))
	systemtest.MustAudit(t, cfg, connect)
	var out strings.Builder
	if exit := command.Main([]string{"audit", "--data", cfg.Data, "--nats-url", "nats://" + cfg.NATS}, &out, &out); exit != 0 || strings.Contains(out.String(), "BROKEN") {
		t.Errorf("starlight audit: %d\n%s", exit, &out)
	}
	p.Terminate()
	systemtest.MustAudit(t, cfg, systemtest.Stopped)
}

// The same code as separate processes on a NATS server and a PostgreSQL of their own, two of each service that handles
// seats or money. One of each is killed in the middle of a sale, and in the end NATS itself.
func TestCluster(t *testing.T) {
	t.Parallel()
	database := testkit.Postgres(t)
	if separator := "?"; !strings.Contains(database, "pool=") {
		if strings.Contains(database, "?") {
			separator = "&"
		}
		database += separator + "pool=4"
	}
	dir := t.TempDir()
	if exit := command.Main([]string{"auth", "init", dir}, io.Discard, os.Stderr); exit != 0 {
		t.Fatal("starlight auth init")
	}
	address, hub := testkit.FreeAddress(t), testkit.FreeAddress(t)
	nats := systemtest.Spawn(t, "nats-server", nil, filepath.Join(dir, "hub.conf"), hub)
	base := system.Config{Data: t.TempDir(), DatabaseURL: database}
	env := []string{"STARLIGHT_NATS_URL=nats://" + hub, "STARLIGHT_NATS_CREDS=" + filepath.Join(dir, "creds"), "STARLIGHT_DATABASE_URL=" + database, "STARLIGHT_REPLICAS=1",
		"STARLIGHT_DATA=" + base.Data, "STARLIGHT_HTTP=" + address, "STARLIGHT_PUBLIC_URL=http://" + address, "STARLIGHT_OPS=off",
		"STARLIGHT_ADMIN_EMAIL=" + systemtest.AdminEmail, "STARLIGHT_ADMIN_PASSWORD=" + systemtest.Password}
	members := [][]string{{"config", "discovery", "notification", "venue", "audit"}, {"event", "user"}, {"event", "user"}, {"ticketing"}, {"ticketing"}, {"payment"}, {"payment"}, {"gateway"}}
	running := make([]*systemtest.Process, len(members))
	instances := 0
	var starting sync.WaitGroup // all at once, on an empty database and an empty NATS
	for i, roles := range members {
		instances += len(roles)
		running[i] = &systemtest.Process{T: t, Args: append([]string{"run"}, roles...), Env: append(env, systemtest.ActAs+"=starlight"), Log: filepath.Join(t.TempDir(), "log")}
		starting.Go(func() {
			if err := running[i].Start(); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	for _, p := range running {
		t.Cleanup(p.Kill)
	}
	if t.Failed() {
		t.FailNow()
	}
	s := &systemtest.Site{T: t, URL: "http://" + address, Timeout: 20 * time.Second}
	admin := s.Login(systemtest.AdminEmail)
	testkit.Eventually(t, 5*time.Second, func() error {
		got := systemtest.Call[api.List[api.ServiceInstance]](s, 200, "GET", "/v1/mesh/services", admin, nil).Items
		if len(got) != instances {
			return fmt.Errorf("%d instances", len(got))
		}
		return nil
	})
	s.AnyOrders(admin)
	shortHolds(s, admin)
	event := s.Concert(admin, 100000, 1500)
	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 2))
	ticket := s.Pay(admin, order)[0]
	scan := api.Admission{Code: ticket.Code}
	for _, want := range []string{api.Admitted, api.AlreadyAdmitted} {
		if got := systemtest.Call[api.AdmissionResult](s, 200, "POST", "/v1/events/"+event.ID.String()+"/admissions", admin, scan); got.Result != want {
			t.Errorf("scan: %s, want %s", got.Result, want)
		}
	}
	// Few buyers: none may fail because there is no processor for it.
	calm := startSale(s, s.Concert(admin, 100000, 1500), admin, 3)
	calm.progress(30)
	for _, asked := range []*systemtest.Process{running[2], running[4], running[6]} { // to leave: what it has begun it finishes, unnoticed
		asked.Terminate()
		calm.progress(30)
		asked.Again()
	}
	if calm.end(); len(calm.failed) > 0 {
		t.Errorf("while members came and went, %d requests failed: %s", len(calm.failed), calm.failed[0])
	}

	x := startSale(impatient(s), event, admin, 8)
	for _, victim := range []*systemtest.Process{running[1], running[3], running[5]} { // each has a colleague
		x.progress(30)
		victim.Kill()
	}
	x.progress(30)
	nats.Kill()
	nats.Again()
	x.progress(30)
	x.end()
	x.check(s, s.Login(systemtest.AdminEmail))
	calm.check(s, admin)
	systemtest.MustAudit(t, base, systemtest.Ops(t, "nats://"+hub, filepath.Join(dir, "creds")))
	for _, p := range []*systemtest.Process{running[7], running[6], running[4], running[2], running[0]} {
		p.Terminate()
	}
}
