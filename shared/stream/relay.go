package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	window         = 512             // messages under way at a time
	pollEvery      = time.Second     // finds what another instance left
	crowd          = 24              // messages from which on one atomic batch is cheaper than a sync for each
	measureEvery   = 5 * time.Second // for the gauges
	publishTimeout = 3 * time.Second // of one window; shorter than the database's lock timeout
	longestPause   = 5 * time.Second // between attempts while nothing gets through
	drainTimeout   = 5 * time.Second // at the end
	holdAfter      = 3               // failed attempts after which a message steps aside
	longestHold    = time.Minute     // how long it does, at most
	maxHeld        = 1000
)

// Relay publishes the outbox of one service.
//
// Every instance of a service runs one. On PostgreSQL they take turns, under an advisory lock rather than SKIP LOCKED:
// the outbox is published in the order of its rows, and a second publisher would overtake the first. A message that the
// stream refuses while others get through, or refuses again and again, steps aside: it is tried again after a second,
// later after up to a minute, and the others go on without it.
type Relay struct {
	db  *store.DB
	js  jetstream.JetStream
	log *slog.Logger

	nudge chan struct{}
	tries map[int64]int       // failed attempts, by row
	held  map[int64]time.Time // rows that stepped aside, and until when

	mu        sync.Mutex
	published map[int64]bool // rows that the stream has and that are still to be deleted
	deleting  bool           // they will be soon

	sent, failed    *observe.Counter
	waiting, oldest *observe.Gauge
	measured        time.Time
}

// NewRelay returns a relay from db to the streams of js. A nil log or registry is left out.
func NewRelay(db *store.DB, js jetstream.JetStream, log *slog.Logger, reg *observe.Registry) *Relay {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if reg == nil {
		reg = observe.NewRegistry()
	}
	service := db.Service()
	return &Relay{
		db: db, js: js, log: log,
		nudge: make(chan struct{}, 1),
		tries: make(map[int64]int),
		held:  make(map[int64]time.Time),

		published: make(map[int64]bool),

		sent: reg.Counter("starlight_outbox_published_total",
			"Messages published from the outbox.", "service", service),
		failed: reg.Counter("starlight_outbox_failures_total",
			"Failed attempts to publish a message from the outbox.", "service", service),
		waiting: reg.Gauge("starlight_outbox_messages",
			"Messages in the outbox, not yet published.", "service", service),
		oldest: reg.Gauge("starlight_outbox_oldest_seconds",
			"Age of the oldest message in the outbox.", "service", service),
	}
}

// Nudge makes the relay look at the outbox now. It never blocks. Transactions that call Add do it by themselves.
func (r *Relay) Nudge() {
	select {
	case r.nudge <- struct{}{}:
	default: // it will look anyway
	}
}

// Run publishes until ctx ends, then publishes what is left, for at most 5 seconds, and returns nil. Failures are
// logged, counted and tried again. A Relay runs once.
func (r *Relay) Run(ctx context.Context) error {
	publisher, err := own(r.js)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	defer publisher.CleanupPublisher()
	r.js = publisher
	defer r.db.OnAnnounce(r.Nudge)()

	retry := run.Backoff{First: 50 * time.Millisecond, Last: longestPause}
	outage := observe.NewOutage(r.log, "outbox: cannot publish", "outbox: published again", nil)
	for ctx.Err() == nil {
		n, err := r.pass(ctx)
		r.measure(ctx)
		if ctx.Err() == nil {
			outage.Report(ctx, err)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			retry.Wait(ctx)
		case n == window:
			retry.Reset()
		default:
			retry.Reset()
			wait(ctx, pollEvery, r.nudge)
		}
	}
	return r.drain(context.WithoutCancel(ctx))
}

// drain publishes what is left at the end. What it cannot publish the next start, or another instance, will.
func (r *Relay) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	for {
		n, err := r.pass(ctx)
		if err != nil {
			r.log.WarnContext(ctx, "outbox: messages left for the next start", "error", err)
			break
		}
		if n < window {
			break
		}
	}
	if err := r.deleteNow(ctx); err != nil {
		r.log.WarnContext(ctx, "outbox: messages will be published once more", "error", err)
	}
	return nil
}

// wait returns after d, at a message on wake, or when ctx ends.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// own returns a JetStream context like js with its own window and timeout for asynchronous publishing.
func own(js jetstream.JetStream) (jetstream.JetStream, error) {
	opts := []jetstream.JetStreamOpt{
		jetstream.WithPublishAsyncMaxPending(2 * window),
		jetstream.WithPublishAsyncTimeout(publishTimeout),
	}
	given := js.Options()
	switch {
	case given.Domain != "":
		return jetstream.NewWithDomain(js.Conn(), given.Domain, opts...)
	case given.APIPrefix != "" && given.APIPrefix != jetstream.DefaultAPIPrefix:
		return jetstream.NewWithAPIPrefix(js.Conn(), given.APIPrefix, opts...)
	}
	return jetstream.New(js.Conn(), opts...)
}

// row is a message in the outbox.
type row struct {
	Seq     int64
	ID      string
	Subject string
	Header  string
	Payload []byte
}

