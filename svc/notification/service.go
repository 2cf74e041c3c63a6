// Package notification tells people what concerns them. It hears of it through domain events, asks the user service how
// to reach somebody at the moment of sending, and keeps no addresses of its own.
package notification

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

const (
	consumer    = "notification"
	events      = "EVENTS"
	atATime     = 4
	patience    = 2880 // deliveries before a message is given up: a day, at one each 30 seconds
	forgetEvery = time.Hour
	forgetAfter = 90 * 24 * time.Hour // longer than a message stays in the stream
)

// Migrations returns nil: what every service's database has is enough.
func Migrations() fs.FS { return nil }

// Deps is what the service runs on. All of it is needed, but for From.
type Deps struct {
	DB        *store.DB
	JS        jetstream.JetStream
	Client    *rpc.Client
	Log       *slog.Logger
	Metrics   *observe.Registry
	Now       func() time.Time
	OutboxDir string        // where messages go while there is no mail provider; made if missing
	PublicURL string        // what links begin with, such as https://tickets.example
	From      *mail.Address // of all messages; nil means no-reply at the host of PublicURL
}

// Service is the notification service.
type Service struct {
	Deps
	from mail.Address
	host string // of message ids
}

// New returns the service. It makes the outbox folder, and runs nothing in the background.
func New(_ context.Context, d Deps) (*Service, error) {
	if err := makeOutbox(d.OutboxDir); err != nil {
		return nil, fmt.Errorf("notification: %w", err)
	}
	d.PublicURL = strings.TrimRight(d.PublicURL, "/")
	s := &Service{Deps: d, host: "localhost"}
	if u, err := url.Parse(d.PublicURL); err == nil && hostRule.MatchString(u.Hostname()) {
		s.host = u.Hostname()
	}
	s.from = mail.Address{Name: "Starlight Symphony", Address: "no-reply@" + s.host}
	if d.From != nil {
		s.from = *d.From
	}
	return s, nil
}

// Register binds the endpoints of the service: none yet. It is on the mesh all the same, with its health and numbers.
func (s *Service) Register(*rpc.Server) {}

// Run sends messages until ctx ends and those under way are sent.
func (s *Service) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		done <- stream.Consume(ctx, s.JS, stream.Consumer{
			Stream:      events,
			Durable:     consumer,
			Filters:     []string{api.UserRegistered.Subject, api.PasswordResetRequested.Subject, api.OrderWasPaid.Subject},
			Concurrency: atATime,
			MaxDeliver:  patience,
			DoubleAck:   true, // a message that is sent cannot be taken back
			Log:         s.Log,
			Registry:    s.Metrics,
		}, s.handle)
	}()
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := stream.Forget(ctx, s.DB, s.Now().Add(-forgetAfter)); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "cannot forget old messages", "error", err)
			}
		case err := <-done:
			return err
		}
	}
}

// handle sends the message that an event calls for. An event that comes again after its message was sent does nothing;
// after a crash between the two the message is sent again, with the same Message-ID.
func (s *Service) handle(ctx context.Context, m stream.Msg) error {
	if sent, err := s.sent(ctx, m.ID); sent || err != nil {
		return err
	}
	msg, err := s.compose(ctx, m)
	switch {
	case fault.Is(err, fault.NotFound):
		// Deleted since, or the reset is used or too old: nobody waits for this message.
		s.outcome(m.Subject, "dropped").Inc()
		s.Log.InfoContext(ctx, "a message is dropped: who or what it is about is gone", "event", m.ID, "subject", m.Subject)
	case err != nil:
		return err
	default:
		if err := s.deliver(msg); err != nil {
			return err
		}
		s.outcome(m.Subject, "sent").Inc()
		s.Log.InfoContext(ctx, "a message is in the outbox", "event", m.ID, "subject", m.Subject, "message_id", msg.id)
	}
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := stream.Once(ctx, tx, consumer, m.ID)
		return err
	})
}

func (s *Service) sent(ctx context.Context, id string) (sent bool, err error) {
	err = s.DB.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM processed WHERE consumer = ? AND message_id = ?)", consumer, id).Scan(ctx, &sent)
	return sent, store.OrNotFound(err, "there is no such message")
}

func (s *Service) outcome(subject, outcome string) *observe.Counter {
	return s.Metrics.Counter("starlight_notification_messages_total", "Messages to people, by the event that called for them.",
		"subject", subject, "outcome", outcome)
}
