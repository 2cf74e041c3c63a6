package notification

import (
	"context"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// jobsStream is the stream of delivery jobs.
const jobsStream = "NOTIFICATIONS"

// lane is a consumer of delivery jobs. Each channel has its own, and so have mails that somebody waits for: a mailing to
// everybody fills its own lane and no other.
type lane struct {
	subject     string
	concurrency int
	deliver     func(ctx context.Context, out outgoing) error
}

// How often a job is tried. With the pauses below that is about two days: longer than a provider is ever down.
const jobPatience = 300

func jobPauses() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute}
}

// lanes returns the consumers of delivery jobs.
func (s *Service) lanes() []lane {
	return []lane{
		{api.NotifyEmailUrgent, urgentMails, s.sendMail},
		{api.NotifyEmailBulk, bulkMails, s.sendMail},
		{api.NotifySMS, 4, s.sendSMS},
		{api.NotifyPush, 16, s.sendPush},
	}
}

// work delivers the jobs of a lane until ctx ends.
func (s *Service) work(ctx context.Context, l lane) error {
	pauses := s.Pauses
	if pauses == nil {
		pauses = jobPauses()
	}
	return stream.Consume(ctx, s.JS, stream.Consumer{
		Stream: jobsStream, Durable: api.NotificationDurable(l.subject), Filters: []string{l.subject}, Concurrency: l.concurrency,
		AckWait: 2 * time.Minute, MaxDeliver: jobPatience, BackOff: pauses,
		Log: s.Log, Registry: s.Metrics,
	}, func(ctx context.Context, m stream.Msg) error { return s.deliver(ctx, l, m) })
}

// outgoing is a message on its way to one person on one channel.
type outgoing struct {
	job   api.NotificationJob
	row   messageRow
	facts facts
	to    api.Contact
}

// undeliverable is the error of a message that cannot reach the person, however often it is tried. It is nobody's fault:
// the message is put aside without a dead letter.
type undeliverable struct{ reason string }

func (u *undeliverable) Error() string { return u.reason }

// moot is the error of a message that the person should not get any more.
type moot struct{ reason string }

func (m *moot) Error() string { return m.reason }

// deliver does one job. Its outcome is written down before it is acknowledged, so a job that comes again after that does
// nothing; one that comes again after a crash in between is done again, and its message carries the same id.
func (s *Service) deliver(ctx context.Context, l lane, m stream.Msg) error {
	var job api.NotificationJob
	if err := m.Decode(&job); err != nil {
		return err
	}
	row, err := s.pendingMessage(ctx, job)
	if fault.Is(err, fault.NotFound) { // done, or its person is gone
		return nil
	}
	if err != nil {
		return err
	}
	err = s.attempt(ctx, l, job, row)
	var never *undeliverable
	var late *moot
	switch {
	case err == nil:
		s.count(job.Channel, sent)
		return s.settle(ctx, job, sent, "")
	case errors.As(err, &never):
		s.count(job.Channel, failed)
		s.Log.InfoContext(ctx, "a message cannot reach its person", "message", row.ID, "channel", job.Channel, "reason", never.reason)
		return s.settle(ctx, job, failed, never.reason)
	case errors.As(err, &late):
		s.count(job.Channel, dropped)
		s.Log.InfoContext(ctx, "a message is dropped", "message", row.ID, "name", row.Name, "channel", job.Channel, "reason", late.reason)
		return s.settle(ctx, job, dropped, late.reason)
	}
	return err
}

func (s *Service) attempt(ctx context.Context, l lane, job api.NotificationJob, row messageRow) error {
	f, err := row.facts()
	if err != nil {
		return err
	}
	good, err := s.stillTrue(ctx, row, f)
	if err != nil {
		return err
	}
	if !good {
		return &moot{"it is no longer so"}
	}
	contact, err := s.people.Do(ctx, row.UserID)
	if fault.Is(err, fault.NotFound) {
		return &moot{"the person is gone"}
	}
	if err != nil {
		return err
	}
	return l.deliver(ctx, outgoing{job: job, row: row, facts: f, to: *contact})
}

func (s *Service) count(channel, outcome string) {
	s.Metrics.Counter("starlight_notification_messages_total", "Messages to people, by channel and outcome.",
		"channel", channel, "outcome", outcome).Inc()
}
