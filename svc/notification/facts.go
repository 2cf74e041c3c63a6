package notification

import (
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// facts is what a message is filled with: what was known when its cause came, in no language yet.
type facts struct {
	Event   *eventFacts      `json:"event,omitempty"`
	Was     *eventFacts      `json:"was,omitempty"` // before a change
	Order   *api.Order       `json:"order,omitempty"`
	Ticket  ids.Ticket       `json:"ticket,omitempty"` // that was given to the person
	Amount  *api.Money       `json:"amount,omitempty"`
	Speaks  string           `json:"speaks,omitempty"`   // the language of the person, where the account has none
	OrderID ids.Order        `json:"order_id,omitempty"` // without the order
	Code    string           `json:"code,omitempty"`     // why: a code of payments and refunds
	Reason  string           `json:"reason,omitempty"`   // why: what a person wrote
	Subject string           `json:"subject,omitempty"`  // of an announcement
	Text    string           `json:"text,omitempty"`
	ResetID string           `json:"reset_id,omitempty"`
	Hours   int              `json:"hours,omitempty"` // before the start
	For     ids.Announcement `json:"for,omitempty"`
}

// order returns the order that a message is about, if it is about one.
func (f facts) order() ids.Order {
	if f.Order != nil {
		return f.Order.ID
	}
	return f.OrderID
}

// eventFacts is an event as messages speak of it.
type eventFacts struct {
	ID       ids.Event `json:"id"`
	Name     string    `json:"name"`
	StartsAt time.Time `json:"starts_at"`
	EndsAt   time.Time `json:"ends_at"`
	Timezone string    `json:"timezone"`
	Place    string    `json:"place"`
}

func factsOf(e api.Event) *eventFacts {
	return &eventFacts{ID: e.ID, Name: e.Name, StartsAt: e.StartsAt.UTC(), EndsAt: e.EndsAt.UTC(), Timezone: e.Timezone, Place: place(e.Location)}
}

// place writes a location on one line.
func place(l api.Location) string {
	var parts []string
	for _, p := range []string{l.Name, l.Address, l.City, l.Country} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

// letter is a kind of message.
type letter struct {
	name string
	kind string
	to   string // where its button leads, below the public URL; {event} and {order} are filled in
}

// letters returns every message that the system can send. Each has its texts in every language.
func letters() []letter {
	return []letter{
		{"welcome", api.AboutAccount, "/v1/events"},
		{"password_reset", api.AboutAccount, ""},
		{"password_changed", api.AboutAccount, ""},
		{"order_paid", api.AboutOrders, "/v1/orders/{order}/tickets"},
		{"order_expired", api.AboutOrders, "/v1/events/{event}"},
		{"order_cancelled", api.AboutOrders, ""},
		{"order_refunded", api.AboutOrders, ""},
		{"payment_failed", api.AboutOrders, "/v1/orders/{order}"},
		{"ticket_received", api.AboutOrders, "/v1/tickets/{ticket}/qr.png"},
		{"event_changed", api.AboutChanges, "/v1/events/{event}"},
		{"event_cancelled", api.AboutChanges, ""},
		{"reminder", api.AboutReminders, "/v1/me/tickets"},
		{"announcement", api.AboutAnnouncements, "/v1/events/{event}"},
	}
}

// kinds returns the kinds of messages in the order in which preferences show them.
func kinds() []string {
	return []string{api.AboutAccount, api.AboutOrders, api.AboutChanges, api.AboutReminders, api.AboutAnnouncements}
}

// transactional reports whether mails of the kind always come.
func transactional(kind string) bool {
	return kind == api.AboutAccount || kind == api.AboutOrders || kind == api.AboutChanges
}

// link fills in where a message's button leads.
func (l letter) link(base string, f facts) string {
	if l.to == "" {
		return ""
	}
	event := ""
	if f.Event != nil {
		event = f.Event.ID.String()
	}
	order := f.order().String()
	if event == "" && strings.Contains(l.to, "{event}") || order == "" && strings.Contains(l.to, "{order}") {
		return ""
	}
	return base + strings.NewReplacer("{event}", event, "{order}", order, "{ticket}", f.Ticket.String()).Replace(l.to)
}
