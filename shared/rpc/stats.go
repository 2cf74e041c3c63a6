package rpc

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// EndpointStats is what one instance counted for one endpoint since it started: the data member of an endpoint in the
// STATS answer of the micro protocol.
type EndpointStats struct {
	Requests  uint64            `json:"requests"`
	Errors    uint64            `json:"errors"` // faults of any code
	Codes     map[string]uint64 `json:"codes,omitempty"`
	LastError string            `json:"last_error,omitempty"` // code and detail that the caller was sent
	Busy      int64             `json:"busy"`                 // waiting and running now
	Shed      uint64            `json:"shed"`                 // refused because there was no time for them
	Expired   uint64            `json:"expired"`              // dropped because the caller had stopped waiting
	Panics    uint64            `json:"panics"`
	Replayed  uint64            `json:"replayed"` // stored answers given again
	MeanMs    float64           `json:"mean_ms"`  // of the requests that ran
	P50Ms     float64           `json:"p50_ms"`   // upper bounds, to a quarter of an octave
	P99Ms     float64           `json:"p99_ms"`
}

// stats counts without locks, except faults; one request costs a handful of atomic additions. Series of metrics exist
// from their first use: most endpoints of most processes are never asked.
type stats struct {
	requests, replayed, errors, ran, nanos atomic.Uint64
	crashed                                atomic.Uint64    // handlers that panicked
	panics                                 *observe.Counter // of all endpoints, so that one is an increase
	shed, expired                          *observe.Rare
	stray, forged, unknown                 *observe.Rare
	ok                                     *observe.Rare
	latency                                *observe.RareHistogram
	octaves                                [quarters]atomic.Uint64
	outcome                                func(code fault.Code) *observe.Counter
	end                                    func() // of the server's part in what servers have in common

	mu    sync.Mutex
	codes map[fault.Code]*observe.Counter // of the faults so far
	last  string
}

// quarters is the number of latency buckets: four per doubling of microseconds, up to about a minute.
const quarters = 4 * 26

func (s *stats) register(r *observe.Registry, b *binding) {
	labels := []string{"service", b.spec.Service, "endpoint", b.spec.Name}
	with := func(more ...string) []string { return append(append([]string{}, labels...), more...) }
	const requests, help = "starlight_rpc_requests_total", "Requests that ran, by outcome."
	s.ok = r.Rare(requests, help, with("code", "ok")...)
	s.outcome = func(code fault.Code) *observe.Counter {
		return r.Counter(requests, help, with("code", string(code))...)
	}
	s.codes = map[fault.Code]*observe.Counter{}
	s.latency = r.RareHistogram("starlight_rpc_duration_seconds",
		"How long a handler took, with decoding and encoding.", labels...)
	s.shed = r.Rare("starlight_rpc_shed_total",
		"Requests refused because they could not be served in time.", labels...)
	s.expired = r.Rare("starlight_rpc_expired_total",
		"Requests dropped unrun because their caller had stopped waiting.", labels...)
	s.panics = r.Counter("starlight_rpc_panics_total", "Handlers that panicked.", "service", b.spec.Service)
	s.stray = r.Rare("starlight_rpc_stray_total",
		"Messages on the subject of an endpoint that are no requests: streams deliver or republish there.", labels...)
	s.forged = r.Rare("starlight_rpc_forged_total",
		"Requests refused because their identity was not proven.", labels...)
	s.unknown = r.Rare("starlight_rpc_unknown_keys_total",
		"Requests that came again because the keys of sender and receiver had not met.", labels...)
	// The service hub has a server in the account of each venue.
	s.end = r.GaugeSum("starlight_rpc_busy", "Requests that wait or run now.",
		func() float64 { return float64(b.queue.busy()) }, "service", b.spec.Service)
}

// took records that a request ran from start until now. The span, if it has one, is the way to its trace.
func (s *stats) took(start time.Time, span *tracing.Span) {
	d := time.Since(start)
	if s.ran.Add(1) == 1 {
		s.show()
	}
	s.nanos.Add(uint64(d))
	s.octaves[bucket(d)].Add(1)
	s.latency.UpdateTraced(d.Seconds(), span.TraceID(), start.Add(d))
}

// show makes the series that availability is computed of, so that the first failure is already an increase.
func (s *stats) show() {
	s.ok.Show()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, code := range []fault.Code{fault.Internal, fault.Unavailable, fault.Timeout} {
		s.counter(code)
	}
}

// counter returns the counter of a fault. Call it with mu held.
func (s *stats) counter(code fault.Code) *observe.Counter {
	c := s.codes[code]
	if c == nil {
		c = s.outcome(code)
		s.codes[code] = c
	}
	return c
}

// bucket returns the index of the quarter octave that d falls into.
func bucket(d time.Duration) int {
	us := uint64(max(d/time.Microsecond, 1))
	octave := bits.Len64(us) - 1
	quarter := int(us<<2>>octave) & 3
	return min(octave*4+quarter, quarters-1)
}

// upper returns the upper bound of a bucket in milliseconds.
func upper(bucket int) float64 {
	return float64(uint64(5+bucket%4)<<(bucket/4)) / 4 / 1000
}

func (s *stats) fault(f *fault.Error) {
	s.errors.Add(1)
	s.mu.Lock()
	s.counter(f.Code).Inc()
	s.last = string(f.Code) + ": " + f.Detail
	s.mu.Unlock()
}

func (b *binding) snapshot() EndpointStats {
	s := &b.stats
	out := EndpointStats{
		Requests: s.requests.Load(), Errors: s.errors.Load(), Busy: b.queue.busy(), Replayed: s.replayed.Load(),
		Shed: s.shed.Get(), Expired: s.expired.Get(), Panics: s.crashed.Load(), Codes: map[string]uint64{},
	}
	s.mu.Lock()
	for code, c := range s.codes {
		if n := c.Get(); n > 0 {
			out.Codes[string(code)] = n
		}
	}
	out.LastError = s.last
	s.mu.Unlock()
	if ran := s.ran.Load(); ran > 0 {
		out.MeanMs = float64(s.nanos.Load()) / float64(ran) / 1e6
		out.P50Ms, out.P99Ms = s.quantile(ran, 50), s.quantile(ran, 99)
	}
	return out
}

// quantile returns the latency in milliseconds that percent of ran requests did not exceed.
func (s *stats) quantile(ran, percent uint64) float64 {
	need, sum := (ran*percent+99)/100, uint64(0)
	for i := range s.octaves {
		if sum += s.octaves[i].Load(); sum >= need {
			return upper(i)
		}
	}
	return upper(quarters - 1)
}
