package gateway

import (
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/tracing"
	"github.com/starlightsymphony/starlight/shared/web"
)

// exchange is one request and its answer.
type exchange struct {
	rc        *fasthttp.RequestCtx
	fiber     *fiber.Ctx // for the values of the path
	requestID string
	address   netip.Addr
	principal rpc.Principal
	until     time.Time // when the access token ends
	identity  revocation.Identity
	span      *tracing.Span // nil if the request is not traced
	shed      bool          // refused for want of time
	shown     error         // a failure that a page shows
}

// newExchange reads where a request comes from, and gives it its id. The request id is in the answer from now on.
func (g *Gateway) newExchange(rc *fasthttp.RequestCtx) *exchange {
	return &exchange{rc: rc, address: g.address(rc), requestID: web.RequestID(rc)}
}

func (x *exchange) text(status int, body string) error {
	web.Text(x.rc, status, body)
	return nil
}

// address returns where a request comes from. What proxies say counts only if we know them: their list is read from
// the right, and the first address that is not one of them is the client.
func (g *Gateway) address(rc *fasthttp.RequestCtx) netip.Addr {
	peer := peerAddress(rc.RemoteAddr())
	if len(g.cfg.TrustedProxies) == 0 || !g.trusted(peer) {
		return peer
	}
	client := peer
	var lists []string
	for _, v := range rc.Request.Header.PeekAll("X-Forwarded-For") {
		lists = append(lists, string(v))
	}
	hops := strings.Split(strings.Join(lists, ","), ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		client = a.Unmap().WithZone("")
		if !g.trusted(client) {
			break
		}
	}
	return client
}

func (g *Gateway) trusted(a netip.Addr) bool {
	for _, p := range g.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func peerAddress(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// crossOrigin answers a preflight request from an allowed origin, and lets the answers to others be read there. It
// reports whether the request is answered.
func (g *Gateway) crossOrigin(rc *fasthttp.RequestCtx) bool {
	origins := api.Origins.Get(g.cfg.Settings)
	if origins == "" {
		return false
	}
	h := &rc.Response.Header
	h.Add("Vary", "Origin")
	origin := string(rc.Request.Header.Peek("Origin"))
	if origin == "" || !api.OriginAllowed(origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "ETag, Location, Retry-After, X-Request-Id, Idempotency-Replayed")
	if string(rc.Method()) != "OPTIONS" || len(rc.Request.Header.Peek("Access-Control-Request-Method")) == 0 {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers",
		"Authorization, Challenge-Answer, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id, "+
			"traceparent")
	h.Set("Access-Control-Max-Age", "600")
	rc.Response.SetStatusCode(fasthttp.StatusNoContent)
	return true
}

func stack() string { return string(debug.Stack()) }
