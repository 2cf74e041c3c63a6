package user_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/shared/token"
)

// identity returns what of an access token can be taken back.
func (m *harness) identity(tokens *api.Tokens) revocation.Identity {
	m.t.Helper()
	c, err := token.Verify(tokens.AccessToken, m.keys(), m.clock.Now())
	if err != nil {
		m.t.Fatal(err)
	}
	return revocation.Identity{User: c.User, Session: c.Session, Generation: c.Generation}
}

// revoked reports whether a token is taken back by what is stored at this moment.
func (m *harness) revoked(tokens *api.Tokens) bool {
	m.t.Helper()
	i := m.identity(tokens)
	for _, msg := range m.nats.Messages(api.RevocationsStream) {
		var f revocation.Fact
		if err := json.Unmarshal(msg.Data, &f); err != nil {
			m.t.Fatal(err)
		}
		if f.Revokes(i) {
			return true
		}
	}
	return false
}

// Whatever ends a session or changes what a person may do takes the access tokens back before it is answered, and no
// others.
func TestWhatTakesTokensBack(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		root, _ := m.admin()
		neighbours := &neighbours{}
		neighbours.serve(t, m)
		roles := func(to ...string) func(*api.User, *api.Tokens) error {
			return func(u *api.User, _ *api.Tokens) error {
				_, err := rpc.Call(m.as(root), m.gateway, api.SetUserRoles,
					&api.SetRoles{ID: u.ID, Roles: append([]string{}, to...)})
				return err
			}
		}
		for i, c := range []struct {
			name           string
			admin          bool
			do             func(*api.User, *api.Tokens) error
			own, other     bool // is the token of the session that does it taken back, and that of the other one?
			refresh, stays bool // can the one be refreshed, and the other?
		}{
			{"logout", false, func(_ *api.User, own *api.Tokens) error {
				_, err := rpc.Call(m.as(own), m.gateway, api.EndSession, &rpc.None{})
				return err
			}, true, false, false, true},
			{"another long sentence", false, func(_ *api.User, own *api.Tokens) error {
				_, err := rpc.Call(m.as(own), m.gateway, api.ChangeMyPassword,
					&api.ChangePassword{CurrentPassword: password, NewPassword: "a different sentence"})
				return err
			}, false, true, true, false},
			{"deletion", false, func(_ *api.User, own *api.Tokens) error {
				_, err := rpc.Call(m.as(own), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: password})
				return err
			}, true, true, false, false},
			{"a used refresh token", false, func(_ *api.User, own *api.Tokens) error {
				must(m.refresh(own.RefreshToken))(t)
				_, err := m.refresh(own.RefreshToken)
				wantCode(t, err, fault.Unauthenticated)
				return nil
			}, true, false, false, true},
			{"becoming an administrator", false, roles("admin"), true, true, true, true},
			{"being one no longer", true, roles(), true, true, true, true},
			{"staying what one is", true, roles("admin"), false, false, true, true},
		} {
			email := fmt.Sprintf("person%d@example.org", i)
			u := m.register(email, password)
			if c.admin {
				if err := roles("admin")(u, nil); err != nil {
					t.Fatal(err)
				}
			}
			own, other := m.login(email, password), m.login(email, password)
			if m.revoked(own) || m.revoked(other) {
				t.Fatalf("%s: revoked before", c.name)
			}
			if err := c.do(u, own); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if got := m.revoked(own); got != c.own {
				t.Errorf("%s: own token revoked: %t", c.name, got)
			}
			if got := m.revoked(other); got != c.other {
				t.Errorf("%s: the other's revoked: %t", c.name, got)
			}
			for _, x := range []struct {
				tokens *api.Tokens
				can    bool
			}{{own, c.refresh}, {other, c.stays}} {
				fresh, err := m.refresh(x.tokens.RefreshToken)
				if (err == nil) != x.can {
					t.Errorf("%s: refresh: %v", c.name, err)
				}
				if err == nil && m.revoked(fresh) {
					t.Errorf("%s: what a refresh gives is revoked", c.name)
				}
			}
			if m.revoked(root) {
				t.Fatalf("%s: a stranger's token is revoked", c.name)
			}
		}
	})
}

