package user_test

import (
	"crypto/rsa"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// leave sends a logout token about the provider's person "one", as change leaves it.
func (c *corp) leave(p *api.IdentityProvider, change func(claims map[string]any)) error {
	c.m.t.Helper()
	claims := map[string]any{"iss": c.issuer, "aud": clientID, "sub": "one", "jti": "1", "iat": time.Now().Unix(),
		"exp":    time.Now().Add(2 * time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
	change(claims)
	key := must(c.store.SigningKey(c.m.t.Context()))(c.m.t)
	token := c.signed(claims, rsaKey(key.Key().(*rsa.PrivateKey), key.ID()))
	_, err := rpc.Call(c.m.anonymous("192.0.2.9"), c.m.gateway, api.ReceiveProviderLogout, &api.ProviderLogout{ID: p.ID,
		Body: []byte(url.Values{"logout_token": {token}}.Encode())})
	return err
}

// A logout token that names a session at the provider ends what began in that session, and a person's sessions of which
// it is not known where they began.
func TestLogoutOfAProviderSession(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		c.hire("two", "eve@corp.example", true)
		within := func(session, person string) *api.Tokens {
			t.Helper()
			c.change(func() {
				c.forge = func(claims map[string]any) {
					if session != "" {
						claims["sid"] = session
					}
				}
			})
			return c.mustSignIn(t, p, person)
		}
		home, work, again, eve, unknown := within("home", "one"), within("work", "one"), within("work", "one"),
			within("her own", "two"), within("", "one")
		over := func(want bool, all ...*api.Tokens) {
			t.Helper()
			for _, tokens := range all {
				_, err := rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{})
				if fault.Is(err, fault.Unauthenticated) != want || m.revoked(tokens) != want {
					t.Errorf("ended: %v, revoked: %v", err, m.revoked(tokens))
				}
			}
		}
		leave := func(id, subject, session string) {
			t.Helper()
			err := c.leave(p, func(claims map[string]any) {
				if claims["jti"], claims["sid"], claims["sub"] = id, session, subject; subject == "" {
					delete(claims, "sub")
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		leave("1", "", "another")
		over(false, home, work, again, eve, unknown)
		leave("2", "", "work")
		over(true, work, again)
		over(false, home, eve, unknown)
		leave("3", "one", "her own") // which is not of this person
		over(true, unknown)
		over(false, home, eve)
		leave("4", "one", "home")
		over(true, home)
		over(false, eve)

		asked := m.enrol(eve)
		c.change(func() { c.forge = func(claims map[string]any) { claims["sid"] = "later" } })
		waits := must(c.signIn(p, "two"))(t)
		leave("5", "", "later")
		_, err := m.second("192.0.2.1", api.SecondStep{Challenge: waits.Challenge, FactorProof: proofOf(asked.code(0))})
		wantCode(t, err, fault.Unauthenticated)
		waits = must(c.signIn(p, "two"))(t)
		in := must(m.second("192.0.2.1", api.SecondStep{Challenge: waits.Challenge, FactorProof: proofOf(asked.code(0))}))(t)
		over(false, in)
		leave("6", "", "later")
		over(true, in)
		over(false, eve)
	})
}

// Who signs in through a provider is told where to end the session there, if the provider offers it.
func TestLogoutAtTheProvider(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		got := must(c.signIn(p, "one"))(t)
		where := must(url.Parse(got.ProviderLogoutURL))(t)
		hint := where.Query().Get("id_token_hint")
		if !strings.HasPrefix(got.ProviderLogoutURL, c.issuer+"/") || where.Query().Get("client_id") != clientID ||
			strings.Count(hint, ".") != 2 {
			t.Fatalf("the session ends at %q", got.ProviderLogoutURL)
		}
		if _, status := c.get(got.ProviderLogoutURL); status >= 400 { // it is good at the provider
			t.Errorf("the provider answers %d", status)
		}
		m.enrol(got.Tokens)
		if asked := must(c.signIn(p, "one"))(t); asked.Tokens != nil || asked.ProviderLogoutURL == "" {
			t.Errorf("before the second factor: %+v", asked)
		}
		for _, endpoint := range []any{nil, "", "http://elsewhere.example/end", "javascript:alert(1)"} {
			m.clock.Advance(2 * time.Hour) // what it says of itself is read again
			c.change(func() {
				c.metadata = func(document map[string]any) { document["end_session_endpoint"] = endpoint }
				c.forge = func(claims map[string]any) { // by the clock of this system
					claims["iat"], claims["exp"] = m.clock.Now().Unix(), m.clock.Now().Add(time.Minute).Unix()
				}
			})
			if got := must(c.signIn(p, "one"))(t); got.ProviderLogoutURL != "" {
				t.Errorf("%v: the session ends at %q", endpoint, got.ProviderLogoutURL)
			}
		}
	})
}
