package user_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Who has no account gets one, which has no password, and is the same at each sign-in.
func TestSignInMakesAnAccount(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		list := must(rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.ListSignInProviders, &rpc.None{}))(t).Items
		if len(list) != 1 || list[0].ID != p.ID || list[0].Name != "Corp" {
			t.Errorf("providers %+v", list)
		}
		tokens := c.mustSignIn(t, p, "one")
		me := m.me(tokens)
		if me.Email != "ada@corp.example" || !me.EmailVerified || me.Name != "Ada of one" || len(me.Roles) != 0 {
			t.Errorf("made %+v", me)
		}
		if again := m.me(c.mustSignIn(t, p, "one")); again.ID != me.ID {
			t.Errorf("signed in as %+v", again)
		}
		has := must(rpc.Call(m.as(tokens), m.gateway, api.ListIdentities, &rpc.None{}))(t)
		if has.HasPassword || len(has.Items) != 1 || has.Items[0].Subject != "one" || has.Items[0].Provider != "Corp" ||
			has.Items[0].LastUsedAt == nil {
			t.Errorf("identities %+v", has)
		}
		for _, s := range must(rpc.Call(m.as(tokens), m.gateway, api.ListSessions, &api.SessionQuery{}))(t).Items {
			if s.ProviderID != p.ID {
				t.Errorf("session %+v", s)
			}
		}
		for _, guess := range []string{"x", peoplesKey} { // no password is its password
			_, err := m.tryLogin("192.0.2.1", "ada@corp.example", guess)
			wantCode(t, err, fault.Unauthenticated)
		}
		m.events(api.UserRegistered.Subject, 2)
	})
}

