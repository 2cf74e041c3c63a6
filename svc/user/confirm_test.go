package user_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// lastConfirmation returns the newest of n requests to confirm an address, not counting registrations.
func (m *harness) lastConfirmation(n int) (e api.ConfirmationEvent) {
	m.t.Helper()
	events := m.events(api.EmailConfirmationRequested.Subject, n)
	if err := json.Unmarshal([]byte(events[n-1]), &e); err != nil {
		m.t.Fatal(err)
	}
	return e
}

// registration returns the event of the only registration.
func (m *harness) registration() (e api.UserEvent) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.events(api.UserRegistered.Subject, 1)[0]), &e); err != nil {
		m.t.Fatal(err)
	}
	return e
}

func (m *harness) mintConfirmation(id string) (*api.MintedConfirmation, error) {
	client := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "notification"})
	return rpc.Call(m.t.Context(), client, api.MintConfirmationToken, &api.MintConfirmation{ConfirmationID: id})
}

func (m *harness) prove(secret string) error {
	_, err := rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.ConfirmEmailAddress, &api.ConfirmEmail{Token: secret})
	return err
}

func (m *harness) me(tokens *api.Tokens) *api.User {
	m.t.Helper()
	return must(rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{}))(m.t)
}

func (m *harness) moveTo(tokens *api.Tokens, email string) (*api.User, error) {
	return rpc.Call(m.as(tokens), m.gateway, api.UpdateMe,
		&api.UpdateProfile{Email: &email, CurrentPassword: password})
}

// An address is proven by the token that is mailed there, once, within a day.
func TestProofOfAddress(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		if u := m.register("ada@example.org", password); u.EmailVerified {
			t.Error("verified by saying so")
		}
		tokens := m.login("ada@example.org", password)
		again := func() error {
			_, err := rpc.Call(m.as(tokens), m.gateway, api.RequestEmailConfirmation, &rpc.None{})
			return err
		}
		id := m.registration().ConfirmationID
		first := must(m.mintConfirmation(id))(t)
		second := must(m.mintConfirmation(id))(t) // the mail has to be sent again
		if second.Contact.Email != "ada@example.org" || !second.ExpiresAt.Equal(m.clock.Now().Add(24*time.Hour)) {
			t.Errorf("minted %+v", second)
		}
		wantCode(t, m.prove(first.Token), fault.Expired)
		for _, bad := range []string{"", "ec_x", "pr_" + second.Token[3:]} {
			wantCode(t, m.prove(bad), fault.Invalid)
		}
		if err := again(); err != nil {
			t.Fatal(err)
		}
		wantCode(t, m.prove(second.Token), fault.Expired) // another one took its place
		_, err := m.mintConfirmation(id)
		wantCode(t, err, fault.NotFound)
		third := must(m.mintConfirmation(m.lastConfirmation(1).ConfirmationID))(t)
		m.clock.Advance(24*time.Hour - time.Second)
		const n = 4
		var wg sync.WaitGroup
		var errs [n]error
		for i := range n {
			wg.Go(func() { errs[i] = m.prove(third.Token) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
				continue
			}
			wantCode(t, err, fault.Expired)
		}
		if won != 1 {
			t.Errorf("%d of %d used the token", won, n)
		}
		tokens = m.login("ada@example.org", password)
		if u := m.me(tokens); !u.EmailVerified {
			t.Errorf("not verified: %+v", u)
		}
		wantCode(t, again(), fault.Conflict)
		for _, wild := range []string{"", "ecf_*", "x", "ecf_00000000000000000000000000"} {
			_, err := m.mintConfirmation(wild)
			wantCode(t, err, fault.NotFound)
		}
		if all := m.dump(); strings.Contains(all, third.Token[3:]) {
			t.Error("a token is stored")
		}
	})
}

// A token that has expired proves nothing.
func TestProofExpires(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		minted := must(m.mintConfirmation(m.registration().ConfirmationID))(t)
		m.clock.Advance(24 * time.Hour)
		wantCode(t, m.prove(minted.Token), fault.Expired)
	})
}

// Another address waits until it is proven. The former one, if it was, is told, and every session ends but the one that
// asked.
func TestChangeOfAddress(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		if err := m.prove(must(m.mintConfirmation(m.registration().ConfirmationID))(t).Token); err != nil {
			t.Fatal(err)
		}
		own, other := m.login("ada@example.org", password), m.login("ada@example.org", password)
		must(m.moveTo(own, "lovelace@example.org"))(t)
		e := m.lastConfirmation(1)
		if !e.Change {
			t.Errorf("event %+v", e)
		}
		notification := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "notification"})
		former := func() *api.FormerContact {
			t.Helper()
			return must(rpc.Call(t.Context(), notification, api.GetFormerContact,
				&api.MintConfirmation{ConfirmationID: e.ConfirmationID}))(t)
		}
		if f := former(); f.Contact.Email != "ada@example.org" || f.Address != "l…@example.org" {
			t.Errorf("told is %+v", f)
		}
		m.login("ada@example.org", password)
		_, err := m.tryLogin("192.0.2.1", "lovelace@example.org", password)
		wantCode(t, err, fault.Unauthenticated)
		minted := must(m.mintConfirmation(e.ConfirmationID))(t)
		if minted.Contact.Email != "lovelace@example.org" {
			t.Errorf("mailed to %+v", minted.Contact)
		}
		if err := m.prove(minted.Token); err != nil {
			t.Fatal(err)
		}
		if f := former(); f.Contact.Email != "ada@example.org" { // however late the mail is
			t.Errorf("told is %+v", f)
		}
		if u := m.me(own); u.Email != "lovelace@example.org" || !u.EmailVerified || u.PendingEmail != "" {
			t.Errorf("now %+v", u)
		}
		if m.revoked(own) || !m.revoked(other) {
			t.Errorf("revoked: own %t, other %t", m.revoked(own), m.revoked(other))
		}
		_, err = m.refresh(other.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.tryLogin("192.0.2.1", "ada@example.org", password)
		wantCode(t, err, fault.Unauthenticated)
		m.login("lovelace@example.org", password)
	})
}