// Who has signed in at a venue is signed out there by what ends all sessions of a person, and by nothing else.
func TestSignedInAtVenue(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		(&neighbours{}).serve(t, m)
		admin, _ := m.admin()
		for i, c := range []struct {
			name string
			do   func(*api.User, *api.Tokens) error
			out  bool
		}{
			{"nothing", func(*api.User, *api.Tokens) error { return nil }, false},
			{"a log-out elsewhere", func(_ *api.User, own *api.Tokens) error {
				_, err := rpc.Call(m.as(own), m.gateway, api.EndSession, &rpc.None{})
				return err
			}, false},
			{"a log-out everywhere", func(_ *api.User, own *api.Tokens) error {
				_, err := rpc.Call(m.as(own), m.gateway, api.EndAllSessions, &rpc.None{})
				return err
			}, true},
			{"another password", func(_ *api.User, own *api.Tokens) error {
				_, err := rpc.Call(m.as(own), m.gateway, api.ChangeMyPassword,
					&api.ChangePassword{CurrentPassword: password, NewPassword: "a different sentence"})
				return err
			}, true},
			{"other roles", func(u *api.User, _ *api.Tokens) error {
				_, err := rpc.Call(m.as(admin), m.gateway, api.SetUserRoles, &api.SetRoles{ID: u.ID, Roles: []string{"admin"}})
				return err
			}, true},
			{"an administrator's word", func(u *api.User, _ *api.Tokens) error {
				_, err := rpc.Call(m.as(admin), m.gateway, api.EndUserSessions, &api.UserRef{ID: u.ID})
				return err
			}, true},
			{"a lock", func(u *api.User, _ *api.Tokens) error {
				_, err := rpc.Call(m.as(admin), m.gateway, api.LockUser, &api.UserRef{ID: u.ID})
				return err
			}, true},
			{"the end of the account", func(_ *api.User, own *api.Tokens) error {
				_, err := rpc.Call(m.as(own), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: password})
				return err
			}, true},
		} {
			email := fmt.Sprintf("staff%d@example.org", i)
			u := m.register(email, password)
			own := m.login(email, password)
			there := must(m.signInElsewhere(email, password, api.FactorProof{}))(t)
			if err := c.do(u, own); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			venue := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "venue"})
			who := line.SignedIn{UserID: there.ID, Generation: there.Generation}
			got := must(rpc.Call(t.Context(), venue, line.CheckSignedIn, &line.SignedInPeople{People: []line.SignedIn{who}}))(t)
			if out := slices.Equal(got.People, []line.SignedIn{who}); out != c.out || !out && len(got.People) > 0 {
				t.Errorf("after %s: signed out are %+v", c.name, got.People)
			}
			_, err := rpc.Call(t.Context(), m.gateway, line.CheckSignedIn, &line.SignedInPeople{People: []line.SignedIn{who}})
			wantCode(t, err, fault.Forbidden)
			_, err = rpc.Call(t.Context(), venue, line.CheckSignedIn, &line.SignedInPeople{People: slices.Repeat([]line.SignedIn{who}, line.StaffLimit+1)})
			wantCode(t, err, fault.TooLarge)
		}
	})
}

// A revocation that cannot be stored before the answer comes by the outbox, as it would after a crash.
func TestRevocationComesByTheOutbox(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		if err := m.nats.JS.DeleteStream(t.Context(), api.RevocationsStream); err != nil {
			t.Fatal(err)
		}
		must(rpc.Call(m.as(tokens), m.gateway, api.EndSession, &rpc.None{}))(t)
		m.nats.Stream(api.RevocationsStream, revocation.Subjects)
		testkit.Eventually(t, 20*time.Second, func() error {
			if !m.revoked(tokens) {
				return fmt.Errorf("not stored")
			}
			return nil
		})
	})
}

// The source knows at once, and tells the roles of the moment.
func TestCheckSession(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		root, _ := m.admin()
		u := m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		i := m.identity(tokens)
		check := func() (*api.Standing, error) {
			return rpc.Call(t.Context(), m.gateway, api.CheckSession,
				&api.SessionCheck{UserID: i.User, SessionID: i.Session})
		}
		for _, roles := range [][]string{{}, {"admin"}, {}} {
			must(rpc.Call(m.as(root), m.gateway, api.SetUserRoles, &api.SetRoles{ID: u.ID, Roles: roles}))(t)
			if got := must(check())(t); len(got.Roles) != len(roles) {
				t.Errorf("roles %v, want %v", got.Roles, roles)
			}
		}
		_, err := rpc.Call(t.Context(), m.gateway, api.CheckSession,
			&api.SessionCheck{UserID: m.identity(root).User, SessionID: i.Session})
		wantCode(t, err, fault.Unauthenticated) // another person's
		must(rpc.Call(m.as(tokens), m.gateway, api.EndSession, &rpc.None{}))(t)
		_, err = check()
		wantCode(t, err, fault.Unauthenticated)
	})
}
