package user_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user"
)

// exec changes the database.
func (m *harness) exec(query string, args ...any) {
	m.t.Helper()
	err := m.db.Tx(m.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// confirmedAccount registers a person who has confirmed the address, and signs in.
func (m *harness) confirmedAccount(email string) *api.Tokens {
	m.t.Helper()
	u := m.register(email, password)
	m.exec("UPDATE users SET email_verified = ? WHERE id = ?", true, u.ID)
	return m.login(email, password)
}

func (m *harness) identities(tokens *api.Tokens) *api.Identities {
	m.t.Helper()
	return must(rpc.Call(m.as(tokens), m.gateway, api.ListIdentities, &rpc.None{}))(m.t)
}

// link links a person of the provider with the person of a session.
func (c *corp) link(p *api.IdentityProvider, tokens *api.Tokens, person string) (*api.Identity, error) {
	c.m.t.Helper()
	started := must(rpc.Call(c.m.as(tokens), c.m.gateway, api.StartLink, &api.NewSignIn{ProviderID: p.ID}))(c.m.t)
	r := returned(started, c.browse(started.AuthorizeURL, person))
	return rpc.Call(c.m.as(tokens), c.m.gateway, api.FinishLink, &r)
}

// An account is linked by its address if that is proven on both sides, the provider vouches for it, and the account is
// nothing more. All others get one answer, and nobody's account.
func TestLinkByAddress(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, root := m.admin()
		p := c.known(admin, func(p *api.NewIdentityProvider) {
			p.CreatesAccounts, p.Domains = false, []string{"Corp.example", "example.org"}
		})
		var answers []string
		refused := func(what, person, email string, verified bool) {
			t.Helper()
			c.hire(person, email, verified)
			before := m.counted()
			_, err := c.signIn(p, person)
			if !fault.Is(err, fault.Forbidden) || m.counted() != before {
				t.Errorf("%s: %v", what, err)
				return
			}
			answers = append(answers, fault.From(err).Detail)
		}
		m.confirmedAccount("ada@corp.example")
		m.register("unproven@corp.example", password)
		m.confirmedAccount("eve@elsewhere.example")
		m.confirmedAccount("below@sub.corp.example")
		locked := m.confirmedAccount("locked@corp.example")
		must(rpc.Call(m.as(admin), m.gateway, api.LockUser, &api.UserRef{ID: m.me(locked).ID}))(t)
		m.confirmedAccount("factor@corp.example")
		m.enrol(m.login("factor@corp.example", password))

		refused("not verified there", "a", "ada@corp.example", false)
		refused("not confirmed here", "b", "unproven@corp.example", true)
		refused("another domain", "c", "eve@elsewhere.example", true)
		refused("a domain below", "d", "below@sub.corp.example", true)
		refused("an administrator", "e", root.Email, true)
		refused("with a second factor", "f", "factor@corp.example", true)
		refused("locked", "g", "locked@corp.example", true)
		refused("no account", "h", "none@corp.example", true)
		refused("no address", "i", "", true)
		refused("no mail address", "j", `"ada"@corp.example`, true)
		if slices.Sort(answers); len(slices.Compact(answers)) != 1 {
			t.Errorf("they differ: %q", answers)
		}

		c.hire("ada", "ADA@corp.example", true)
		me := m.me(c.mustSignIn(t, p, "ada"))
		if me.Email != "ada@corp.example" {
			t.Errorf("signed in as %+v", me)
		}
		var told api.IdentityEvent
		if err := json.Unmarshal([]byte(m.events(api.IdentityWasLinked.Subject, 1)[0]), &told); err != nil ||
			told.UserID != me.ID || told.Provider != "Corp" {
			t.Errorf("told %+v, %v", told, err)
		}
		c.hire("ada", "another@corp.example", false) // the subject says who it is, not the address
		if again := m.me(c.mustSignIn(t, p, "ada")); again.ID != me.ID {
			t.Errorf("signed in as %+v", again)
		}
		c.hire("second", "ada@corp.example", true) // the address was given to somebody else there
		c.mustSignIn(t, p, "second")
		m.tryLogin("192.0.2.1", "ada@corp.example", password)
	})
}

