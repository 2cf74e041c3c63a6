package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/web"
)

// traffic counts what is read, as endpoints declare it, and publishes the counts once a second. A request waits for
// nothing: it adds one to a number in memory, and what does not fit is dropped and counted.
type traffic struct {
	nc      *nats.Conn
	log     *slog.Logger
	now     func() time.Time
	dropped *observe.Counter

	mu     sync.Mutex
	counts map[reading]int64
}

// reading is what is counted together.
type reading struct {
	subject  string // that the count is published on
	id       string // of what was read, may be empty
	referrer string
	minute   int64
}

const (
	trafficInterval = time.Second
	mostReadings    = 10_000 // different ones between two publications
)

func newTraffic(cfg Config) *traffic {
	return &traffic{nc: cfg.NATS, log: cfg.Log, now: cfg.Now, counts: map[reading]int64{},
		dropped: cfg.Registry.Counter("starlight_http_facts_dropped_total",
			"Views and searches that were not counted.")}
}

// reading returns what a good answer to a request counts as, and whether it counts: the endpoint says so. Not modified
// is a good answer too: its reader sees the page again. The referrer is left out.
func (p *proxy) reading(x *exchange) (r reading, counted bool) {
	rule := p.spec.Traffic
	if rule == nil || p.spec.Method != "GET" {
		return r, false
	}
	args := x.rc.QueryArgs()
	if rule.With != "" && len(args.Peek(rule.With)) == 0 || rule.Without != "" && len(args.Peek(rule.Without)) > 0 {
		return r, false
	}
	r.subject = rule.Subject
	if rule.Path != "" {
		r.id = x.fiber.Params(rule.Path)
	}
	return r, true
}

// referrer returns the host that led here. The path is left out: it may name a person.
func referrer(header, self string) string {
	const longest = 100
	if header == "" {
		return ""
	}
	u, err := url.Parse(header)
	if err != nil || u.Host == "" || strings.EqualFold(u.Host, self) {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if len(host) > longest || !web.Unreserved(host) {
		return ""
	}
	return host
}

// countReading counts a reading of a caller, unless they only look at the headers, or their address looks at the same
// thing all the time.
func (g *Gateway) countReading(x *exchange, r reading) {
	if !x.rc.IsGet() {
		return
	}
	key := limitKey{by: byReading, address: counted(x.address), name: r.id}
	if _, ok := g.limits.spend(key, api.ViewsPerAddress.Get(g.cfg.Settings)); !ok {
		g.traffic.dropped.Inc()
		return
	}
	if r.id != "" {
		r.referrer = referrer(string(x.rc.Request.Header.Referer()), string(x.rc.Host()))
	}
	g.traffic.add(r)
}

func (t *traffic) add(r reading) {
	r.minute = t.now().Unix() / 60
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.counts[r]; !known && len(t.counts) >= mostReadings {
		t.dropped.Inc()
		return
	}
	t.counts[r]++
}

// start publishes the counts until the function that it returns is called.
func (t *traffic) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { t.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// run publishes the counts until ctx ends, and once more then.
func (t *traffic) run(ctx context.Context) {
	tick := time.NewTicker(trafficInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.publish()
			return
		case <-tick.C:
			t.publish()
		}
	}
}

func (t *traffic) publish() {
	t.mu.Lock()
	counts := t.counts
	t.counts = make(map[reading]int64, len(counts))
	t.mu.Unlock()
	for r, n := range counts {
		data, err := json.Marshal(api.TrafficFact{At: time.Unix(r.minute*60, 0).UTC(), EventID: ids.Event(r.id),
			Referrer: r.referrer, Count: n})
		if err == nil {
			err = t.nc.PublishMsg(&nats.Msg{Subject: r.subject, Data: data})
		}
		if err != nil {
			t.dropped.Add(int(n))
			t.log.Debug("traffic is not counted", "subject", r.subject, "error", err)
		}
	}
}
