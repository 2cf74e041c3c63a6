package user_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	page       = "http://localhost:8080/account"
	clientID   = "starlight"
	peoplesKey = "a password at the provider"
)

// corp is an identity provider: that of zitadel, certified by the OpenID Foundation, on a port of this machine. What it
// answers can be changed on the way.
type corp struct {
	m      *harness
	issuer string
	people *people
	store  *storage.Storage
	login  func(context.Context, string) string // where a browser goes that has proven who it is

	mu       sync.Mutex
	forge    func(claims map[string]any)                   // changes what an ID token says, which is signed again
	sign     func(claims map[string]any) string            // signs it
	metadata func(document map[string]any)                 // changes what the provider says of itself
	answer   func(w http.ResponseWriter, path string) bool // answers in its place
	asked    map[string]int                                // requests by path
}

// people are the accounts at the provider.
type people struct{ all map[string]*storage.User }

func (p *people) GetUserByID(id string) *storage.User { return p.all[id] }
func (p *people) GetUserByUsername(name string) *storage.User {
	for _, u := range p.all {
		if u.Username == name {
			return u
		}
	}
	return nil
}
func (p *people) ExampleClientID() string { return "service" }

func newCorp(m *harness) *corp {
	m.t.Helper()
	c := &corp{m: m, people: &people{map[string]*storage.User{}}, asked: map[string]int{}}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(handler, w, r) }))
	m.t.Cleanup(server.Close)
	c.issuer = server.URL
	c.store = storage.NewStorageWithClients(c.people, map[string]*storage.Client{
		clientID: storage.WebClient(clientID, "secret of the client", page, page+"/other"),
		"other":  storage.WebClient("other", "secret of the other", page)})
	provider := must(op.NewProvider(&op.Config{CryptoKey: [32]byte{1}, CodeMethodS256: true, AuthMethodPost: true},
		c.store, op.StaticIssuer(c.issuer), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler))))(m.t)
	handler, c.login = provider, op.AuthCallbackURL(provider)
	m.clock.Advance(time.Since(m.clock.Now())) // the provider's tokens are of now
	return c
}

// hire gives a person an account at the provider.
func (c *corp) hire(id, email string, verified bool) {
	c.people.all[id] = &storage.User{ID: id, Username: id, Password: peoplesKey, FirstName: "Ada", LastName: "of " + id, Email: email,
		EmailVerified: verified}
}

// change sets what happens to the answers of the provider.
func (c *corp) change(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forge, c.sign, c.metadata, c.answer = nil, nil, nil, nil
	if fn != nil {
		fn()
	}
}

// count is how many requests of a path there were.
func (c *corp) count(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[path]
}

func (c *corp) serve(h http.Handler, w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[r.URL.Path]++
	if c.answer != nil && c.answer(w, r.URL.Path) {
		return
	}
	recorded := httptest.NewRecorder()
	h.ServeHTTP(recorded, r)
	body := recorded.Body.Bytes()
	var document map[string]any
	if json.Unmarshal(body, &document) == nil {
		if raw, ok := document["id_token"].(string); ok && (c.forge != nil || c.sign != nil) {
			document["id_token"] = c.again(raw)
		}
		if strings.HasPrefix(r.URL.Path, "/.well-known/") && c.metadata != nil {
			c.metadata(document)
		}
		body, _ = json.Marshal(document)
	}
	for name, values := range recorded.Header() {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(recorded.Code)
	w.Write(body)
}

// again returns an ID token with other claims, signed by the provider's key unless c.sign signs it.
func (c *corp) again(raw string) string {
	payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		c.m.t.Error(err)
	}
	if c.forge != nil {
		c.forge(claims)
	}
	if c.sign != nil {
		return c.sign(claims)
	}
	key, err := c.store.SigningKey(context.Background())
	if err != nil {
		c.m.t.Error(err)
	}
	return c.signed(claims, jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key.Key(), KeyID: key.ID()}})
}

