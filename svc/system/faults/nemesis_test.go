package faults_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// misfortune is something that happens while people buy.
type misfortune struct {
	name string
	// strike does it. through waits until so many more orders are acknowledged: it fails the test if they are not.
	strike func(through func(n int))
}

const some = 10 // orders

// misfortunes are those that happen, or for a long test all that can.
func misfortunes(c *systemtest.Cluster, long bool) []misfortune {
	either := func(of []*systemtest.Process) *systemtest.Process { return of[rand.IntN(len(of))] }
	killed := func(name string, of []*systemtest.Process) misfortune {
		return misfortune{name + " is killed", func(through func(int)) {
			p := either(of)
			p.Kill()
			through(some)
			p.Again()
		}}
	}
	paused := func(name string, of []*systemtest.Process) misfortune {
		return misfortune{name + " hangs", func(through func(int)) {
			resume := either(of).Pause()
			defer resume()
			through(some)
		}}
	}
	all := []misfortune{killed("a NATS server", c.Nodes), paused("a NATS server", c.Nodes), paused("ticketing", c.Members["ticketing"]),
		{"the database is cut off", func(func(int)) { c.Database.Cut() }},
		{"the database hangs", func(func(int)) {
			resume := c.Database.Pause()
			defer resume()
			<-time.After(2 * time.Second) // as long as a restart of it takes
		}},
		{"the last NATS server but one is killed", func(through func(int)) { // there is no majority: nothing is acknowledged
			c.Nodes[0].Kill()
			through(some)
			c.Nodes[1].Kill()
			c.Nodes[1].Again()
			through(some)
			c.Nodes[0].Again()
		}}}
	for kind := range systemtest.Kinds() {
		all = append(all, killed(kind, c.Members[kind]))
	}
	if !long {
		return all
	}
	for _, kind := range []string{"payment", "gateway", "others"} {
		all = append(all, paused(kind, c.Members[kind]))
	}
	return append(all, misfortune{"everything is restarted, one after the other", func(through func(int)) {
		for _, pair := range c.Members {
			for _, p := range pair {
				p.Terminate()
				p.Again()
				through(some)
			}
		}
		for _, p := range c.Nodes {
			p.Terminate()
			p.Again()
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
	c := systemtest.StartCluster(t)
	admin := c.Sites[0].Login(systemtest.AdminEmail)
	c.Sites[0].Unlimited(admin)
	c.Sites[0].Set(admin, "user.access_ttl", "30m")
	shortHolds(c.Sites[0], admin)
	admin = c.Sites[0].Login(systemtest.AdminEmail)
	scarce := c.Sites[0].Concert(admin, 40, 1500)
	plenty := c.Sites[0].Concert(admin, 100_000, 1500)
	var sales []*sale
	for _, s := range c.Sites {
		sales = append(sales, startSale(impatient(s), plenty, admin, 3), startSale(impatient(s), scarce, admin, 1))
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
		all := misfortunes(c, long > 0)
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
	judge(c, sales, plenty, scarce)
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
func judge(c *systemtest.Cluster, sales []*sale, plenty, scarce api.Event) {
	c.T.Helper()
	s := c.Sites[0]
	admin := s.Login(systemtest.AdminEmail)
	both := &sale{event: plenty, orders: append(sales[0].orders, sales[2].orders...), asked: sales[0].asked + sales[2].asked}
	both.check(s, admin)
	few := append(sales[1].orders, sales[3].orders...)
	testkit.Eventually(c.T, 90*time.Second, func() error {
		if got := s.Left(scarce); got.Held != 0 || got.Sold > got.Quantity || got.Sold+got.Available != got.Quantity {
			return fmt.Errorf("the scarce event: %+v", got)
		}
		return nil
	})
	tickets := map[string]bool{}
	for _, o := range few {
		path := "/v1/orders/" + o.ID.String()
		if got := systemtest.Call[api.Order](s, 200, "GET", path, admin, nil); got.Status != api.OrderPaid {
			continue
		}
		for _, ticket := range systemtest.Call[api.List[api.Ticket]](s, 200, "GET", path+"/tickets", admin, nil).Items {
			if tickets[ticket.Code] {
				c.T.Errorf("a ticket of %s is in two orders", o.ID)
			}
			tickets[ticket.Code] = true
		}
	}
	if sold := s.Left(scarce).Sold; sold == 0 || len(tickets) > sold {
		c.T.Errorf("%d tickets for %d sold seats of the scarce event", len(tickets), sold)
	}
	systemtest.MustAudit(c.T, c.Cfg, systemtest.Ops(c.T, c.NatsURL, c.Creds))
	for _, e := range []api.Event{plenty, scarce} {
		for _, s := range c.Sites {
			sold := s.Left(e).Sold
			testkit.Eventually(c.T, 60*time.Second, func() error {
				got, err := s.Send("GET", "/v1/events/"+e.ID.String()+"/analytics", admin, nil)
				if err != nil || !strings.Contains(string(got.Body), fmt.Sprintf(`"tickets_sold":%d,`, sold)) {
					return fmt.Errorf("%d are sold: %d %s %v", sold, got.Status, got.Body, err)
				}
				return nil
			})
		}
	}
}
