// Package gateway is the HTTP entry of the system. It mounts every endpoint of shared/api, authenticates the caller,
// applies access rules and limits, and forwards bytes: it decodes no body and knows no endpoint.
package gateway

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/nats-io/nats.go"
	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/gateway/gate"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/tracing"
	"github.com/starlightsymphony/starlight/shared/web"
)

// The limits of the HTTP server.
const (
	readTimeout  = 15 * time.Second // for a whole request
	writeTimeout = 30 * time.Second // for a whole answer
	idleTimeout  = 75 * time.Second // between requests of a connection
	headerBytes  = 16 << 10         // request line and headers
)

// urgentRoom is the part of the requests under way that only urgent ones may come beside: see package gate.
const urgentRoom = 8

// DefaultInFlight is how many requests are served at the same time before new ones are refused.
const DefaultInFlight = 8192

// Config says what a Gateway is. NATS, Client, Endpoints, Settings, Revoked, Log and Registry are required.
type Config struct {
	NATS      *nats.Conn // live streams subscribe on it
	Client    *rpc.Client
	Endpoints []rpc.Descriptor // api.All
	Settings  *settings.Live
	Revoked   *revocation.List // whose tokens are no longer good
	Log       *slog.Logger
	Registry  *observe.Registry

	Ready          func(context.Context) bool // answers /readyz; nil means always
	TrustedProxies []netip.Prefix             // whose X-Forwarded-For and -Proto are believed
	InFlight       int                        // 0 means DefaultInFlight
	Tracer         *tracing.Tracer            // nil: requests are not traced
	Signer         ed25519.PrivateKey         // proves identities to third-party services; nil: they have no proof
	PublicURL      string                     // where people reach the pages
	Media          media.Store                // of pictures; nil: none are shown
	OpenAPI        []byte                     // the document at /openapi.json; nil means no documentation
	LiveBeat       time.Duration              // between two signs of life of a live stream; 0 means 15 s
	Now            func() time.Time           // nil means time.Now
}

// Gateway is the HTTP server. Serve it on any number of listeners.
type Gateway struct {
	cfg    Config
	app    *fiber.App
	auth   *authenticator
	limits *limiter
	gate   *gate.Gate
	hub    *hub
	waits  *waits
	teams  *teams
	nears  map[string]*near // by service
	joints joints

	external *external
	uploads  []upload

	serving    sync.Once // on the first listener
	stopLeases func()
	traffic    *traffic
	metrics    httpMetrics

	inFlight atomic.Int64
	draining atomic.Bool
}

// New returns a gateway for the endpoints. It fails if two of them want the same method and path.
func New(cfg Config) (*Gateway, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.InFlight == 0 {
		cfg.InFlight = DefaultInFlight
	}
	g := &Gateway{cfg: cfg, auth: newAuthenticator(cfg), limits: newLimiter(cfg.Now), hub: newHub(cfg),
		gate:   gate.New(cfg.InFlight, cfg.Now, cfg.Registry),
		joints: joints{newest: map[string]*question{}}}
	g.metrics.register(cfg.Registry, &g.inFlight)
	g.app = fiber.New(fiber.Config{
		Immutable:             true, // values outlive the request: they go into messages
		StrictRouting:         true,
		CaseSensitive:         true,
		BodyLimit:             mostBody, // see headRead
		ReadTimeout:           readTimeout,
		WriteTimeout:          writeTimeout,
		IdleTimeout:           idleTimeout,
		ReadBufferSize:        headerBytes,
		ErrorHandler:          g.complain,
		DisableStartupMessage: true,

		DisablePreParseMultipartForm: true, // it would be taken apart before it is known who sent it
	})
	g.traffic = newTraffic(cfg)
	g.nears = newNears(cfg)
	var err error
	if g.waits, err = newWaits(cfg, g.hub.ended); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if g.teams, err = newTeams(cfg); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.hub.teams = g.teams
	if err := g.mount(); err != nil {
		return nil, err
	}
	routes := g.app.Handler()
	g.app.Server().HeaderReceived = g.headRead
	g.app.Server().Handler = func(rc *fasthttp.RequestCtx) { g.outermost(rc, routes) }
	return g, nil
}

