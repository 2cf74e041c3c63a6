package user_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"crypto/rand"
	"crypto/rsa"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A provider that sends a person on to another one, with its own state, does not get the code of that one: the answer
// says whose it is, by iss or by the page to which it comes.
func TestMixedUpProviders(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		evil, honest := newCorp(m), newCorp(m)
		admin, _ := m.admin()
		at := func(c *corp, pages ...string) *api.IdentityProvider {
			return c.known(admin, func(p *api.NewIdentityProvider) { p.RedirectURIs = pages })
		}
		e, h := at(evil, page+"/{id}", page), at(honest, page, page+"/other")
		if got := e.RedirectURIs[0]; got != page+"/"+e.ID.String() {
			t.Fatalf("the page of the provider is %s", got)
		}
		honest.hire("one", "ada@corp.example", true)
		// began begins at the evil one, whose page sends the person on to the honest one.
		began := func(redirect string) api.ReturnedSignIn {
			t.Helper()
			started := must(m.startSignIn(api.NewSignIn{ProviderID: e.ID, RedirectURI: redirect}))(t)
			there := must(url.Parse(must(m.startSignIn(api.NewSignIn{ProviderID: h.ID, RedirectURI: page}))(t).AuthorizeURL))(t)
			q := there.Query() // of an attempt of the attacker's own, who so knows verifier and nonce
			q.Set("state", must(url.Parse(started.AuthorizeURL))(t).Query().Get("state"))
			there.RawQuery = q.Encode()
			return returned(started, honest.browse(there.String(), "one"))
		}
		for what, r := range map[string]func() api.ReturnedSignIn{
			"no page":        func() api.ReturnedSignIn { return began(e.RedirectURIs[0]) },
			"another's page": func() (r api.ReturnedSignIn) { r = began(e.RedirectURIs[0]); r.RedirectURI = page; return r },
			"a shared page":  func() (r api.ReturnedSignIn) { r = began(page); r.RedirectURI = page; return r },
			"another's iss": func() (r api.ReturnedSignIn) {
				r = began(e.RedirectURIs[0])
				r.RedirectURI, r.Issuer = e.RedirectURIs[0], honest.issuer
				return r
			},
		} {
			_, err := m.finishSignIn(r())
			wantCode(t, err, fault.Unauthenticated)
			if n := evil.count("/oauth/token"); n != 0 {
				t.Fatalf("%s: the provider is told the code of another", what)
			}
		}

		finish := func(redirect, said, iss string) error {
			t.Helper()
			started := must(m.startSignIn(api.NewSignIn{ProviderID: h.ID, RedirectURI: redirect}))(t)
			r := returned(started, honest.browse(started.AuthorizeURL, "one"))
			r.RedirectURI, r.Issuer = said, iss
			return errOf(m.finishSignIn(r))
		}
		for _, err := range []error{finish(page+"/other", page+"/other", ""), finish(page, "", honest.issuer),
			finish(page, page, honest.issuer)} {
			if err != nil {
				t.Error(err)
			}
		}
		for _, err := range []error{finish(page+"/other", page, ""), finish(page, page, ""), finish(page, page+"/other", honest.issuer)} {
			wantCode(t, err, fault.Unauthenticated)
		}
		off := false
		must(rpc.Call(m.as(admin), m.gateway, api.UpdateIdentityProvider, &api.PatchIdentityProvider{ID: e.ID, Enabled: &off}))(t)
		if err := finish(page, "", ""); err != nil { // there is no other
			t.Error(err)
		}
	})
}