// Who is signed in links whatever is theirs elsewhere, in the session that has started it, and takes nobody's.
func TestLink(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "somebody@elsewhere.example", false)
		tokens, other := m.login2("ada@corp.example"), m.login2("eve@corp.example")
		started := must(rpc.Call(m.as(tokens), m.gateway, api.StartLink, &api.NewSignIn{ProviderID: p.ID}))(t)
		r := returned(started, c.browse(started.AuthorizeURL, "one"))
		_, err := rpc.Call(m.as(other), m.gateway, api.FinishLink, &r) // eve brings ada's browser, or ada eve's, to the end
		wantCode(t, err, fault.Forbidden)
		_, err = m.finishSignIn(r)
		wantCode(t, err, fault.Unauthenticated)
		linked := must(rpc.Call(m.as(tokens), m.gateway, api.FinishLink, &r))(t)
		if linked.Subject != "one" || linked.Email != "somebody@elsewhere.example" {
			t.Errorf("linked %+v", linked)
		}
		_, err = c.link(p, other, "one")
		wantCode(t, err, fault.Conflict)
		if again := must(c.link(p, tokens, "one"))(t); again.ID != linked.ID {
			t.Errorf("linked again as %+v", again)
		}
		m.events(api.IdentityWasLinked.Subject, 1)
		through := c.mustSignIn(t, p, "one")
		if m.me(through).ID != m.me(tokens).ID {
			t.Error("signed in as somebody else")
		}
		_, err = rpc.Call(m.as(other), m.gateway, api.DeleteIdentity, &api.IdentityRef{ID: linked.ID})
		wantCode(t, err, fault.NotFound)
		must(rpc.Call(m.as(tokens), m.gateway, api.DeleteIdentity, &api.IdentityRef{ID: linked.ID}))(t)
		_, err = rpc.Call(m.as(through), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.refresh(through.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		m.me(tokens)
		_, err = c.signIn(p, "one")
		wantCode(t, err, fault.Forbidden)
		m.events(api.IdentityWasUnlinked.Subject, 1)
	})
}

// login2 registers a person, and signs in.
func (m *harness) login2(email string) *api.Tokens {
	m.t.Helper()
	m.register(email, password)
	return m.login(email, password)
}

// An account without a password does all that others do, with a fresh proof in the place of the password.
func TestAccountWithoutPassword(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		(&neighbours{}).serve(t, m)
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		c.hire("two", "eve@corp.example", true)
		tokens := c.mustSignIn(t, p, "one")
		linked := m.identities(tokens).Items[0]
		_, err := rpc.Call(m.as(tokens), m.gateway, api.DeleteIdentity, &api.IdentityRef{ID: linked.ID})
		wantCode(t, err, fault.Conflict)

		m.clock.Advance(15 * time.Minute)
		tokens = must(m.refresh(tokens.RefreshToken))(t)
		stale := func(_ any, err error) {
			t.Helper()
			if f := wantCode(t, err, fault.Forbidden); len(f.Fields) != 1 || f.Fields[0].Field != "step_up" {
				t.Errorf("refused with %+v", f)
			}
		}
		another := "grace@corp.example"
		stale(rpc.Call(m.as(tokens), m.gateway, api.ChangeMyPassword, &api.ChangePassword{NewPassword: password}))
		stale(rpc.Call(m.as(tokens), m.gateway, api.UpdateMe, &api.UpdateProfile{Email: &another}))
		stale(rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{}))
		_, err = rpc.Call(m.as(tokens), m.gateway, api.ProveIdentity, &api.Proof{Password: "x"})
		wantCode(t, err, fault.Forbidden)

		started := must(m.startSignIn(api.NewSignIn{ProviderID: p.ID, Fresh: true}))(t)
		if !strings.Contains(started.AuthorizeURL, "max_age=0") || !strings.Contains(started.AuthorizeURL, "prompt=login") {
			t.Errorf("the provider is not told to ask: %s", started.AuthorizeURL)
		}
		c.change(func() { // which it did long ago
			c.forge = func(claims map[string]any) { claims["auth_time"] = m.clock.Now().Add(-10 * time.Minute).Unix() }
		})
		_, err = m.finishSignIn(returned(started, c.browse(started.AuthorizeURL, "one")))
		wantCode(t, err, fault.Unauthenticated)
		c.change(func() { c.forge = func(claims map[string]any) { delete(claims, "auth_time") } })
		stale(rpc.Call(m.as(c.mustSignIn(t, p, "one")), m.gateway, api.ChangeMyPassword, &api.ChangePassword{NewPassword: password}))
		c.change(func() { c.forge = func(claims map[string]any) { claims["auth_time"] = m.clock.Now().Unix() } })
		started = must(m.startSignIn(api.NewSignIn{ProviderID: p.ID, Fresh: true}))(t)
		tokens = must(m.finishSignIn(returned(started, c.browse(started.AuthorizeURL, "one"))))(t).Tokens
		must(rpc.Call(m.as(tokens), m.gateway, api.UpdateMe, &api.UpdateProfile{Email: &another}))(t)
		must(rpc.Call(m.as(tokens), m.gateway, api.ChangeMyPassword, &api.ChangePassword{NewPassword: password}))(t)
		m.login("ada@corp.example", password)
		if !m.identities(tokens).HasPassword {
			t.Error("it has no password")
		}
		_, err = rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{})
		wantCode(t, err, fault.Invalid) // now it has one, which is asked for
		must(rpc.Call(m.as(tokens), m.gateway, api.DeleteIdentity, &api.IdentityRef{ID: linked.ID}))(t)

		tokens = c.mustSignIn(t, p, "two")
		out := must(m.export(tokens))(t)
		if len(out.Identities) != 1 || out.Identities[0].Subject != "two" || out.Sessions[0].ProviderID != p.ID {
			t.Errorf("exported %+v", out.Head)
		}
		must(rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{}))(t)
		if n := m.counted(); n[2] != 0 {
			t.Errorf("%d identities are left", n[2])
		}
		if m.me(c.mustSignIn(t, p, "two")).ID == out.User.ID {
			t.Error("the account is the old one")
		}
	})
}

