package system_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/command"
)

// cluster is three NATS servers that keep three copies of everything, PostgreSQL behind a proxy, and two processes of
// each kind.
type cluster struct {
	t        *testing.T
	cfg      system.Config
	natsURL  string
	creds    string
	leafs    []string // where the NATS servers take leaf nodes
	database *testkit.Proxy
	nodes    []*process            // NATS
	members  map[string][]*process // two of each
	sites    []*site               // the gateways
}

// kinds are the processes of the cluster by what is likely to fail for its own reasons.
func kinds() map[string][]string {
	return map[string][]string{"ticketing": {"ticketing"}, "payment": {"payment"}, "gateway": {"gateway"},
		"others": {"config", "discovery", "event", "user", "notification", "analytics", "venue", "audit"}}
}

func startCluster(t *testing.T) *cluster { return startClusterOf(t, "") }

// startClusterOf starts a cluster in which the first process of each kind is another program: "" is this one.
func startClusterOf(t *testing.T, program string) *cluster {
	t.Helper()
	c := &cluster{t: t, members: map[string][]*process{}}
	dir := t.TempDir()
	if exit := command.Main([]string{"auth", "init", dir}, io.Discard, os.Stderr); exit != 0 {
		t.Fatal("starlight auth init")
	}
	c.creds = filepath.Join(dir, "creds")
	c.startDatabase()
	c.startNodes(dir)
	c.cfg.Data = t.TempDir()
	env := []string{"STARLIGHT_NATS_URL=" + c.natsURL, "STARLIGHT_NATS_CREDS=" + c.creds, "STARLIGHT_DATABASE_URL=" + c.cfg.DatabaseURL,
		"STARLIGHT_VENUE_CREDS=" + filepath.Join(dir, "members", "venue", "venues"),
		"STARLIGHT_REPLICAS=3", "STARLIGHT_OPS=off", "STARLIGHT_ADMIN_EMAIL=" + adminEmail, "STARLIGHT_ADMIN_PASSWORD=" + password}
	var starting sync.WaitGroup
	addresses := []string{testkit.FreeAddress(t), testkit.FreeAddress(t)}
	for kind, roles := range kinds() {
		for i, address := range addresses {
			p := &process{t: t, args: append([]string{"run"}, roles...), log: filepath.Join(t.TempDir(), kind), env: append([]string{actAs + "=starlight",
				"STARLIGHT_DATA=" + filepath.Join(c.cfg.Data, fmt.Sprintf("%s-%d", kind, i)), "STARLIGHT_HTTP=" + address, "STARLIGHT_PUBLIC_URL=http://" + addresses[0]}, env...)}
			if i == 0 {
				p.program = program
			}
			c.members[kind] = append(c.members[kind], p)
			starting.Go(func() {
				if err := p.start(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	starting.Wait()
	for _, pair := range c.members {
		for _, p := range pair {
			t.Cleanup(p.kill)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, address := range addresses {
		c.sites = append(c.sites, &site{t: t, url: "http://" + address})
	}
	return c
}

// startDatabase makes a database that is reached through a proxy.
func (c *cluster) startDatabase() {
	c.t.Helper()
	u, err := url.Parse(testkit.Postgres(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	c.database = testkit.NewProxy(c.t, u.Host)
	u.Host = c.database.Addr
	q := u.Query()
	q.Set("pool", "4")
	u.RawQuery = q.Encode()
	c.cfg.DatabaseURL = u.String()
}

// startNodes starts NATS servers from the files for a cluster on one machine, on other ports.
func (c *cluster) startNodes(dir string) {
	c.t.Helper()
	var ports []string // old, new, old, new ...
	for i := range 3 {
		for _, base := range []int{6222, 7422} {
			ports = append(ports, fmt.Sprintf("127.0.0.1:%d", base+i), testkit.FreeAddress(c.t))
		}
		c.leafs = append(c.leafs, ports[len(ports)-1])
	}
	var urls []string
	var starting sync.WaitGroup
	for i := range 3 {
		conf := filepath.Join(dir, fmt.Sprintf("local-n%d.conf", i+1))
		text, err := os.ReadFile(conf)
		if err == nil {
			err = os.WriteFile(conf, []byte(strings.NewReplacer(ports...).Replace(string(text))), 0o600)
		}
		if err != nil {
			c.t.Fatal(err)
		}
		address := testkit.FreeAddress(c.t)
		urls = append(urls, "nats://"+address)
		p := &process{t: c.t, args: []string{conf, address}, env: []string{actAs + "=nats-server"}, log: filepath.Join(c.t.TempDir(), "log")}
		c.nodes = append(c.nodes, p)
		starting.Go(func() {
			if err := p.start(); err != nil {
				c.t.Error(err)
			}
		})
	}
	starting.Wait()
	for _, p := range c.nodes {
		c.t.Cleanup(p.kill)
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
	c.natsURL = strings.Join(urls, ",")
}

// pause stops a process where it is, until the returned function is called.
func (p *process) pause() (resume func()) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	return func() { p.cmd.Process.Signal(syscall.SIGCONT) }
}

// misfortune is something that happens while people buy.
type misfortune struct {
	name string
	// strike does it. through waits until so many more orders are acknowledged: it fails the test if they are not.
	strike func(through func(n int))
}

const some = 10 // orders

// misfortunes are those that happen, or for a long test all that can.
func (c *cluster) misfortunes(long bool) []misfortune {
	either := func(of []*process) *process { return of[rand.IntN(len(of))] }
	killed := func(name string, of []*process) misfortune {
		return misfortune{name + " is killed", func(through func(int)) {
			p := either(of)
			p.kill()
			through(some)
			p.again()
		}}
	}
	paused := func(name string, of []*process) misfortune {
		return misfortune{name + " hangs", func(through func(int)) {
			resume := either(of).pause()
			defer resume()
			through(some)
		}}
	}
	all := []misfortune{killed("a NATS server", c.nodes), paused("a NATS server", c.nodes), paused("ticketing", c.members["ticketing"]),
		{"the database is cut off", func(func(int)) { c.database.Cut() }},
		{"the database hangs", func(func(int)) {
			resume := c.database.Pause()
			defer resume()
			<-time.After(2 * time.Second) // as long as a restart of it takes
		}},
		{"the last NATS server but one is killed", func(through func(int)) { // there is no majority: nothing is acknowledged
			c.nodes[0].kill()
			through(some)
			c.nodes[1].kill()
			c.nodes[1].again()
			through(some)
			c.nodes[0].again()
		}}}
	for kind := range kinds() {
		all = append(all, killed(kind, c.members[kind]))
	}
	if !long {
		return all
	}
	for _, kind := range []string{"payment", "gateway", "others"} {
		all = append(all, paused(kind, c.members[kind]))
	}
	return append(all, misfortune{"everything is restarted, one after the other", func(through func(int)) {
		for _, pair := range c.members {
			for _, p := range pair {
				p.terminate()
				p.again()
				through(some)
			}
		}
		for _, p := range c.nodes {
			p.terminate()
			p.again()
			through(some)
		}
	}})
}

// silence looks on until the returned function is called, which tells for how long at most no order was acknowledged.
func silence(acknowledged func() int) (longest func() time.Duration) {
	stop, told := make(chan struct{}), make(chan time.Duration)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		last, seen, most := time.Now(), acknowledged(), time.Duration(0)
		for {
			select {
			case <-tick.C:
			case <-stop:
				told <- max(most, time.Since(last))
				return
			}
			if n := acknowledged(); n != seen {
				most, seen, last = max(most, time.Since(last)), n, time.Now()
			}
		}
	}()
	return func() time.Duration {
		close(stop)
		return <-told
	}
}

// Whatever happens to a cluster while people buy, one thing after the other: what was acknowledged is there, a seat is
// sold once, money has its tickets or goes back, and the numbers of the organizer are right. STARLIGHT_NEMESIS=10m goes on
// for so long; otherwise each thing happens once.
func TestNemesis(t *testing.T) {
	t.Parallel()
	var long time.Duration
	if text := os.Getenv("STARLIGHT_NEMESIS"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	c := startCluster(t)
	admin := c.sites[0].login(adminEmail)
	c.sites[0].unlimited(admin)
	c.sites[0].set(admin, "user.access_ttl", "30m")
	c.sites[0].shortHolds(admin)
	admin = c.sites[0].login(adminEmail)
	scarce := c.sites[0].concert(admin, 40, 1500)
	plenty := c.sites[0].concert(admin, 100_000, 1500)
	var sales []*sale
	for _, s := range c.sites {
		sales = append(sales, s.sale(plenty, admin, 3), s.sale(scarce, admin, 1))
	}
	count := func() int { return sales[0].acknowledged() + sales[2].acknowledged() }
	through := func(n int) { // of buyers at either gateway: one of them may be away
		t.Helper()
		from := count()
		testkit.Eventually(t, time.Minute, func() error {
			if got := count() - from; got < n {
				return fmt.Errorf("%d of %d orders; lately: %s", got, n, sales[0].lastFailure())
			}
			return nil
		})
	}
	start := time.Now()
	for round := 0; round == 0 || time.Since(start) < long; round++ {
		all := c.misfortunes(long > 0)
		rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		for _, m := range all {
			struck, longest := time.Now(), silence(count)
			m.strike(through)
			through(some)
			t.Logf("%6.1f s: %s; for %.1f s, of which none sold for %.2f s", struck.Sub(start).Seconds(), m.name,
				time.Since(struck).Seconds(), longest().Seconds())
		}
	}
	through(some)
	for _, x := range sales {
		x.end()
	}
	c.judge(sales, plenty, scarce)
}

func (x *sale) acknowledged() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.orders)
}

func (x *sale) lastFailure() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.failed) == 0 {
		return "none"
	}
	return x.failed[len(x.failed)-1]
}

// judge looks at the cluster as its buyers and its organizer do, and has it audited.
func (c *cluster) judge(sales []*sale, plenty, scarce api.Event) {
	c.t.Helper()
	s := c.sites[0]
	admin := s.login(adminEmail)
	both := &sale{event: plenty, orders: append(sales[0].orders, sales[2].orders...), asked: sales[0].asked + sales[2].asked}
	both.check(s, admin)
	few := append(sales[1].orders, sales[3].orders...)
	testkit.Eventually(c.t, 90*time.Second, func() error {
		if got := s.left(scarce); got.Held != 0 || got.Sold > got.Quantity || got.Sold+got.Available != got.Quantity {
			return fmt.Errorf("the scarce event: %+v", got)
		}
		return nil
	})
	tickets := map[string]bool{}
	for _, o := range few {
		path := "/v1/orders/" + o.ID.String()
		if got := call[api.Order](s, 200, "GET", path, admin, nil); got.Status != api.OrderPaid {
			continue
		}
		for _, ticket := range call[api.List[api.Ticket]](s, 200, "GET", path+"/tickets", admin, nil).Items {
			if tickets[ticket.Code] {
				c.t.Errorf("a ticket of %s is in two orders", o.ID)
			}
			tickets[ticket.Code] = true
		}
	}
	if sold := s.left(scarce).Sold; sold == 0 || len(tickets) > sold {
		c.t.Errorf("%d tickets for %d sold seats of the scarce event", len(tickets), sold)
	}
	mustAudit(c.t, c.cfg, ops(c.t, c.natsURL, c.creds))
	for _, e := range []api.Event{plenty, scarce} {
		for _, s := range c.sites {
			sold := s.left(e).Sold
			testkit.Eventually(c.t, 60*time.Second, func() error {
				got, err := s.send("GET", "/v1/events/"+e.ID.String()+"/analytics", admin, nil)
				if err != nil || !strings.Contains(string(got.body), fmt.Sprintf(`"tickets_sold":%d,`, sold)) {
					return fmt.Errorf("%d are sold: %d %s %v", sold, got.status, got.body, err)
				}
				return nil
			})
		}
	}
}
