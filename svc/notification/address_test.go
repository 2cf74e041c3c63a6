package notification_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The welcome brings the token that confirms the address. A change is mailed to the new address with a token, and told
// at the one that it is to replace, whichever of the two the account has by then.
func TestConfirmationOfAddresses(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		secret := regexp.MustCompile(`ec_[A-Za-z0-9_-]{43}`)
		token := secret.FindString(h.mails("welcome", 1)[0].text())
		if token == "" {
			t.Fatalf("no token in %s", h.mails("welcome", 1)[0].text())
		}
		confirm := func(token string) {
			t.Helper()
			if _, err := rpc.Call(t.Context(), h.gateway, api.ConfirmEmailAddress,
				&api.ConfirmEmail{Token: token}); err != nil {
				t.Fatal(err)
			}
		}
		confirm(token)
		email := "lovelace@example.org"
		h.updateMe(ada, api.UpdateProfile{Email: &email, CurrentPassword: "correct horse battery"})
		m := h.mails("email_confirmation", 1)[0]
		if to := m.header.Get("To"); !strings.Contains(to, "lovelace@example.org") {
			t.Errorf("the token goes to %s", to)
		}
		confirm(secret.FindString(m.text()))
		told := h.mails("email_change", 1)[0]
		if to := told.header.Get("To"); !strings.Contains(to, "ada@example.org") ||
			!strings.Contains(told.text(), "l…@example.org") || secret.MatchString(told.text()) {
			t.Errorf("told is %s: %s", to, told.text())
		}
		var stored string
		if err := h.db.Read().NewRaw("SELECT string_agg(facts || title || text, ' ') FROM messages").Scan(t.Context(),
			&stored); err != nil || strings.Contains(stored, "ec_") || strings.Contains(stored, "lovelace") {
			t.Errorf("stored %q, %v", stored, err)
		}
	})
}

// A login from a device that is not known is told by mail, and not in the inbox, which the other one reads.
func TestNewDeviceMail(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		for _, client := range []string{"Firefox", "curl/8.0"} {
			if _, err := rpc.Call(rpc.WithMeta(t.Context(), rpc.Meta{Address: "198.51.100.66"}), h.gateway,
				api.CreateSession, &api.Login{Email: "ada@example.org", Password: "correct horse battery",
					Client: client}); err != nil {
				t.Fatal(err)
			}
		}
		m := h.mails("new_device", 1)[0]
		if text := m.text(); !strings.Contains(text, "curl/8.0") || !strings.Contains(text, "198.51.100.66") {
			t.Errorf("the mail says %s", text)
		}
		for _, n := range call(h, ada, api.ListNotifications, &api.NotificationQuery{}).Items {
			if n.Name == "new_device" {
				t.Errorf("in the inbox: %+v", n)
			}
		}
		for range 10 {
			h.publish(api.LoginsHaveFailed.Subject, "told-once", api.UserEvent{UserID: ada.ID})
		}
		h.mails("logins_failed", 1)
	})
}

// A link with an identity provider is mailed, with the provider's name.
func TestIdentityMails(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		for topic, name := range map[string]string{api.IdentityWasLinked.Subject: "identity_linked",
			api.IdentityWasUnlinked.Subject: "identity_unlinked"} {
			for range 2 {
				h.publish(topic, name, api.IdentityEvent{UserID: ada.ID, Provider: "Corp & Sons", At: h.clock.Now()})
			}
			if text := h.mails(name, 1)[0].text(); !strings.Contains(text, "Corp & Sons") || !strings.Contains(text, "2030") {
				t.Errorf("%s says %s", name, text)
			}
		}
		for _, n := range call(h, ada, api.ListNotifications, &api.NotificationQuery{}).Items {
			if strings.HasPrefix(n.Name, "identity") {
				t.Errorf("in the inbox: %+v", n)
			}
		}
	})
}

// What happens to second factors is mailed, and not in the inbox, which whoever did it may read.
func TestFactorMails(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		at := h.clock.Now()
		for topic, name := range map[string]string{api.FactorWasAdded.Subject: "factor_added", api.FactorWasRemoved.Subject: "factor_removed",
			api.FactorsHaveFailed.Subject: "factors_failed", api.RecoveryCodeWasUsed.Subject: "recovery_code_used"} {
			for range 2 {
				h.publish(topic, name, api.FactorEvent{UserID: ada.ID, Kind: api.FactorTOTP, Left: 9, At: at})
			}
			m := h.mails(name, 1)[0]
			if text := m.text(); !strings.Contains(text, "2030") || name == "recovery_code_used" && !strings.Contains(text, "9 are left") {
				t.Errorf("%s says %s", name, text)
			}
		}
		for _, n := range call(h, ada, api.ListNotifications, &api.NotificationQuery{}).Items {
			if strings.HasPrefix(n.Name, "factor") || strings.HasPrefix(n.Name, "recovery") {
				t.Errorf("in the inbox: %+v", n)
			}
		}
	})
}
