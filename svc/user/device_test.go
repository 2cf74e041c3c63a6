package user_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// loginFrom logs in as a client of a device.
func (m *harness) loginFrom(address, client, device string) *api.Tokens {
	m.t.Helper()
	return must(rpc.Call(m.anonymous(address), m.gateway, api.CreateSession, &api.Login{Email: "ada@example.org",
		Password: password, DeviceToken: device, Client: client}))(m.t).Tokens
}

func (m *harness) sessions(tokens *api.Tokens) []api.SessionInfo {
	m.t.Helper()
	return must(rpc.Call(m.as(tokens), m.gateway, api.ListSessions, &api.SessionQuery{}))(m.t).Items
}

// A person sees where they are signed in, and ends what is not theirs, one by one or all.
func TestSessions(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		m.register("eve@example.org", password)
		eve := m.login("eve@example.org", password)
		first := m.loginFrom("192.0.2.1", "Firefox\r\n\u202eevil "+strings.Repeat("x", 300), "")
		m.clock.Advance(time.Minute)
		second := m.loginFrom("192.0.2.2", "curl/8.0", "")
		m.clock.Advance(time.Minute)
		second = must(rpc.Call(m.anonymous("192.0.2.3"), m.gateway, api.RefreshSession,
			&api.Refresh{RefreshToken: second.RefreshToken}))(t)
		got := m.sessions(second)
		if len(got) != 2 || !got[0].Current || got[1].Current || got[0].Device != "curl/8.0" ||
			got[0].Address != "192.0.2.3" || got[0].LastUsedAt.Sub(got[0].CreatedAt) != time.Minute {
			t.Fatalf("sessions %+v", got)
		}
		if d := got[1].Device; !strings.HasPrefix(d, "Firefox") || strings.ContainsAny(d, "\r\n\u202e") || len(d) > 210 {
			t.Errorf("the device is %q", d)
		}
		page := must(rpc.Call(m.as(second), m.gateway, api.ListSessions,
			&api.SessionQuery{Page: api.Page{Limit: 1}}))(t)
		rest := must(rpc.Call(m.as(second), m.gateway, api.ListSessions,
			&api.SessionQuery{Page: api.Page{Limit: 1, Cursor: page.NextCursor}}))(t)
		if len(page.Items) != 1 || len(rest.Items) != 1 || rest.Items[0].ID != got[1].ID || rest.NextCursor != "" {
			t.Errorf("pages %+v %+v", page, rest)
		}
		end := func(tokens *api.Tokens, id ids.Session) error {
			_, err := rpc.Call(m.as(tokens), m.gateway, api.EndOneSession, &api.SessionRef{ID: id})
			return err
		}
		wantCode(t, end(eve, got[1].ID), fault.NotFound)
		if m.revoked(first) {
			t.Error("a stranger has ended a session")
		}
		if err := end(second, got[1].ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, end(second, got[1].ID), fault.NotFound)
		if !m.revoked(first) || m.revoked(second) {
			t.Errorf("revoked: %t %t", m.revoked(first), m.revoked(second))
		}
		third := m.loginFrom("192.0.2.1", "", "")
		must(rpc.Call(m.as(second), m.gateway, api.EndAllSessions, &rpc.None{}))(t)
		for _, tokens := range []*api.Tokens{second, third} {
			if _, err := m.refresh(tokens.RefreshToken); err == nil || !m.revoked(tokens) {
				t.Error("a session has outlived the end of all")
			}
		}
		if fresh := m.loginFrom("192.0.2.1", "", ""); m.revoked(fresh) || m.revoked(eve) {
			t.Error("a login after it, or a stranger's, is revoked")
		}
	})
}

// guess gives wrong passwords until they have to wait.
func (m *harness) guess(n int) {
	m.t.Helper()
	for range n {
		_, err := m.tryLogin("198.51.100.66", "ada@example.org", "wrong password")
		if !fault.Is(err, fault.Unauthenticated) && !fault.Is(err, fault.RateLimited) {
			m.t.Fatal(err)
		}
		m.clock.Advance(time.Second << 8)
	}
	for range 3 {
		m.tryLogin("198.51.100.66", "ada@example.org", "wrong password")
	}
}

