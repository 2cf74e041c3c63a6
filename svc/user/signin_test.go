package user_test

import (
	"testing"

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
