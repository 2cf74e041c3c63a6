package gateway

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/web"
)

// proxy forwards one endpoint.
type proxy struct {
	g       *Gateway
	spec    rpc.Spec
	names   []string  // of the values in the path
	forward []forward // headers that travel along
	every   bool      // all of them do but credentials
	cache   string    // Cache-Control of a success
	varies  bool      // the answer depends on the caller
	load    *throttle
	metrics *routeMetrics // of what is served from copies
}

type forward struct{ http, nats string }

func newProxy(g *Gateway, spec rpc.Spec) *proxy {
	p := &proxy{g: g, spec: spec, names: codec.PathNames(spec.Path), varies: spec.Access != rpc.Public,
		load: &throttle{most: max(1, g.cfg.InFlight/throttleShare)}}
	if spec.Near != nil {
		p.metrics = g.metrics.route(spec.Method, spec.Path)
	}
	headers := slices.Clone(spec.Headers)
	if p.every = slices.Contains(headers, rpc.AllHeaders); p.every {
		headers = nil
	}
	if spec.Idempotent {
		headers = append(headers, rpc.IdempotencyKey)
	}
	if spec.Audited {
		headers = append(headers, rpc.UserAgent)
	}
	p.cache = "no-store"
	if spec.Method == "GET" && !spec.Live.Is() { // what is not there yet cannot be known already
		if spec.Near == nil && !spec.Joint { // see nearCopy.send
			headers = append(headers, rpc.IfNoneMatch)
		}
		switch spec.Access {
		case rpc.Public:
			p.cache = "public, max-age=60"
		case rpc.Optional:
			p.cache = "no-cache"
		default:
			p.cache = "private, no-cache"
		}
	}
	for _, name := range headers {
		p.forward = append(p.forward, forward{name, rpc.HeaderHTTP + name})
	}
	return p
}

// inTurn answers one request when its turn has come. One that is to wait for a change does not wait for that.
func (p *proxy) inTurn(x *exchange) error {
	if p.spec.Live.Is() || p.spec.Waits != "" && wantsToWait(x) {
		return p.serve(x)
	}
	return p.g.inTurn(x, p.spec.Turn(), p.serve)
}

// inTurn serves a request when its turn has come.
func (g *Gateway) inTurn(x *exchange, priority rpc.Priority, serve func(*exchange) error) error {
	if err := g.gate.Enter(priority); err != nil {
		g.metrics.overload.Inc()
		x.shed = true
		return err
	}
	defer g.gate.Leave()
	return serve(x)
}

// serve answers one request.
func (p *proxy) serve(x *exchange) error {
	if err := p.admit(x); err != nil {
		return err
	}
	body, err := web.Body(x.rc, &p.spec)
	if err != nil {
		return err
	}
	params, err := p.params(x)
	if err != nil {
		return err
	}
	if p.spec.Near != nil {
		return p.serveNear(x, params, body)
	}
	if p.spec.Joint && body == nil {
		return p.serveJoint(x, params)
	}
	ask := p.asker(x, params, body)
	if p.spec.Live.Is() {
		return p.g.hub.serve(x, p.spec, func() (*nats.Msg, error) { return ask("") })
	}
	reply, err := p.first(x, func() (*nats.Msg, error) { return ask("") })
	if err != nil {
		return err
	}
	p.answer(&x.rc.Response, reply)
	if next := reply.Header.Get(rpc.HeaderNext); next != "" {
		x.rc.Response.SetBodyStream(&parts{g: p.g, x: x, endpoint: p.spec.Subject(), conn: x.rc.Conn(), ask: ask,
			rest: reply.Data, next: next}, -1)
	}
	if r, counted := p.reading(x); counted {
		p.g.countReading(x, r)
	}
	return nil
}

// admit applies the limits and the access rule.
func (p *proxy) admit(x *exchange) error {
	if err := p.g.limitUpload(x); err != nil {
		return err
	}
	if err := p.g.limitAddress(x, p.spec.Limit); err != nil {
		return err
	}
	if err := p.identify(x); err != nil {
		return err
	}
	return p.g.limitPerson(x, p.spec.Limit)
}

// asker returns how the service is asked, for the answer or the part of it that is named.
func (p *proxy) asker(x *exchange, params string, body []byte) func(part string) (*nats.Msg, error) {
	ctx := rpc.WithMeta(context.Background(), x.meta())
	h := p.headers(x, params)
	return func(part string) (*nats.Msg, error) {
		if err := p.g.stands(x); err != nil { // it may have ended since: see wait and parts
			return nil, err
		}
		if part != "" {
			h[rpc.HeaderPart] = []string{part}
		}
		return p.ask(ctx, x, h, body)
	}
}

// first asks for the answer, or its first part. The caller may want to wait for it.
func (p *proxy) first(x *exchange, ask func() (*nats.Msg, error)) (*nats.Msg, error) {
	if p.spec.Waits == "" || !x.rc.IsGet() {
		return ask()
	}
	wait, err := waitOf(x)
	switch {
	case err != nil:
		return nil, err
	case wait == 0:
		return ask()
	}
	return p.await(x, wait, ask)
}

