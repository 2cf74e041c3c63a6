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
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// facts counts what people look at, and tells analytics once a second. A request waits for nothing: it adds one to a
// number in memory, and what does not fit is dropped and counted.
type facts struct {
	nc      *nats.Conn
	log     *slog.Logger
	now     func() time.Time
	dropped *observe.Counter

	mu   sync.Mutex
	seen map[look]int64
}

// look is what facts are counted by. An event of "" is a search.
type look struct {
	event    ids.Event
	referrer string
	minute   int64
}

const (
	factsInterval = time.Second
	mostLooks     = 10_000 // different ones between two tellings
)

func newFacts(cfg Config) *facts {
	return &facts{nc: cfg.NATS, log: cfg.Log, now: cfg.Now, seen: map[look]int64{},
		dropped: cfg.Registry.Counter("starlight_http_facts_dropped_total", "Views and searches that were not counted.")}
}

// watch returns what to call after a good answer of an endpoint to a GET, or nil. Not modified is a good answer too: the
// reader has the page in front of them again.
func (f *facts) watch(spec rpc.Spec) func(*exchange) {
	switch spec.Subject() {
	case api.GetEvent.Subject():
		return func(x *exchange) {
			if id, err := ids.Parse[ids.EventKind](x.fiber.Params("id")); err == nil {
				f.count(look{event: id, referrer: referrer(string(x.rc.Request.Header.Referer()), string(x.rc.Host()))})
			}
		}
	case api.ListEvents.Subject():
		return func(x *exchange) {
			if args := x.rc.QueryArgs(); len(args.Peek("q")) > 0 && len(args.Peek("cursor")) == 0 { // not its later pages
				f.count(look{})
			}
		}
	}
	return nil
}

// referrer returns the host that led here; not its path, which may tell of a person.
func referrer(header, self string) string {
	const longest = 100
	u, err := url.Parse(header)
	if err != nil || u.Host == "" || strings.EqualFold(u.Host, self) {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if len(host) > longest || !unreserved(host) {
		return ""
	}
	return host
}

func (f *facts) count(l look) {
	l.minute = f.now().Unix() / 60
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.seen[l]; !known && len(f.seen) >= mostLooks {
		f.dropped.Inc()
		return
	}
	f.seen[l]++
}

// start tells what was counted, until the function that it returns is called.
func (f *facts) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// run tells what was counted until ctx ends, and once more then.
func (f *facts) run(ctx context.Context) {
	tick := time.NewTicker(factsInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			f.tell()
			return
		case <-tick.C:
			f.tell()
		}
	}
}

func (f *facts) tell() {
	f.mu.Lock()
	seen := f.seen
	f.seen = make(map[look]int64, len(seen))
	f.mu.Unlock()
	for l, n := range seen {
		subject := api.FactViews
		if l.event == "" {
			subject = api.FactSearches
		}
		data, err := json.Marshal(api.TrafficFact{At: time.Unix(l.minute*60, 0).UTC(), EventID: l.event, Referrer: l.referrer, Count: n})
		if err == nil {
			err = f.nc.PublishMsg(&nats.Msg{Subject: subject, Data: data})
		}
		if err != nil {
			f.dropped.Add(int(n))
			f.log.Debug("views are not counted", "error", err)
		}
	}
}
