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
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

const mobile = "+4915112345678"

func (m *harness) setPhone(tokens *api.Tokens, number string) *api.User {
	m.t.Helper()
	return must(rpc.Call(m.as(tokens), m.gateway, api.UpdateMe,
		&api.UpdateProfile{Profile: codec.To(api.Profile{Phone: number})}))(m.t)
}

func (m *harness) askPhone(tokens *api.Tokens) error {
	_, err := rpc.Call(m.as(tokens), m.gateway, api.RequestPhoneConfirmation, &rpc.None{})
	return err
}

// phoneCode makes the code of the newest of n requests.
func (m *harness) phoneCode(n int) (string, error) {
	m.t.Helper()
	var e api.PhoneEvent
	if err := json.Unmarshal([]byte(m.events(api.PhoneConfirmationRequested.Subject, n)[n-1]), &e); err != nil {
		m.t.Fatal(err)
	}
	client := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "notification"})
	minted, err := rpc.Call(m.t.Context(), client, api.MintPhoneCode, &api.MintPhone{ConfirmationID: e.ConfirmationID})
	if err != nil {
		return "", err
	}
	if minted.Contact.Phone != mobile {
		m.t.Errorf("the code goes to %q", minted.Contact.Phone)
	}
	return minted.Code, nil
}

func (m *harness) givePhone(tokens *api.Tokens, code string) error {
	_, err := rpc.Call(m.as(tokens), m.gateway, api.ConfirmPhoneNumber, &api.ConfirmPhone{Code: code})
	return err
}

// wrong returns a code that is not the one.
func wrong(code string, i int) string {
	other := fmt.Sprintf("%06d", i)
	if other == code {
		return "999999"
	}
	return other
}

// A number is proven by a code that is sent there, once, within ten minutes and with five guesses, however many are made
// at a time. Contacts show no other number.
func TestProofOfPhone(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		if err := m.live.Change(api.SMSCountries.Is("DE")); err != nil {
			t.Fatal(err)
		}
		ada := m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		contact := func() string {
			t.Helper()
			client := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "notification"})
			return must(rpc.Call(t.Context(), client, api.GetContact, &api.GetContactOf{ID: ada.ID}))(t).Phone
		}
		wantCode(t, m.askPhone(tokens), fault.Conflict) // there is no number
		m.setPhone(tokens, "+449012345678")
		wantCode(t, m.askPhone(tokens), fault.Conflict) // it costs who calls it
		if u := m.setPhone(tokens, mobile); u.PhoneVerified || contact() != "" {
			t.Error("verified by saying so")
		}
		if err := m.askPhone(tokens); err != nil {
			t.Fatal(err)
		}
		wantCode(t, m.givePhone(tokens, "000000"), fault.Expired) // nothing was sent yet
		first := must(m.phoneCode(1))(t)
		code := must(m.phoneCode(1))(t) // it has to be sent again
		if first != code {
			wantCode(t, m.givePhone(tokens, first), fault.Invalid)
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		looked := 0
		for i := range 20 {
			all.Go(func() {
				err := m.givePhone(tokens, wrong(code, i))
				mu.Lock()
				defer mu.Unlock()
				if fault.Is(err, fault.Invalid) {
					looked++
				} else if !fault.Is(err, fault.Expired) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if looked > 5 {
			t.Errorf("%d guesses were looked at", looked)
		}
		wantCode(t, m.givePhone(tokens, code), fault.Expired)
		if err := m.askPhone(tokens); err != nil {
			t.Fatal(err)
		}
		code = must(m.phoneCode(2))(t)
		m.clock.Advance(10 * time.Minute)
		wantCode(t, m.givePhone(tokens, code), fault.Expired)
		_, err := m.phoneCode(2)
		wantCode(t, err, fault.NotFound)

		tokens = m.login("ada@example.org", password)
		if err := m.askPhone(tokens); err != nil {
			t.Fatal(err)
		}
		code = must(m.phoneCode(3))(t)
		for _, bad := range []string{"", "1", "1234567", "12345a"} {
			if err := m.givePhone(tokens, bad); err == nil {
				t.Errorf("%q is a code", bad)
			}
		}
		if err := m.givePhone(tokens, code); err != nil {
			t.Fatal(err)
		}
		wantCode(t, m.givePhone(tokens, code), fault.Expired)
		if u := m.me(tokens); !u.PhoneVerified || contact() != mobile {
			t.Errorf("not verified: %+v", u)
		}
		wantCode(t, m.askPhone(tokens), fault.Conflict)
		old := m.login("ada@example.org", password) // a session that was left open, or stolen
		m.clock.Advance(api.StepUpTTL.Default() + time.Second)
		for _, number := range []string{"+4915112345670", ""} {
			_, err := rpc.Call(m.as(old), m.gateway, api.UpdateMe, &api.UpdateProfile{Profile: codec.To(api.Profile{Phone: number})})
			if wantCode(t, err, fault.Forbidden); !strings.Contains(fmt.Sprint(fault.From(err).Fields), "step_up") {
				t.Errorf("the number is to be %q: %v", number, err)
			}
		}
		m.setPhone(old, mobile) // the same
		tokens = m.login("ada@example.org", password)
		if all := m.dump(); strings.Contains(all, code) && !strings.Contains(mobile, code) {
			t.Error("a code is stored")
		}
		if u := m.setPhone(tokens, "+4915112345679"); u.PhoneVerified || contact() != "" {
			t.Error("another number is verified")
		}
		if n := len(m.events(api.PhoneChanged.Subject, 3)); n != 3 {
			t.Errorf("%d changes were told, want 3", n)
		}
	})
}

// One person has five codes a day, and so has one number, however many accounts ask.
func TestPhoneCodesAreLimited(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		if err := m.live.Change(api.SMSCountries.Is("DE")); err != nil {
			t.Fatal(err)
		}
		var people []*api.Tokens
		for i := range 3 {
			email := fmt.Sprintf("p%d@example.org", i)
			m.register(email, password)
			people = append(people, m.login(email, password))
			m.setPhone(people[i], mobile)
		}
		for i := range 5 {
			if err := m.askPhone(people[i%2]); err != nil {
				t.Fatal(err)
			}
		}
		wantCode(t, m.askPhone(people[2]), fault.RateLimited)
		m.clock.Advance(24 * time.Hour)
		tokens := m.login("p2@example.org", password)
		if err := m.askPhone(tokens); err != nil {
			t.Fatal(err)
		}
	})
}
