package gateway

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/tracing"
)

// httpMetrics are the measures of the gateway. Each route has its handles from the start, and its series from its first
// request.
type httpMetrics struct {
	registry       *observe.Registry
	none           *routeMetrics // requests that got to no route
	overload       *observe.Counter
	revoked, blind *observe.Counter
	unlogged       *observe.Counter
	limited        map[limitBy]*observe.Counter
	routes         []*routeMetrics // all of them, complete before the first request
}

// limitBy says which limit refused a request.
type limitBy string

const (
	byAddress limitBy = "address"
	byPerson  limitBy = "person"
	byKey     limitBy = "key"
	byLogin   limitBy = "login"
	byGuest   limitBy = "guest"   // orders without an account
	byUpload  limitBy = "upload"  // files
	byStatus  limitBy = "status"  // of log lines
	byReading limitBy = "reading" // of what counts as read
)

type routeMetrics struct {
	name    string           // of the route, as traces have it
	classes [6]*observe.Rare // by the first digit of the status
	latency *observe.RareHistogram
	shown   atomic.Bool
	nanos   atomic.Int64
}

func (m *httpMetrics) register(r *observe.Registry, inFlight *atomic.Int64) {
	m.registry = r
	m.none = m.route("", "none")
	m.overload = r.Counter("starlight_http_overload_total",
		"Requests refused at once because there were more than can be served.")
	m.unlogged = r.Counter("starlight_http_log_lines_dropped_total",
		"Requests that failed or changed something and are in no log line, because there were too many in that second.")
	m.revoked = r.Counter("starlight_http_revoked_total",
		"Requests with a token whose session has ended or whose person has changed.")
	m.blind = r.Counter("starlight_http_blind_total",
		"Writes refused because it could not be known which sessions have ended.")
	m.limited = map[limitBy]*observe.Counter{}
	for _, by := range []limitBy{byAddress, byPerson, byKey, byLogin, byGuest, byUpload} {
		m.limited[by] = r.Counter("starlight_http_rate_limited_total",
			"Requests refused by a rate limit.", "by", string(by))
	}
	r.GaugeFunc("starlight_http_in_flight", "Requests under way.", func() float64 { return float64(inFlight.Load()) })
}

func (m *httpMetrics) route(method, path string) *routeMetrics {
	r := &routeMetrics{name: method + " " + path, latency: m.registry.RareHistogram("starlight_http_duration_seconds",
		"How long a request took, from its last byte in to its answer.", "method", method, "route", path)}
	for class := 2; class < len(r.classes); class++ {
		r.classes[class] = m.registry.Rare("starlight_http_requests_total", "Requests by route and class of status.",
			"method", method, "route", path, "class", strconv.Itoa(class)+"xx")
	}
	m.routes = append(m.routes, r)
	return r
}

// service returns the measures of a third-party service.
func (m *httpMetrics) service(name string) *routeMetrics {
	r := &routeMetrics{name: "/x/" + name, latency: m.registry.RareHistogram(
		"starlight_external_duration_seconds", "How long a request to a third-party service took.", "service", name)}
	for class := 2; class < len(r.classes); class++ {
		r.classes[class] = m.registry.Rare("starlight_external_requests_total",
			"Requests to third-party services by class of status.", "service", name, "class",
			strconv.Itoa(class)+"xx")
	}
	return r
}

// count counts an answer. Without a time it is none of a route; the span, if there is one, is the way to its trace.
func (r *routeMetrics) count(status int, start time.Time, took time.Duration, span *tracing.Span) {
	if !r.shown.Load() { // all classes at once, so that the first failure is already an increase
		for _, class := range r.classes[2:] {
			class.Show()
		}
		r.shown.Store(true)
	}
	if class := status / 100; class >= 2 && class < len(r.classes) {
		r.classes[class].Inc()
	}
	if took > 0 {
		r.latency.UpdateTraced(took.Seconds(), span.TraceID(), start.Add(took))
		r.nanos.Add(int64(took))
	}
}

// Serves returns what the gateway has served since it started, as one endpoint: errors are answers of the class 5xx.
func (g *Gateway) Serves() []rpc.Announced {
	var st rpc.EndpointStats
	var nanos int64
	for _, r := range g.metrics.routes {
		for class := 2; class < len(r.classes); class++ {
			st.Requests += r.classes[class].Get()
		}
		st.Errors += r.classes[5].Get()
		nanos += r.nanos.Load()
	}
	if st.Requests > 0 {
		st.MeanMs = float64(nanos) / float64(st.Requests) / 1e6
	}
	st.Busy = g.inFlight.Load()
	return []rpc.Announced{{Name: "http", Metadata: map[string]string{"access": "public"}, Stats: st}}
}