// Tokens that a sloppy provider signs, or a stranger, let no one in and break nothing.
func TestSloppyTokens(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		stranger := must(rsa.GenerateKey(rand.Reader, 2048))(t)
		member := func(name string, value any) func() {
			return func() { c.forge = func(claims map[string]any) { claims[name] = value } }
		}
		for what, forge := range map[string]func(){
			"a key in the token": func() {
				c.sign = func(claims map[string]any) string {
					signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: stranger}},
						&jose.SignerOptions{EmbedJWK: true}))(t)
					return must(must(signer.Sign(must(json.Marshal(claims))(t)))(t).CompactSerialize())(t)
				}
			},
			"a token as an object": func() {
				c.sign = func(claims map[string]any) string {
					key := must(c.store.SigningKey(context.Background()))(t)
					signer := must(jose.NewSigner(rsaKey(key.Key().(*rsa.PrivateKey), key.ID()), nil))(t)
					return must(signer.Sign(must(json.Marshal(claims))(t)))(t).FullSerialize()
				}
			},
			"a subject that no database takes":  member("sub", "a\x00b"),
			"a session that no database takes":  member("sid", "a\x00b"),
			"a long subject":                    member("sub", strings.Repeat("x", 256)),
			"a subject that a person has named": member("Sub", "root"),
			"an address that one has named":     member("EMAIL", "root@corp.example"),
			"a proof that one has named":        member("Email_Verified", true),
			"a long s":                          member("ſub", "root"),
			"a long token":                      member("x", strings.Repeat("x", 100_000)),
			"no object":                         member("email", []int{1}),
			"a user info that one has named": func() {
				c.answer = userInfo(`{"sub":"one","email":"ada@corp.example","Email":"root@corp.example","email_verified":true}`)
			},
		} {
			before := m.counted()
			c.change(forge)
			_, err := c.signIn(p, "one")
			if !fault.Is(err, fault.Unauthenticated) || m.counted() != before {
				t.Errorf("%s: %v", what, err)
			}
		}
		c.change(func() {
			c.forge = func(claims map[string]any) { claims["auth_time"], claims["Given_Name"] = 1e300, "x" }
		})
		c.mustSignIn(t, p, "one")
		for _, claim := range []string{"sub", "sid"} {
			if err := c.leave(p, func(claims map[string]any) { claims[claim] = "a\x00b" }); !fault.Is(err, fault.Invalid) {
				t.Errorf("a logout token with %s: %v", claim, err)
			}
		}
	})
}

// What a provider answers is written to the log as an excerpt.
func TestLongAnswersOfProviders(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.change(func() {
			c.answer = func(w http.ResponseWriter, _ string) bool {
				w.WriteHeader(http.StatusTeapot)
				io.WriteString(w, strings.Repeat("<script>x\n", 50_000))
				return true
			}
		})
		_, err := m.startSignIn(api.NewSignIn{ProviderID: p.ID})
		wantCode(t, err, fault.Unavailable)
		var longest int
		for line := range strings.Lines(m.log.String()) {
			longest = max(longest, len(line))
		}
		if longest == 0 || longest > 2000 {
			t.Errorf("a line of the log has %d bytes", longest)
		}
	})
}

