package pages

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The cookies. None can be read by a script, and none is sent with a form of another site.
const (
	orderCookie    = "order"    // an order without an account, and its token
	accessCookie   = "access"   // the access token, as long as it is good
	refreshCookie  = "refresh"  // the refresh token
	deviceCookie   = "device"   // names the browser in later logins
	nameCookie     = "person"   // how the person is greeted; no page rests on it
	stepCookie     = "step"     // a login that waits for its second factor
	awayCookie     = "away"     // a sign-in that goes on at an identity provider
	languageCookie = "language" // that was chosen
)

const (
	sessionAge  = 90 * 24 * time.Hour // of cookies that the system judges by itself
	languageAge = 365 * 24 * time.Hour
	stepAge     = 5 * time.Minute
	early       = 10 * time.Second // an access token is renewed before it ends
)

func (v *visit) cookie(name string) string {
	return string(v.RC.Request.Header.Cookie(v.cookieName(name)))
}

// cookieName says in the name, where there is TLS, that the cookie belongs to this host alone: browsers see to it.
func (v *visit) cookieName(name string) string {
	if v.Secure {
		return "__Host-" + name
	}
	return name
}

// setCookie gives the browser a cookie; an empty one is taken away.
func (v *visit) setCookie(name, value string, age time.Duration) {
	var c fasthttp.Cookie
	c.SetKey(v.cookieName(name))
	c.SetValue(value)
	c.SetPath("/")
	c.SetHTTPOnly(true)
	c.SetSecure(v.Secure)
	c.SetSameSite(fasthttp.CookieSameSiteLaxMode)
	if value == "" {
		c.SetExpire(fasthttp.CookieExpireDelete)
	} else {
		c.SetMaxAge(int(age.Seconds()))
	}
	v.RC.Response.Header.SetCookie(&c)
}

// enter remembers tokens in the browser.
func (v *visit) enter(t *api.Tokens) {
	v.access = t.AccessToken
	v.setCookie(accessCookie, t.AccessToken, time.Duration(t.ExpiresIn)*time.Second-early)
	v.setCookie(refreshCookie, t.RefreshToken, sessionAge)
	if t.DeviceToken != "" {
		v.setCookie(deviceCookie, t.DeviceToken, sessionAge)
	}
}

// leave forgets the session, but not the device.
func (v *visit) leave() {
	v.access, v.name = "", ""
	for _, name := range []string{accessCookie, refreshCookie, nameCookie} {
		if v.cookie(name) != "" {
			v.setCookie(name, "", 0)
		}
	}
}

// identify takes the access token of the browser, or renews it.
func (v *visit) identify() error {
	if name, err := base64.RawURLEncoding.DecodeString(v.cookie(nameCookie)); err == nil {
		v.name = string(name)
	}
	if v.site.cfg.Here != nil { // a person may do more than a device
		v.access = v.cookie(accessCookie)
		if v.staff = v.access != ""; !v.staff {
			v.access = v.pass("")
		}
		return nil
	}
	if v.access = v.cookie(accessCookie); v.access != "" {
		return nil
	}
	return v.renew()
}

// renew exchanges the refresh token for new tokens. A session that has ended is forgotten; that is no error.
func (v *visit) renew() error {
	old := v.cookie(refreshCookie)
	if old == "" || v.renewed {
		return nil
	}
	v.renewed = true
	tokens, err := v.site.renewal.do(old, func() (*api.Tokens, error) {
		return ask(v, api.RefreshSession, &api.Refresh{RefreshToken: old})
	})
	if fault.Is(err, fault.Unauthenticated) {
		v.leave()
		return nil
	}
	if err != nil {
		return err
	}
	v.enter(tokens)
	return nil
}

// renewals let the requests that a browser sends at the same time share the renewal of its session: a refresh token is
// good once, and one that comes again ends its session.
type renewals struct {
	now func() time.Time

	mu      sync.Mutex
	running map[string]*renewal // by refresh token
}

type renewal struct {
	done   chan struct{}
	tokens *api.Tokens
	err    error
	until  time.Time // zero while it runs
}

const (
	renewalKept  = 30 * time.Second // for what a browser had sent with the old cookie
	mostRenewals = 10_000
)

func (r *renewals) do(token string, fetch func() (*api.Tokens, error)) (*api.Tokens, error) {
	r.mu.Lock()
	if one := r.running[token]; one != nil {
		r.mu.Unlock()
		<-one.done
		return one.tokens, one.err
	}
	one := &renewal{done: make(chan struct{})}
	if len(r.running) >= mostRenewals {
		r.sweep()
	}
	r.running[token] = one
	r.mu.Unlock()
	defer close(one.done)
	one.err = fault.New(fault.Internal, "the session could not be renewed") // of a panic
	defer r.ended(token, one)
	one.tokens, one.err = fetch()
	return one.tokens, one.err
}

// ended keeps a success for a while, and forgets a failure.
func (r *renewals) ended(token string, one *renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one.until = r.now().Add(renewalKept)
	if one.err != nil {
		delete(r.running, token)
	}
	if len(r.running)%64 == 0 {
		r.sweep()
	}
}

// sweep forgets what is over. mu is held.
func (r *renewals) sweep() {
	now := r.now()
	for token, one := range r.running {
		if !one.until.IsZero() && now.After(one.until) {
			delete(r.running, token)
		}
	}
}

func (s *Site) signInPage(v *visit) error {
	return v.show("signin", v.signInData(""))
}

func (v *visit) signInData(email string) map[string]any {
	return map[string]any{"Next": v.next(), "Email": email, "Providers": v.providers(), "Declined": ""}
}

