package gateway

import (
	"math/rand/v2"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// tracedOf is what the setting trace.sampled counts.
const tracedOf = 10_000

// trace begins the span of a request, if it is to be traced.
func (g *Gateway) trace(x *exchange, m *routeMetrics) {
	if g.cfg.Tracer == nil {
		return
	}
	sampled := rand.IntN(tracedOf) < api.TraceSampled.Get(g.cfg.Settings)
	x.span = g.cfg.Tracer.Root(string(x.rc.Request.Header.Peek(rpc.HeaderTrace)), m.name, sampled)
	x.span.Set("http.request.method", string(x.rc.Method()))
	x.span.Set("starlight.request_id", x.requestID)
}

// traceparent is the trace of what a request causes.
func (x *exchange) traceparent() string {
	if x.span != nil {
		return x.span.Traceparent()
	}
	return rpc.Unsampled(string(x.rc.Request.Header.Peek(rpc.HeaderTrace)))
}

// meta is what goes to the services with a request.
func (x *exchange) meta() rpc.Meta {
	return rpc.Meta{Principal: x.principal, RequestID: x.requestID, TraceParent: x.traceparent(),
		Address: x.address.String(), Span: x.span}
}
