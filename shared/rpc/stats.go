package rpc

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
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

// stats counts without locks; one request costs a handful of atomic additions.
type stats struct {
	requests, replayed, errors, ran, nanos atomic.Uint64
	shed, expired, panics                  *observe.Counter
	stray, forged, unknown                 *observe.Counter
	codes                                  map[fault.Code]*observe.Counter // complete from the start, then only read
	ok                                     *observe.Counter
	latency                                *observe.Histogram
	octaves                                [quarters]atomic.Uint64
	end                                    func() // of the server's part in what servers have in common

	mu   sync.Mutex
	last string
}

// quarters is the number of latency buckets: four per doubling of microseconds, up to about a minute.
const quarters = 4 * 26

func (s *stats) register(r *observe.Registry, b *binding) {
	labels := []string{"service", b.spec.Service, "endpoint", b.spec.Name}
	with := func(more ...string) []string { return append(append([]string{}, labels...), more...) }
	const requests, help = "starlight_rpc_requests_total", "Requests that ran, by outcome."
	s.ok = r.Counter(requests, help, with("code", "ok")...)
	s.codes = map[fault.Code]*observe.Counter{}
	for _, code := range fault.Codes() {
		s.codes[code] = r.Counter(requests, help, with("code", string(code))...)
	}
	s.latency = r.Histogram("starlight_rpc_duration_seconds",
		"How long a handler took, with decoding and encoding.", labels...)
	s.shed = r.Counter("starlight_rpc_shed_total",
		"Requests refused because they could not be served in time.", labels...)
	s.expired = r.Counter("starlight_rpc_expired_total",
		"Requests dropped unrun because their caller had stopped waiting.", labels...)
	s.panics = r.Counter("starlight_rpc_panics_total", "Handlers that panicked.", labels...)
	s.stray = r.Counter("starlight_rpc_stray_total",
		"Messages on the subject of an endpoint that are no requests: streams deliver or republish there.", labels...)
	s.forged = r.Counter("starlight_rpc_forged_total",
		"Requests refused because their identity was not proven.", labels...)
	s.unknown = r.Counter("starlight_rpc_unknown_keys_total",
		"Requests that came again because the keys of sender and receiver had not met.", labels...)
	// The service hub has a server in the account of each venue.
	s.end = r.GaugeSum("starlight_rpc_busy", "Requests that wait or run now.",
		func() float64 { return float64(b.queue.busy()) }, labels...)
}

// took records that a request ran for d.
func (s *stats) took(d time.Duration) {
	s.ran.Add(1)
	s.nanos.Add(uint64(d))
	s.octaves[bucket(d)].Add(1)
	s.latency.Update(d.Seconds())
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
	if c := s.codes[f.Code]; c != nil {
		c.Inc()
	}
	s.mu.Lock()
	s.last = string(f.Code) + ": " + f.Detail
	s.mu.Unlock()
}

func (b *binding) snapshot() EndpointStats {
	s := &b.stats
	out := EndpointStats{
		Requests: s.requests.Load(), Errors: s.errors.Load(), Busy: b.queue.busy(), Replayed: s.replayed.Load(),
		Shed: s.shed.Get(), Expired: s.expired.Get(), Panics: s.panics.Get(), Codes: map[string]uint64{},
	}
	for code, c := range s.codes {
		if n := c.Get(); n > 0 {
			out.Codes[string(code)] = n
		}
	}
	s.mu.Lock()
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
