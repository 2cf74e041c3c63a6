package render

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Example writes a message about an event that does not exist.
func (c *Catalogue) Example(t Template, lang, base string) (*api.Preview, error) {
	f := exampleFacts(t.Name)
	v := c.View(lang, "Ada Lovelace", f)
	v.Token, v.Until = "example-token", c.Moment(lang, exampleStart(), "Europe/Berlin")
	v.Address, v.Device, v.From = "l…@example.org", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "192.0.2.7"
	v.When = v.Until
	links := Links{Action: t.Link(base, f, v.Token)}
	if !IsTransactional(t.Kind) {
		links.Unsubscribe = base + "/v1/unsubscribe?token=example"
	}
	m, err := c.Message(lang, t.Name, v, f, links)
	if err != nil {
		return nil, err
	}
	_, short, err := c.Headline(lang, t.Name, v)
	return &api.Preview{Name: t.Name, Language: lang, Subject: m.Subject, Short: short, Text: m.Text, HTML: m.HTML}, err
}

func exampleStart() time.Time { return time.Date(2030, 5, 17, 18, 0, 0, 0, time.UTC) }

func exampleFacts(template string) Facts {
	start := exampleStart()
	event := ids.Derive[ids.EventKind]("example")
	f := Facts{
		Event: &Event{ID: event, Name: "Starlight & Strings", StartsAt: start, EndsAt: start.Add(3 * time.Hour),
			Timezone: "Europe/Berlin", Place: "Philharmonie, Berlin, DE"},
		Hours: 24,
	}
	price := api.Money{Amount: 4200, Currency: "EUR"}
	switch template {
	case "welcome", "email_confirmation", "email_change", "new_device", "logins_failed", "password_reset",
		"password_changed", "phone_changed", "phone_confirmation", "factor_added", "factor_removed", "factors_failed":
		f.Event = nil
	case "recovery_code_used":
		f.Event, f.Left = nil, 7
	case "identity_linked", "identity_unlinked":
		f.Event, f.Provider = nil, "Example Corp"
	case "webhook_disabled":
		f.Event, f.Provider = nil, "hooks.example.org"
	case "order_paid", "order_expired", "order_cancelled":
		f.Order = &api.Order{ID: ids.Derive[ids.OrderKind]("example"), Number: "7KX4P", EventID: event,
			Total: api.Money{Amount: 8400, Currency: "EUR"},
			Items: []api.OrderItem{{Name: "Balcony", Quantity: 2, UnitPrice: price}}}
	case "guest_order":
		f.OrderID = ids.Derive[ids.OrderKind]("example")
	case "order_due":
		f.OrderID, f.Amount = ids.Derive[ids.OrderKind]("example"), &price
	case "order_refunded":
		f.OrderID, f.Amount, f.Code = ids.Derive[ids.OrderKind]("example"), &price, api.RefundSoldOut
	case "cancellation_declined":
		f.OrderID, f.Reason = ids.Derive[ids.OrderKind]("example"), "We keep the seats for you."
	case "payment_failed":
		f.OrderID, f.Amount, f.Code = ids.Derive[ids.OrderKind]("example"), &price, api.FailureDeclined
	case "ticket_received":
		f.Ticket = ids.Derive[ids.TicketKind]("example")
	case "event_changed":
		was := *f.Event
		was.StartsAt, was.EndsAt, was.Place = start.Add(-time.Hour), start.Add(2*time.Hour), "Waldbühne, Berlin, DE"
		f.Was = &was
	case "event_cancelled":
		f.Reason = "The soloist is ill."
	case "announcement":
		f.Subject, f.Text = "Doors open early", "Come from six.\n\nThere is <music> in the foyer."
	}
	return f
}
