package notification

import (
	"context"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/tracing"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

// channelWorker consumes the delivery jobs of one channel. Mails that people wait for have another than mailings, which
// therefore hold up each other and nothing else.
type channelWorker struct {
	subject  string
	jobs     int           // in progress at a time: while some are sent, others are loaded or recorded
	sending  chan struct{} // has room for as many as are sent at a time, which is the load of the other side
	send     func(ctx context.Context, out *outgoing) error
	delay    *observe.Histogram
	patience time.Duration // how long a message is tried; 0: as long as the stream has it
	loads    *batch.Group[api.NotificationJob, *outgoing]
	outcomes *batch.Group[outcome, struct{}]
}

// bulkLinger is how long a job of a mailing waits for others: one query then serves some dozens.
const bulkLinger = 25 * time.Millisecond

func (s *Service) newWorker(subject string, sending, jobs int, send func(context.Context, *outgoing) error,
	linger, patience time.Duration) channelWorker {
	const limit, queue = 500, 4096
	return channelWorker{
		subject: subject, jobs: jobs, sending: make(chan struct{}, sending), send: send, patience: patience,
		delay: s.Metrics.HistogramBuckets("starlight_notification_delay_seconds",
			"From the plan of a message, or its job in the stream, to its sending.", delayBuckets(),
			"consumer", api.NotificationDurable(subject)),
		loads:    batch.New(limit, queue, s.load, batch.Linger(linger)),
		outcomes: batch.New(limit, queue, s.storeOutcomes, batch.Linger(linger)),
	}
}

// delayBuckets are the bounds of delays in seconds: from a mail server that answers to one that is away.
func delayBuckets() []float64 { return []float64{1, 5, 15, 60, 300, 1800, 3 * 3600, 24 * 3600} }

// How often and for how long the job of a mail is tried: longer than a mail server is ever down. The last pause is how
// long a mail may still wait once the server is back.
const (
	maxTries  = 1440
	maxJobAge = 48 * time.Hour
)

func retryPauses() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 2 * time.Minute}
}

const (
	jobTime  = 4 * time.Minute  // for a job, with the time that it waits for its turn
	sendTime = 90 * time.Second // of that, what is left for the sending: a message that is cut off may have arrived
)

// work delivers the jobs of a channel until ctx ends.
func (s *Service) work(ctx context.Context, w channelWorker) error {
	pauses := s.Pauses
	if pauses == nil {
		pauses = retryPauses()
	}
	return stream.Consume(ctx, s.JS, stream.Consumer{
		Stream: api.NotificationsStream, Durable: api.NotificationDurable(w.subject),
		Filters: []string{w.subject}, Concurrency: w.jobs,
		HandlerTime: jobTime, MaxDeliver: maxTries, MaxAge: maxJobAge, BackOff: pauses, Log: s.Log, Registry: s.Metrics,
	}, func(ctx context.Context, m stream.Msg) error { return s.deliver(ctx, w, m) })
}

// inProgress leaves a redelivered job in the stream, until the outcome of its message is known.
func (s *Service) inProgress(ctx context.Context, job api.NotificationJob) error {
	s.Log.DebugContext(ctx, "a job was redelivered while its message is being sent",
		"message", job.MessageID, "channel", job.Channel)
	return fault.New(fault.Unavailable, "the message is being sent")
}

// deliver does one job, unless that is in progress already. Its outcome is stored before it is acknowledged, so a job
// that is redelivered after that does nothing. One that is redelivered after a crash in between is done again, and its
// message has the same id.
func (s *Service) deliver(ctx context.Context, w channelWorker, m stream.Msg) error {
	var job api.NotificationJob
	if err := m.Decode(&job); err != nil {
		return err
	}
	o, free := s.claims.enter(job)
	if !free {
		return s.inProgress(ctx, job)
	}
	var unrecorded *outcome
	defer func() { s.claims.leave(job, unrecorded) }()
	var err error
	if o == nil {
		out, failure := w.loads.Do(ctx, job)
		if fault.Is(failure, fault.NotFound) { // done, or its recipient's account is deleted
			return nil
		}
		if fault.Is(failure, fault.Conflict) {
			return s.inProgress(ctx, job)
		}
		if failure != nil {
			return failure
		}
		o, err = s.try(ctx, w, out)
	}
	recorded := s.record(ctx, w, *o)
	if o.status == sent {
		w.delay.Update(s.Now().Sub(m.Time).Seconds())
	}
	if recorded != nil && o.status != "" {
		unrecorded = o
	}
	return errors.Join(err, recorded)
}

// try sends a message. It returns the outcome, which has no status if the job is to be tried again.
func (s *Service) try(ctx context.Context, w channelWorker, out *outgoing) (*outcome, error) {
	job := out.job
	o := &outcome{job: job, status: sent}
	span := tracing.From(ctx).Child("send "+job.Channel, tracing.Client)
	err := s.attempt(ctx, w, out)
	span.End(err)
	var never *channel.Undeliverable
	var late *obsolete
	var wait *postponed
	switch {
	case err == nil:
	case errors.As(err, &wait):
		if o.due = s.nextTry(out.row, w.patience, wait.after); o.due.IsZero() {
			o.status, o.reason = failed, "given up: "+wait.Error()
			break
		}
		o.status = ""
		s.Log.DebugContext(ctx, "a message is put off",
			"message", out.row.ID, "channel", job.Channel, "error", err, "until", o.due)
		return o, nil
	case errors.As(err, &never):
		o.status, o.reason = failed, never.Reason
		s.Log.InfoContext(ctx, "a message cannot reach its recipient",
			"message", out.row.ID, "channel", job.Channel, "reason", never.Reason)
	case errors.As(err, &late):
		o.status, o.reason = dropped, late.reason
		s.Log.InfoContext(ctx, "a message is dropped",
			"message", out.row.ID, "name", out.row.Name, "channel", job.Channel, "reason", late.reason)
	default:
		o.status = ""
		return o, err
	}
	s.Metrics.Counter("starlight_notification_messages_total", "Messages to recipients, by channel and outcome.",
		"channel", job.Channel, "outcome", o.status).Inc()
	return o, nil
}

// record stores the outcome of a job, also when the job's time is over. If that fails, the job stays with this
// instance, which knows the outcome and does not send the message again.
func (s *Service) record(ctx context.Context, w channelWorker, o outcome) error {
	ctx, cancel := stream.Recording(ctx)
	defer cancel()
	if _, err := w.outcomes.Do(ctx, o); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the outcome of message %s cannot be stored", o.job.MessageID)
	}
	return nil
}

// attempt sends a message, when it is its turn.
func (s *Service) attempt(ctx context.Context, w channelWorker, out *outgoing) error {
	if out.stop != nil {
		return out.stop
	}
	leave, err := w.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if !s.claims.isCurrent(out.job) {
		return s.inProgress(ctx, out.job)
	}
	if out.row.Name == "reminder" {
		if on, err := s.isStillOn(ctx, out.row, out.facts); err != nil {
			return err
		} else if !on {
			return &obsolete{"it is no longer so"}
		}
	}
	return w.send(ctx, out)
}

// enter waits for the turn of a message, as long as there is time to send it. Call leave afterwards.
func (w channelWorker) enter(ctx context.Context) (leave func(), err error) {
	turn := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		turn, cancel = context.WithDeadline(ctx, end.Add(-sendTime))
		defer cancel()
	}
	select {
	case w.sending <- struct{}{}:
		return func() { <-w.sending }, nil
	case <-turn.Done():
		return nil, fault.Wrap(turn.Err(), fault.Unavailable, "the message had no turn in time")
	}
}