func (s *Site) signIn(v *visit) error {
	email := v.form("email")
	done, err := ask(v, api.CreateSession, &api.Login{Email: email, Password: v.form("password"),
		DeviceToken: v.cookie(deviceCookie), Client: v.browser()})
	if err != nil {
		return v.again("signin", err, v.signInData(email))
	}
	return v.signedIn(done)
}

// signedIn goes on after a first proof: with the second factor, or where the person wanted to go.
func (v *visit) signedIn(done *api.SignIn) error {
	if c := done.SecondFactorChallenge; c != nil {
		v.setCookie(stepCookie, c.Challenge, stepAge)
		return v.show("code", map[string]any{"Next": v.next()})
	}
	return v.welcome(done.Tokens)
}

func (s *Site) signInCode(v *visit) error {
	step := &api.SecondStep{Challenge: v.cookie(stepCookie), DeviceToken: v.cookie(deviceCookie), Client: v.browser()}
	if code := v.form("code"); len(code) == 6 {
		step.Code = code
	} else {
		step.RecoveryCode = code
	}
	tokens, err := ask(v, api.CreateSessionWithFactor, step)
	if err != nil {
		return v.again("code", err, map[string]any{"Next": v.next()})
	}
	v.setCookie(stepCookie, "", 0)
	return v.welcome(tokens)
}

// welcome begins the session of somebody who has signed in.
func (v *visit) welcome(t *api.Tokens) error {
	v.enter(t)
	me, err := ask(v, api.GetMe, &rpc.None{})
	if err != nil {
		return err
	}
	v.setCookie(nameCookie, base64.RawURLEncoding.EncodeToString([]byte(me.Name)), sessionAge)
	v.redirect(v.next())
	return nil
}

func (s *Site) signUpPage(v *visit) error {
	return v.show("signup", map[string]any{"Next": v.next(), "Email": "", "Name": ""})
}

func (s *Site) signUp(v *visit) error {
	email, name, password := v.form("email"), v.form("name"), v.form("password")
	_, err := ask(v, api.RegisterUser, &api.Register{Email: email, Name: name, Password: password, Speaks: v.lang})
	if err != nil {
		return v.again("signup", err, map[string]any{"Next": v.next(), "Email": email, "Name": name})
	}
	return s.signIn(v)
}

func (s *Site) signOut(v *visit) error {
	if v.access != "" {
		if _, err := ask(v, api.EndSession, &rpc.None{}); err != nil && !fault.Is(err, fault.Unauthenticated) {
			return err
		}
	}
	v.leave()
	v.redirect("/")
	return nil
}

// needsProof reports whether something was refused for want of a fresh proof of who asks.
func needsProof(err error) bool {
	return err != nil &&
		slices.ContainsFunc(fault.From(err).Fields, func(f fault.Field) bool { return f.Field == "step_up" })
}

// provePage asks for a proof, and leads back to the page whose form was refused. It is to be sent again: what a person
// has decided is not kept for later.
func (s *Site) provePage(v *visit, err error) error {
	from := "/"
	if u, err := url.Parse(string(v.RC.Request.Header.Referer())); err == nil &&
		strings.EqualFold(u.Host, string(v.RC.Host())) {
		from = u.RequestURI()
	}
	v.RC.Response.SetStatusCode(fasthttp.StatusForbidden)
	if shown := v.show("proof", v.proofData(from)); shown != nil {
		return shown
	}
	return err
}

func (v *visit) proofData(next string) map[string]any {
	return map[string]any{"Next": next, "Providers": v.linkedProviders()}
}

func (s *Site) prove(v *visit) error {
	proof := &api.Proof{Password: v.form("password")}
	switch code := v.form("code"); {
	case v.form("for") == "proof":
		credential, err := v.credential()
		if err != nil {
			return v.again("proof", err, v.proofData(v.next()))
		}
		proof.Passkey = credential
	case len(code) == 6:
		proof.Code = code
	case code != "":
		proof.RecoveryCode = code
	}
	if _, err := ask(v, api.ProveIdentity, proof); err != nil {
		return v.again("proof", err, v.proofData(v.next()))
	}
	v.redirect(v.next())
	return nil
}

func (s *Site) setLanguage(v *visit) error {
	v.setCookie(languageCookie, s.match.Language(v.form("language")), languageAge)
	v.redirect(v.next())
	return nil
}

// languageOf returns the language of a page: the one that was chosen, or what the browser asks for.
func (s *Site) languageOf(rc *fasthttp.RequestCtx) string {
	for _, name := range []string{languageCookie, "__Host-" + languageCookie} {
		if chosen := string(rc.Request.Header.Cookie(name)); s.looks[chosen] != nil {
			return chosen
		}
	}
	return s.match.Language(string(rc.Request.Header.Peek("Accept-Language")))
}

// isAdmin reports whether the person is an administrator, for what leads there: endpoints judge by themselves.
func (v *visit) isAdmin() bool {
	_, rest, _ := strings.Cut(v.access, ".")
	claims, _, _ := strings.Cut(rest, ".")
	var said struct {
		Roles []string `json:"roles"`
	}
	text, err := base64.RawURLEncoding.DecodeString(claims)
	return err == nil && json.Unmarshal(text, &said) == nil && slices.Contains(said.Roles, rpc.RoleAdmin)
}

func (v *visit) browser() string { return string(v.RC.Request.Header.UserAgent()) }

// again shows a form again, with what is wrong. Whatever no person can mend is a failure of the page.
func (v *visit) again(page string, err error, data map[string]any) error {
	f := fault.From(err)
	switch {
	case f.Code == fault.Internal, f.Code == fault.Unavailable, f.Code == fault.Timeout, needsProof(err):
		return err
	case f.Code == fault.Unauthenticated && v.access != "": // not for what is in the form
		return err
	}
	v.RC.Response.SetStatusCode(f.Code.Status())
	data["Fault"] = f
	return v.show(page, data)
}
