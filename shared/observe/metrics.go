package observe

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/starlightsymphony/starlight/shared/observe/exposition"
)

// The handles that a Registry gives out. All are safe for concurrent use and cheap to update; keep the handle rather
// than asking the Registry again on a hot path.
type (
	Counter   = metrics.Counter             // Inc, Add(n)
	Float     = metrics.FloatCounter        // Add(x), for sums such as seconds or bytes of unknown size
	Gauge     = metrics.Gauge               // Set, Inc, Dec, Add
	Histogram = metrics.PrometheusHistogram // Update(seconds), UpdateDuration(start)
)

// latencyBuckets are the upper bounds, in seconds, of every histogram made by Histogram: fine around the few
// milliseconds that a synced write takes, coarse up to the longest deadline.
func latencyBuckets() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// Registry holds the metrics of one process.
//
// Each family has a name in base units (seconds, bytes; counters end in _total), a help text and any number of series
// that differ in their labels. Labels are given as name, value, name, value; asking twice for the same series returns
// the same handle. A wrong declaration (a bad name, no help, one name with two types) panics: it is a mistake in the
// program and every start finds it.
type Registry struct {
	set *metrics.Set

	mu       sync.Mutex
	families map[string]exposition.Family
	sums     map[string]*parts // of GaugeSum, by series

	exemplars map[string]*exemplars // by series
}

// NewRegistry returns a registry that has the metrics of the Go runtime and of the process and nothing else.
func NewRegistry() *Registry {
	return &Registry{set: metrics.NewSet(), families: make(map[string]exposition.Family), sums: make(map[string]*parts),
		exemplars: make(map[string]*exemplars)}
}

// Counter returns the counter of that name and labels. The name must end in _total.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	return r.set.GetOrCreateCounter(r.declare(exposition.Counter, name, help, labels))
}

// FloatCounter is Counter for sums that are not whole numbers. The name must end in _total.
func (r *Registry) FloatCounter(name, help string, labels ...string) *Float {
	return r.set.GetOrCreateFloatCounter(r.declare(exposition.Counter, name, help, labels))
}

// Gauge returns the gauge of that name and labels, to be set by the caller.
func (r *Registry) Gauge(name, help string, labels ...string) *Gauge {
	return r.set.GetOrCreateGauge(r.declare(exposition.Gauge, name, help, labels), nil)
}

// GaugeFunc registers a gauge whose value is asked for when metrics are read. fn must be quick and safe for concurrent
// use. A second registration of the same series replaces the first, so that a service can be started again in the same
// process.
func (r *Registry) GaugeFunc(name, help string, fn func() float64, labels ...string) {
	series := r.declare(exposition.Gauge, name, help, labels)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set.UnregisterMetric(series)
	r.set.NewGauge(series, fn)
}

// GaugeSum is GaugeFunc for a series that several parts of a process have in common: its value is the sum of theirs. A
// part that ends calls remove.
func (r *Registry) GaugeSum(name, help string, fn func() float64, labels ...string) (remove func()) {
	series := r.declare(exposition.Gauge, name, help, labels)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.sums[series]
	if all == nil {
		all = &parts{of: map[int]func() float64{}}
		r.sums[series] = all
		r.set.NewGauge(series, all.sum)
	}
	return all.add(fn)
}

// parts are the values of a series that are added up.
type parts struct {
	mu   sync.Mutex
	next int
	of   map[int]func() float64
}

func (p *parts) add(fn func() float64) (remove func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	id := p.next
	p.of[id] = fn
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.of, id)
	}
}

func (p *parts) sum() (n float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fn := range p.of {
		n += fn()
	}
	return n
}

// Histogram returns a latency histogram in seconds, from half a millisecond to ten seconds.
func (r *Registry) Histogram(name, help string, labels ...string) *Histogram {
	return r.HistogramBuckets(name, help, latencyBuckets(), labels...)
}

// Rare returns a counter whose series exists from its first use: what never happens in a process costs it nothing.
//
// Prometheus does not see a series begin: increase() is 0 where it appears with 1. An alert on a single occurrence
// therefore asks for "x unless x offset 10m", too.
func (r *Registry) Rare(name, help string, labels ...string) *Rare {
	r.declare(exposition.Counter, name, help, labels)
	return &Rare{make: func() *Counter { return r.Counter(name, help, labels...) }}
}