// What a thief has asked for ends with the owner's new password, and with a word of the owner.
func TestChangeOfAddressIsTakenBack(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		thief := m.login("ada@example.org", password)
		must(m.moveTo(thief, "thief@example.org"))(t)
		minted := must(m.mintConfirmation(m.lastConfirmation(1).ConfirmationID))(t)
		m.requestReset("ada@example.org")
		if err := m.confirm(must(m.mint(m.lastReset(1).ResetID))(t).Token, "another long sentence"); err != nil {
			t.Fatal(err)
		}
		wantCode(t, m.prove(minted.Token), fault.Expired)
		owner := m.login("ada@example.org", "another long sentence")
		if u := m.me(owner); u.Email != "ada@example.org" || u.PendingEmail != "" || !u.EmailVerified {
			t.Errorf("after the reset, which has proven the address: %+v", u)
		}
		email := "lovelace@example.org"
		must(rpc.Call(m.as(owner), m.gateway, api.UpdateMe,
			&api.UpdateProfile{Email: &email, CurrentPassword: "another long sentence"}))(t)
		minted = must(m.mintConfirmation(m.lastConfirmation(2).ConfirmationID))(t)
		email = "ada@example.org"
		if u := must(rpc.Call(m.as(owner), m.gateway, api.UpdateMe, &api.UpdateProfile{Email: &email}))(t); u.PendingEmail != "" || !u.EmailVerified {
			t.Errorf("taken back: %+v", u)
		}
		wantCode(t, m.prove(minted.Token), fault.Expired)
	})
}

// An address that another account takes in the meantime stays there.
func TestChangeToATakenAddress(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		must(m.moveTo(tokens, "lovelace@example.org"))(t)
		e := m.lastConfirmation(1)
		if e.Change {
			t.Error("an address that is not proven would be told")
		}
		minted := must(m.mintConfirmation(e.ConfirmationID))(t)
		m.register("lovelace@example.org", password)
		wantCode(t, m.prove(minted.Token), fault.Conflict)
		if u := m.me(tokens); u.Email != "ada@example.org" {
			t.Errorf("now %+v", u)
		}
	})
}

// No address is mailed more than five times an hour, by one account or by several.
func TestConfirmationsPerHour(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		m.register("eve@example.org", password)
		ada, eve := m.login("ada@example.org", password), m.login("eve@example.org", password)
		for range 2 {
			must(m.moveTo(ada, "victim@example.org"))(t)
			must(m.moveTo(ada, "ada@example.org"))(t)
			must(m.moveTo(eve, "victim@example.org"))(t)
			must(m.moveTo(eve, "eve@example.org"))(t)
		}
		_, err := m.moveTo(eve, "victim@example.org")
		wantCode(t, err, fault.RateLimited)
		for i := range 3 { // the registration was the first mail to ada, and two went to the victim
			_, err = rpc.Call(m.as(ada), m.gateway, api.RequestEmailConfirmation, &rpc.None{})
			if (err == nil) != (i < 2) {
				t.Errorf("mail %d: %v", i+4, err)
			}
		}
		wantCode(t, err, fault.RateLimited)
		m.clock.Advance(time.Hour)
		eve = m.login("eve@example.org", password)
		if _, err := m.moveTo(eve, "victim@example.org"); err != nil {
			t.Error(err)
		}
	})
}

// An address gets no more mails to confirm it than five in an hour, also when many accounts name it at once, at two
// instances.
func TestManyAccountsNameOneAddress(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.twin()
		const n = 8
		var tokens [n]*api.Tokens
		for i := range n {
			email := fmt.Sprintf("eve%d@example.org", i)
			m.register(email, password)
			tokens[i] = m.login(email, password)
		}
		var errs [n]error
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { _, errs[i] = m.moveTo(tokens[i], "victim@example.org") })
		}
		wg.Wait()
		asked := 0
		for _, err := range errs {
			if err == nil {
				asked++
			} else {
				wantCode(t, err, fault.RateLimited)
			}
		}
		if asked != 4 { // each has had the mail of the registration
			t.Errorf("%d accounts have mails sent to one address", asked)
		}
	})
}