func (g *Gateway) mount() error {
	taken := map[string]bool{}
	for _, d := range g.cfg.Endpoints {
		if d.Access == rpc.Internal {
			continue
		}
		at := d.Method + " " + d.Path
		if taken[at] {
			return fmt.Errorf("gateway: %s is declared twice", at)
		}
		taken[at] = true
		if isUpload(d.Spec) {
			g.takesUploads(d.Method, d.Path, d.BodyLimit())
		}
		p := newProxy(g, d.Spec)
		g.handle(d.Method, d.Path, p.inTurn)
	}
	g.handle("GET", "/healthz", func(x *exchange) error { return x.text(200, "ok") })
	g.handle("GET", "/readyz", g.readyz)
	g.mountAsides()
	g.mountMedia()
	g.mountExternal()
	if err := g.mountPages(); err != nil {
		return err
	}
	if g.cfg.OpenAPI != nil {
		return g.mountDocs()
	}
	return nil
}

// handle mounts one route; GET also answers HEAD. The path has its names in braces.
func (g *Gateway) handle(method, path string, serve func(*exchange) error) {
	m := g.metrics.route(method, path)
	handler := func(c *fiber.Ctx) error {
		g.around(c.Context(), c, m, serve)
		return nil
	}
	pattern := strings.NewReplacer("{", ":", "}", "").Replace(path)
	if method == "GET" {
		g.app.Get(pattern, handler)
		return
	}
	g.app.Add(method, pattern, handler)
}

func (g *Gateway) readyz(x *exchange) error {
	if g.draining.Load() || g.cfg.Ready != nil && !g.cfg.Ready(context.Background()) {
		return x.text(503, "not ready")
	}
	return x.text(200, "ready")
}

// around does for every route what all have in common: request id, metrics, panics, problems. What is served from a
// copy has no c.
func (g *Gateway) around(rc *fasthttp.RequestCtx, c *fiber.Ctx, m *routeMetrics, serve func(*exchange) error) {
	start := time.Now()
	x := g.newExchange(rc)
	x.fiber = c
	g.trace(x, m)
	err := guard(x, serve)
	if err != nil {
		web.Problem(x.rc, x.requestID, err)
	}
	x.span.SetInt("http.response.status_code", x.rc.Response.StatusCode())
	x.span.End(cmp.Or(err, x.shown))
	took := time.Since(start)
	m.count(x.rc.Response.StatusCode(), start, took, x.span)
	g.log(x, cmp.Or(err, x.shown), took)
}

// log writes the line of a request that was answered.
func (g *Gateway) log(x *exchange, err error, took time.Duration) {
	level := slog.LevelDebug
	if g.isNotable(x) {
		level = slog.LevelInfo
	}
	if !g.cfg.Log.Enabled(context.Background(), level) {
		return
	}
	attrs := []any{"method", string(x.rc.Method()), "path", clipped(x.rc.Path()), "status", x.rc.Response.StatusCode(),
		"ms", float64(took.Microseconds()) / 1000, "request_id", x.requestID, "address", x.address.String(),
		"user", x.principal.ID()}
	if err != nil {
		attrs = append(attrs, "error", err.Error())
	}
	g.cfg.Log.Log(context.Background(), level, "a request was answered", attrs...)
}

// How many requests with one status are logged a second at level info: those of people, and those that a stranger has
// made in vain, as often as they like.
const (
	linesPerSecond      = 100
	strangerLinesSecond = 1
)

// isNotable reports whether a request is logged at level info: it failed, or may have changed something. What was
// refused for want of time is only counted, as is what is over the bound: lines would be work when there is too much of
// it.
func (g *Gateway) isNotable(x *exchange) bool {
	status := x.rc.Response.StatusCode()
	reads := x.rc.IsGet() || x.rc.IsHead() || x.rc.IsOptions()
	if x.shed || status < 400 && reads {
		return false
	}
	kind, most := strconv.Itoa(status), linesPerSecond
	if status >= 400 && status < 500 && !x.principal.Known() {
		kind, most = "stranger "+kind, strangerLinesSecond
	}
	_, ok := g.limits.spend(limitKey{by: byStatus, name: kind}, most)
	if !ok {
		g.metrics.unlogged.Inc()
	}
	return ok
}

// clipped returns a path as far as a line needs it: where no route is, it may be anything.
func clipped(path []byte) string { return string(path[:min(len(path), 256)]) }

// guard survives a panic of serve.
func guard(x *exchange, serve func(*exchange) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Wrap(fmt.Errorf("panic: %v\n%s", p, stack()), fault.Internal,
				"something went wrong on our side")
		}
	}()
	return serve(x)
}

