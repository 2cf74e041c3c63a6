package notification

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// How a delivery ends.
const (
	sent    = "sent"
	dropped = "dropped" // it is obsolete
	failed  = "failed"  // it cannot reach its recipient
)

// messageRow is a row of the table messages.
type messageRow struct {
	bun.BaseModel `bun:"table:messages,alias:messages"`

	ID        ids.Notification `bun:"id,pk"`
	UserID    ids.User         `bun:"user_id"`
	Kind      string           `bun:"kind"`
	Name      string           `bun:"name"`
	Facts     string           `bun:"facts"`
	Title     string           `bun:"title"`
	Text      string           `bun:"text"`
	EventID   ids.Event        `bun:"event_id"`
	OrderID   ids.Order        `bun:"order_id"`
	Inbox     bool             `bun:"inbox"`
	Held      bool             `bun:"held"` // its mail waits for the address to be confirmed
	CreatedAt time.Time        `bun:"created_at"`
	ReadAt    *time.Time       `bun:"read_at"`
}

func (r messageRow) decodeFacts() (render.Facts, error) {
	var f render.Facts
	if err := json.Unmarshal([]byte(r.Facts), &f); err != nil {
		return f, fault.Wrap(err, fault.Invalid, "the facts of %s are not readable", r.ID)
	}
	return f, nil
}

func (r messageRow) notification() api.Notification {
	return api.Notification{ID: r.ID, Kind: r.Kind, Name: r.Name, Title: r.Title, Text: r.Text, EventID: r.EventID,
		OrderID: r.OrderID, CreatedAt: r.CreatedAt.UTC(), ReadAt: r.ReadAt}
}

// deliveryRow is a row of the table deliveries.
type deliveryRow struct {
	bun.BaseModel `bun:"table:deliveries,alias:deliveries"`

	MessageID ids.Notification     `bun:"message_id,pk"`
	Channel   string               `bun:"channel,pk"`
	Target    ids.PushSubscription `bun:"target,pk"`
	Status    string               `bun:"status"`
	Reason    string               `bun:"reason"`
	EndedAt   time.Time            `bun:"ended_at"`
}

// eventRow is a row of the table known_events.
type eventRow struct {
	bun.BaseModel `bun:"table:known_events,alias:known_events"`

	ID       ids.Event         `bun:"id,pk"`
	Revision int64             `bun:"revision"`
	Status   string            `bun:"status"`
	Name     string            `bun:"name"`
	Names    map[string]string `bun:"names,type:text"`  // in other languages, by them
	Called   api.Called        `bun:"called,type:text"` // its ticket types
	StartsAt time.Time         `bun:"starts_at"`
	EndsAt   time.Time         `bun:"ends_at"`
	Timezone string            `bun:"timezone"`
	Place    string            `bun:"place"`
}

func (r eventRow) event() *render.Event {
	return &render.Event{ID: r.ID, Name: r.Name, Names: r.Names, StartsAt: r.StartsAt.UTC(),
		EndsAt: r.EndsAt.UTC(), Timezone: r.Timezone, Place: r.Place, Revision: r.Revision}
}

func rowOf(e api.Event) eventRow {
	return eventRow{ID: e.ID, Revision: e.Revision, Status: e.Status, Name: e.Name,
		Names: render.Names(e), Called: e.Called(), StartsAt: store.Time(e.StartsAt),
		EndsAt: store.Time(e.EndsAt), Timezone: e.Timezone, Place: render.Place(e.Location)}
}

// knownEvent returns an event of the projection. It reports false if there is none.
func knownEvent(ctx context.Context, db bun.IDB, id ids.Event) (row eventRow, known bool, err error) {
	err = store.Select(ctx, db, &row, "SELECT * FROM known_events WHERE id = ?", id)
	err = store.OrNotFound(err, "there is no such event")
	if fault.Is(err, fault.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// preferenceRow is a row of the table preferences.
type preferenceRow struct {
	bun.BaseModel `bun:"table:preferences,alias:preferences"`

	UserID ids.User `bun:"user_id,pk"`
	Kind   string   `bun:"kind,pk"`
	Email  bool     `bun:"email"`
	SMS    bool     `bun:"sms"`
	Push   bool     `bun:"push"`
	Inbox  bool     `bun:"inbox"`
}

// defaultPreference is that of people who never chose.
func defaultPreference(user ids.User, kind string) preferenceRow {
	return preferenceRow{UserID: user, Kind: kind, Email: true, Push: true, Inbox: true}
}

// subscriptionRow is a row of the table push_subscriptions.
type subscriptionRow struct {
	bun.BaseModel `bun:"table:push_subscriptions,alias:push_subscriptions"`

	ID        ids.PushSubscription `bun:"id,pk"`
	UserID    ids.User             `bun:"user_id"`
	Endpoint  string               `bun:"endpoint"`
	P256dh    string               `bun:"p256dh"`
	Auth      string               `bun:"auth"`
	Failures  int                  `bun:"failures"` // in a row
	CreatedAt time.Time            `bun:"created_at"`
}

// personDeletions are the statements that delete what is stored about a person.
func personDeletions() []string {
	return []string{
		"DELETE FROM deliveries WHERE message_id IN (SELECT id FROM messages WHERE user_id = ?)",
		"DELETE FROM deferrals WHERE message_id IN (SELECT id FROM messages WHERE user_id = ?)",
		"DELETE FROM messages WHERE user_id = ?",
		"DELETE FROM preferences WHERE user_id = ?",
		"DELETE FROM bounces WHERE user_id = ?",
		"DELETE FROM push_subscriptions WHERE user_id = ?",
		"DELETE FROM holders WHERE user_id = ?",
	}
}

// deletePerson deletes what is stored about the owner of a deleted account.
func deletePerson(ctx context.Context, tx bun.Tx, user ids.User) error {
	for _, query := range personDeletions() {
		if _, err := tx.ExecContext(ctx, query, user); err != nil {
			return err
		}
	}
	return idempotency.DeleteOf(ctx, tx, user)
}

// deleteOld deletes messages and mailings whose retention is over.
func (s *Service) deleteOld(ctx context.Context) error {
	before := s.Now().Add(-api.MessageRetention.Get(s.Live))
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, query := range []string{
			"DELETE FROM deliveries WHERE message_id IN (SELECT id FROM messages WHERE created_at < ?)",
			"DELETE FROM messages WHERE created_at < ?",
			"DELETE FROM mailings WHERE done_at < ?",
		} {
			if _, err := tx.ExecContext(ctx, query, before); err != nil {
				return err
			}
		}
		return nil
	})
}
