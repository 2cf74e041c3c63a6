package api

import (
	"encoding/json"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Export is all the system knows about a person.
type Export struct {
	Head
	Sessions      []SessionInfo  `json:"sessions"`      // where the person is signed in
	Events        []PersonEvent  `json:"events"`        // that the person runs or works for
	Orders        []Order        `json:"orders"`        // that the person made
	Tickets       []Ticket       `json:"tickets"`       // that the person owns
	Answers       []PersonAnswer `json:"answers"`       // to what was asked about these
	Payments      []Payment      `json:"payments"`      // that the person made
	Notifications []Notification `json:"notifications"` // messages to the person
}

// Head is what an Export begins with.
type Head struct {
	ExportedAt        time.Time          `json:"exported_at"` // when the export was made
	User              User               `json:"user"`
	Preferences       []Preference       `json:"notification_preferences"`
	Email             *AddressState      `json:"email_address,omitempty"`
	PushSubscriptions []PushSubscription `json:"push_subscriptions"` // devices
	SecondFactors     []SecondFactor     `json:"second_factors"`     // authenticator apps, without their secrets
	RecoveryCodes     int                `json:"recovery_codes"`     // how many are left
	Passkeys          []Passkey          `json:"passkeys"`           // without their keys
	Identities        []Identity         `json:"identities"`         // accounts at identity providers
}

// PersonEvent is an event that a person runs or works for.
type PersonEvent struct {
	Role  string `json:"role"` // at all events of the organizer, or in the team
	Event Event  `json:"event"`
}

// PersonRef is the request of the internal endpoints that export what a service knows about a person: who, and where
// the page before ended.
type PersonRef struct {
	UserID ids.User `json:"user_id"`
	Cursor string   `json:"cursor,omitempty"`
}

// PersonChoices is what a person wants to be notified of, and on what devices.
type PersonChoices struct {
	Preferences       Preferences        `json:"preferences"`
	PushSubscriptions []PushSubscription `json:"push_subscriptions"`
}

// RunningEvent is a published event that is not over.
type RunningEvent struct {
	ID   ids.Event `json:"id"`
	Name string    `json:"name"`
}

// exportBytes is how much of an export fits into a page: well below the largest message of NATS.
const exportBytes = 512 << 10

// FitExport returns how many of the items, but at least one if there are any, make a page of an export.
func FitExport[T any](items []T) (int, error) {
	size := 0
	for i, item := range items {
		text, err := json.Marshal(item)
		if err != nil {
			return 0, err
		}
		if size += len(text); size > exportBytes && i > 0 {
			return i, nil
		}
	}
	return len(items), nil
}