// ask forwards a request, unless the service has more than enough to do. A fault of the service is an error.
func (p *proxy) ask(ctx context.Context, x *exchange, h nats.Header, body []byte) (*nats.Msg, error) {
	if err := p.load.admit(p.g.cfg.Now(), rand.Float64()); err != nil {
		p.g.metrics.overload.Inc()
		x.shed = true
		return nil, err
	}
	reply, err := p.g.cfg.Client.Forward(ctx, p.spec, h, body)
	if err != nil {
		p.load.done(p.g.cfg.Now(), fault.From(err))
		return nil, err
	}
	f := rpc.Fault(reply)
	if x.shed = rpc.Shed(reply); x.shed {
		p.load.done(p.g.cfg.Now(), f)
	} else {
		p.load.done(p.g.cfg.Now(), nil)
	}
	if f != nil {
		return nil, f
	}
	return reply, nil
}

// identify authenticates the caller, as far as the access rule needs it.
func (p *proxy) identify(x *exchange) error {
	if p.spec.Access == rpc.Public {
		return nil
	}
	v, err := p.credentials(x)
	if err != nil {
		return err
	}
	return p.accept(x, v)
}

// credentials verifies an access token, or the ticket of a live stream. (A cookie of the pages would be verified here.)
// The zero value stands for a caller without either, where that is allowed.
func (p *proxy) credentials(x *exchange) (verified, error) {
	authorization := x.rc.Request.Header.Peek(fasthttp.HeaderAuthorization)
	if len(authorization) > 0 {
		scheme, token, _ := bytes.Cut(authorization, []byte(" "))
		if !bytes.EqualFold(scheme, []byte("Bearer")) {
			return verified{}, fault.New(fault.Unauthenticated,
				"the Authorization header must be Bearer and an access token")
		}
		if token = bytes.TrimSpace(token); bytes.HasPrefix(token, []byte(api.KeyPrefix)) {
			return p.g.auth.verifyKey(x, string(token), p.spec.Sensitive, x.rc.IsGet() || x.rc.IsHead())
		}
		if isOrderToken(token) {
			return p.guest(x, string(token))
		}
		return p.g.auth.verify(token)
	}
	if token := x.rc.QueryArgs().Peek(tokenParam); p.spec.Guests && x.rc.IsGet() && len(token) > 0 {
		return p.guest(x, string(token))
	}
	if ticket := x.rc.QueryArgs().Peek(ticketParam); p.spec.Live.Is() && x.rc.IsGet() && len(ticket) > 0 {
		return p.g.auth.redeem(x, string(ticket))
	}
	if p.spec.Access == rpc.Optional {
		return verified{}, nil
	}
	return verified{}, fault.New(fault.Unauthenticated, "sign in first: this needs an access token")
}

// params joins the values of the path and of the query, without what the gateway itself takes.
func (p *proxy) params(x *exchange) (string, error) {
	query := x.rc.URI().QueryString()
	if p.spec.Live.Is() {
		query = without(query, ticketParam)
	}
	if p.spec.Guests && p.spec.Method == "GET" {
		query = without(query, tokenParam)
	}
	if p.spec.Waits != "" {
		query = without(query, waitParam)
	}
	return web.Params(p.names, func(name string) string { return x.fiber.Params(name) }, query)
}

func (p *proxy) headers(x *exchange, params string) nats.Header {
	h := make(nats.Header, 4)
	if params != "" {
		h[rpc.HeaderParams] = []string{params}
	}
	if p.every {
		for name, value := range x.rc.Request.Header.All() {
			key := rpc.HeaderHTTP + string(name)
			if _, twice := h[key]; !twice && !credential(string(name)) {
				h[key] = []string{string(value)}
			}
		}
	}
	for _, f := range p.forward {
		if v := x.rc.Request.Header.Peek(f.http); len(v) > 0 {
			h[f.nats] = []string{string(v)}
		}
	}
	return h
}

// credential reports whether a header shows who asks. The gateway reads it, and no service does.
func credential(name string) bool {
	switch name {
	case fasthttp.HeaderAuthorization, fasthttp.HeaderProxyAuthorization, fasthttp.HeaderCookie:
		return true
	}
	return false
}

// answer turns a reply into the HTTP answer.
func (p *proxy) answer(r *fasthttp.Response, reply *nats.Msg) {
	status := p.spec.Success()
	contentType := "application/json"
	for name, values := range reply.Header {
		if len(values) == 0 {
			continue
		}
		switch v := values[0]; name {
		case rpc.HeaderStatus:
			if n, err := strconv.Atoi(v); err == nil && n >= 200 && n < 600 {
				status = n
			}
		case rpc.HeaderContentType:
			contentType = v
		case rpc.HeaderID:
			if p.spec.Location != "" && web.Unreserved(v) {
				r.Header.Set(fasthttp.HeaderLocation, strings.Replace(p.spec.Location, "{id}", v, 1))
			}
		case rpc.HeaderETag, rpc.HeaderDisposition, rpc.HeaderReplayed:
			r.Header.Set(name, v)
		}
	}
	r.SetStatusCode(status)
	r.Header.Set("Cache-Control", p.cache)
	if p.varies {
		r.Header.Add("Vary", "Authorization")
	}
	if strings.HasPrefix(contentType, "text/html") { // a page brings the policy for its own contents along
		r.Header.Set("Content-Security-Policy", "object-src 'none'; base-uri 'none'; frame-ancestors 'none'")
		r.Header.Set("Cache-Control", "no-store") // and shows a state
	}
	if len(reply.Data) == 0 {
		return
	}
	r.Header.SetContentType(contentType)
	r.SetBodyRaw(reply.Data)
}
