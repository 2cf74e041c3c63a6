package gateway

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/valyala/fasthttp"

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
	copies  map[string]*nearCopy // by path and query as callers write them
	bytes   int
	changes int // counts invalidations: an answer that was asked for before one is not kept
}

// nearCopy is an answer that is ready to be sent. It is shared and not changed.
type nearCopy struct {
	p           *proxy
	serve       func(*exchange) error // sends it
	status      int
	headers     [][2][]byte // beside those that every answer has
	contentType []byte
	etag        string // without quotes, may be empty
	body        []byte
	counted     bool    // as reading
	reading     reading // all but its referrer
	tag         string  // what it is about; "" if any change may change it
	until       time.Time
}

// copyOf makes a copy of the answer to a request.
func (p *proxy) copyOf(x *exchange, reply *nats.Msg) *nearCopy {
	var r fasthttp.Response
	p.answer(&r, reply)
	c := &nearCopy{p: p, status: r.StatusCode(), contentType: bytes.Clone(r.Header.ContentType()), body: reply.Data,
		etag: strings.Trim(reply.Header.Get(rpc.HeaderETag), `"`)}
	for name, value := range r.Header.All() {
		if string(name) != fasthttp.HeaderContentType {
			c.headers = append(c.headers, [2][]byte{bytes.Clone(name), bytes.Clone(value)})
		}
	}
	if p.spec.Near != nil && p.spec.Near.Path != "" {
		c.tag = x.fiber.Params(p.spec.Near.Path)
	}
	c.reading, c.counted = p.reading(x)
	c.serve = c.answer
	return c
}

// answer is what a proxy does for a request, from a copy.
func (c *nearCopy) answer(x *exchange) error {
	if err := c.p.admit(x); err != nil {
		return err
	}
	c.send(x)
	return nil
}

// send sends a copy, or that the caller has the same.
func (c *nearCopy) send(x *exchange) {
	r := &x.rc.Response
	for _, h := range c.headers {
		r.Header.SetCanonical(h[0], h[1])
	}
	known := x.rc.Request.Header.Peek(rpc.IfNoneMatch)
	if len(known) > 0 && c.etag != "" && rpc.NoneMatch(string(known), c.etag) {
		r.SetStatusCode(fasthttp.StatusNotModified)
	} else {
		r.SetStatusCode(c.status)
		r.Header.SetContentTypeBytes(c.contentType)
		r.SetBodyRaw(c.body)
	}
	if c.counted {
		c.p.g.countReading(x, c.reading)
	}
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

// copyFor returns a copy of the answer to a request that has no body. Who writes the same bytes means the same: the
// path need not be looked up among the routes, nor be taken apart.
func (g *Gateway) copyFor(rc *fasthttp.RequestCtx) *nearCopy {
	if len(g.nears) == 0 || len(rc.Request.Body()) > 0 {
		return nil
	}
	address := rc.RequestURI()
	for _, n := range g.nears {
		if c := n.get(address); c != nil {
			return c
		}
	}
	return nil
}

// get returns the copy of what is under an address, if it may be served.
func (n *near) get(address []byte) *nearCopy {
	if !n.holder.Valid() { // before the copy is taken: one from before a change is gone when the change is acknowledged
		return nil
	}
	n.mu.RLock()
	c := n.copies[string(address)]
	n.mu.RUnlock()
	if c == nil || !n.now().Before(c.until) {
		return nil
	}
	n.hits.Inc()
	return c
}

// begin is called before the service is asked: it returns how many changes there were, for keep, and whether an answer
// may be kept.
func (n *near) begin() (changes int, leased bool) {
	n.misses.Inc()
	leased = n.holder.Valid()
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.changes, leased
}

// keep keeps an answer that is shared by all callers for some time, unless something changed since it was asked for.
func (n *near) keep(address string, c *nearCopy, shared time.Duration, changes int) {
	size := c.size(address)
	if shared <= 0 || size > nearLargest {
		return
	}
	c.until = n.now().Add(shared)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changes != changes {
		return
	}
	n.remove(address)
	for old := range n.copies { // any: what is read often is back soon
		if len(n.copies) < nearEntries && n.bytes+size <= nearBytes {
			break
		}
		n.remove(old)
	}
	n.copies[address] = c
	n.bytes += size
}

func (n *near) remove(address string) {
	if c := n.copies[address]; c != nil {
		n.bytes -= c.size(address)
		delete(n.copies, address)
	}
}

// size is about what a copy takes.
func (c *nearCopy) size(address string) int { return len(address) + len(c.body) }

// evict drops what a tag names and what any change may change; "" drops everything.
func (n *near) evict(tag string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes++
	for address, c := range n.copies {
		if tag == "" || c.tag == "" || c.tag == tag {
			n.remove(address)
		}
	}
}

// serveNear asks, and keeps what the service marks as shared. The gateway itself compares with If-None-Match, so that
// one copy serves all callers.
func (p *proxy) serveNear(x *exchange, params string, body []byte) error {
	n := p.g.nears[p.spec.Service]
	changes, leased := n.begin()
	reply, err := p.asker(x, params, body)("")
	if err != nil {
		return err
	}
	c := p.copyOf(x, reply)
	if ms, err := strconv.Atoi(reply.Header.Get(rpc.HeaderShared)); err == nil && leased {
		n.keep(string(x.rc.RequestURI()), c, time.Duration(ms)*time.Millisecond, changes)
	}
	c.send(x)
	return nil
}