// A provider that does not answer holds up the sign-ins at no other.
func TestSlowProviderHoldsUpNoOther(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		const many = 40
		release := make(chan struct{})
		var hanging, over atomic.Int32
		var slow *httptest.Server
		slow = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				hanging.Add(1)
				<-release
				return
			}
			fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"jwks_uri":%[1]q}`,
				slow.URL, slow.URL+"/authorize", slow.URL+"/token")
		}))
		c := newCorp(m)
		admin, _ := m.admin()
		good := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		bad := must(rpc.Call(m.as(admin), m.gateway, api.CreateIdentityProvider, &api.NewIdentityProvider{Name: "Slow",
			Issuer: slow.URL, ClientID: "x", RedirectURIs: []string{"http://localhost/slow"}}))(t)
		started := must(m.startSignIn(api.NewSignIn{ProviderID: good.ID}))(t)
		r := returned(started, c.browse(started.AuthorizeURL, "one"))
		r.RedirectURI = page
		var wg sync.WaitGroup
		t.Cleanup(func() {
			close(release)
			wg.Wait()
			slow.Close()
		})
		var answers []api.ReturnedSignIn
		for range many {
			s := must(m.startSignIn(api.NewSignIn{ProviderID: bad.ID}))(t)
			answers = append(answers, api.ReturnedSignIn{LoginToken: s.LoginToken, Code: "x",
				RedirectURI: "http://localhost/slow", State: must(url.Parse(s.AuthorizeURL))(t).Query().Get("state")})
		}
		for _, back := range answers {
			wg.Go(func() {
				m.finishSignIn(back)
				over.Add(1)
			})
		}
		testkit.Eventually(t, 4*time.Second, func() error {
			if h, o := hanging.Load(), over.Load(); h == 0 || h+o < many {
				return fmt.Errorf("%d hang, %d are over", h, o)
			}
			return nil
		})
		must(m.finishSignIn(r))(t)
	})
}

// Who registers with the address of another cannot come back through what was linked meanwhile: when the owner of the
// address proves it by a reset, no way to sign in is left that was there before.
func TestResetEndsWhatStrangersLinked(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("eve", "eve@elsewhere.example", true)
		c.hire("own", "own@elsewhere.example", true)
		tokens := m.login2("ada@corp.example") // eve, who cannot read its mail
		must(c.link(p, tokens, "eve"))(t)
		reset := func(email string, n int) {
			t.Helper()
			m.requestReset(email)
			minted := must(m.mint(m.lastReset(n).ResetID))(t)
			if err := m.confirm(minted.Token, "another good passphrase"); err != nil {
				t.Fatal(err)
			}
		}
		reset("ada@corp.example", 1)
		_, err := c.signIn(p, "eve")
		wantCode(t, err, fault.Forbidden)
		m.events(api.IdentityWasUnlinked.Subject, 1)

		must(c.link(p, m.login("ada@corp.example", "another good passphrase"), "own"))(t)
		m.exec("UPDATE users SET password = 'x' WHERE email = 'ada@corp.example'") // so that the reset brings another one
		reset("ada@corp.example", 2)
		c.mustSignIn(t, p, "own") // it was confirmed when that was linked
	})
}

// Who registers with the address of another does not stop its owner from signing in through a provider that vouches for
// it: the owner has the account then, and nothing that the stranger opened it with opens it any more.
func TestProviderTakesOverWhatNobodyHasProven(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, root := m.admin()
		p := c.known(admin, nil)
		c.hire("eve", "eve@elsewhere.example", true)
		eve := m.login2("ada@corp.example")
		must(c.link(p, eve, "eve"))(t)
		m.enrol(eve)

		c.hire("ada", "ada@corp.example", true)
		ada := c.mustSignIn(t, p, "ada")
		if me := m.me(ada); me.ID != m.identity(eve).User || !me.EmailVerified || m.revoked(ada) || !m.revoked(eve) {
			t.Errorf("signed in as %+v, revoked %t, the stranger %t", me, m.revoked(ada), m.revoked(eve))
		}
		_, err := rpc.Call(m.as(eve), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.tryLogin("192.0.2.1", "ada@corp.example", password)
		wantCode(t, err, fault.Unauthenticated)
		_, err = c.signIn(p, "eve")
		wantCode(t, err, fault.Forbidden)
		m.events(api.IdentityWasUnlinked.Subject, 1)
		m.events(api.PasswordChanged.Subject, 1)
		if again := c.mustSignIn(t, p, "ada"); m.me(again).ID != m.me(ada).ID {
			t.Error("signed in as somebody else")
		}

		m.exec("UPDATE users SET email_verified = ?, email = 'root@corp.example', email_key = 'root@corp.example' WHERE id = ?",
			false, root.ID)
		c.hire("root", "root@corp.example", true)
		_, err = c.signIn(p, "root") // an administrator is more than an address
		wantCode(t, err, fault.Forbidden)
	})
}
