package notification

import (
	"context"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// lane is a consumer of delivery jobs. Each channel has its own, and so have mails that somebody waits for: a mailing to
// everybody fills its own lane and no other.
type lane struct {
	subject string
	ahead   int           // jobs in hand at a time: while some are handed over, others are looked up or written down
	lines   chan struct{} // how many of them are handed over at a time: what the other side sees of us
	deliver func(ctx context.Context, out *outgoing) error
	loads   *batch.Group[api.NotificationJob, *outgoing]
	ends    *batch.Group[outcome, struct{}]
}

// gather is how long jobs of a mailing wait for company: one look at the database then serves some dozens.
const gather = 25 * time.Millisecond

// newLane returns the lane of a subject. One for mails to many gathers its jobs.
func (s *Service) newLane(subject string, lines, ahead int, deliver func(context.Context, *outgoing) error, wait time.Duration) lane {
	const limit, queue = 500, 4096
	return lane{
		subject: subject, ahead: ahead, lines: make(chan struct{}, lines), deliver: deliver,
		loads: batch.New(limit, queue, s.load, batch.Linger(wait)), ends: batch.New(limit, queue, s.settle, batch.Linger(wait)),
	}
}

// How often and for how long a job is tried: longer than a provider is ever down. The last of the pauses below is how long
// a mail may still lie here once the provider is back.
const (
	jobPatience = 1440
	jobAge      = 48 * time.Hour
)

func jobPauses() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 2 * time.Minute}
}

// work delivers the jobs of a lane until ctx ends.
func (s *Service) work(ctx context.Context, l lane) error {
	pauses := s.Pauses
	if pauses == nil {
		pauses = jobPauses()
	}
	return stream.Consume(ctx, s.JS, stream.Consumer{
		Stream: api.NotificationsStream, Durable: api.NotificationDurable(l.subject), Filters: []string{l.subject}, Concurrency: l.ahead,
		HandlerTime: jobTime, MaxDeliver: jobPatience, MaxAge: jobAge, BackOff: pauses,
		Log: s.Log, Registry: s.Metrics,
	}, func(ctx context.Context, m stream.Msg) error { return s.deliver(ctx, l, m) })
}

// undeliverable is the error of a message that cannot reach the person, however often it is tried. It is nobody's fault:
// the message is put aside without a dead letter.
type undeliverable struct{ reason string }

func (u *undeliverable) Error() string { return u.reason }

// moot is the error of a message that the person should not get any more.
type moot struct{ reason string }

func (m *moot) Error() string { return m.reason }

const (
	jobTime  = 4 * time.Minute  // for a job, with the time that it waits for a free line
	sendTime = 90 * time.Second // of that, what is left for it once it has a line: what is cut off may have arrived
)

// beingSent leaves a job that came again in the stream, until what became of the message is known.
func (s *Service) beingSent(ctx context.Context, job api.NotificationJob) error {
	s.Log.DebugContext(ctx, "a job came again while its message is being sent", "message", job.MessageID, "channel", job.Channel)
	return fault.New(fault.Unavailable, "the message is being sent")
}

// deliver does one job, unless it is in hand already. Its outcome is written down before it is acknowledged, so a job that
// comes again after that does nothing; one that comes again after a crash in between is done again, and its message
// carries the same id.
func (s *Service) deliver(ctx context.Context, l lane, m stream.Msg) error {
	var job api.NotificationJob
	if err := m.Decode(&job); err != nil {
		return err
	}
	end, free := s.claims.enter(job)
	if !free {
		return s.beingSent(ctx, job)
	}
	var unrecorded *outcome
	defer func() { s.claims.leave(job, unrecorded) }()
	var err error
	if end == nil {
		if end, err = s.try(ctx, l, job); end == nil {
			return err
		}
	}
	noted := s.record(ctx, l, *end)
	if noted != nil && end.status != "" {
		unrecorded = end
	}
	return errors.Join(err, noted)
}

// try claims a job and does it. It returns what became of it, without a status if it is to be tried again, and nil if the
// job was not claimed.
func (s *Service) try(ctx context.Context, l lane, job api.NotificationJob) (*outcome, error) {
	out, err := l.loads.Do(ctx, job)
	if fault.Is(err, fault.NotFound) { // done, or its person is gone
		return nil, nil
	}
	if fault.Is(err, fault.Conflict) {
		return nil, s.beingSent(ctx, job)
	}
	if err != nil {
		return nil, err
	}
	end := &outcome{job, sent, ""}
	err = s.attempt(ctx, l, out)
	var never *undeliverable
	var late *moot
	switch {
	case err == nil:
	case errors.As(err, &never):
		end.status, end.reason = failed, never.reason
		s.Log.InfoContext(ctx, "a message cannot reach its person", "message", out.row.ID, "channel", job.Channel, "reason", never.reason)
	case errors.As(err, &late):
		end.status, end.reason = dropped, late.reason
		s.Log.InfoContext(ctx, "a message is dropped", "message", out.row.ID, "name", out.row.Name, "channel", job.Channel, "reason", late.reason)
	default:
		end.status = ""
		return end, err
	}
	s.Metrics.Counter("starlight_notification_messages_total", "Messages to people, by channel and outcome.", "channel", job.Channel, "outcome", end.status).Inc()
	return end, nil
}

// record writes down what became of a job, also when the job's time is over. If it cannot be, the job stays with this
// instance, which knows the outcome and does not send the message again.
func (s *Service) record(ctx context.Context, l lane, end outcome) error {
	ctx, cancel := stream.Recording(ctx)
	defer cancel()
	if _, err := l.ends.Do(ctx, end); err != nil {
		return fault.Wrap(err, fault.Unavailable, "what became of message %s cannot be written down", end.job.MessageID)
	}
	return nil
}

// attempt hands a message over, once a line is free.
func (s *Service) attempt(ctx context.Context, l lane, out *outgoing) error {
	if out.stop != nil {
		return out.stop
	}
	leave, err := l.line(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if !s.claims.isCurrent(out.job) {
		return s.beingSent(ctx, out.job)
	}
	if out.row.Name == "reminder" {
		if on, err := s.stillOn(ctx, out.row, out.facts); err != nil {
			return err
		} else if !on {
			return &moot{"it is no longer so"}
		}
	}
	return l.deliver(ctx, out)
}

// line waits for a free line, as long as there is time to use it. Call leave afterwards.
func (l lane) line(ctx context.Context) (leave func(), err error) {
	free := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		free, cancel = context.WithDeadline(ctx, end.Add(-sendTime))
		defer cancel()
	}
	select {
	case l.lines <- struct{}{}:
		return func() { <-l.lines }, nil
	case <-free.Done():
		return nil, fault.Wrap(free.Err(), fault.Unavailable, "no line became free in time")
	}
}