// tryFrom reports how a login from a device ends.
func (m *harness) tryFrom(device, password string) error {
	_, err := rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.CreateSession,
		&api.Login{Email: "ada@example.org", Password: password, DeviceToken: device})
	return err
}

// Guesses that come from elsewhere stop neither a device that the owner has used nor one who is signed in, and the
// owner is told of them. The device's own wrong guesses count.
func TestGuessesElsewhere(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		ada := m.register("ada@example.org", password)
		own := m.loginFrom("192.0.2.1", "Firefox", "")
		m.register("eve@example.org", password)
		foreign := m.login("eve@example.org", password).DeviceToken
		m.guess(12)
		own.RefreshToken = must(m.refresh(own.RefreshToken))(t).RefreshToken
		signedIn := must(m.refresh(own.RefreshToken))(t)
		for _, unknown := range []string{"", foreign, "dt_" + strings.Repeat("A", 43), "nonsense"} {
			wantCode(t, m.tryFrom(unknown, password), fault.RateLimited)
		}
		if err := m.tryFrom(own.DeviceToken, password); err != nil {
			t.Errorf("the known device: %v", err)
		}
		_, err := rpc.Call(m.as(signedIn), m.gateway, api.ChangeMyPassword,
			&api.ChangePassword{CurrentPassword: "wrong password", NewPassword: "a different sentence"})
		wantCode(t, err, fault.Forbidden) // and not to be told to wait
		for range 5 {
			wantCode(t, m.tryFrom(own.DeviceToken, "wrong password"), fault.Unauthenticated)
		}
		wantCode(t, m.tryFrom(own.DeviceToken, password), fault.RateLimited)
		var told api.UserEvent
		events := m.events(api.LoginsHaveFailed.Subject, 1)
		if err := json.Unmarshal([]byte(events[0]), &told); err != nil || told.UserID != ada.ID || len(events) != 1 {
			t.Errorf("told are %v", events)
		}
		// A new password makes devices unknown, but the one that set it.
		must(rpc.Call(m.as(signedIn), m.gateway, api.ChangeMyPassword,
			&api.ChangePassword{CurrentPassword: password, NewPassword: "a different sentence"}))(t)
		m.clock.Advance(time.Hour)
		m.guess(8)
		if err := m.tryFrom(own.DeviceToken, "a different sentence"); err != nil {
			t.Errorf("the device that set the password: %v", err)
		}
		m.requestReset("ada@example.org")
		if err := m.confirm(must(m.mint(m.lastReset(1).ResetID))(t).Token, "yet another sentence"); err != nil {
			t.Fatal(err)
		}
		m.guess(8)
		wantCode(t, m.tryFrom(own.DeviceToken, "yet another sentence"), fault.RateLimited)
	})
}

// The owner is told of a login from a device that is not known, but not of the first of all.
func TestNewDevice(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		own := m.loginFrom("192.0.2.1", "Firefox", "")
		again := m.loginFrom("192.0.2.9", "Firefox", own.DeviceToken)
		if again.DeviceToken != own.DeviceToken {
			t.Error("a known device gets another token")
		}
		thief := m.loginFrom("198.51.100.66", "curl/8.0", "")
		events := m.events(api.DeviceWasAdded.Subject, 1)
		var e api.SessionEvent
		if err := json.Unmarshal([]byte(events[0]), &e); err != nil || len(events) != 1 ||
			e.SessionID != m.identity(thief).Session {
			t.Errorf("events %v", events)
		}
		notification := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "notification"})
		s := must(rpc.Call(t.Context(), notification, api.GetSessionInfo, &api.GetSession{SessionID: e.SessionID}))(t)
		if s.Device != "curl/8.0" || s.Address != "198.51.100.66" {
			t.Errorf("the notice says %+v", s)
		}
		for range 25 { // the oldest go, and the database does not grow
			m.clock.Advance(time.Second)
			m.loginFrom("192.0.2.1", "", "")
		}
		var n int
		if err := m.db.Read().NewRaw("SELECT count(*) FROM devices").Scan(t.Context(), &n); err != nil || n != 20 {
			t.Errorf("%d devices, %v", n, err)
		}
	})
}
