package notification

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

// Mails wait for their server in the stream, for days. What goes to a phone or a browser is of no use so late, and goes
// to many places, of which some never answer: such a message leaves the stream when it is put off, so that those behind
// it do not wait for it, and comes back when it is due. Each pause is as long as the message is old.
const (
	smsPatience  = time.Hour
	pushPatience = 4 * time.Hour
	firstPause   = 2 * time.Second
	mostDue      = 500 // messages that one sweep puts back
)

// postponed is the error of a message that its provider does not take for now.
type postponed struct {
	error
	after time.Duration // when another try is worth it, at the earliest
}

// Unwrap returns the cause.
func (p *postponed) Unwrap() error { return p.error }

// putOff returns the error of a provider, as *postponed if another try may help.
func putOff(err error) error {
	var busy *channel.Busy
	switch {
	case errors.As(err, &busy):
		return &postponed{err, busy.After}
	case fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout):
		return &postponed{err, 0}
	}
	return err
}

// nextTry returns when a message is tried again, and the zero time if it is given up.
func (s *Service) nextTry(row messageRow, patience, after time.Duration) time.Time {
	now := s.Now()
	end := row.CreatedAt.Add(patience)
	if !now.Before(end) {
		return time.Time{}
	}
	next := now.Add(max(firstPause, now.Sub(row.CreatedAt), after))
	if next.After(end) {
		return end
	}
	return next
}

// deferralRow is a row of the table deferrals: a job that was put off.
type deferralRow struct {
	bun.BaseModel `bun:"table:deferrals,alias:deferrals"`

	MessageID ids.Notification     `bun:"message_id,pk"`
	Channel   string               `bun:"channel,pk"`
	Target    ids.PushSubscription `bun:"target,pk"`
	DueAt     time.Time            `bun:"due_at"`
}

// sweepDeferrals puts the jobs back into the stream that are due. Of two instances one does.
func (s *Service) sweepDeferrals(ctx context.Context) error {
	subjects := map[string]string{api.ChannelSMS: api.NotifySMS, api.ChannelPush: api.NotifyPush}
	for {
		var due []deferralRow
		err := s.DB.Read().NewRaw(`SELECT * FROM deferrals WHERE due_at <= ?
			ORDER BY due_at, message_id, channel, target LIMIT ?`, s.Now(), mostDue).
			Scan(ctx, &due)
		if err != nil || len(due) == 0 {
			return err
		}
		err = s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			var jobs []stream.Message
			for _, row := range due {
				res, err := tx.ExecContext(ctx, `DELETE FROM deferrals
					WHERE message_id = ? AND channel = ? AND target = ? AND due_at = ?`,
					row.MessageID, row.Channel, row.Target, row.DueAt)
				if err != nil {
					return err
				}
				if n, err := res.RowsAffected(); err != nil {
					return err
				} else if n == 0 {
					continue
				}
				job := jobMessage(subjects[row.Channel],
					api.NotificationJob{MessageID: row.MessageID, Channel: row.Channel, Target: row.Target})
				job.ID += "." + strconv.FormatInt(row.DueAt.UnixMilli(), 36) // it is in the stream once already
				jobs = append(jobs, job)
			}
			return stream.AddAll(ctx, tx, jobs...)
		})
		if err != nil || len(due) < mostDue {
			return err
		}
	}
}