// A second factor here is asked for, unless the provider has asked for one and that counts.
func TestSecondFactorOfProvider(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, root := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "x@elsewhere.example", false)
		c.hire("root", "root@elsewhere.example", false)
		tokens := m.login2(ada)
		a := m.enrol(tokens)
		must(c.link(p, tokens, "one"))(t)
		asked := must(c.signIn(p, "one"))(t)
		if asked.Tokens != nil || asked.SecondFactorChallenge == nil {
			t.Fatalf("signed in with %+v", asked)
		}
		through := must(m.second("192.0.2.1", api.SecondStep{Challenge: asked.Challenge, FactorProof: proofOf(a.code(0))}))(t)
		for _, info := range must(rpc.Call(m.as(through), m.gateway, api.ListSessions, &api.SessionQuery{}))(t).Items {
			if info.Current != (info.ProviderID == p.ID) {
				t.Errorf("session %+v", info)
			}
		}
		for claim, direct := range map[string]bool{"amr": true, "acr": true, "other": false} {
			c.change(func() {
				c.forge = func(claims map[string]any) {
					if claims[claim] = "mfa"; claim == "amr" {
						claims[claim] = []string{"pwd", "mfa"}
					}
				}
			})
			if got := must(c.signIn(p, "one"))(t); (got.Tokens != nil) != direct {
				t.Errorf("with %s: %+v", claim, got)
			}
		}

		c.change(nil)
		must(c.link(p, admin, "root"))(t)
		if err := m.live.Change(api.AdminFactor.Is(true)); err != nil {
			t.Fatal(err)
		}
		mustEnrol := func(tokens *api.Tokens) bool {
			t.Helper()
			return must(rpc.Call(t.Context(), m.gateway, api.CheckSession, &api.SessionCheck{UserID: root.ID,
				SessionID: rpc.Caller(m.as(tokens)).Session}))(t).MustEnrol
		}
		if !mustEnrol(c.mustSignIn(t, p, "root")) {
			t.Error("an administrator without a second factor may do anything")
		}
		c.change(func() { c.forge = func(claims map[string]any) { claims["acr"] = "mfa" } })
		if mustEnrol(c.mustSignIn(t, p, "root")) || !mustEnrol(admin) {
			t.Error("the provider's second factor does not count, or counts for other sessions")
		}
	})
}

