package notification

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// How a delivery ends.
const (
	sent    = "sent"
	dropped = "dropped" // nobody should get it any more
	failed  = "failed"  // it cannot reach the person
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
	CreatedAt time.Time        `bun:"created_at"`
	ReadAt    *time.Time       `bun:"read_at"`
}

func (r messageRow) facts() (facts, error) {
	var f facts
	if err := json.Unmarshal([]byte(r.Facts), &f); err != nil {
		return f, fault.Wrap(err, fault.Invalid, "the facts of %s are not readable", r.ID)
	}
	return f, nil
}

func (r messageRow) notification() api.Notification {
	return api.Notification{ID: r.ID, Kind: r.Kind, Name: r.Name, Title: r.Title, Text: r.Text, EventID: r.EventID, OrderID: r.OrderID,
		CreatedAt: r.CreatedAt.UTC(), ReadAt: r.ReadAt}
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

	ID       ids.Event `bun:"id,pk"`
	Revision int64     `bun:"revision"`
	Status   string    `bun:"status"`
	Name     string    `bun:"name"`
	StartsAt time.Time `bun:"starts_at"`
	EndsAt   time.Time `bun:"ends_at"`
	Timezone string    `bun:"timezone"`
	Place    string    `bun:"place"`
}

func (r eventRow) facts() *eventFacts {
	return &eventFacts{ID: r.ID, Name: r.Name, StartsAt: r.StartsAt.UTC(), EndsAt: r.EndsAt.UTC(), Timezone: r.Timezone, Place: r.Place}
}

func rowOf(e api.Event) eventRow {
	return eventRow{ID: e.ID, Revision: e.Revision, Status: e.Status, Name: e.Name, StartsAt: store.Time(e.StartsAt), EndsAt: store.Time(e.EndsAt),
		Timezone: e.Timezone, Place: place(e.Location)}
}

// knownEvent returns an event as it was last heard of. It reports false if it was not.
func knownEvent(ctx context.Context, db bun.IDB, id ids.Event) (row eventRow, known bool, err error) {
	err = db.NewRaw("SELECT * FROM known_events WHERE id = ?", id).Scan(ctx, &row)
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

// usual is what people get who never chose.
func usual(user ids.User, kind string) preferenceRow {
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
	CreatedAt time.Time            `bun:"created_at"`
}

// forgetPerson deletes what is known of somebody whose account is gone.
func forgetPerson(ctx context.Context, tx bun.Tx, user ids.User) error {
	for _, query := range []string{
		"DELETE FROM deliveries WHERE message_id IN (SELECT id FROM messages WHERE user_id = ?)",
		"DELETE FROM messages WHERE user_id = ?",
		"DELETE FROM preferences WHERE user_id = ?",
		"DELETE FROM bounces WHERE user_id = ?",
		"DELETE FROM push_subscriptions WHERE user_id = ?",
		"DELETE FROM holders WHERE user_id = ?",
	} {
		if _, err := tx.ExecContext(ctx, query, user); err != nil {
			return err
		}
	}
	return nil
}

// messagesKept is how long messages stay in inboxes.
const messagesKept = 400 * 24 * time.Hour

// forgetOld deletes messages and mailings that are older than anybody looks.
func (s *Service) forgetOld(ctx context.Context) error {
	before := s.Now().Add(-messagesKept)
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
