package gateway

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/coherence"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	nearEntries = 4096     // copies of a service's answers
	nearBytes   = 32 << 20 // in all of them
	nearLargest = 64 << 10 // a larger answer is not kept
)

// near keeps copies of a service's answers that are the same for all callers. They are served only under a lease of the
// service, which acknowledges a change when no gateway can serve a copy from before it: see package coherence.
type near struct {
	holder *coherence.Holder
	now    func() time.Time
	hits   *observe.Counter
	misses *observe.Counter

	mu      sync.RWMutex
	copies  map[string]*nearCopy // by endpoint and parameters
	bytes   int
	changes int // counts invalidations: an answer that was asked for before one is not kept
}

// nearCopy is an answer. It is shared and not changed.
type nearCopy struct {
	reply *nats.Msg
	tag   string // what it is about; "" if any change may change it
	until time.Time
}

// newNears returns the copies of each service whose endpoints let them be kept, by service.
func newNears(cfg Config) map[string]*near {
	all := map[string]*near{}
	for _, d := range cfg.Endpoints {
		if d.Near == nil || all[d.Service] != nil {
			continue
		}
		n := &near{now: cfg.Now, copies: map[string]*nearCopy{}}
		const name, help = "starlight_http_near_reads_total",
			"Reads of what the gateway may keep copies of, by whether it had one."
		n.hits = cfg.Registry.Counter(name, help, "service", d.Service, "result", "hit")
		n.misses = cfg.Registry.Counter(name, help, "service", d.Service, "result", "miss")
		lease := d.Near.Lease
		n.holder = coherence.NewHolder(coherence.HolderConfig{NATS: cfg.NATS, Service: d.Service,
			Tier: coherence.Gateways, Log: cfg.Log, Lease: func(ctx context.Context,
				req *rpc.LeaseRequest) (*rpc.Lease, error) {
				return rpc.Call(ctx, cfg.Client, lease, req)
			}, Evict: n.evict})
		all[d.Service] = n
	}
	return all
}

// keepLeases keeps the leases until stopLeases is called.
func (g *Gateway) keepLeases() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for service, n := range g.nears {
		running.Go(func() {
			if err := n.holder.Run(ctx); err != nil {
				g.cfg.Log.Warn("no copies of answers are kept", "copies", service, "error", err)
			}
		})
	}
	g.stopLeases = func() {
		cancel()
		running.Wait()
	}
}

// get returns a copy, or how many changes there were before the service is asked, for keep.
func (n *near) get(key string) (c *nearCopy, changes int, leased bool) {
	leased = n.holder.Valid()
	n.mu.RLock()
	c, changes = n.copies[key], n.changes
	n.mu.RUnlock()
	if leased && c != nil && n.now().Before(c.until) {
		n.hits.Inc()
		return c, changes, true
	}
	n.misses.Inc()
	return nil, changes, leased
}

// keep keeps an answer that is shared by all callers, unless something changed since it was asked for.
func (n *near) keep(key string, c *nearCopy, changes int) {
	ms, err := strconv.Atoi(c.reply.Header.Get(rpc.HeaderShared))
	size := len(c.reply.Data)
	if err != nil || ms <= 0 || size > nearLargest {
		return
	}
	c.until = n.now().Add(time.Duration(ms) * time.Millisecond)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changes != changes {
		return
	}
	n.remove(key)
	for old := range n.copies { // any: what is read often is back soon
		if len(n.copies) < nearEntries && n.bytes+size <= nearBytes {
			break
		}
		n.remove(old)
	}
	n.copies[key] = c
	n.bytes += size
}

func (n *near) remove(key string) {
	if c := n.copies[key]; c != nil {
		n.bytes -= len(c.reply.Data)
		delete(n.copies, key)
	}
}

// evict drops what a tag names and what any change may change; "" drops everything.
func (n *near) evict(tag string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes++
	for key, c := range n.copies {
		if tag == "" || c.tag == "" || c.tag == tag {
			n.remove(key)
		}
	}
}

// serveNear answers from a copy, or asks and keeps what the service marks as shared. The gateway itself compares with
// If-None-Match, so that one copy serves all callers.
func (p *proxy) serveNear(x *exchange, params string, body []byte) error {
	n := p.g.nears[p.spec.Service]
	key := p.spec.Name + "?" + params
	c, changes, leased := n.get(key)
	if c == nil {
		reply, err := p.asker(x, params, body)("")
		if err != nil {
			return err
		}
		c = &nearCopy{reply: reply}
		if p.spec.Near.Path != "" {
			c.tag = x.fiber.Params(p.spec.Near.Path)
		}
		if leased {
			n.keep(key, c, changes)
		}
	}
	p.answer(x, c.reply)
	known := string(x.rc.Request.Header.Peek(rpc.IfNoneMatch))
	if etag := strings.Trim(c.reply.Header.Get(rpc.HeaderETag), `"`); known != "" && etag != "" &&
		rpc.NoneMatch(known, etag) {
		x.rc.Response.ResetBody()
		x.rc.Response.Header.SetContentType("")
		x.rc.Response.SetStatusCode(304)
	}
	p.record(x)
	return nil
}
