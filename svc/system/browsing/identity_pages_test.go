package browsing_test

import (
	"context"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// corp is an identity provider, that of zitadel, with people by their names.
type corp struct {
	*httptest.Server
	people map[string]*storage.User
	store  *storage.Storage
	login  func(context.Context, string) string

	clients map[string]*storage.Client
}

const atCorp = "a password at the provider"

// GetUserByID returns a person, who is called by the id.
func (c *corp) GetUserByID(id string) *storage.User { return c.people[id] }

// GetUserByUsername is GetUserByID.
func (c *corp) GetUserByUsername(name string) *storage.User { return c.people[name] }

// ExampleClientID is of no use here.
func (c *corp) ExampleClientID() string { return "service" }

func openCorp(t *testing.T, back string) *corp {
	t.Helper()
	c := &corp{people: map[string]*storage.User{},
		clients: map[string]*storage.Client{"starlight": storage.WebClient("starlight", "secret", back)}}
	var handler http.Handler
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login/username" {
			c.page(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	c.URL = strings.Replace(c.URL, "127.0.0.1", "localhost", 1) // another site than that of the system
	c.store = storage.NewStorageWithClients(c, c.clients)
	provider, err := op.NewProvider(&op.Config{CryptoKey: [32]byte{1}, CodeMethodS256: true, AuthMethodPost: true}, c.store,
		op.StaticIssuer(c.URL), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	handler, c.login = provider, op.AuthCallbackURL(provider)
	return c
}

// page is where people prove at the provider who they are, or go back without.
func (c *corp) page(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("authRequestID")
	switch {
	case r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>Corp</title><link rel="icon" href="data:,">
			<form method="post"><input type="hidden" name="authRequestID" value="%s"><label>Name <input name="name" autocomplete="username"></label>
			<label>Password <input type="password" name="password" autocomplete="current-password"></label><button name="do" value="yes">Sign in</button>
			<button name="do" value="no">Cancel</button></form></html>`, html.EscapeString(id))
	case r.FormValue("do") == "yes" && c.store.CheckUsernamePassword(r.FormValue("name"), r.FormValue("password"), id) == nil:
		http.Redirect(w, r, c.URL+c.login(op.ContextWithIssuer(r.Context(), ""), id), http.StatusFound)
	default:
		asked, err := c.store.AuthRequestByID(r.Context(), id)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, asked.GetRedirectURI()+"?"+url.Values{"error": {"access_denied"}, "state": {asked.GetState()}}.Encode(), http.StatusFound)
	}
}

// known tells the system of the provider, and the provider of the page that is for it alone.
func (c *corp) known(s *systemtest.Site, name string) *api.IdentityProvider {
	s.T.Helper()
	made := systemtest.Call[api.IdentityProvider](s, 201, "POST", "/v1/identity-providers", s.Login(systemtest.AdminEmail), api.NewIdentityProvider{Name: name,
		Issuer: c.URL, ClientID: "starlight", ClientSecret: "secret", RedirectURIs: []string{s.URL + "/sign-in/return/{id}"},
		Domains: []string{"corp.example"}, CreatesAccounts: true})
	c.clients["starlight"] = storage.WebClient("starlight", "secret", made.RedirectURIs...)
	return &made
}

func (c *corp) hire(name, email string) {
	c.people[name] = &storage.User{ID: name, Username: name, Password: atCorp, FirstName: "Ada", LastName: "of " + name, Email: email, EmailVerified: true}
}

// away sends a form that leads to the provider, where somebody proves who they are, and returns the way back.
func (c *corp) away(t *testing.T, b *systemtest.Browser, form, person string, fields ...string) (back string) {
	t.Helper()
	led := regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]+)"`).FindStringSubmatch(b.Send(form, fields...).Must(t, 200, "On to").Text)
	if led == nil {
		t.Fatal("the page leads nowhere")
	}
	still := *b.Client
	still.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	next := func(at string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", at, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := still.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		to, err := resp.Location()
		if err != nil {
			t.Fatalf("%s leads nowhere: %s", at, resp.Status)
		}
		return to.String()
	}
	at := html.UnescapeString(led[1])
	if !strings.HasPrefix(at, c.URL+"/") {
		t.Fatalf("the page leads to %s", at)
	}
	id := regexp.MustCompile(`authRequestID=([^&]+)`).FindStringSubmatch(next(at))
	if id == nil || c.store.CheckUsernamePassword(person, atCorp, id[1]) != nil {
		t.Fatal("the provider knows nobody")
	}
	back = next(c.URL + c.login(op.ContextWithIssuer(context.Background(), ""), id[1]))
	if !strings.HasPrefix(back, b.Site+"/sign-in/return") {
		t.Fatalf("the provider sends the browser to %s", back)
	}
	return strings.TrimPrefix(back, b.Site)
}

// People sign in and link their accounts through an identity provider, by forms alone, in the browser that has begun it.
func TestPagesOfProviders(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	c := openCorp(t, s.URL+"/sign-in/return")
	c.hire("one", "one@corp.example")
	c.hire("two", "two@elsewhere.example")
	b, other := s.Browser(), s.Browser()
	if p := b.Get("/sign-in").Must(t, 200); strings.Contains(p.Text, "/sign-in/with/") {
		t.Error("there is a provider")
	}
	made := systemtest.Call[api.IdentityProvider](s, 201, "POST", "/v1/identity-providers", s.Login(systemtest.AdminEmail), api.NewIdentityProvider{Name: "Corp & Sons",
		Issuer: c.URL, ClientID: "starlight", ClientSecret: "secret", RedirectURIs: []string{s.URL + "/sign-in/return"},
		Domains: []string{"corp.example"}, CreatesAccounts: true})
	with := "/sign-in/with/" + made.ID.String()
	b.Get("/sign-in?next=/account/settings").Must(t, 200, "Sign in with Corp &amp; Sons", with)

	// The way back is good in the browser that has begun it, once, and for nothing that another site has begun.
	back := c.away(t, b, with, "one", "next", "/account/settings")
	other.Get(back).Must(t, 401, "start again")
	b.Do("POST", with, url.Values{}, "Sec-Fetch-Site", "cross-site").Must(t, 403)
	if p := b.Get(with); p.Status < 400 {
		t.Errorf("an address begins a sign-in: %d", p.Status)
	}
	if p := b.Get(back).Must(t, 200, "one@corp.example", "Ada of one"); p.At != "/account/settings" {
		t.Errorf("it leads to %s", p.At)
	}
	b.Get(back).Must(t, 401, "start again")
	other.Send("/sign-in/with/idp_00000000000000000000000000").Must(t, 404)
	other.Send("/sign-in/with/x").Must(t, 404)
	other.Get("/sign-in/return?error=access_denied").Must(t, 401, "start again")
	if p := other.Get(c.away(t, other, with, "one", "next", "//evil.example")).Must(t, 200); p.At != "/" {
		t.Errorf("it leads to %s", p.At)
	}
	stolen := c.away(t, other, with, "one") // an attacker's own, that a victim is made to open
	victim := s.Browser()
	victim.Send(with)
	victim.Get(stolen).Must(t, 401)
	if p := victim.Get("/account"); !strings.HasPrefix(p.At, "/sign-in") {
		t.Errorf("the victim is signed in: %s", p.At)
	}

	// An account that has a password links another one, and signs in by it.
	ada := s.Browser()
	ada.Send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", systemtest.Password).Must(t, 200)
	link := "/account/identities/" + made.ID.String()
	ada.Get("/account/settings").Must(t, 200, "Link your account at Corp &amp; Sons", link)
	ada.Do("POST", link, url.Values{}, "Sec-Fetch-Site", "cross-site").Must(t, 403)
	// Whoever is led there after signing in here has not begun a link: the provider may know an attacker in this browser.
	led := s.Browser()
	led.Send("/sign-in", "next", link, "email", "ada@example.org", "password", systemtest.Password)
	for _, cookie := range led.Client.Jar.Cookies(&url.URL{Scheme: "http", Host: strings.TrimPrefix(s.URL, "http://"), Path: "/"}) {
		if strings.HasSuffix(cookie.Name, "away") {
			t.Error("signing in has begun a link")
		}
	}
	settings := ada.Get(c.away(t, ada, link, "two")).Must(t, 200, "two@elsewhere.example")
	other = s.Browser()
	other.Get(c.away(t, other, with, "two", "next", "/account/settings")).Must(t, 200, "ada@example.org")
	ada.Send(link)
	if p := ada.Get("/sign-in/return?error=access_denied&error_description=%3Cscript%3E").Must(t, 200, "Nothing was linked"); p.At != "/account/settings?declined=yes" {
		t.Errorf("who declines is led to %s", p.At)
	}
	id := regexp.MustCompile(`name="remove" value="(idn_[a-z0-9]+)"`).FindStringSubmatch(settings.Text)
	if p := ada.Send("/account/identities", "remove", id[1]).Must(t, 200); strings.Contains(p.Text, id[1]) {
		t.Error("it is still linked")
	}
	gone := s.Browser()
	gone.Get(c.away(t, gone, with, "two")).Must(t, 403, "no account is linked")
}

// The same in a real browser, across sites: a person signs in at the provider's own page and is back signed in, links an
// account at another one and removes the link, and later goes back without.
func TestProvidersInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	s.Unlimited(s.Login(systemtest.AdminEmail))
	first, second := openCorp(t, ""), openCorp(t, "")
	first.hire("one", "one@corp.example")
	second.hire("two", "two@elsewhere.example")
	opera, hall := first.known(s, "Opera"), second.known(s, "Concert Hall")
	c := s.Chromium()
	press := func(form string) {
		t.Helper()
		c.Run(chromedp.Click(`form[action="` + form + `"] button`))
	}
	prove := func(name string) {
		t.Helper()
		c.Run(chromedp.WaitVisible(`button[value=no]`))
		if at := systemtest.Value[string](c, `location.hostname`); at != "localhost" {
			t.Fatalf("the browser is at %s", at)
		}
		c.Run(chromedp.SendKeys(`input[name=name]`, name), chromedp.SendKeys(`input[name=password]`, atCorp),
			chromedp.Click(`button[value=yes]`))
	}
	c.Run(chromedp.Navigate(c.Site + "/sign-in?next=/account/settings"))
	c.Says("Sign in with Opera")
	press("/sign-in/with/" + opera.ID.String())
	prove("one")
	c.Says("Link your account at Concert Hall")
	if at := systemtest.Value[string](c, `location.pathname + document.cookie`); at != "/account/settings" {
		t.Errorf("the browser is at %s", at) // or a script can read a cookie
	}
	c.Look("account-of-a-provider")
	press("/account/identities/" + hall.ID.String())
	prove("two")
	c.Says("two@elsewhere.example")
	if n := systemtest.Value[int](c, `document.querySelectorAll("button[name=remove]").length`); n != 2 {
		t.Errorf("there are %d links", n)
	}
	c.Run(chromedp.Click(`li:nth-child(2) button[name=remove]`), chromedp.WaitNotPresent(`li:nth-child(2) button[name=remove]`))
	c.Says("one@corp.example")
	c.Quiet("the account")

	press("/account/identities/" + hall.ID.String())
	c.Run(chromedp.WaitVisible(`button[value=no]`), chromedp.Click(`button[value=no]`))
	c.Says("Nothing was linked")
	c.Run(chromedp.Click(`form[action="/sign-out"] button`), chromedp.WaitNotPresent(`form[action="/sign-out"]`))
	c.Run(chromedp.Navigate(c.Site + "/sign-in"))
	press("/sign-in/with/" + opera.ID.String())
	c.Run(chromedp.WaitVisible(`button[value=no]`), chromedp.Click(`button[value=no]`))
	c.Says("You did not sign in at Opera")
	c.Quiet("the way back", "Autofocus processing was blocked") // who presses at once has the focus before the page puts it
	c.Look("sign-in-declined")
	c.Quiet("the end")
}