func (c *corp) signed(claims map[string]any, key jose.SigningKey) string {
	text, err := json.Marshal(claims)
	if err != nil {
		c.m.t.Error(err)
	}
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		c.m.t.Error(err)
		return ""
	}
	signature, err := signer.Sign(text)
	if err != nil {
		c.m.t.Error(err)
	}
	compact, err := signature.CompactSerialize()
	if err != nil {
		c.m.t.Error(err)
	}
	return compact
}

// known tells the system of the provider.
func (c *corp) known(admin *api.Tokens, change func(*api.NewIdentityProvider)) *api.IdentityProvider {
	c.m.t.Helper()
	req := api.NewIdentityProvider{Name: "Corp", Issuer: c.issuer, ClientID: clientID, ClientSecret: "secret of the client",
		RedirectURIs: []string{page, page + "/other"}, Domains: []string{"corp.example"}, CreatesAccounts: true,
		SecondFactor: []string{"mfa"}}
	if change != nil {
		change(&req)
	}
	return must(rpc.Call(c.m.as(admin), c.m.gateway, api.CreateIdentityProvider, &req))(c.m.t)
}

// browse follows a browser from the start of a sign-in, by a person who proves at the provider who they are, to the page
// to which the provider sends it back.
func (c *corp) browse(where, person string) url.Values {
	c.m.t.Helper()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	next := func(at string) *url.URL {
		c.m.t.Helper()
		resp, err := browser.Get(at)
		if err != nil {
			c.m.t.Fatal(err)
		}
		defer resp.Body.Close()
		to, err := resp.Location()
		if err != nil {
			text, _ := io.ReadAll(resp.Body)
			c.m.t.Fatalf("%s: %s %s", at, resp.Status, text)
		}
		return to
	}
	id := next(where).Query().Get("authRequestID")
	if err := c.store.CheckUsernamePassword(person, peoplesKey, id); err != nil {
		c.m.t.Fatal(err)
	}
	back := next(c.issuer + c.login(op.ContextWithIssuer(context.Background(), ""), id))
	if !strings.HasPrefix(back.String(), page) {
		c.m.t.Fatalf("the browser is sent to %s", back)
	}
	return back.Query()
}

func (m *harness) startSignIn(req api.NewSignIn) (*api.StartedSignIn, error) {
	return rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.StartSignIn, &req)
}

func returned(s *api.StartedSignIn, back url.Values) api.ReturnedSignIn {
	return api.ReturnedSignIn{LoginToken: s.LoginToken, State: back.Get("state"), Code: back.Get("code"), Issuer: back.Get("iss")}
}

func (m *harness) finishSignIn(r api.ReturnedSignIn) (*api.SignIn, error) {
	return rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.FinishSignIn, &api.FinishedSignIn{ReturnedSignIn: r})
}

// signIn signs a person of the provider in.
func (c *corp) signIn(p *api.IdentityProvider, person string) (*api.SignIn, error) {
	c.m.t.Helper()
	started := must(c.m.startSignIn(api.NewSignIn{ProviderID: p.ID}))(c.m.t)
	return c.m.finishSignIn(returned(started, c.browse(started.AuthorizeURL, person)))
}

// mustSignIn is signIn of a person who is asked for nothing else.
func (c *corp) mustSignIn(t *testing.T, p *api.IdentityProvider, person string) *api.Tokens {
	t.Helper()
	got := must(c.signIn(p, person))(t)
	if got.Tokens == nil {
		t.Fatalf("signed in with %+v", got)
	}
	return got.Tokens
}

// get asks the provider for an address, without following where it leads.
func (c *corp) get(at string) (*url.URL, int) {
	c.m.t.Helper()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(at)
	if err != nil {
		c.m.t.Fatal(err)
	}
	defer resp.Body.Close()
	to, _ := resp.Location()
	return to, resp.StatusCode
}