// counted is how many accounts, sessions and identities there are.
func (m *harness) counted() (n [3]int) {
	m.t.Helper()
	err := m.db.Read().NewRaw(`SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM sessions),
		(SELECT count(*) FROM identities)`).Scan(m.t.Context(), &n[0], &n[1], &n[2])
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// What is not the provider's answer to this very attempt lets no one in, makes nothing and links nothing.
func TestForgedSignIns(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		c.hire("two", "eve@corp.example", true)
		stranger := must(rsa.GenerateKey(rand.Reader, 2048))(t)
		claims := func(change func(claims map[string]any)) func() { return func() { c.forge = change } }
		set := func(name string, value any) func() {
			return claims(func(claims map[string]any) { claims[name] = value })
		}
		signed := func(key func(kid string) jose.SigningKey) func() {
			return func() {
				c.sign = func(claims map[string]any) string {
					kid := must(c.store.SigningKey(context.Background()))(t).ID()
					return c.signed(claims, key(kid))
				}
			}
		}
		now := time.Now()
		for what, forge := range map[string]func(){
			"another nonce":            set("nonce", "another"),
			"no nonce":                 claims(func(claims map[string]any) { delete(claims, "nonce") }),
			"another audience":         set("aud", "other"),
			"more audiences, no party": claims(func(m map[string]any) { m["aud"] = []string{clientID, "other"}; delete(m, "azp") }),
			"another party":            claims(func(m map[string]any) { m["aud"], m["azp"] = []string{clientID, "other"}, "other" }),
			"over":                     set("exp", now.Add(-time.Second).Unix()),
			"of tomorrow":              set("iat", now.Add(24*time.Hour).Unix()),
			"good from tomorrow on":    set("nbf", now.Add(24*time.Hour).Unix()),
			"another issuer":           set("iss", "https://login.example.org"),
			"the issuer with a slash":  set("iss", c.issuer+"/"),
			"no subject":               set("sub", ""),
			"another access token":     set("at_hash", base64.RawURLEncoding.EncodeToString(make([]byte, 16))),
			"no signature":             func() { c.sign = unsigned },
			"a key that is not theirs": signed(func(kid string) jose.SigningKey { return rsaKey(stranger, kid) }),
			"a key that no one knows":  signed(func(string) jose.SigningKey { return rsaKey(stranger, "stranger") }),
			"the client secret as key": signed(secretKey("secret of the client")),
			"their public key as key":  signed(func(kid string) jose.SigningKey { return secretKey(c.publicKey())(kid) }),
			"no ID token":              func() { c.sign = func(map[string]any) string { return "" } },
			"no token at all":          func() { c.sign = func(map[string]any) string { return "e30.e30.e30" } },
			"the user info of another": func() { c.answer = userInfo(`{"sub":"two","email":"eve@corp.example","email_verified":true}`) },
		} {
			before := m.counted()
			c.change(forge)
			_, err := c.signIn(p, "one")
			if !fault.Is(err, fault.Unauthenticated) || m.counted() != before {
				t.Errorf("%s: %v, %v were %v", what, err, m.counted(), before)
			}
		}
		c.change(nil)

		start := func(req api.NewSignIn, person string) api.ReturnedSignIn {
			t.Helper()
			req.ProviderID = p.ID
			started := must(m.startSignIn(req))(t)
			return returned(started, c.browse(started.AuthorizeURL, person))
		}
		m.register(ada, password)
		tokens := m.login(ada, password)
		for what, change := range map[string]func(r *api.ReturnedSignIn){
			"no state":              func(r *api.ReturnedSignIn) { r.State = "" },
			"another's state":       func(r *api.ReturnedSignIn) { r.State = start(api.NewSignIn{}, "two").State },
			"no code":               func(r *api.ReturnedSignIn) { r.Code = "" },
			"a made up code":        func(r *api.ReturnedSignIn) { r.Code = "xyz" },
			"a long code":           func(r *api.ReturnedSignIn) { r.Code = strings.Repeat("x", 5000) },
			"another's code":        func(r *api.ReturnedSignIn) { r.Code = start(api.NewSignIn{}, "two").Code },
			"another's token":       func(r *api.ReturnedSignIn) { r.LoginToken = start(api.NewSignIn{}, "two").LoginToken },
			"a made up token":       func(r *api.ReturnedSignIn) { r.LoginToken = "oi_e30.kid.e30" },
			"a changed token":       func(r *api.ReturnedSignIn) { r.LoginToken = changed(r.LoginToken) },
			"no token":              func(r *api.ReturnedSignIn) { r.LoginToken = "" },
			"another provider's":    func(r *api.ReturnedSignIn) { r.Issuer = "https://login.example.org" },
			"a code that was used":  func(r *api.ReturnedSignIn) { must(m.finishSignIn(*r))(t) },
			"a token that was used": func(r *api.ReturnedSignIn) { must(m.finishSignIn(*r))(t); r.Code = start(api.NewSignIn{}, "one").Code },
			"a token of a link": func(r *api.ReturnedSignIn) {
				r.LoginToken = must(rpc.Call(m.as(tokens), m.gateway, api.StartLink, &api.NewSignIn{ProviderID: p.ID}))(t).LoginToken
			},
			"an answer of ten minutes ago": func(*api.ReturnedSignIn) { m.clock.Advance(10 * time.Minute) },
		} {
			r := start(api.NewSignIn{}, "one")
			change(&r)
			before := m.counted()
			_, err := m.finishSignIn(r)
			if !fault.Is(err, fault.Unauthenticated) || m.counted() != before {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := m.startSignIn(api.NewSignIn{ProviderID: p.ID, RedirectURI: "https://evil.example/account"})
		wantCode(t, err, fault.Invalid)
		_, err = m.startSignIn(api.NewSignIn{ProviderID: "idp_00000000000000000000000000"})
		wantCode(t, err, fault.NotFound)
		other := start(api.NewSignIn{RedirectURI: page + "/other"}, "one")
		must(m.finishSignIn(other))(t)
		asked := c.count("/oauth/token")
		_, err = m.finishSignIn(other)
		wantCode(t, err, fault.Unauthenticated)
		if n := c.count("/oauth/token"); n != asked {
			t.Errorf("the provider is asked of an attempt that was used")
		}
	})
}

// unsigned is a token of the algorithm none.
func unsigned(claims map[string]any) string {
	text, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(text) + "."
}

func rsaKey(key *rsa.PrivateKey, kid string) jose.SigningKey {
	return jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}
}

func secretKey(secret string) func(kid string) jose.SigningKey {
	return func(kid string) jose.SigningKey {
		return jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: []byte(secret + strings.Repeat("\x00", 32)), KeyID: kid}}
	}
}

// publicKey returns the key that verifies the provider's tokens, as a text.
func (c *corp) publicKey() string {
	key, err := c.store.SigningKey(context.Background())
	if err != nil {
		c.m.t.Error(err)
	}
	text, err := x509.MarshalPKIXPublicKey(key.Key().(*rsa.PrivateKey).Public())
	if err != nil {
		c.m.t.Error(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: text}))
}

