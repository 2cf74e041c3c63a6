package render

import (
	"net/url"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
)

// Template is one kind of message, with texts in every language.
type Template struct {
	Name string
	Kind string // what preferences know it by
	path string // where its button leads, below the public URL; {event}, {order} and {token} are filled in
}

// Templates returns every message that the system can send.
func Templates() []Template {
	return []Template{
		{"welcome", api.AboutAccount, "/confirm?token={token}"},
		{"email_confirmation", api.AboutAccount, "/confirm?token={token}"},
		{"email_change", api.AboutAccount, ""},
		{"new_device", api.AboutAccount, ""},
		{"logins_failed", api.AboutAccount, ""},
		{"factor_added", api.AboutAccount, ""},
		{"factor_removed", api.AboutAccount, ""},
		{"factors_failed", api.AboutAccount, ""},
		{"recovery_code_used", api.AboutAccount, ""},
		{"identity_linked", api.AboutAccount, ""},
		{"identity_unlinked", api.AboutAccount, ""},
		{"webhook_disabled", api.AboutAccount, ""},
		{"password_reset", api.AboutAccount, "/reset?token={token}"},
		{"password_changed", api.AboutAccount, ""},
		{"phone_changed", api.AboutAccount, ""},
		{"phone_confirmation", api.AboutAccount, ""},
		{"guest_order", api.AboutOrders, "/orders/{order}"},
		{"order_paid", api.AboutOrders, "/orders/{order}"},
		{"order_due", api.AboutOrders, "/orders/{order}"},
		{"order_expired", api.AboutOrders, "/events/{event}"},
		{"order_cancelled", api.AboutOrders, ""},
		{"order_refunded", api.AboutOrders, ""},
		{"cancellation_declined", api.AboutOrders, "/orders/{order}"},
		{"payment_failed", api.AboutOrders, "/orders/{order}"},
		{"ticket_received", api.AboutOrders, "/account"},
		{"ticket_offer", api.AboutOrders, ""},
		{"offer_accepted", api.AboutOrders, ""},
		{"offer_refused", api.AboutOrders, ""},
		{"event_changed", api.AboutChanges, "/events/{event}"},
		{"event_cancelled", api.AboutChanges, ""},
		{"reminder", api.AboutReminders, "/account"},
		{"announcement", api.AboutAnnouncements, "/events/{event}"},
	}
}

// Kinds returns the kinds of messages in the order in which preferences show them.
func Kinds() []string {
	return []string{api.AboutAccount, api.AboutOrders, api.AboutChanges, api.AboutReminders, api.AboutAnnouncements}
}

// IsTransactional reports whether mails of the kind are always sent.
func IsTransactional(kind string) bool {
	return kind == api.AboutAccount || kind == api.AboutOrders || kind == api.AboutChanges
}

// Link returns where a message's button leads, or nothing if it has none. The token is the one that stands in the mail;
// a welcome without one leads to the front page.
func (t Template) Link(base string, f Facts, token string) string {
	if t.path == "" {
		return ""
	}
	event := ""
	if f.Event != nil {
		event = f.Event.ID.String()
	}
	order := f.AboutOrder().String()
	if token == "" && strings.Contains(t.path, "{token}") {
		return base + "/"
	}
	if event == "" && strings.Contains(t.path, "{event}") || order == "" && strings.Contains(t.path, "{order}") {
		return ""
	}
	ids := strings.NewReplacer("{event}", event, "{order}", order, "{token}", url.QueryEscape(token))
	return base + ids.Replace(t.path)
}