// outermost sees every request, also those that no route matches.
func (g *Gateway) outermost(rc *fasthttp.RequestCtx, routes fasthttp.RequestHandler) {
	n := g.inFlight.Add(1)
	defer g.inFlight.Add(-1)
	g.secure(rc)
	if reason := web.Malformed(&rc.Request.Header); reason != "" {
		rc.SetConnectionClose()
		g.refuse(rc, fault.New(fault.Invalid, "the request is not readable: %s", reason), false)
		return
	}
	if g.crossOrigin(rc) {
		return
	}
	if n > int64(g.cfg.InFlight+g.cfg.InFlight/urgentRoom+1) {
		g.metrics.overload.Inc()
		g.refuse(rc, fault.New(fault.Unavailable, "there are too many requests under way").After(time.Second), true)
		return
	}
	switch string(rc.Method()) {
	case "GET", "HEAD":
		if c := g.copyFor(rc); c != nil {
			g.around(rc, nil, c.p.metrics, c.serve)
			return
		}
		routes(rc)
	case "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		routes(rc)
	default:
		g.refuse(rc, web.OfStatus(fiber.StatusMethodNotAllowed, fiber.ErrMethodNotAllowed), false)
	}
}

// complain is Fiber's error handler: no route matched, or the request could not be read.
func (g *Gateway) complain(c *fiber.Ctx, err error) error {
	g.secure(c.Context())
	var e *fiber.Error
	if errors.As(err, &e) && c.Method() == fiber.MethodOptions && e.Code == fiber.StatusMethodNotAllowed {
		g.newExchange(c.Context())                       // names the request
		c.Append(fiber.HeaderAllow, fiber.MethodOptions) // which has the other methods already
		c.Status(fiber.StatusNoContent)
		return nil
	}
	if e != nil {
		err = web.OfStatus(e.Code, err)
		if _, is := g.uploadOf(&c.Context().Request.Header); is && e.Code == fiber.StatusRequestEntityTooLarge {
			g.metrics.limited[byUpload].Inc()
			err = fault.New(fault.RateLimited, "too many files are being uploaded").After(time.Minute / uploadsInAll)
		}
	}
	g.refuse(c.Context(), err, false)
	return nil
}

// refuse answers a request that got to no route, by its own fault or, shed, for want of time.
func (g *Gateway) refuse(rc *fasthttp.RequestCtx, err error, shed bool) {
	x := g.newExchange(rc)
	x.shed = shed
	web.Problem(rc, x.requestID, err)
	g.metrics.none.count(rc.Response.StatusCode(), time.Time{}, 0, nil)
	g.log(x, err, 0)
}

// secure writes the headers that every answer has. A proxy that speaks TLS with the browser counts as TLS.
func (g *Gateway) secure(rc *fasthttp.RequestCtx) {
	web.Secure(rc)
	if g.overTLS(rc) {
		web.StayWithTLS(rc)
	}
}

// overTLS reports whether the browser speaks TLS, with us or with a proxy.
func (g *Gateway) overTLS(rc *fasthttp.RequestCtx) bool {
	return rc.IsTLS() || len(g.cfg.TrustedProxies) > 0 && g.trusted(peerAddress(rc.RemoteAddr())) &&
		string(rc.Request.Header.Peek("X-Forwarded-Proto")) == "https"
}

// Serve answers requests on ln until Shutdown. It returns nil then.
func (g *Gateway) Serve(ln net.Listener) error {
	defer g.traffic.start()()
	defer g.external.start()()
	g.serving.Do(g.keepLeases)
	err := g.app.Server().Serve(ln)
	if g.draining.Load() && (err == nil || errors.Is(err, net.ErrClosed)) {
		return nil
	}
	return err
}

// Shutdown takes no new connections and waits until the requests under way are answered, or until ctx ends.
// Live streams end at once: their clients come back elsewhere.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.draining.Store(true)
	g.hub.close()
	defer func() {
		g.serving.Do(func() { g.stopLeases = func() {} }) // it never served
		g.stopLeases()
	}()
	if err := g.app.Server().ShutdownWithContext(ctx); err != nil {
		return fmt.Errorf("gateway: %d requests were cut off: %w", g.inFlight.Load(), err)
	}
	return nil
}
