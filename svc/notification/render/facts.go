package render

import (
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Facts are what a message is filled with: what was known when its cause came, in no language yet. They are stored as
// JSON.
type Facts struct {
	Event     *Event      `json:"event,omitempty"`
	Was       *Event      `json:"was,omitempty"` // before a change
	Order     *api.Order  `json:"order,omitempty"`
	Ticket    ids.Ticket  `json:"ticket,omitempty"` // that the recipient was given
	Amount    *api.Money  `json:"amount,omitempty"`
	Speaks    string      `json:"speaks,omitempty"`   // the recipient's language, where the account has none
	OrderID   ids.Order   `json:"order_id,omitempty"` // without the order
	Code      string      `json:"code,omitempty"`     // why: a code of payments and refunds
	Reason    string      `json:"reason,omitempty"`   // why: what a person wrote
	Subject   string      `json:"subject,omitempty"`  // of an announcement
	Text      string      `json:"text,omitempty"`
	ResetID   string      `json:"reset_id,omitempty"`
	SessionID ids.Session `json:"session_id,omitempty"` // of a login
	At        time.Time   `json:"at,omitzero"`          // when it was
	// of a request to confirm an address
	ConfirmationID string           `json:"confirmation_id,omitempty"`
	OfferID        ids.TicketOffer  `json:"offer_id,omitempty"` // of a ticket
	Hours          int              `json:"hours,omitempty"`    // before the start
	Left           int              `json:"left,omitempty"`     // recovery codes
	Provider       string           `json:"provider,omitempty"` // of identities
	For            ids.Announcement `json:"for,omitempty"`
}

// AboutOrder returns the order that a message is about, if it is about one.
func (f Facts) AboutOrder() ids.Order {
	if f.Order != nil {
		return f.Order.ID
	}
	return f.OrderID
}

// Event is an event as messages show it.
type Event struct {
	ID   ids.Event `json:"id"`
	Name string    `json:"name"`
	// in other languages, by them: that of a reader whose language is not here is Name
	Names map[string]string `json:"names,omitempty"`
	// its ticket types and stages in other languages, of messages that name some
	Called   api.Called `json:"called,omitempty"`
	StartsAt time.Time  `json:"starts_at"`
	EndsAt   time.Time  `json:"ends_at"`
	Timezone string     `json:"timezone"`
	Place    string     `json:"place"`
	Revision int64      `json:"revision,omitempty"`
}

// Moved reports whether an event takes place at another time, or elsewhere, than it was.
func Moved(was, now Event) bool {
	return !was.StartsAt.Equal(now.StartsAt) || !was.EndsAt.Equal(now.EndsAt) || was.Timezone != now.Timezone ||
		was.Place != now.Place
}

// EventOf returns an event as messages show it.
func EventOf(e api.Event) *Event {
	return &Event{ID: e.ID, Name: e.Name, Names: Names(e), StartsAt: e.StartsAt.UTC(),
		EndsAt: e.EndsAt.UTC(), Timezone: e.Timezone, Place: Place(e.Location), Revision: e.Revision}
}

// Names returns what an event is called in other languages than its own, by them.
func Names(e api.Event) map[string]string {
	names := make(map[string]string, len(e.Translations))
	for _, t := range e.Translations {
		names[t.Language] = t.Name
	}
	return names
}

// Place writes a location on one line.
func Place(l api.Location) string {
	var parts []string
	for _, p := range []string{l.Name, l.Address, l.City, l.Country} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}
