package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/web"
)

// Third-party services announce routes in the metadata of their micro endpoints: method, path and access. They are
// served below /x/NAME once the setting gateway.services names them.
const (
	externalLook    = time.Second            // between two looks at what the services announce
	externalAnswers = 250 * time.Millisecond // for the instances of a service to say so
	externalTimeout = 5 * time.Second        // of a request
	externalToken   = time.Minute            // how long the proof of an identity is good
	mostRoutes      = 200                    // of one service
	externalShare   = 8                      // of all requests under way, at most this part are for one service
)

// The header of a request to a third-party service that proves its Starlight-Principal: a JWT for x.NAME, signed by
// the key that /x/keys shows.
const headerIdentity = "Starlight-Identity"

// external are the third-party services.
type external struct {
	g       *Gateway
	signer  ed25519.PrivateKey
	keyID   string
	metrics *routeMetrics

	mu     sync.RWMutex
	routes map[string][]externalRoute // by service
	known  map[string]*externalService
}

// externalService is what stays of a service while it announces its routes again and again.
type externalService struct {
	metrics *routeMetrics
	load    *throttle // over all of its routes: one that hangs takes no room from what does not
}

// service returns what is known of an allowed service, from the first time on.
func (e *external) service(name string) *externalService {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known[name] == nil {
		e.known[name] = &externalService{metrics: e.g.metrics.service(name),
			load: &throttle{most: max(1, e.g.cfg.InFlight/externalShare)}}
	}
	return e.known[name]
}

// externalRoute is an endpoint of a third-party service.
type externalRoute struct {
	service  *externalService
	subject  string
	segments []string // of the path, names in braces
	proxy    *proxy
}

func (g *Gateway) mountExternal() {
	e := &external{g: g, signer: g.cfg.Signer, routes: map[string][]externalRoute{},
		known: map[string]*externalService{}, metrics: g.metrics.route("any", "/x/{service}/*")}
	g.external = e
	if e.signer != nil {
		sum := sha256.Sum256(e.signer.Public().(ed25519.PublicKey))
		e.keyID = hex.EncodeToString(sum[:8])
	}
	g.handle(http.MethodGet, "/x/keys", e.keys)
	serve := func(c *fiber.Ctx) error {
		g.around(c.Context(), c, e.metrics, e.serve)
		return nil
	}
	g.app.Get("/x/:service/*", serve)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		g.app.Add(method, "/x/:service/*", serve)
	}
}

// keys answers the public key by which the proofs of identities are verified, as a JSON Web Key Set.
func (e *external) keys(x *exchange) error {
	set := api.KeySet{Keys: []api.Key{}}
	if e.signer != nil {
		set.Keys = append(set.Keys, api.Key{KeyType: "OKP", Curve: "Ed25519", ID: e.keyID, Use: "sig",
			Algorithm: "EdDSA",
			X:         base64.RawURLEncoding.EncodeToString(e.signer.Public().(ed25519.PublicKey))})
	}
	body, err := json.Marshal(set)
	if err != nil {
		return err
	}
	x.rc.Response.Header.SetContentType("application/json")
	x.rc.Response.Header.Set("Cache-Control", "public, max-age=60")
	x.rc.Response.SetBodyRaw(body)
	return nil
}

