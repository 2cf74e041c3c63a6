package notification

import (
	"context"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// A mail that a domain event leads to is sent by the instance that planned it: what the mail needs is there already,
// and the claim to it is part of the plan's transaction. The outcome rides on the next commit. The job goes into the
// stream, with all of the stream's patience, as soon as the mail fails, is slow, or has no instance any more.

const (
	maxDirect    = 512              // mails that wait; those of a larger crowd go through the stream
	directTime   = 10 * time.Second // after which a mail that is not sent is in the stream, too
	orphansEvery = 5 * time.Second
)

// directMail is a mail that this instance has planned and claimed.
type directMail struct {
	ctx     context.Context // of the domain event, without its end
	out     *outgoing
	planned time.Time
}

// hasRoom reports whether one more mail may be sent without the stream.
func (s *Service) hasRoom() bool { return len(s.direct) < maxDirect/2 }

// sendSoon queues mails that were planned just now.
func (s *Service) sendSoon(ctx context.Context, outs []*outgoing) {
	for _, out := range outs {
		if _, free := s.claims.enter(out.job); !free {
			continue
		}
		select {
		case s.direct <- directMail{context.WithoutCancel(ctx), out, time.Now()}:
		default:
			s.abandon(context.WithoutCancel(ctx), out.job)
		}
	}
}

// planAndSend consumes domain events until ctx ends, and sends the mails that they lead to. Mails in progress then have
// the same time as those of the stream, and the others go there.
func (s *Service) planAndSend(ctx context.Context) error {
	const stopTime = 20 * time.Second
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopTime, cancel) })()
	var senders sync.WaitGroup
	for range urgentMails {
		senders.Go(func() {
			for m := range s.direct {
				if ctx.Err() != nil {
					s.abandon(m.ctx, m.out.job)
					continue
				}
				s.sendDirect(sending, m)
			}
		})
	}
	err := stream.Consume(ctx, s.JS, stream.Consumer{
		Stream: api.EventsStream, Durable: consumer, Filters: consumed(), Concurrency: planners,
		MaxDeliver: maxPlanning,
		Log:        s.Log, Registry: s.Metrics,
	}, s.plan)
	close(s.direct)
	senders.Wait()
	return err
}

// sendDirect sends a mail. It ends with sending at the latest.
func (s *Service) sendDirect(sending context.Context, m directMail) {
	ctx, cancel := context.WithTimeout(m.ctx, jobTime)
	defer cancel()
	defer context.AfterFunc(sending, cancel)()
	slow := time.AfterFunc(time.Until(m.planned.Add(directTime)), func() { s.enqueue(ctx, m.out.job) })
	defer slow.Stop()
	o, err := s.tryDirect(ctx, m.out)
	if err != nil {
		s.Log.DebugContext(ctx, "a mail was not sent at once", "message", m.out.row.ID, "error", err)
		s.abandon(ctx, m.out.job)
		return
	}
	if o.status == sent {
		s.urgent().delay.Update(time.Since(m.planned).Seconds())
	}
	s.recordSoon(*o)
}

// ridingOutcomes are those that wait for a commit.
type ridingOutcomes struct {
	mu      sync.Mutex
	waiting []outcome
}

func (r *ridingOutcomes) take() []outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.waiting
	r.waiting = nil
	return waiting
}

// recordSoon stores an outcome with the next commit. A crash before that sends the mail again.
func (s *Service) recordSoon(o outcome) {
	s.riding.mu.Lock()
	defer s.riding.mu.Unlock()
	if s.riding.waiting = append(s.riding.waiting, o); len(s.riding.waiting) > 1 {
		return // with those before it
	}
	var outcomes []outcome // of all tries
	s.DB.TxSoonThen(func(ctx context.Context, tx bun.Tx) error {
		outcomes = append(outcomes, s.riding.take()...)
		if err := s.insertOutcomes(ctx, tx, outcomes); err != nil {
			s.Log.DebugContext(ctx, "the outcomes of messages cannot be stored",
				"messages", len(outcomes), "error", err)
			return err
		}
		return nil
	}, func() {
		for _, o := range outcomes {
			s.claims.leave(o.job, nil)
		}
	})
}

// tryDirect sends a mail unless it is obsolete.
func (s *Service) tryDirect(ctx context.Context, out *outgoing) (*outcome, error) {
	found := map[api.NotificationJob]*outgoing{out.job: out}
	if err := s.stopBlocked(ctx, found); err != nil {
		return nil, err
	}
	if err := s.stopEndedOrders(ctx, found); err != nil {
		return nil, err
	}
	return s.try(ctx, s.urgent(), out)
}

// enqueue puts the job of a mail that is still being sent into the stream.
func (s *Service) enqueue(ctx context.Context, job api.NotificationJob) {
	s.toStream(ctx, job, "UPDATE claims SET queued = TRUE WHERE owner = ? AND message_id = ? AND channel = ?")
}

// abandon ends the claim to a mail that was not sent, and puts its job into the stream.
func (s *Service) abandon(ctx context.Context, job api.NotificationJob) {
	s.toStream(ctx, job, "DELETE FROM claims WHERE owner = ? AND message_id = ? AND channel = ?")
	s.claims.leave(job, nil)
}

// toStream puts a job into the stream and changes its claim. If it fails, the claim expires and the job is found there.
func (s *Service) toStream(ctx context.Context, job api.NotificationJob, change string) {
	ctx, cancel := stream.Recording(ctx)
	defer cancel()
	err := s.group.Do(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, change, s.claims.owner, job.MessageID, job.Channel); err != nil {
			return err
		}
		return stream.AddAll(ctx, tx, jobMessage(api.NotifyEmailUrgent, job))
	})
	if err != nil {
		s.Log.WarnContext(ctx, "a mail is not in the stream yet", "message", job.MessageID,
			"error", err, "retry_in", claimTime)
	}
}

// sweepOrphans puts the jobs of mails into the stream whose instance died before it had sent them. A claim must have
// expired before the sweep before this one: after an outage of the database an instance has the time to renew it, or to
// store the outcome.
func (s *Service) sweepOrphans(ctx context.Context) error {
	var found bool
	err := s.DB.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM claims WHERE NOT queued)").Scan(ctx, &found)
	if err != nil || !found {
		return err
	}
	var now int64
	err = s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if now, err = s.claims.now(ctx, tx); err != nil {
			return err
		}
		var orphans []claimRow
		err = tx.NewRaw("DELETE FROM claims WHERE NOT queued AND until < ? RETURNING *", s.swept).Scan(ctx, &orphans)
		if err != nil {
			return err
		}
		messages := make([]stream.Message, len(orphans))
		for i, row := range orphans {
			messages[i] = jobMessage(api.NotifyEmailUrgent, row.job())
		}
		return stream.AddAll(ctx, tx, messages...)
	})
	if err == nil {
		s.swept = now
	}
	return err
}
