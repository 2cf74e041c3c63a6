// Package webhook tells the systems of organizers what happens, as Standard Webhooks: https://www.standardwebhooks.com
//
// Facts are domain events, in their order. Those of an organizer that has webhooks are kept once, numbered; a webhook
// is a position in these numbers. So its queue costs nothing, a replay moves the position back, and a webhook that was
// off goes on where it was. One instance at a time tells a webhook, one message after the other, and writes down where
// it is after each. What fails is tried again with growing pauses, and holds up nobody else: receivers that fail or are
// slow have places of their own, which they share.
package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

// Consumer is the durable consumer of domain events.
const Consumer = "notification-webhooks"

// Deps is what webhooks need. The database is that of the notification service.
type Deps struct {
	DB      *store.DB
	JS      jetstream.JetStream
	Client  *rpc.Client
	Live    *settings.Live
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time
	Keys    *seal.Keys // seal the secrets; nil: they lie in the database in plain
}

// Webhooks serves what is asked about webhooks, and tells them what happens.
type Webhooks struct {
	Deps
	made    quota.Counter
	client  *http.Client
	classes []*class

	following atomic.Bool   // whether facts are followed
	first     chan struct{} // wakes what looks whether there are webhooks
	wake      chan struct{} // wakes what looks for webhooks that are due
	telling   sync.WaitGroup
}

// class is places for receivers of one sort.
type class struct {
	claim store.Claim[row]
	free  chan struct{} // a token for each free place
}

// How many receivers are told something at a time by one instance: those that answered well the last time, and those
// that failed or took long.
const (
	promptPlaces = 1024
	tardyPlaces  = 128

	lease     = 30 * time.Second // of a webhook, while an instance tells it something
	turn      = 20 * time.Second // after which others get the place
	slowAfter = time.Second      // an answer is slow
)

// New returns the webhooks in a database.
func New(d Deps) *Webhooks {
	s := &Webhooks{Deps: d, made: quota.Counter{DB: d.DB, Live: d.Live, Now: d.Now}, first: make(chan struct{}, 1),
		wake: make(chan struct{}, 1)}
	s.client = channel.GuardedClient(func() bool { return api.WebhookPrivate.Get(d.Live) }, sendTime, perHost)
	for _, l := range []struct {
		where  string
		places int
	}{
		{"enabled AND position < last AND failures = 0 AND NOT slow", promptPlaces},
		{"enabled AND position < last AND (failures > 0 OR slow)", tardyPlaces},
	} {
		next := &class{claim: store.Claim[row]{DB: d.DB, Due: "due_at", Where: l.where, Lease: lease, Now: d.Now},
			free: make(chan struct{}, l.places)}
		for range l.places {
			next.free <- struct{}{}
		}
		s.classes = append(s.classes, next)
	}
	return s
}

// Secrets returns the columns with secrets.
func Secrets() []seal.Column {
	return []seal.Column{secretColumn("secret"), secretColumn("previous_secret")}
}

func secretColumn(value string) seal.Column {
	return seal.Column{Table: "webhooks", ID: "id", Value: value}
}

// Register binds the endpoints about webhooks.
func (s *Webhooks) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CreateWebhook, s.create)
	rpc.Handle(srv, api.ListWebhooks, s.list)
	rpc.Handle(srv, api.GetWebhook, s.get)
	rpc.Handle(srv, api.UpdateWebhook, s.update)
	rpc.Handle(srv, api.DeleteWebhook, s.delete)
	rpc.Handle(srv, api.RotateWebhookSecret, s.rotate)
	rpc.Handle(srv, api.ReplayWebhookFrom, s.replay)
	rpc.Handle(srv, api.ListWebhookAttempts, s.attempts)
}

// Run follows facts and tells webhooks until ctx ends and the attempts under way have an outcome.
func (s *Webhooks) Run(ctx context.Context) error {
	g := run.NewGroup(s.Log)
	g.Go("facts for webhooks", s.follow)
	g.Every(run.Loop{Name: "webhooks", Interval: 250 * time.Millisecond, Wake: s.wake, Do: s.dispatch})
	g.Every(run.Loop{Name: "old facts of webhooks", Interval: time.Hour, Jitter: time.Minute, Do: s.deleteOld})
	err := g.Run(ctx)
	s.telling.Wait()
	return err
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// row is a webhook.
type row struct {
	bun.BaseModel `bun:"table:webhooks"`

	ID             ids.Webhook `bun:",pk"`
	OrganizerID    ids.Organizer
	URL            string `bun:"url"`
	Name           string
	Topics         string    // with blanks between
	Secret         string    // sealed
	PreviousSecret string    // sealed
	PreviousUntil  time.Time `bun:",nullzero"`
	Enabled        bool
	DisabledReason string
	Position       int64
	Last           int64
	DueAt          time.Time
	Failures       int
	FailingSince   time.Time `bun:",nullzero"`
	Slow           bool
	CreatedBy      ids.User
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// factRow is something that happened.
type factRow struct {
	bun.BaseModel `bun:"table:webhook_facts"`

	OrganizerID ids.Organizer `bun:",pk"`
	Number      int64         `bun:",pk"`
	ID          ids.WebhookMessage
	Topic       string
	Body        string
	At          time.Time
}

// attemptRow is an attempt to tell a webhook something.
type attemptRow struct {
	bun.BaseModel `bun:"table:webhook_attempts"`

	WebhookID ids.Webhook `bun:",pk"`
	ID        string      `bun:",pk"`
	MessageID ids.WebhookMessage
	Topic     string
	At        time.Time
	TookMS    int64 `bun:"took_ms"`
	Status    int
	Problem   string
}

// deleteOld deletes facts and attempts whose retention is over.
func (s *Webhooks) deleteOld(ctx context.Context) error {
	before := store.Time(s.Now().Add(-api.WebhookRetention.Get(s.Live)))
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, query := range []string{"DELETE FROM webhook_facts WHERE at < ?",
			"DELETE FROM webhook_attempts WHERE at < ?"} {
			if _, err := tx.ExecContext(ctx, query, before); err != nil {
				return err
			}
		}
		return nil
	})
}
