package system_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

// memberEnv holds the configuration of a process of its own: the test binary starts itself again.
const memberEnv = "STARLIGHT_TEST_MEMBER"

// member runs a system until it is told to stop or killed.
func member() int {
	var cfg system.Config
	if err := json.Unmarshal([]byte(os.Getenv(memberEnv)), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := system.Start(ctx, cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready", s.URL(), s.NATSURL())
	<-ctx.Done()
	if err := s.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a member that runs.
type process struct {
	cmd       *exec.Cmd
	url, nats string
}

// spawn starts a member and waits until it is ready. It is killed when the test ends.
func spawn(t *testing.T, cfg system.Config) *process {
	t.Helper()
	cfg.LogTo = nil
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), memberEnv+"="+string(text))
	log, err := os.OpenFile(filepath.Join(t.TempDir(), "member.log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		t.Fatalf("member %v: %v\n%s", cfg.Roles, err, said)
	}
	word := strings.Split(strings.TrimSpace(line), " ")
	p.url, p.nats = word[1], word[2]
	return p
}

// kill ends the process without a word.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// terminate asks the process to end, and reports how it did.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the process did not end cleanly: %v", err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// sale lets buyers order and pay as fast as they can, until it is stopped. It remembers what was acknowledged.
type sale struct {
	s     *site
	event api.Event
	token string
	stop  chan struct{}
	wg    sync.WaitGroup

	mu     sync.Mutex
	orders []api.Order
	asked  int // payments that the provider has accepted
}

func (s *site) sale(event api.Event, token string, buyers int) *sale {
	x := &sale{s: s, event: event, token: token, stop: make(chan struct{})}
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
	got, err := x.s.send("POST", "/v1/orders", x.token, seats(x.event, 1))
	var o api.Order
	if err != nil || got.status != 201 || json.Unmarshal(got.body, &o) != nil {
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
	got, err = x.s.send("POST", "/v1/orders/"+o.ID.String()+"/payments", x.token, api.NewPayment{Provider: "sandbox"})
	var p api.Payment
	if err != nil || got.status != 201 || json.Unmarshal(got.body, &p) != nil {
		return
	}
	if got, err = x.s.send("POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"}); err == nil && got.status == 202 {
		x.mu.Lock()
		x.asked++
		x.mu.Unlock()
	}
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

// check proves that what was acknowledged is there, and that paid orders have their tickets.
func (x *sale) check(s *site, token string) {
	s.t.Helper()
	s.t.Logf("%d orders were acknowledged, %d payments accepted", len(x.orders), x.asked)
	for _, o := range x.orders {
		call[api.Order](s, 200, "GET", "/v1/orders/"+o.ID.String(), token, nil)
	}
	paid := 0
	testkit.Eventually(s.t, 60*time.Second, func() error { // every accepted payment arrives in the end
		if paid = s.left(x.event).Sold; paid < x.asked {
			return fmt.Errorf("%d of %d paid orders are sold", paid, x.asked)
		}
		return nil
	})
}

// One process, killed in the middle of a sale and started again on the same folder.
func TestKillInTheMiddleOfASale(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Sandbox, cfg.Ops, cfg.HTTP, cfg.NATS = true, "off", freeAddress(t), freeAddress(t)
	p := spawn(t, cfg)
	s := &site{t, p.url}
	admin := s.login(adminEmail)
	event := s.concert(admin, 100000, 1500)
	x := s.sale(event, admin, 8)
	for range 2 {
		x.progress(60)
		p.kill()
		p = spawn(t, cfg)
	}
	x.progress(20)
	x.end()
	x.check(s, s.login(adminEmail))
	audit(t, cfg, ops(t, p.nats, filepath.Join(cfg.Data, "creds")))

	// What nobody pays for comes back.
	s.set(admin, "ticketing.hold_ttl", "1s")
	late := call[api.Order](s, 201, "POST", "/v1/orders", admin, seats(event, 1))
	s.await(admin, late, api.OrderExpired)
	p.terminate(t)
	audit(t, cfg, stopped)
}

// The same code as separate processes on a NATS server and a PostgreSQL of their own; an instance of each of the two
// services that handle seats and money is killed in the middle of a sale.
func TestCluster(t *testing.T) {
	database := testkit.Postgres(t)
	dir := t.TempDir()
	srv, err := natsconf.Start(t.Context(), natsconf.Config{Dir: dir, Listen: "127.0.0.1:0", Roles: system.Roles()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Shutdown(context.Background()) })
	base := system.Config{Data: t.TempDir(), NATSURL: srv.URL(), NATSCreds: filepath.Join(dir, "creds"), DatabaseURL: database + "&pool=4", Ops: "off",
		AdminEmail: adminEmail, AdminPassword: password, Sandbox: true, Replicas: 1}
	if !strings.Contains(database, "?") {
		base.DatabaseURL = database + "?pool=4"
	}
	address := freeAddress(t)
	base.PublicURL = "http://" + address
	with := func(roles ...string) *process {
		cfg := base
		cfg.Roles, cfg.HTTP = roles, address
		return spawn(t, cfg)
	}
	with("config", "discovery", "event", "user", "notification")
	tickets := with("ticketing")
	with("ticketing")
	money := with("payment")
	with("payment")
	gate := with("gateway")
	s := &site{t, gate.url}
	admin := s.login(adminEmail)
	testkit.Eventually(t, 5*time.Second, func() error {
		got := call[api.List[api.ServiceInstance]](s, 200, "GET", "/v1/mesh/services", admin, nil).Items
		if len(got) != 9 {
			return fmt.Errorf("%d instances", len(got))
		}
		return nil
	})
	event := s.concert(admin, 100000, 1500)
	order := call[api.Order](s, 201, "POST", "/v1/orders", admin, seats(event, 2))
	ticket := s.pay(admin, order)[0]
	scan := api.Admission{Code: ticket.Code}
	for _, want := range []string{api.Admitted, api.AlreadyAdmitted} {
		if got := call[api.AdmissionResult](s, 200, "POST", "/v1/events/"+event.ID.String()+"/admissions", admin, scan); got.Result != want {
			t.Errorf("scan: %s, want %s", got.Result, want)
		}
	}
	x := s.sale(event, admin, 8)
	x.progress(40)
	tickets.kill()
	x.progress(40)
	money.kill()
	x.progress(40)
	x.end()
	x.check(s, admin)
	audit(t, base, ops(t, srv.URL(), filepath.Join(dir, "creds")))
}
