package user_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func (m *harness) requestReset(email string) {
	m.t.Helper()
	must(rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.RequestPasswordReset, &api.RequestReset{Email: email}))(m.t)
}

// lastReset returns the newest of n reset events.
func (m *harness) lastReset(n int) api.ResetEvent {
	m.t.Helper()
	var e api.ResetEvent
	events := m.events(api.PasswordResetRequested.Subject, n)
	if err := json.Unmarshal([]byte(events[n-1]), &e); err != nil {
		m.t.Fatal(err)
	}
	return e
}

func (m *harness) mint(id string) (*api.MintedReset, error) {
	client := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "notification"})
	return rpc.Call(m.t.Context(), client, api.MintResetToken, &api.MintReset{ResetID: id})
}

func (m *harness) confirm(secret, next string) error {
	_, err := rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.ConfirmPasswordReset,
		&api.ConfirmReset{Token: secret, NewPassword: next})
	return err
}

func TestPasswordReset(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		ada := m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		for range 5 {
			m.tryLogin("192.0.2.7", "ada@example.org", "wrong password")
		}
		m.requestReset("nobody@example.org")
		m.requestReset("ADA@example.org")
		e := m.lastReset(1)
		if e.UserID != ada.ID {
			t.Errorf("event %+v", e)
		}
		first := must(m.mint(e.ResetID))(t)
		if first.Contact.Email != "ada@example.org" || !first.ExpiresAt.Equal(m.clock.Now().Add(time.Hour)) {
			t.Errorf("minted for %+v until %s", first.Contact, first.ExpiresAt)
		}
		second := must(m.mint(e.ResetID))(t)
		wantCode(t, m.confirm(first.Token, "another long sentence"), fault.Expired)
		wantCode(t, m.confirm("pr_x", "another long sentence"), fault.Invalid)
		wantCode(t, m.confirm(second.Token, "short"), fault.Invalid)
		if err := m.confirm(second.Token, "another long sentence"); err != nil {
			t.Fatal(err)
		}
		wantCode(t, m.confirm(second.Token, "yet another one"), fault.Expired)
		_, err := m.mint(e.ResetID)
		wantCode(t, err, fault.NotFound)
		_, err = m.refresh(tokens.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		m.login("ada@example.org", "another long sentence") // at once: the failures are forgotten
		if n := len(m.events(api.PasswordResetRequested.Subject, 1)); n != 1 {
			t.Errorf("%d events, want one for the address that exists", n)
		}
	})
}

func TestResetEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		m.requestReset("ada@example.org")
		e := m.lastReset(1)
		minted := must(m.mint(e.ResetID))(t)
		m.clock.Advance(time.Hour)
		wantCode(t, m.confirm(minted.Token, "another long sentence"), fault.Expired)
		must(m.mint(e.ResetID))(t) // the mail was slow
		m.clock.Advance(23 * time.Hour)
		_, err := m.mint(e.ResetID)
		wantCode(t, err, fault.NotFound)
		for _, wild := range []string{"", "rst_*", "x", "rst_00000000000000000000000000"} {
			_, err := m.mint(wild)
			wantCode(t, err, fault.NotFound)
		}

		m.requestReset("ada@example.org")
		minted = must(m.mint(m.lastReset(2).ResetID))(t)
		tokens := m.login("ada@example.org", password)
		email := "lovelace@example.org"
		must(rpc.Call(m.as(tokens), m.gateway, api.UpdateMe,
			&api.UpdateProfile{Email: &email, CurrentPassword: password}))(t)
		if err := m.prove(must(m.mintConfirmation(m.lastConfirmation(1).ConfirmationID))(t).Token); err != nil {
			t.Fatal(err)
		}
		wantCode(t, m.confirm(minted.Token, "another long sentence"), fault.Expired) // it went to the old address
	})
}

func TestResetsPerAddress(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		for range 8 {
			m.requestReset("ada@example.org")
			m.requestReset("nobody@example.org")
		}
		m.clock.Advance(time.Hour)
		m.requestReset("ada@example.org")
		m.requestReset("nobody@example.org")
		if n := len(m.events(api.PasswordResetRequested.Subject, 6)); n != 6 {
			t.Errorf("%d mails, want 5 in the first hour and 1 after", n)
		}
	})
}

func TestResetsPerAddressAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() { m.requestReset("ada@example.org") })
			all.Go(func() { m.requestReset("nobody@example.org") })
		}
		all.Wait()
		var known, unknown int
		err := m.db.Read().NewRaw("SELECT count(user_id), count(*) - count(user_id) FROM password_resets").Scan(
			t.Context(), &known, &unknown)
		if err != nil || known != 5 || unknown != 5 {
			t.Errorf("%d requests for an account and %d for none were taken, want 5 of each; %v", known, unknown, err)
		}
	})
}

// Nothing secret is anywhere but in the answer to the one who may have it.
func TestSecretsStayHome(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		const canary, next = "canary-password-one", "canary-password-two"
		if reply := must(m.post(api.RegisterUser.Spec, "key-1",
			api.Register{Email: "ada@example.org", Password: canary, Name: "Ada"}))(t); rpc.Fault(reply) != nil {
			t.Fatal(rpc.Fault(reply))
		}
		a := m.login("ada@example.org", canary)
		b := must(m.refresh(a.RefreshToken))(t)
		m.tryLogin("192.0.2.1", "ada@example.org", "canary-password-wrong")
		m.tryLogin("192.0.2.1", "not an address", "canary-password-wrong")
		must(rpc.Call(m.as(b), m.gateway, api.ChangeMyPassword,
			&api.ChangePassword{CurrentPassword: canary, NewPassword: next}))(t)
		m.refresh(a.RefreshToken) // reuse, which is logged
		m.requestReset("ada@example.org")
		minted := must(m.mint(m.lastReset(1).ResetID))(t)
		inDatabase := m.dump() // with the hash of the token
		wantCode(t, m.confirm(minted.Token, "short"), fault.Invalid)
		if err := m.confirm(minted.Token, "canary-password-three"); err != nil {
			t.Fatal(err)
		}
		m.confirm(minted.Token, "canary-password-four")
		m.events(api.PasswordChanged.Subject, 2)
		var published strings.Builder
		for _, msg := range m.nats.Messages("EVENTS") {
			published.WriteString(msg.Subject)
			published.Write(msg.Data)
			for k, v := range msg.Header {
				published.WriteString(k + strings.Join(v, ""))
			}
		}
		places := map[string]string{"the log": m.log.String(), "the database": inDatabase + m.dump(),
			"the stream": published.String()}
		if !strings.Contains(places["the log"], "used refresh token") ||
			!strings.Contains(places["the database"], "$argon2id$") || !strings.Contains(places["the stream"], "usr_") {
			t.Fatal("the test looks in the wrong places")
		}
		for position, text := range places {
			for name, secret := range map[string]string{"a password": "canary-password",
				"an access token": a.AccessToken, "a signature": b.AccessToken[strings.LastIndex(b.AccessToken, "."):],
				"a used refresh token": a.RefreshToken, "a refresh token": b.RefreshToken,
				"a reset token": minted.Token, "half of it": minted.Token[20:]} {
				if strings.Contains(text, secret) {
					t.Errorf("%s is in %s", name, position)
				}
			}
		}
	})
}
