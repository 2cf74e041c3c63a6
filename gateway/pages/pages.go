// Package pages renders what people see in a browser: the shop, the office of organizers, the door, and administration.
// Pages call the declared endpoints as any client does,
// work without scripts, and load nothing from other hosts.
package pages

import (
	"cmp"
	"context"
	"fmt"
	"mime/multipart"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/locale"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Config says what a Site is.
type Config struct {
	Client    *rpc.Client
	Here      Here             // the computer of a venue, which then answers in place of Client; nil: there is none
	Name      string           // of the shop
	PublicURL string           // where people reach the shop, for links that they share
	Now       func() time.Time // nil means time.Now
}

// Site is all pages. It is safe for concurrent use.
type Site struct {
	cfg     Config
	looks   map[string]*look // by language
	assets  *assets
	match   locale.Matcher
	zones   locale.Zones
	renewal renewals
	kept    kept
	frames  *frames
}

// New reads templates, texts and assets.
func New(cfg Config) (*Site, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Site{cfg: cfg, match: locale.NewMatcher(), frames: newFrames(),
		renewal: renewals{now: cfg.Now, running: map[string]*renewal{}}}
	var err error
	if s.assets, err = newAssets(s.kept.zip); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	if s.looks, err = s.newLooks(); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	return s, nil
}

// Request is a request for a page, as the gateway has it.
type Request struct {
	RC     *fasthttp.RequestCtx
	Param  func(name string) string // a value of the path
	ID     string
	Secure bool // the browser speaks TLS, with us or with a proxy

	// As returns the context in which an endpoint is called for who has an access token, "" for nobody: under the same
	// limits and rules as a request of any client. Not needed with Here.
	As func(spec rpc.Spec, access string) (context.Context, error)
	// Count counts that something was seen, for analytics. Not needed with Here.
	Count func(subject, id string)
}

// Route is a page, or what a form of it sends.
type Route struct {
	Method, Path string
	serve        func(*visit) error
	// Shared says that the page is the same for all who have no cookies, in one variant.
	Shared bool
}

// Variant returns what a shared page depends on, beside its address.
func (s *Site) Variant(rc *fasthttp.RequestCtx) string {
	if rc.Request.Header.HasAcceptEncoding("gzip") {
		return s.languageOf(rc) + " gzip"
	}
	return s.languageOf(rc)
}

// Routes returns everything that is to be mounted.
func (s *Site) Routes() []Route {
	return slices.Concat(s.shopRoutes(), s.accountRoutes(), s.officeRoutes(), s.organizerRoutes(), s.pictureRoutes(),
		s.promotionRoutes(), s.importRoutes(), s.sellingRoutes(), s.questionRoutes(), s.invoiceRoutes(),
		s.moneyRoutes(), s.exchangeRoutes(),
		s.checkInRoutes(), s.passkeyRoutes(), s.identityRoutes(), s.doorRoutes(), s.adminRoutes())
}

func (s *Site) shopRoutes() []Route {
	return []Route{
		{"GET", "/", s.home, true},
		{"GET", "/events", s.home, true},
		{"GET", "/events/{slug}", s.event, true},
		{"GET", "/organizers/{slug}", s.program, true},
		{"GET", "/embed/{slug}", s.embedded, false},
		{"GET", "/embed.js", s.embedScript, false},
		{"GET", "/checkout", s.checkout, false},
		{"POST", "/checkout", s.order, false},
		{"GET", "/orders/{id}", s.orderPage, false},
		{"POST", "/orders/{id}/payments", s.pay, false},
		{"POST", "/orders/{id}/cancellation", s.cancel, false},
		{"GET", "/orders/{id}/tickets.pdf", s.ticketPages, false},
		{"GET", "/orders/{id}/tickets/{ticket}/qr.png", s.ticketCode, false},
		{"GET", "/tickets/{id}/qr.png", s.ticketCode, false},
		{"GET", "/sign-in", s.signInPage, false},
		{"POST", "/sign-in", s.signIn, false},
		{"POST", "/sign-in/code", s.signInCode, false},
		{"GET", "/sign-up", s.signUpPage, false},
		{"POST", "/sign-up", s.signUp, false},
		{"POST", "/sign-out", s.signOut, false},
		{"POST", "/proof", s.prove, false},
		{"POST", "/language", s.setLanguage, false},
		{"GET", assetPath, s.asset, false},
	}
}

// visit is one request, and what is known of who makes it.
type visit struct {
	*Request
	site    *Site
	lang    string
	access  string // the access token; "" for nobody
	staff   bool   // the person has signed in at the computer of a venue
	guest   string // the token of the order that the page is about
	name    string // of the person, for the head of the page
	renewed bool   // the session was renewed for this request
	goal    string // where the person wanted to go, if the request does not say it
}

// Serve answers a request. A failure is shown as a page, and returned to be logged.
func (s *Site) Serve(route Route, r *Request) error {
	v := &visit{Request: r, site: s}
	v.lang = s.languageOf(r.RC)
	if route.Path == assetPath {
		return route.serve(v)
	}
	secure(r.RC)
	if route.Method != "GET" && !sameSite(r.RC) {
		return v.fail(fault.New(fault.Forbidden, "the form was sent from another site"))
	}
	if err := v.identify(); err != nil {
		return v.fail(err)
	}
	if moved := v.openOrder(route); moved {
		return nil
	}
	err := route.serve(v)
	if fault.Is(err, fault.Unauthenticated) && v.guest != "" { // it was revoked, or the order has an account by now
		v.closeOrder()
		err = route.serve(v)
	}
	if fault.Is(err, fault.Unauthenticated) && v.access != "" { // it was taken back, or the rights have changed
		v.access = ""
		if err = v.renew(); err == nil {
			err = route.serve(v)
		}
	}
	if fault.Is(err, fault.Unauthenticated) && s.cfg.Here != nil {
		return v.unpaired()
	}
	if fault.Is(err, fault.Unauthenticated) && route.Method == "GET" {
		v.leave()
		v.redirect("/sign-in?next=" + url.QueryEscape(string(r.RC.RequestURI())))
		return nil
	}
	if needsProof(err) {
		return s.provePage(v, err)
	}
	if err != nil {
		return v.fail(err)
	}
	return nil
}

// secure replaces the policy of answers for programs: pages load what this server serves, and nothing else.
func secure(rc *fasthttp.RequestCtx) {
	h := &rc.Response.Header
	h.Set("Content-Security-Policy", policy("'none'"))
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "Cookie, Accept-Language, Accept-Encoding")
}

