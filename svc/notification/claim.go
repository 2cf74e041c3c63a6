package notification

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	claimTime  = 20 * time.Second // shorter than the stream waits before it delivers the job of a dead instance again
	renewEvery = 5 * time.Second
)

// claims are the jobs that this instance has in progress. A job is claimed before its message is sent, in memory
// against the other handlers and in the database against other instances: a slow server makes the stream redeliver a
// job that is in progress. A claim is renewed as long as that lasts, and expires when the instance dies.
type claims struct {
	db    *store.DB
	owner string

	mu   sync.Mutex
	held map[api.NotificationJob]*claim
}

// claim is a job in progress.
type claim struct {
	at      time.Time // when it was made or renewed, at the earliest
	busy    bool      // a handler has it
	outcome *outcome  // that could not be stored yet; without a handler, the job waits for another try
}

func newClaims(db *store.DB) *claims {
	return &claims{db: db, owner: rand.Text(), held: map[api.NotificationJob]*claim{}}
}

// claimRow is a row of the table claims.
type claimRow struct {
	bun.BaseModel `bun:"table:claims,alias:claims"`

	MessageID ids.Notification     `bun:"message_id,pk"`
	Channel   string               `bun:"channel,pk"`
	Target    ids.PushSubscription `bun:"target,pk"`
	Owner     string               `bun:"owner"`
	Until     int64                `bun:"until"`
	Queued    bool                 `bun:"queued"` // whether the job is in the stream
}

func (r claimRow) job() api.NotificationJob {
	return api.NotificationJob{MessageID: r.MessageID, Channel: r.Channel, Target: r.Target}
}

// row returns the claim of this instance to a job from now on, in milliseconds.
func (c *claims) row(job api.NotificationJob, now int64, queued bool) claimRow {
	return claimRow{MessageID: job.MessageID, Channel: job.Channel, Target: job.Target, Owner: c.owner,
		Until: now + claimTime.Milliseconds(), Queued: queued}
}

// enter claims a job in memory, and returns its outcome if it was done before and that is only to be stored. It reports
// false if another handler of this instance has the job.
func (c *claims) enter(job api.NotificationJob) (o *outcome, free bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.held[job]
	if one == nil {
		one = &claim{at: time.Now()}
		c.held[job] = one
	}
	if one.busy {
		return nil, false
	}
	one.busy = true
	return one.outcome, true
}

// leave ends the claim to a job in memory. An outcome that could not be stored stays.
func (c *claims) leave(job api.NotificationJob, unrecorded *outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if unrecorded == nil {
		delete(c.held, job)
		return
	}
	c.held[job].busy, c.held[job].outcome = false, unrecorded
}

// isCurrent reports whether the claim to a job still holds. That of a process which was stopped may have expired.
func (c *claims) isCurrent(job api.NotificationJob) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.held[job].at) < claimTime
}

// acquire claims jobs, each of them once, and returns those that no other instance has claimed.
func (c *claims) acquire(ctx context.Context, tx bun.Tx, jobs []api.NotificationJob) ([]api.NotificationJob, error) {
	now, err := c.now(ctx, tx)
	if err != nil {
		return nil, err
	}
	var mine []api.NotificationJob
	rows := make([]claimRow, len(jobs))
	for i, job := range jobs {
		rows[i] = c.row(job, now, true)
	}
	err = tx.NewInsert().Model(&rows).On("CONFLICT (message_id, channel, target) DO UPDATE").
		Set("owner = excluded.owner, until = excluded.until").
		Where("claims.until < ? OR claims.owner = excluded.owner", now).
		Returning("message_id, channel, target").Scan(ctx, &mine)
	return mine, err
}

// insert claims messages that are new.
func (c *claims) insert(ctx context.Context, tx bun.Tx, outs []*outgoing) error {
	if len(outs) == 0 {
		return nil
	}
	now, err := c.now(ctx, tx)
	if err != nil {
		return err
	}
	rows := make([]claimRow, len(outs))
	for i, out := range outs {
		rows[i] = c.row(out.job, now, false)
	}
	_, err = store.Insert(ctx, tx, rows, "CONFLICT DO NOTHING")
	return err
}

// release ends the claims of this instance to jobs.
func (c *claims) release(ctx context.Context, tx bun.Tx, jobs []api.NotificationJob) error {
	if len(jobs) == 0 {
		return nil
	}
	messages, keys := set[ids.Notification]{}, make([]string, len(jobs))
	for i, job := range jobs {
		messages[job.MessageID] = true
		keys[i] = job.MessageID.String() + "." + job.Channel + "." + job.Target.String()
	}
	_, err := store.Exec(ctx, tx, `DELETE FROM claims WHERE owner = ? AND message_id IN (?)
		AND message_id || '.' || channel || '.' || target IN (?)`, c.owner, messages.list(), store.List(keys))
	return err
}

// renew prolongs the claims to what has been in progress for a while. One that has expired and was lost is not
// prolonged.
func (c *claims) renew(ctx context.Context) error {
	began := time.Now()
	messages := set[ids.Notification]{}
	c.mu.Lock()
	for job, one := range c.held {
		if began.Sub(one.at) >= renewEvery {
			messages[job.MessageID] = true
		}
	}
	c.mu.Unlock()
	if len(messages) == 0 {
		return nil
	}
	var renewed []api.NotificationJob
	err := c.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		now, err := c.now(ctx, tx)
		if err != nil {
			return err
		}
		renewed = nil
		return tx.NewRaw(`UPDATE claims SET until = ? WHERE owner = ? AND message_id IN (?)
			RETURNING message_id, channel, target`, now+claimTime.Milliseconds(), c.owner, messages.list()).Scan(ctx, &renewed)
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, job := range renewed {
		if one := c.held[job]; one != nil {
			one.at = began
		}
	}
	return nil
}

// now returns the time in milliseconds by the clock that instances share. SQLite runs where its instances run.
func (c *claims) now(ctx context.Context, tx bun.Tx) (ms int64, err error) {
	if !c.db.Postgres() {
		return time.Now().UnixMilli(), nil
	}
	err = tx.NewRaw("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").Scan(ctx, &ms)
	return ms, err
}