// userInfo answers in the place of the provider what it says of a person.
func userInfo(text string) func(w http.ResponseWriter, path string) bool {
	return func(w http.ResponseWriter, path string) bool {
		if path != "/userinfo" {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, text)
		return true
	}
}

// changed changes a letter in the middle.
func changed(s string) string {
	b := []byte(s)
	b[len(b)/2] ^= 1
	return string(b)
}

// Where a provider names itself in its answers, an answer without the name is refused: it could be another's.
func TestProviderNamesItself(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		c.hire("one", "ada@corp.example", true)
		c.change(func() {
			c.metadata = func(d map[string]any) { d["authorization_response_iss_parameter_supported"] = true }
		})
		p := c.known(admin, nil)
		_, err := c.signIn(p, "one")
		wantCode(t, err, fault.Unauthenticated)
		started := must(m.startSignIn(api.NewSignIn{ProviderID: p.ID}))(t)
		r := returned(started, c.browse(started.AuthorizeURL, "one"))
		r.Issuer = c.issuer
		must(m.finishSignIn(r))(t)
	})
}

// A provider that is not there, or is not what it should be, is said to be unavailable, and nothing else is.
func TestProviderIsDown(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		failing := func(part string) func() {
			return func() {
				c.answer = func(w http.ResponseWriter, path string) bool {
					if strings.Contains(path, part) {
						w.WriteHeader(http.StatusInternalServerError)
					}
					return strings.Contains(path, part)
				}
			}
		}
		saying := func(name string, value any) func() {
			return func() { c.metadata = func(d map[string]any) { d[name] = value } }
		}
		for what, change := range map[string]func(){
			"does not say who it is":     failing("/.well-known/"),
			"is another":                 saying("issuer", "https://login.example.org"),
			"takes secrets in clear":     saying("token_endpoint", "http://192.0.2.7/token"),
			"has its keys in clear":      saying("jwks_uri", "http://192.0.2.7/keys"),
			"sends browsers to a script": saying("authorization_endpoint", "javascript:alert(1)"),
			"sends us elsewhere": func() {
				c.answer = func(w http.ResponseWriter, _ string) bool {
					w.Header().Set("Location", "http://127.0.0.1:1/")
					w.WriteHeader(http.StatusFound)
					return true
				}
			},
			"says too much": func() {
				c.answer = func(w http.ResponseWriter, _ string) bool {
					io.WriteString(w, `{"issuer":"`+c.issuer+`","x":"`+strings.Repeat("x", 2<<20)+`"}`)
					return true
				}
			},
		} {
			c.change(change)
			_, err := m.startSignIn(api.NewSignIn{ProviderID: p.ID})
			if f := wantCode(t, err, fault.Unavailable); f.RetryAfter == 0 || strings.Contains(f.Detail, c.issuer) {
				t.Errorf("a provider that %s: %+v", what, f)
			}
			m.clock.Advance(2 * time.Second)
		}
		c.change(nil)
		for _, part := range []string{"/oauth/token", "/keys", "/userinfo"} {
			started := must(m.startSignIn(api.NewSignIn{ProviderID: p.ID}))(t)
			r := returned(started, c.browse(started.AuthorizeURL, "one"))
			c.change(failing(part))
			_, err := m.finishSignIn(r)
			wantCode(t, err, fault.Unavailable)
			c.change(nil)
		}
		c.mustSignIn(t, p, "one")

		m.clock.Advance(time.Hour) // what it said of itself before will do
		c.change(failing("/.well-known/"))
		must(m.startSignIn(api.NewSignIn{ProviderID: p.ID}))(t)
	})
}

// Guesses from one network are slowed down, like those at a password.
func TestRefusedSignInsAreCounted(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		for range 50 {
			started := must(m.startSignIn(api.NewSignIn{ProviderID: p.ID}))(t)
			_, err := m.finishSignIn(api.ReturnedSignIn{LoginToken: started.LoginToken, State: "guess", Code: "guess"})
			wantCode(t, err, fault.Unauthenticated)
		}
		_, err := m.startSignIn(api.NewSignIn{ProviderID: p.ID})
		wantCode(t, err, fault.RateLimited)
		_, err = m.finishSignIn(api.ReturnedSignIn{LoginToken: "oi_x"})
		wantCode(t, err, fault.RateLimited)
		must(rpc.Call(m.anonymous("198.51.100.7"), m.gateway, api.StartSignIn, &api.NewSignIn{ProviderID: p.ID}))(t)
	})
}