// policy lets pages load what this server serves, and some others frame them.
func policy(frames string) string {
	return "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; " +
		"connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors " + frames
}

// sameSite reports whether a form was sent by a page of ours. Browsers say so in Sec-Fetch-Site; older ones name the
// origin. What says neither is no browser, and has no cookies that it does not mean to send.
func sameSite(rc *fasthttp.RequestCtx) bool {
	if site := string(rc.Request.Header.Peek("Sec-Fetch-Site")); site != "" {
		return site == "same-origin" || site == "none"
	}
	origin := string(rc.Request.Header.Peek("Origin"))
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, string(rc.Host()))
}

// ask calls an endpoint for who looks at the page.
func ask[Req, Resp any](v *visit, e rpc.Endpoint[Req, Resp], req *Req) (*Resp, error) {
	if v.site.cfg.Here != nil {
		return askHere(v, e, req)
	}
	ctx, err := v.As(e.Spec, v.token())
	if err != nil {
		return nil, err
	}
	return rpc.Call(ctx, v.site.cfg.Client, e, req)
}

// askOnce is ask for what must not be done twice, whatever is sent again under a key.
func askOnce[Req, Resp any](v *visit, e rpc.Endpoint[Req, Resp], req *Req, key string) (*Resp, error) {
	ctx, err := v.As(e.Spec, v.token())
	if err != nil {
		return nil, err
	}
	return rpc.CallOnce(ctx, v.site.cfg.Client, e, req, key)
}

func (v *visit) redirect(to string) {
	v.RC.Response.Header.Set("Location", to)
	v.RC.Response.SetStatusCode(fasthttp.StatusSeeOther)
}

// form returns a field of the form that was sent, and query one of the address.
func (v *visit) form(name string) string {
	if parts, err := v.multipart(); err == nil { // a form with a file
		return cmp.Or(parts.Value[name]...)
	}
	return string(v.RC.PostArgs().Peek(name))
}

// multipart returns a form that came in parts. One that is compressed would be unpacked, however large that is.
func (v *visit) multipart() (*multipart.Form, error) {
	if len(v.RC.Request.Header.ContentEncoding()) > 0 {
		return nil, fasthttp.ErrNoMultipartForm
	}
	return v.RC.MultipartForm()
}

func (v *visit) query(name string) string { return string(v.RC.QueryArgs().Peek(name)) }

// origin returns how the browser calls this site.
func (v *visit) origin() string {
	if v.Secure {
		return "https://" + string(v.RC.Host())
	}
	return "http://" + string(v.RC.Host())
}

// next returns where a person wanted to go: a page of this site, or the front page.
func (v *visit) next() string {
	to := cmp.Or(v.goal, v.query("next"), v.form("next"))
	if u, err := url.Parse(to); err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") ||
		strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n") {
		return "/"
	}
	return to
}

// fail shows an error as a page.
func (v *visit) fail(err error) error {
	f := fault.From(err)
	v.RC.Response.SetStatusCode(f.Code.Status())
	if f.Code == fault.RateLimited || f.Code == fault.Unavailable {
		v.RC.Response.Header.Set("Retry-After", fmt.Sprint(max(1, int(f.RetryAfter.Seconds()+0.999))))
	}
	if shown := v.show("problem", map[string]any{"Fault": f, "Request": v.ID}); shown != nil {
		return shown
	}
	return err
}