// What began at a provider ends when that is switched off or removed; administrators do so, and it is written down.
func TestIdentityProviders(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		c.hire("two", "x@elsewhere.example", true)
		own := m.login2(ada)
		a := m.enrol(own)
		must(c.link(p, own, "two"))(t)
		through := c.mustSignIn(t, p, "one")
		waiting := must(c.signIn(p, "two"))(t)
		under := must(m.startSignIn(api.NewSignIn{ProviderID: p.ID}))(t)
		back := returned(under, c.browse(under.AuthorizeURL, "one"))

		patch := func(change api.PatchIdentityProvider) (*api.IdentityProvider, error) {
			change.ID = p.ID
			return rpc.Call(m.as(admin), m.gateway, api.UpdateIdentityProvider, &change)
		}
		off, on, name := false, true, " Corporation "
		_, err := patch(api.PatchIdentityProvider{IfMatch: `"zz"`, Enabled: &off})
		wantCode(t, err, fault.Precondition)
		if got := must(patch(api.PatchIdentityProvider{Enabled: &off, Name: &name}))(t); got.Enabled || got.Name != "Corporation" ||
			got.Revision != 2 || !got.HasSecret || got.ClientID != clientID {
			t.Errorf("changed to %+v", got)
		}
		_, err = rpc.Call(m.as(through), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.refresh(through.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		if !m.revoked(through) || m.revoked(own) {
			t.Error("the wrong tokens are taken back")
		}
		_, err = m.second("192.0.2.1", api.SecondStep{Challenge: waiting.Challenge, FactorProof: proofOf(a.code(0))})
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.finishSignIn(back)
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.startSignIn(api.NewSignIn{ProviderID: p.ID})
		wantCode(t, err, fault.NotFound)
		m.me(own) // which did not begin there
		if list := must(rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.ListSignInProviders, &rpc.None{}))(t); len(list.Items) != 0 {
			t.Errorf("one can sign in through %+v", list.Items)
		}
		must(patch(api.PatchIdentityProvider{Enabled: &on}))(t)
		c.mustSignIn(t, p, "one")

		_, err = rpc.Call(m.as(admin), m.gateway, api.CreateIdentityProvider, &api.NewIdentityProvider{Name: "Again",
			Issuer: c.issuer, ClientID: "x", RedirectURIs: []string{page}})
		wantCode(t, err, fault.Conflict)
		for field, change := range map[string]api.NewIdentityProvider{
			"issuer":        {Issuer: "http://login.example.org"},
			"redirect_uris": {RedirectURIs: []string{"javascript:alert(1)"}},
			"domains":       {Domains: []string{"*.example.org"}},
			"second_factor": {SecondFactor: []string{"m f a"}},
			"name":          {Name: "Co\nrp"},
			"client_id":     {ClientID: strings.Repeat("x", 301)},
		} {
			req := api.NewIdentityProvider{Name: "Corp", Issuer: "https://login.example.org", ClientID: "x", RedirectURIs: []string{page}}
			text := must(json.Marshal(change))(t)
			var given map[string]json.RawMessage
			if err := json.Unmarshal(text, &given); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(`{"`+field+`":`+string(given[field])+`}`), &req); err != nil {
				t.Fatal(err)
			}
			_, err := rpc.Call(m.as(admin), m.gateway, api.CreateIdentityProvider, &req)
			if f := wantCode(t, err, fault.Invalid); f.Fields[0].Field != field {
				t.Errorf("%s: %+v", field, f)
			}
		}
		for _, err := range []error{
			errOf(rpc.Call(m.as(own), m.gateway, api.ListIdentityProviders, &rpc.None{})),
			errOf(rpc.Call(m.as(own), m.gateway, api.DeleteIdentityProvider, &api.IdentityProviderRef{ID: p.ID})),
			errOf(rpc.Call(m.as(own), m.gateway, api.CreateIdentityProvider, &api.NewIdentityProvider{Name: "Corp"})),
		} {
			wantCode(t, err, fault.Forbidden)
		}
		var sealed string
		if err := m.db.Read().NewRaw("SELECT client_secret FROM identity_providers").Scan(t.Context(), &sealed); err != nil ||
			!strings.HasPrefix(sealed, "sealed.") {
			t.Errorf("the secret is stored as %q, %v", sealed, err)
		}

		must(rpc.Call(m.as(admin), m.gateway, api.DeleteIdentityProvider, &api.IdentityProviderRef{ID: p.ID}))(t)
		_, err = rpc.Call(m.as(admin), m.gateway, api.GetIdentityProvider, &api.IdentityProviderRef{ID: p.ID})
		wantCode(t, err, fault.NotFound)
		if n := m.counted(); n[2] != 0 || n[0] != 3 {
			t.Errorf("left are %v accounts, sessions and identities", n)
		}
		m.me(own)
		acts := map[string]int{}
		testkit.Eventually(t, 10*time.Second, func() error {
			clear(acts)
			for _, msg := range m.nats.Messages(api.AuditStream) {
				var line api.AuditLine
				if err := json.Unmarshal(msg.Data, &line); err != nil {
					return err
				}
				if line.Object == p.ID.String() {
					acts[line.Act]++
				}
				if strings.Contains(string(msg.Data), "secret of the client") {
					t.Errorf("the audit log has a secret: %s", msg.Data)
				}
			}
			if acts["user.create_identity_provider"] != 1 || acts["user.update_identity_provider"] != 2 ||
				acts["user.delete_identity_provider"] != 1 {
				return fault.New(fault.NotFound, "lines %v", acts)
			}
			return nil
		})
	})
}

