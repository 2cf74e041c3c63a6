package observe

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe/exposition"
)

// exemplar is a request in a bucket of a histogram, whose trace can be looked at.
type exemplar struct {
	trace   [16]byte
	seconds float64
	at      time.Time
}

// String returns what follows the value of the bucket in the lines of OpenMetrics.
func (x *exemplar) String() string {
	at := float64(x.at.UnixMilli()) / 1000
	return ` # {trace_id="` + hex.EncodeToString(x.trace[:]) + `"} ` + strconv.FormatFloat(x.seconds, 'g', -1, 64) + " " +
		strconv.FormatFloat(at, 'f', 3, 64)
}

// exemplars are those of one series: the newest of each bucket, and no more.
type exemplars struct {
	name    string
	labels  []string
	bounds  []float64
	buckets []atomic.Pointer[exemplar] // one more than there are bounds: of what is above them all
}

// keep makes a request that of its bucket.
func (e *exemplars) keep(x exemplar) {
	if math.IsNaN(x.seconds) || x.seconds < 0 { // which the histogram does not count
		return
	}
	i, _ := slices.BinarySearch(e.bounds, x.seconds)
	e.buckets[i].Store(&x)
}

// bySeries adds what there is, by the full name of the bucket's series as the library writes it.
func (e *exemplars) bySeries(all map[string]*exemplar) {
	for i := range e.buckets {
		x := e.buckets[i].Load()
		if x == nil {
			continue
		}
		bound := math.Inf(1)
		if i < len(e.bounds) {
			bound = e.bounds[i]
		}
		all[seriesName(e.name+"_bucket", append(slices.Clone(e.labels), "le", fmt.Sprint(bound)))] = x
	}
}

// exemplarsOf returns those of the latency histogram of a series, which has none before.
func (r *Registry) exemplarsOf(name string, labels []string) *exemplars {
	r.mu.Lock()
	defer r.mu.Unlock()
	series := seriesName(name, labels)
	e := r.exemplars[series]
	if e == nil {
		bounds := latencyBuckets()
		e = &exemplars{name: name, labels: labels, bounds: bounds,
			buckets: make([]atomic.Pointer[exemplar], len(bounds)+1)}
		r.exemplars[series] = e
	}
	return e
}

// withExemplars puts exemplars behind the lines of their buckets.
func (r *Registry) withExemplars(e *exposition.Set) {
	all, names := map[string]*exemplar{}, map[string]bool{}
	r.mu.Lock()
	for _, of := range r.exemplars {
		of.bySeries(all)
		names[of.name] = true
	}
	r.mu.Unlock()
	for name := range names {
		e.Append(name, func(series string) string {
			if x := all[series]; x != nil {
				return x.String()
			}
			return ""
		})
	}
}