// pass publishes one window of the outbox and deletes what the stream has acknowledged. It returns how many rows it
// saw. An error means that nothing got through.
func (r *Relay) pass(ctx context.Context) (n int, err error) {
	if r.db.Postgres() {
		if found, err := r.pending(ctx); err != nil || !found {
			return 0, err
		}
	}
	if !r.js.Conn().IsConnected() {
		// What is published now would wait in the client's buffer, again with each attempt.
		return 0, errors.New("not connected to NATS")
	}
	if !r.db.Postgres() {
		// Not in a transaction: it would keep every writer of the service waiting for the network.
		rows, err := r.rows(ctx, r.db.Read())
		if err != nil || len(rows) == 0 {
			return len(rows), err
		}
		acked, err := r.publish(ctx, rows)
		r.deleteSoon(acked)
		return len(rows), err
	}
	var perr error
	err = r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))",
			"starlight outbox "+r.db.Service())
		if err != nil {
			return err
		}
		rows, err := r.rows(ctx, tx)
		n, perr = len(rows), nil
		if err != nil || len(rows) == 0 {
			return err
		}
		var acked []int64
		acked, perr = r.publish(ctx, rows)
		if len(acked) == 0 {
			return nil
		}
		return remove(ctx, tx, acked)
	})
	return n, errors.Join(err, perr)
}

// deleteSoon lets the deletion of rows ride on the next commit of the service. A crash before it publishes them once
// more, under the same id.
func (r *Relay) deleteSoon(acked []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, seq := range acked {
		r.published[seq] = true
	}
	if r.deleting || len(acked) == 0 {
		return
	}
	r.deleting = true
	var deleted []int64
	r.db.TxSoonThen(func(ctx context.Context, tx bun.Tx) error {
		r.mu.Lock()
		deleted = slices.Collect(maps.Keys(r.published))
		r.deleting = false
		r.mu.Unlock()
		return remove(ctx, tx, deleted)
	}, func() { r.forget(deleted) })
}

// deleteNow deletes what is published.
func (r *Relay) deleteNow(ctx context.Context) error {
	r.mu.Lock()
	seqs := slices.Collect(maps.Keys(r.published))
	r.mu.Unlock()
	if len(seqs) == 0 {
		return nil
	}
	err := r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return remove(ctx, tx, seqs) })
	if err == nil {
		r.forget(seqs)
	}
	return err
}

// forget drops rows that are deleted.
func (r *Relay) forget(seqs []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, seq := range seqs {
		delete(r.published, seq)
	}
}

// pending reports whether the outbox holds anything to publish, without waiting for another instance.
func (r *Relay) pending(ctx context.Context) (found bool, err error) {
	const query = "SELECT EXISTS (SELECT 1 FROM outbox WHERE seq NOT IN (?))"
	err = store.Select(ctx, r.db.Read(), &found, query, store.List(r.aside()))
	return found, err
}

// rows returns the oldest rows to publish.
func (r *Relay) rows(ctx context.Context, db bun.IDB) (rows []row, err error) {
	const query = "SELECT seq, id, subject, header, payload FROM outbox WHERE seq NOT IN (?) ORDER BY seq LIMIT ?"
	err = store.Select(ctx, db, &rows, query, store.List(r.aside()), window)
	return rows, err
}

// aside returns the rows that are not to be published: those that the stream has and those that stepped aside.
func (r *Relay) aside() []int64 {
	now := time.Now()
	maps.DeleteFunc(r.held, func(_ int64, until time.Time) bool { return !now.Before(until) })
	return slices.AppendSeq(r.stored(), maps.Keys(r.held))
}

// stored returns the rows that the stream has, and 0, which is none: there is always something that a row is not.
func (r *Relay) stored() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.AppendSeq([]int64{0}, maps.Keys(r.published))
}

func remove(ctx context.Context, tx bun.Tx, seqs []int64) error {
	_, err := store.Exec(ctx, tx, "DELETE FROM outbox WHERE seq IN (?)", store.List(seqs))
	return err
}

// measure updates the gauges now and then.
func (r *Relay) measure(ctx context.Context) {
	if time.Since(r.measured) < measureEvery {
		return
	}
	r.measured = time.Now()
	r.forgetGone(ctx)
	stored := store.List(r.stored())
	var depth int
	err := store.Select(ctx, r.db.Read(), &depth, "SELECT count(*) FROM outbox WHERE seq NOT IN (?)", stored)
	var at []time.Time
	if err == nil {
		const oldest = "SELECT at FROM outbox WHERE seq NOT IN (?) ORDER BY seq LIMIT 1"
		err = store.Select(ctx, r.db.Read(), &at, oldest, stored)
	}
	if err != nil {
		return // pass meets the same error and tells it
	}
	r.waiting.Set(float64(depth))
	if len(at) == 0 {
		r.oldest.Set(0)
	} else {
		r.oldest.Set(time.Since(at[0]).Seconds())
	}
}

// forgetGone drops what is remembered of rows that another instance has published meanwhile.
func (r *Relay) forgetGone(ctx context.Context) {
	if len(r.tries) == 0 {
		return
	}
	var left []int64
	err := r.db.Read().NewSelect().Table("outbox").Column("seq").Where("seq IN (?)",
		bun.List(slices.Collect(maps.Keys(r.tries)))).Scan(ctx, &left)
	if err != nil {
		return // pass meets the same error and tells it
	}
	maps.DeleteFunc(r.tries, func(seq int64, _ int) bool { return !slices.Contains(left, seq) })
	maps.DeleteFunc(r.held, func(seq int64, _ time.Time) bool { return !slices.Contains(left, seq) })
}
