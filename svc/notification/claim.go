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

// claims are the jobs that this instance has in hand. A job is claimed before it is sent, in memory against the handlers
// beside it and in the database against other instances: a slow server makes the stream deliver a job again that is
// being sent. A claim is renewed as long as its job is in hand, and ends by itself when the instance dies.
type claims struct {
	db    *store.DB
	owner string

	mu   sync.Mutex
	held map[api.NotificationJob]*claim
}

// claim is a job in hand.
type claim struct {
	at   time.Time // when it was made or renewed, at the earliest
	busy bool      // a handler is at it
	end  *outcome  // what could not be written down yet; without a handler, the job waits for another try
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
}

// enter takes a job in hand, and returns what became of it if it was done before and is only to be written down. It
// reports false if another handler of this instance has it.
func (c *claims) enter(job api.NotificationJob) (end *outcome, free bool) {
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
	return one.end, true
}

// leave puts a job down. With an outcome that could not be written down, this instance remembers it.
func (c *claims) leave(job api.NotificationJob, end *outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end == nil {
		delete(c.held, job)
		return
	}
	c.held[job].busy, c.held[job].end = false, end
}

// isCurrent reports whether the claim to a job still holds. That of a process which stood still may be over.
func (c *claims) isCurrent(job api.NotificationJob) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.held[job].at) < claimTime
}

// take claims jobs, each of them once, and returns those that no other instance is sending.
func (c *claims) take(ctx context.Context, tx bun.Tx, jobs []api.NotificationJob) (mine []api.NotificationJob, err error) {
	now, err := c.now(ctx, tx)
	if err != nil {
		return nil, err
	}
	rows := make([]claimRow, len(jobs))
	for i, job := range jobs {
		rows[i] = claimRow{MessageID: job.MessageID, Channel: job.Channel, Target: job.Target, Owner: c.owner, Until: now + claimTime.Milliseconds()}
	}
	err = tx.NewInsert().Model(&rows).On("CONFLICT (message_id, channel, target) DO UPDATE").Set("owner = excluded.owner, until = excluded.until").
		Where("claims.until < ? OR claims.owner = excluded.owner", now).Returning("message_id, channel, target").Scan(ctx, &mine)
	return mine, err
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
	_, err := tx.ExecContext(ctx, "DELETE FROM claims WHERE owner = ? AND message_id IN (?) AND message_id || '.' || channel || '.' || target IN (?)",
		c.owner, messages.list(), bun.List(keys))
	return err
}

// renew prolongs the claims to what has been in hand for a while.
func (c *claims) renew(ctx context.Context) error {
	began := time.Now()
	var jobs []api.NotificationJob
	messages := set[ids.Notification]{}
	c.mu.Lock()
	for job, one := range c.held {
		if began.Sub(one.at) >= renewEvery {
			jobs = append(jobs, job)
			messages[job.MessageID] = true
		}
	}
	c.mu.Unlock()
	if len(jobs) == 0 {
		return nil
	}
	err := c.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		now, err := c.now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE claims SET until = ? WHERE owner = ? AND message_id IN (?)", now+claimTime.Milliseconds(), c.owner, messages.list())
		return err
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, job := range jobs {
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