// start looks at what services announce until the returned function is called.
func (e *external) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(externalLook)
		defer tick.Stop()
		for {
			e.look(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// look reads the routes of the services that are allowed, and forgets those of all others. A service that does not
// answer keeps its routes: it may be back when the next request comes.
func (e *external) look(ctx context.Context) {
	allowed := api.ExternalServices(e.g.cfg.Settings)
	for _, name := range allowed {
		routes, answered := e.announced(ctx, name)
		if !answered {
			continue
		}
		e.mu.Lock()
		e.routes[name] = routes
		e.mu.Unlock()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for name := range e.routes {
		if !slices.Contains(allowed, name) {
			delete(e.routes, name)
		}
	}
}

// announced asks the instances of a service for its routes. The first that announces a method and path counts.
func (e *external) announced(ctx context.Context, name string) (routes []externalRoute, answered bool) {
	nc := e.g.cfg.NATS
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return nil, false
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest("$SRV.INFO."+name, sub.Subject, nil); err != nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, externalAnswers)
	defer cancel()
	taken := map[string]bool{}
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil || len(msg.Data) == 0 {
			return routes, answered
		}
		var info struct { // of the micro protocol
			Name      string `json:"name"`
			Endpoints []struct {
				Name     string            `json:"name"`
				Subject  string            `json:"subject"`
				Metadata map[string]string `json:"metadata"`
			} `json:"endpoints"`
		}
		if json.Unmarshal(msg.Data, &info) != nil || info.Name != name {
			continue
		}
		answered = true
		for _, one := range info.Endpoints {
			at := one.Metadata["method"] + " " + one.Metadata["path"]
			r, ok := e.route(name, one.Subject, one.Metadata)
			if ok && !taken[at] && len(routes) < mostRoutes {
				taken[at] = true
				routes = append(routes, r)
			}
		}
	}
}

// route returns the route of an endpoint. An announcement that could reach anything but the service is ignored.
func (e *external) route(name, subject string, metadata map[string]string) (externalRoute, bool) {
	access, known := map[string]rpc.Access{"public": rpc.Public, "optional": rpc.Optional, "": rpc.User,
		"user": rpc.User, "admin": rpc.Admin}[metadata["access"]]
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	path := metadata["path"]
	if !known || !slices.Contains(methods, metadata["method"]) || !strings.HasPrefix(path, "/") || len(path) > 200 ||
		!strings.HasPrefix(subject, api.ExternalPrefix+name+".") || strings.ContainsAny(subject, "*> \t\r\n") {
		return externalRoute{}, false
	}
	spec := rpc.Spec{Service: name, Name: strings.TrimPrefix(subject, api.ExternalPrefix+name+"."),
		Method: metadata["method"], Path: path, Access: access, Raw: true, Idempotent: true,
		Headers: []string{fasthttp.HeaderContentType}}
	r := externalRoute{service: e.service(name), subject: subject, segments: strings.Split(path[1:], "/"),
		proxy: newProxy(e.g, spec)}
	r.proxy.load = r.service.load
	return r, true
}

// match returns the values of the path, or false if the route has another path.
func (r *externalRoute) match(segments []string) (values map[string]string, ok bool) {
	if len(segments) != len(r.segments) {
		return nil, false
	}
	values = map[string]string{}
	for i, want := range r.segments {
		if name, isName := strings.CutPrefix(want, "{"); isName && segments[i] != "" {
			values[strings.TrimSuffix(name, "}")] = segments[i]
		} else if want != segments[i] {
			return nil, false
		}
	}
	return values, true
}

// find returns the route of a request. The fault says whether there is none, or only none of the method.
func (e *external) find(name, method, path string) (r externalRoute, values map[string]string, err error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	err = web.OfStatus(fasthttp.StatusNotFound, nil)
	if !slices.Contains(api.ExternalServices(e.g.cfg.Settings), name) { // a second before it is forgotten
		return externalRoute{}, nil, err
	}
	segments := strings.Split(path, "/")
	for _, r := range e.routes[name] {
		values, ok := r.match(segments)
		if ok && r.proxy.spec.Method == method {
			return r, values, nil
		}
		if ok {
			err = web.OfStatus(fasthttp.StatusMethodNotAllowed, nil)
		}
	}
	return externalRoute{}, nil, err
}

// serve answers a request below /x/NAME. Nothing that the service answers with runs or shows as a page of ours.
func (e *external) serve(x *exchange) error {
	start := time.Now()
	name := x.fiber.Params("service")
	r, values, err := e.find(name, string(x.rc.Method()), x.fiber.Params("*"))
	if err != nil {
		if limited := e.g.limitAddress(x, rpc.GeneralLimit); limited != nil {
			return limited
		}
		return err
	}
	err = e.forward(x, r, values)
	status := x.rc.Response.StatusCode()
	if err != nil {
		status = fault.From(err).Code.Status()
	}
	r.service.metrics.count(status, start, time.Since(start), x.span)
	return err
}

func (e *external) forward(x *exchange, r externalRoute, values map[string]string) error {
	p := r.proxy
	if err := p.admit(x); err != nil {
		return err
	}
	body, err := web.Body(x.rc, &p.spec)
	if err != nil {
		return err
	}
	params, err := web.Params(p.names, func(name string) string { return values[name] }, x.rc.URI().QueryString())
	if err != nil {
		return err
	}
	now := e.g.cfg.Now()
	if err := p.load.admit(now, rand.Float64()); err != nil {
		x.shed = true
		return err
	}
	h := p.headers(x, params)
	e.identify(x, p.spec.Service, h, now)
	reply, err := e.g.cfg.NATS.RequestMsg(&nats.Msg{Subject: r.subject, Header: h, Data: body}, externalTimeout)
	switch err {
	case nil:
		p.load.done(e.g.cfg.Now(), nil)
	case nats.ErrTimeout:
		p.load.done(e.g.cfg.Now(), fault.From(err))
		return fault.Wrap(err, fault.Timeout, "the service %s took too long", p.spec.Service)
	default:
		p.load.done(e.g.cfg.Now(), fault.From(err))
		return fault.Wrap(err, fault.Unavailable, "the service %s is not available", p.spec.Service).
			After(time.Second)
	}
	if f := externalFault(p.spec.Service, reply); f != nil {
		return f
	}
	p.answer(&x.rc.Response, reply)
	x.rc.Response.Header.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	return nil
}

// identify writes into the headers of a request what it is, and whom it is for.
func (e *external) identify(x *exchange, name string, h nats.Header, now time.Time) {
	h[rpc.HeaderRequestID] = []string{x.requestID}
	h[rpc.HeaderTrace] = []string{rpc.ChildTrace(x.traceparent())}
	principal := x.principal.String()
	if principal == "" {
		return
	}
	h[rpc.HeaderPrincipal] = []string{principal}
	if e.signer == nil {
		return
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": "starlight", "aud": api.ExternalPrefix + name,
		"sub": x.principal.ID(), "roles": x.principal.Roles, "principal": principal, "jti": x.requestID,
		"iat": now.Unix(), "exp": now.Add(externalToken).Unix()})
	t.Header["kid"] = e.keyID
	if text, err := t.SignedString(e.signer); err == nil { // it cannot fail with a key of this kind
		h[headerIdentity] = []string{text}
	}
}

// externalFault returns the error that a reply carries, as micro sends it: a HTTP status and a text.
func externalFault(service string, reply *nats.Msg) error {
	text := reply.Header.Get(rpc.HeaderErrorCode)
	if text == "" {
		return nil
	}
	status, err := strconv.Atoi(text)
	if err != nil || status < 400 || status > 499 {
		return fault.New(fault.Unavailable, "the service %s has failed", service)
	}
	code := fault.Invalid
	for _, c := range fault.Codes() {
		if c.Status() == status {
			code = c
			break
		}
	}
	detail := reply.Header.Get(rpc.HeaderError)
	return fault.New(code, "%s", detail[:min(len(detail), 200)])
}