// RareHistogram is Histogram for a series that exists from its first use.
func (r *Registry) RareHistogram(name, help string, labels ...string) *RareHistogram {
	r.declare(exposition.Histogram, name, help, labels)
	labels = slices.Clone(labels)
	return &RareHistogram{make: func() *Histogram { return r.Histogram(name, help, labels...) },
		exemplarsOf: func() *exemplars { return r.exemplarsOf(name, labels) }}
}

// Rare is a counter of Registry.Rare.
type Rare struct {
	made atomic.Pointer[Counter]
	make func() *Counter
}

// Show makes the series without counting, so that what comes next is seen as an increase.
func (c *Rare) Show() *Counter {
	if made := c.made.Load(); made != nil {
		return made
	}
	made := c.make() // the same for all who come here at a time
	c.made.Store(made)
	return made
}

// Inc counts one more.
func (c *Rare) Inc() { c.Show().Inc() }

// Get returns the count.
func (c *Rare) Get() uint64 {
	if made := c.made.Load(); made != nil {
		return made.Get()
	}
	return 0
}

// RareHistogram is a histogram of Registry.RareHistogram.
type RareHistogram struct {
	made atomic.Pointer[Histogram]
	make func() *Histogram

	exemplars   atomic.Pointer[exemplars] // from the first request that is traced
	exemplarsOf func() *exemplars
}

// Update adds a value in seconds.
func (h *RareHistogram) Update(seconds float64) {
	made := h.made.Load()
	if made == nil {
		made = h.make()
		h.made.Store(made)
	}
	made.Update(seconds)
}

// UpdateTraced is Update for what a request took that ended at a moment and has a trace, which OpenMetrics then shows
// as the exemplar of its bucket. It is Update, and no more, if the trace has no id: then the request is not sampled.
func (h *RareHistogram) UpdateTraced(seconds float64, trace [16]byte, at time.Time) {
	h.Update(seconds)
	if trace == [16]byte{} {
		return
	}
	kept := h.exemplars.Load()
	if kept == nil {
		kept = h.exemplarsOf() // the same for all who come here at a time
		h.exemplars.Store(kept)
	}
	kept.keep(exemplar{trace, seconds, at})
}

// HistogramBuckets returns a histogram with its own upper bounds, in increasing order. The bounds of the first call for
// a series stay.
func (r *Registry) HistogramBuckets(name, help string, bounds []float64, labels ...string) *Histogram {
	return r.set.GetOrCreatePrometheusHistogramExt(r.declare(exposition.Histogram, name, help, labels), bounds)
}

// WriteTo writes everything in the Prometheus text format: families by name, each with HELP and TYPE. It has no
// exemplars.
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	return r.exposition().Write(w, exposition.Text)
}

func (r *Registry) exposition() *exposition.Set {
	// Values are read before families: a series made meanwhile is missing from both or only described.
	var buf bytes.Buffer
	r.set.WritePrometheus(&buf)
	writeRuntime(&buf)

	e := exposition.New()
	r.mu.Lock()
	for name, f := range r.families {
		e.Describe(name, f)
	}
	r.mu.Unlock()
	for name, f := range runtimeFamilies() {
		e.Describe(name, f)
	}
	e.AddSamples(buf.Bytes(), "")
	return e
}

// declare remembers the family and returns the full name of the series.
func (r *Registry) declare(k exposition.Kind, name, help string, labels []string) string {
	if help == "" {
		panic(fmt.Sprintf("observe: metric %s has no help text", name))
	}
	if (k == exposition.Counter) != strings.HasSuffix(name, "_total") {
		panic(fmt.Sprintf("observe: metric %s: counters, and only counters, end in _total", name))
	}
	if !validName(name) {
		panic(fmt.Sprintf("observe: bad metric name %q", name))
	}
	series := seriesName(name, labels)

	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.families[name]
	if ok && known.Kind != k {
		panic(fmt.Sprintf("observe: metric %s is both a %s and a %s", name, known.Kind, k))
	}
	if !ok {
		r.families[name] = exposition.Family{Kind: k, Help: help}
	}
	return series
}

// seriesName joins a metric name with its labels.
func seriesName(name string, labels []string) string {
	if len(labels) == 0 {
		return name
	}
	if len(labels)%2 != 0 {
		panic(fmt.Sprintf("observe: metric %s: labels come in pairs", name))
	}
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		if !validName(labels[i]) || strings.Contains(labels[i], ":") {
			panic(fmt.Sprintf("observe: metric %s: bad label name %q", name, labels[i]))
		}
		if i == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		b.WriteString(labels[i])
		b.WriteString(`="`)
		b.WriteString(exposition.EscapeLabel(labels[i+1]))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

func validName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == ':':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
