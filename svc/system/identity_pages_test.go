package system_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/starlightsymphony/starlight/shared/api"
)

// corp is an identity provider, that of zitadel, with people by their names.
type corp struct {
	*httptest.Server
	people map[string]*storage.User
	store  *storage.Storage
	login  func(context.Context, string) string
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
	c := &corp{people: map[string]*storage.User{}}
	var handler http.Handler
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(c.Close)
	c.store = storage.NewStorageWithClients(c, map[string]*storage.Client{"starlight": storage.WebClient("starlight", "secret", back)})
	provider, err := op.NewProvider(&op.Config{CryptoKey: [32]byte{1}, CodeMethodS256: true, AuthMethodPost: true}, c.store,
		op.StaticIssuer(c.URL), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	handler, c.login = provider, op.AuthCallbackURL(provider)
	return c
}

func (c *corp) hire(name, email string) {
	c.people[name] = &storage.User{ID: name, Username: name, Password: atCorp, FirstName: "Ada", LastName: "of " + name, Email: email, EmailVerified: true}
}

// away follows a link to the provider, where somebody proves who they are, and returns the way back.
func (c *corp) away(t *testing.T, b *browser, link, person string) (back string) {
	t.Helper()
	still := *b.client
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
	at := next(b.site + link)
	if !strings.HasPrefix(at, c.URL+"/") {
		t.Fatalf("the link leads to %s", at)
	}
	id := regexp.MustCompile(`authRequestID=([^&]+)`).FindStringSubmatch(next(at))
	if id == nil || c.store.CheckUsernamePassword(person, atCorp, id[1]) != nil {
		t.Fatal("the provider knows nobody")
	}
	back = next(c.URL + c.login(op.ContextWithIssuer(context.Background(), ""), id[1]))
	if !strings.HasPrefix(back, b.site+"/sign-in/return?") {
		t.Fatalf("the provider sends the browser to %s", back)
	}
	return strings.TrimPrefix(back, b.site)
}

// People sign in and link their accounts through an identity provider, by links alone, in the browser that has begun it.
func TestPagesOfProviders(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.unlimited(admin)
	c := openCorp(t, s.url+"/sign-in/return")
	c.hire("one", "one@corp.example")
	c.hire("two", "two@elsewhere.example")
	b, other := s.browser(), s.browser()
	if p := b.get("/sign-in").must(t, 200); strings.Contains(p.text, "/sign-in/with/") {
		t.Error("there is a provider")
	}
	made := call[api.IdentityProvider](s, 201, "POST", "/v1/identity-providers", s.login(adminEmail), api.NewIdentityProvider{Name: "Corp & Sons",
		Issuer: c.URL, ClientID: "starlight", ClientSecret: "secret", RedirectURIs: []string{s.url + "/sign-in/return"},
		Domains: []string{"corp.example"}, CreatesAccounts: true})
	with := "/sign-in/with/" + made.ID.String()
	b.get("/sign-in?next=/account/settings").must(t, 200, "Sign in with Corp &amp; Sons", with+"?next=%2faccount%2fsettings")

	// The way back is good in the browser that has begun it, once, and for nothing that another site has begun.
	back := c.away(t, b, with+"?next=/account/settings", "one")
	other.get(back).must(t, 401, "start again")
	b.get(with, "Sec-Fetch-Site", "cross-site").must(t, 403)
	if p := b.get(back).must(t, 200, "one@corp.example", "Ada of one"); p.at != "/account/settings" {
		t.Errorf("it leads to %s", p.at)
	}
	b.get(back).must(t, 401, "start again")
	other.get("/sign-in/with/idp_00000000000000000000000000").must(t, 404)
	other.get("/sign-in/with/x").must(t, 404)
	other.get("/sign-in/return?error=access_denied").must(t, 401, "start again")
	if p := other.get(c.away(t, other, with+"?next=//evil.example", "one")).must(t, 200); p.at != "/" {
		t.Errorf("it leads to %s", p.at)
	}
	stolen := c.away(t, other, with, "one") // an attacker's own, that a victim is made to open
	victim := s.browser()
	victim.get(with)
	victim.get(stolen).must(t, 401)
	if p := victim.get("/account"); !strings.HasPrefix(p.at, "/sign-in") {
		t.Errorf("the victim is signed in: %s", p.at)
	}

	// An account that has a password links another one, and signs in by it.
	ada := s.browser()
	ada.send("/sign-up", "name", "Ada", "email", "ada@example.org", "password", password).must(t, 200)
	link := "/account/identities/" + made.ID.String()
	ada.get("/account/settings").must(t, 200, "Link your account at Corp &amp; Sons", link)
	ada.get(link, "Sec-Fetch-Site", "cross-site").must(t, 403)
	settings := ada.get(c.away(t, ada, link, "two")).must(t, 200, "two@elsewhere.example")
	other = s.browser()
	other.get(c.away(t, other, with+"?next=/account/settings", "two")).must(t, 200, "ada@example.org")
	id := regexp.MustCompile(`name="remove" value="(idn_[a-z0-9]+)"`).FindStringSubmatch(settings.text)
	if p := ada.send("/account/identities", "remove", id[1]).must(t, 200); strings.Contains(p.text, id[1]) {
		t.Error("it is still linked")
	}
	gone := s.browser()
	gone.get(c.away(t, gone, with, "two")).must(t, 403, "no account is linked")
}
