package faults_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// persistent buyers make one order after the other, each under a key of its own. What is not acknowledged is sent again
// with the same key, to the other gateway, as a client does that wants its order.
type persistent struct {
	c     *systemtest.Cluster
	event api.Event
	token string
	stop  chan struct{}
	wg    sync.WaitGroup

	mu         sync.Mutex
	orders     []api.Order
	requests   int
	failed     map[string]int // requests, by status or "no answer"
	again      int            // orders that were not acknowledged at once
	most       int            // requests for one order
	longest    time.Duration  // from the first request for an order to its acknowledgement
	unexpected []string       // other answers than 201 and 5xx
}

func startPersistent(c *systemtest.Cluster, event api.Event, token string, buyers int) *persistent {
	p := &persistent{c: c, event: event, token: token, stop: make(chan struct{}), failed: map[string]int{}}
	for buyer := range buyers {
		p.wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-p.stop:
					return
				default:
					p.buy(fmt.Sprintf("buyer-%d-order-%d", buyer, n), buyer)
				}
			}
		})
	}
	return p
}

// buy makes an order, however often it has to ask, within half a minute.
func (p *persistent) buy(key string, at int) {
	began := time.Now()
	for try := 1; time.Since(began) < 30*time.Second; try++ {
		s := *p.c.Sites[(at+try)%len(p.c.Sites)]
		s.Timeout = 4 * time.Second
		got, err := s.Send("POST", "/v1/orders", p.token, systemtest.Seats(p.event, 1), "Idempotency-Key", key)
		var o api.Order
		acknowledged := err == nil && got.Status == 201 && json.Unmarshal(got.Body, &o) == nil
		p.mu.Lock()
		p.requests++
		switch {
		case acknowledged:
			p.orders = append(p.orders, o)
			p.most, p.longest = max(p.most, try), max(p.longest, time.Since(began))
			if try > 1 {
				p.again++
			}
		case err != nil:
			p.failed["no answer"]++
		case got.Status >= 500:
			p.failed[fmt.Sprint(got.Status)]++
		default:
			p.unexpected = append(p.unexpected, fmt.Sprintf("%s: %d %s", key, got.Status, got.Body))
		}
		p.mu.Unlock()
		if acknowledged {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unexpected = append(p.unexpected, key+" was not acknowledged within half a minute")
}

func (p *persistent) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.orders)
}

// through waits until so many more orders are acknowledged.
func (p *persistent) through(n int) {
	p.c.T.Helper()
	from := p.count()
	testkit.Eventually(p.c.T, time.Minute, func() error {
		if got := p.count() - from; got < n {
			return fmt.Errorf("%d of %d orders", got, n)
		}
		return nil
	})
}

// persist begins a sale of free tickets to persistent buyers.
func persist(c *systemtest.Cluster) *persistent {
	c.T.Helper()
	s := c.Sites[0]
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	s.Set(admin, "user.access_ttl", "30m")
	admin = s.Login(systemtest.AdminEmail)
	p := startPersistent(c, s.Concert(admin, 100_000, 0), admin, 4)
	p.through(some)
	return p
}

// judge ends the sale. Each order that was acknowledged is there, and nothing else is sold.
func (p *persistent) judge() {
	t, s := p.c.T, p.c.Sites[0]
	t.Helper()
	close(p.stop)
	p.wg.Wait()
	t.Logf("%d requests for %d orders; failed: %v; %d orders were asked for again, at most %d times, for %.1f s",
		p.requests, len(p.orders), p.failed, p.again, p.most-1, p.longest.Seconds())
	for _, what := range p.unexpected {
		t.Error(what)
	}
	ids := map[string]bool{}
	for _, o := range p.orders {
		ids[o.ID.String()] = true
		testkit.Eventually(t, 30*time.Second, func() error {
			got, err := s.Send("GET", "/v1/orders/"+o.ID.String(), p.token, nil)
			var there api.Order
			if err != nil || got.Status != 200 || json.Unmarshal(got.Body, &there) != nil || there.Status != api.OrderPaid {
				return fmt.Errorf("order %s: %d %s %v", o.ID, got.Status, got.Body, err)
			}
			return nil
		})
	}
	if len(ids) != len(p.orders) {
		t.Errorf("%d orders were acknowledged, %d of them different ones", len(p.orders), len(ids))
	}
	testkit.Eventually(t, 30*time.Second, func() error { // what was paid as its service ended is confirmed by another
		if left := s.Left(p.event); left.Sold != len(p.orders) || left.Held != 0 {
			return fmt.Errorf("%d orders were acknowledged: %+v", len(p.orders), left)
		}
		return nil
	})
	systemtest.MustAudit(t, p.c.Cfg, systemtest.Ops(t, p.c.NatsURL, p.c.Creds))
}

// Everything is restarted while people buy, one process after the other, as for an update. What a buyer is not
// acknowledged at once, the same request with the same key is, and it makes one order.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := systemtest.StartCluster(t)
	p := persist(c)
	began := time.Now()
	restart := func(process *systemtest.Process) {
		process.Terminate()
		process.Again()
		p.through(some)
	}
	for _, pair := range c.Members {
		for _, process := range pair {
			restart(process)
		}
	}
	for _, node := range c.Nodes {
		restart(node)
	}
	t.Logf("in %.0f s", time.Since(began).Seconds())
	p.judge()
}
