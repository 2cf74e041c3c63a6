package system_test

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
)

// sale lets buyers order and pay as fast as they can, until it is stopped. It remembers what was acknowledged.
type sale struct {
	s      *site
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

func (s *site) sale(event api.Event, token string, buyers int) *sale {
	impatient := *s
	impatient.timeout = 4 * time.Second // what was under way in a process that was killed gets no answer
	x := &sale{s: &impatient, event: event, token: token, before: s.left(event).Sold, stop: make(chan struct{})}
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

// one makes an order and pays every second of them. Errors are what happens when a process is killed.
func (x *sale) one() {
	var o api.Order
	if !x.ask("POST", "/v1/orders", x.token, seats(x.event, 1), 201, &o) {
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
	got, err := x.s.send(method, path, token, body)
	if err == nil && got.status == want && (into == nil || json.Unmarshal(got.body, into) == nil) {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed = append(x.failed, fmt.Sprintf("%s %s: %d %s %v", method, path, got.status, got.body, err))
	return false
}

// progress waits until so many more orders have been acknowledged.
func (x *sale) progress(n int) {
	x.s.t.Helper()
	count := func() int { x.mu.Lock(); defer x.mu.Unlock(); return len(x.orders) }
	from := count()
	testkit.Eventually(x.s.t, 60*time.Second, func() error {
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
func (x *sale) check(s *site, token string) {
	s.t.Helper()
	s.t.Logf("%d orders were acknowledged, %d payments accepted", len(x.orders), x.asked)
	if x.asked == 0 || len(x.orders) == x.asked {
		s.t.Errorf("a sale that proves nothing")
	}
	testkit.Eventually(s.t, 90*time.Second, func() error {
		if got := s.left(x.event); got.Held != 0 || got.Sold-x.before < x.asked || got.Available+got.Sold != got.Quantity {
			return fmt.Errorf("%d payments were accepted: %+v", x.asked, got)
		}
		return nil
	})
	paid := 0
	for _, o := range x.orders {
		path := "/v1/orders/" + o.ID.String()
		var got api.Order
		// Seats are sold before their order says so: what an instance that was killed had in hand, another one gets later.
		testkit.Eventually(s.t, 90*time.Second, func() error {
			a, err := s.send("GET", path, token, nil) // who reads just after a fault may have to ask again
			if err == nil {
				err = a.is(200, "")
			}
			if err == nil {
				err = json.Unmarshal(a.body, &got)
			}
			if err == nil && got.Status == api.OrderPending {
				err = fmt.Errorf("order %s is pending", o.ID)
			}
			return err
		})
		switch got.Status {
		case api.OrderPaid:
			paid++
			if tickets := call[api.List[api.Ticket]](s, 200, "GET", path+"/tickets", token, nil).Items; len(tickets) != 1 {
				s.t.Errorf("paid order %s has %d tickets", o.ID, len(tickets))
			}
		case api.OrderExpired:
		default:
			s.t.Errorf("order %s is %s", o.ID, got.Status)
		}
	}
	if paid < x.asked {
		s.t.Errorf("%d payments were accepted, %d orders are paid", x.asked, paid)
	}
}

// shortHolds lets unpaid holds end while the test runs, but not before a payment that is on its way.
func (s *site) shortHolds(admin string) {
	s.t.Helper()
	s.anyOrders(admin)
	s.set(admin, "ticketing.hold_ttl", "5s")
	s.set(admin, "payment.sandbox", "true")
	event := s.concert(admin, 10, 1000)
	testkit.Eventually(s.t, 5*time.Second, func() error { // every process takes settings over in their order
		o := call[api.Order](s, 201, "POST", "/v1/orders", admin, seats(event, 1))
		if d := o.ExpiresAt.Sub(o.CreatedAt); d != 5*time.Second {
			return fmt.Errorf("orders are held for %s", d)
		}
		got, err := s.send("POST", "/v1/orders/"+o.ID.String()+"/payments", admin, api.NewPayment{Provider: "sandbox"})
		if err != nil || got.status != 201 {
			return fmt.Errorf("the sandbox is not on: %d %s %v", got.status, got.body, err)
		}
		return nil
	})
}

// One process, as people start it, killed in the middle of a sale and started again on the same folder.
func TestKillInTheMiddleOfASale(t *testing.T) {
	t.Parallel() // most of it is waiting
	cfg := config(t.TempDir())
	cfg.HTTP, cfg.NATS = testkit.FreeAddress(t), testkit.FreeAddress(t)
	p := spawn(t, "starlight", []string{"STARLIGHT_ADMIN_PASSWORD=" + password},
		"up", "--data", cfg.Data, "--http", cfg.HTTP, "--nats", cfg.NATS, "--ops", "off", "--admin-email", adminEmail)
	s := &site{t: t, url: "http://" + cfg.HTTP}
	admin := s.login(adminEmail)
	s.shortHolds(admin)
	event := s.concert(admin, 100000, 1500)
	x := s.sale(event, admin, 8)
	for range 2 {
		x.progress(60)
		p.kill()
		p.again()
	}
	x.progress(20)
	x.end()
	x.check(s, s.login(adminEmail))
	connect := ops(t, "nats://"+cfg.NATS, filepath.Join(cfg.Data, "creds"))
	mustAudit(t, cfg, connect)
	var out strings.Builder
	if exit := command.Main([]string{"audit", "--data", cfg.Data, "--nats-url", "nats://" + cfg.NATS}, &out, &out); exit != 0 || strings.Contains(out.String(), "BROKEN") {
		t.Errorf("starlight audit: %d\n%s", exit, &out)
	}
	p.terminate()
	mustAudit(t, cfg, stopped)
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
	nats := spawn(t, "nats-server", nil, filepath.Join(dir, "hub.conf"), hub)
	base := system.Config{Data: t.TempDir(), DatabaseURL: database}
	env := []string{"STARLIGHT_NATS_URL=nats://" + hub, "STARLIGHT_NATS_CREDS=" + filepath.Join(dir, "creds"), "STARLIGHT_DATABASE_URL=" + database, "STARLIGHT_REPLICAS=1",
		"STARLIGHT_DATA=" + base.Data, "STARLIGHT_HTTP=" + address, "STARLIGHT_PUBLIC_URL=http://" + address, "STARLIGHT_OPS=off",
		"STARLIGHT_ADMIN_EMAIL=" + adminEmail, "STARLIGHT_ADMIN_PASSWORD=" + password}
	members := [][]string{{"config", "discovery", "notification", "venue", "audit"}, {"event", "user"}, {"event", "user"}, {"ticketing"}, {"ticketing"}, {"payment"}, {"payment"}, {"gateway"}}
	running := make([]*process, len(members))
	instances := 0
	var starting sync.WaitGroup // all at once, on an empty database and an empty NATS
	for i, roles := range members {
		instances += len(roles)
		running[i] = &process{t: t, args: append([]string{"run"}, roles...), env: append(env, actAs+"=starlight"), log: filepath.Join(t.TempDir(), "log")}
		starting.Go(func() {
			if err := running[i].start(); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	for _, p := range running {
		t.Cleanup(p.kill)
	}
	if t.Failed() {
		t.FailNow()
	}
	s := &site{t: t, url: "http://" + address}
	admin := s.login(adminEmail)
	testkit.Eventually(t, 5*time.Second, func() error {
		got := call[api.List[api.ServiceInstance]](s, 200, "GET", "/v1/mesh/services", admin, nil).Items
		if len(got) != instances {
			return fmt.Errorf("%d instances", len(got))
		}
		return nil
	})
	s.anyOrders(admin)
	s.shortHolds(admin)
	event := s.concert(admin, 100000, 1500)
	order := call[api.Order](s, 201, "POST", "/v1/orders", admin, seats(event, 2))
	ticket := s.pay(admin, order)[0]
	scan := api.Admission{Code: ticket.Code}
	for _, want := range []string{api.Admitted, api.AlreadyAdmitted} {
		if got := call[api.AdmissionResult](s, 200, "POST", "/v1/events/"+event.ID.String()+"/admissions", admin, scan); got.Result != want {
			t.Errorf("scan: %s, want %s", got.Result, want)
		}
	}
	calm := s.sale(s.concert(admin, 100000, 1500), admin, 8)
	calm.progress(30)
	for _, asked := range []*process{running[2], running[4], running[6]} { // to leave: what it has begun it finishes, unnoticed
		asked.terminate()
		calm.progress(30)
		asked.again()
	}
	if calm.end(); len(calm.failed) > 0 {
		t.Errorf("while members came and went, %d requests failed: %s", len(calm.failed), calm.failed[0])
	}

	x := s.sale(event, admin, 8)
	for _, victim := range []*process{running[1], running[3], running[5]} { // each has a colleague
		x.progress(30)
		victim.kill()
	}
	x.progress(30)
	nats.kill()
	nats.again()
	x.progress(30)
	x.end()
	x.check(s, s.login(adminEmail))
	calm.check(s, admin)
	mustAudit(t, base, ops(t, "nats://"+hub, filepath.Join(dir, "creds")))
	for _, p := range []*process{running[7], running[6], running[4], running[2], running[0]} {
		p.terminate()
	}
}