// A provider's word that a person has left ends what that person began there, once, and nothing else does.
func TestProviderLogout(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		c.hire("two", "eve@corp.example", true)
		c.hire("other", "x@elsewhere.example", true)
		own := m.login2(ada)
		must(c.link(p, own, "other"))(t)
		tokens, eve, other := c.mustSignIn(t, p, "one"), c.mustSignIn(t, p, "two"), c.mustSignIn(t, p, "other")
		send := func(change func(claims map[string]any)) error { return c.leave(p, change) }
		set := func(name string, value any) func(map[string]any) { return func(m map[string]any) { m[name] = value } }
		for what, change := range map[string]func(map[string]any){
			"another issuer": set("iss", "https://login.example.org"), "another audience": set("aud", "other"),
			"over": set("exp", time.Now().Add(-time.Minute).Unix()), "an ID token": set("nonce", "x"),
			"no event": set("events", map[string]any{}), "no one": func(m map[string]any) { delete(m, "sub") },
			"no id": set("jti", ""), "for ever": set("exp", time.Now().Add(48*time.Hour).Unix()),
		} {
			if err := send(change); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, body := range []string{"", "logout_token=x", "%zz"} {
			_, err := rpc.Call(m.anonymous("192.0.2.9"), m.gateway, api.ReceiveProviderLogout, &api.ProviderLogout{ID: p.ID, Body: []byte(body)})
			wantCode(t, err, fault.Invalid)
		}
		for _, stays := range []*api.Tokens{tokens, eve, other, own} {
			m.me(stays)
		}
		for _, change := range []func(map[string]any){set("sub", "nobody"), set("jti", "2"), set("jti", "2")} {
			if err := send(change); err != nil {
				t.Fatal(err)
			}
		}
		_, err := rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		if !m.revoked(tokens) || m.revoked(eve) {
			t.Error("the wrong tokens are taken back")
		}
		again := c.mustSignIn(t, p, "one")
		if err := send(set("jti", "2")); err != nil { // one that was overheard
			t.Fatal(err)
		}
		for _, stays := range []*api.Tokens{again, eve, other, own} {
			m.me(stays)
		}
		if err := send(func(m map[string]any) { m["sub"], m["jti"] = "other", "3" }); err != nil {
			t.Fatal(err)
		}
		_, err = rpc.Call(m.as(other), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		m.me(own) // which did not begin there
	})
}

func errOf[T any](_ T, err error) error { return err }

