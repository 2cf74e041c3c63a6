package gateway

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
)

const (
	waitParam  = "wait"   // query value of endpoints that let a caller wait
	waitHeader = "Prefer" // RFC 7240: wait=SECONDS
	waitShare  = 2        // of all requests under way, at most this part wait
	waitBuffer = 1        // one change is as good as many: the state is read after it
)

// waits lets requests wait for a change. Services publish on the live subject of what has changed; one subscription a
// service serves all who wait. A change that is missed costs a caller the rest of its wait, no more: the state is read
// again at the end.
type waits struct {
	most    int // that wait at a time
	closing <-chan struct{}

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]bool // by subject
	n       int
}

func newWaits(cfg Config, closing <-chan struct{}) (*waits, error) {
	w := &waits{most: cfg.InFlight / waitShare, closing: closing, waiting: map[string]map[chan struct{}]bool{}}
	cfg.Registry.GaugeFunc("starlight_http_waiting", "Requests that wait for a change.", func() float64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		return float64(w.n)
	})
	subscribed := map[string]bool{}
	for _, d := range cfg.Endpoints {
		if d.Waits == "" || subscribed[d.Service] {
			continue
		}
		subscribed[d.Service] = true
		if _, err := cfg.NATS.Subscribe(live.Subject(d.Service, "*"), w.notify); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// notify wakes the requests that wait for a subject.
func (w *waits) notify(m *nats.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for changed := range w.waiting[m.Subject] {
		select {
		case changed <- struct{}{}:
		default: // it has a change to read already
		}
	}
}

// join adds a request to those that wait for a subject. It reports false if there are too many.
func (w *waits) join(subject string) (changed chan struct{}, leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n >= w.most {
		return nil, nil, false
	}
	w.n++
	changed = make(chan struct{}, waitBuffer)
	if w.waiting[subject] == nil {
		w.waiting[subject] = map[chan struct{}]bool{}
	}
	w.waiting[subject][changed] = true
	return changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.n--
		if delete(w.waiting[subject], changed); len(w.waiting[subject]) == 0 {
			delete(w.waiting, subject)
		}
	}, true
}

// await asks until the state is one that the caller does not wait on, or the time is over. A caller that names a
// version by If-None-Match waits for any other; one that does not waits while the state is transient and stays what it
// was.
func (p *proxy) await(x *exchange, limit time.Duration, ask func() (*nats.Msg, error)) (*nats.Msg, error) {
	if !x.until.IsZero() {
		limit = min(limit, x.until.Sub(p.g.cfg.Now()))
	}
	changed, leave, ok := p.g.waits.join(live.Subject(p.spec.Service, x.fiber.Params(p.spec.Waits)))
	if !ok {
		return ask()
	}
	defer leave()
	reply, err := ask() // after joining: a change from now on is not missed
	if err != nil {
		return nil, err
	}
	named := len(x.rc.Request.Header.Peek(rpc.IfNoneMatch)) > 0
	first := reply.Header.Get(rpc.HeaderETag)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for over := false; !over && goesOn(reply, named, first); {
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-p.g.waits.closing:
			over = true
		}
		if reply, err = ask(); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

// goesOn reports whether a caller waits on after a reply.
func goesOn(reply *nats.Msg, named bool, first string) bool {
	if named {
		return reply.Header.Get(rpc.HeaderStatus) == "304"
	}
	return reply.Header.Get(rpc.HeaderTransient) != "" && reply.Header.Get(rpc.HeaderETag) == first
}

// wantsToWait reports whether a caller may want to wait.
func wantsToWait(x *exchange) bool {
	return x.rc.IsGet() && (x.rc.QueryArgs().Has(waitParam) || len(x.rc.Request.Header.Peek(waitHeader)) > 0)
}

// waitOf returns how long a caller wants to wait, at most rpc.LongestWait: by the query, or by a preference, which is
// ignored where it cannot be read.
func waitOf(x *exchange) (time.Duration, error) {
	if text := string(x.rc.QueryArgs().Peek(waitParam)); text != "" {
		d, err := time.ParseDuration(text)
		if seconds, intErr := strconv.Atoi(text); intErr == nil {
			d, err = time.Duration(seconds)*time.Second, nil
		}
		var check fault.Check
		check.Field(err == nil && d >= 0, waitParam, "must be a time such as 10s")
		return min(d, rpc.LongestWait), check.Err()
	}
	for preference := range strings.SplitSeq(string(x.rc.Request.Header.Peek(waitHeader)), ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(preference), "wait=")
		if seconds, err := strconv.Atoi(value); ok && err == nil && seconds > 0 {
			x.rc.Response.Header.Set("Preference-Applied", "wait="+value)
			return min(time.Duration(seconds)*time.Second, rpc.LongestWait), nil
		}
	}
	return 0, nil
}