// Of several people at once with one answer one is in, and one new person who comes several times at once gets one
// account.
func TestSignInsAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		m.twin()
		answer := func() api.ReturnedSignIn {
			started := must(m.startSignIn(api.NewSignIn{ProviderID: p.ID}))(t)
			return returned(started, c.browse(started.AuthorizeURL, "one"))
		}
		run := func(answers ...api.ReturnedSignIn) (in []*api.Tokens) {
			t.Helper()
			var mu sync.Mutex
			var wg sync.WaitGroup
			for _, r := range answers {
				wg.Go(func() {
					got, err := m.finishSignIn(r)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						in = append(in, got.Tokens)
					} else if !fault.Is(err, fault.Unauthenticated) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return in
		}
		r := answer()
		if in := run(r, r, r, r, r, r); len(in) != 1 {
			t.Errorf("one answer lets %d in", len(in))
		}
		m.exec("DELETE FROM users WHERE email = ?", "ada@corp.example")
		in := run(answer(), answer(), answer(), answer())
		if n := m.counted(); len(in) != 4 || n[0] != 2 || n[2] != 1 {
			t.Errorf("%d are in, with %v accounts, sessions and identities", len(in), n)
		}
	})
}

// A sign-in that meets the end of its provider is ended by it, or is refused.
func TestSignInMeetsTheEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		c := newCorp(m)
		admin, _ := m.admin()
		p := c.known(admin, nil)
		c.hire("one", "ada@corp.example", true)
		c.mustSignIn(t, p, "one")
		m.twin()
		for range 5 {
			started := must(m.startSignIn(api.NewSignIn{ProviderID: p.ID}))(t)
			r := returned(started, c.browse(started.AuthorizeURL, "one"))
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := m.finishSignIn(r); err != nil && !fault.Is(err, fault.Unauthenticated) {
					t.Error(err)
				}
			})
			off, on := false, true
			must(rpc.Call(m.as(admin), m.gateway, api.UpdateIdentityProvider, &api.PatchIdentityProvider{ID: p.ID, Enabled: &off}))(t)
			wg.Wait()
			var left int
			if err := m.db.Read().NewRaw("SELECT count(*) FROM sessions WHERE provider_id <> ''").Scan(t.Context(), &left); err != nil ||
				left != 0 {
				t.Fatalf("%d sessions are left, %v", left, err)
			}
			must(rpc.Call(m.as(admin), m.gateway, api.UpdateIdentityProvider, &api.PatchIdentityProvider{ID: p.ID, Enabled: &on}))(t)
		}
	})
}

func TestLostCommitsOfSignIns(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	m := newHarness(t, testkit.Open(t, lose.URL, "user", user.Migrations()))
	c := newCorp(m)
	admin, _ := m.admin()
	c.hire("one", "ada@corp.example", true)
	c.hire("two", "x@elsewhere.example", false)
	var p *api.IdentityProvider
	var linked *api.Identity
	var tokens *api.Tokens
	off := false
	for _, step := range []struct {
		statement string
		run       func() error
	}{
		{`INSERT INTO "identity_providers"`, func() (err error) {
			p = c.known(admin, nil)
			return nil
		}},
		{`INSERT INTO "identities"`, func() error {
			got, err := c.signIn(p, "one")
			if err == nil {
				tokens = got.Tokens
			}
			return err
		}},
		{`INSERT INTO "identities"`, func() (err error) {
			linked, err = c.link(p, tokens, "two")
			return err
		}},
		{`INSERT INTO "sessions"`, func() error { return errOf(c.signIn(p, "two")) }},
		{"DELETE FROM identities", func() error {
			return errOf(rpc.Call(m.as(tokens), m.gateway, api.DeleteIdentity, &api.IdentityRef{ID: linked.ID}))
		}},
		{`UPDATE "identity_providers"`, func() error {
			return errOf(rpc.Call(m.as(admin), m.gateway, api.UpdateIdentityProvider, &api.PatchIdentityProvider{ID: p.ID, Enabled: &off}))
		}},
		{"DELETE FROM identity_providers", func() error {
			return errOf(rpc.Call(m.as(admin), m.gateway, api.DeleteIdentityProvider, &api.IdentityProviderRef{ID: p.ID}))
		}},
	} {
		lose.Next(func(query []byte) bool { return strings.Contains(string(query), step.statement) })
		if err := step.run(); err != nil || !lose.Lost() {
			t.Fatalf("%s: %v, lost %t", step.statement, err, lose.Lost())
		}
	}
	m.events(api.IdentityWasLinked.Subject, 1)
	if n := m.counted(); n[0] != 2 || n[2] != 0 {
		t.Errorf("left are %v accounts, sessions and identities", n)
	}
}
