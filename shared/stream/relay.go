package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	window         = 512                   // messages under way at a time
	pollEvery      = time.Second           // finds what another instance left
	crowd          = 24                    // messages from which on one atomic batch is cheaper than a sync for each
	busy           = 8                     // messages in one pass that tell of a crowd
	breath         = 20 * time.Millisecond // lets a crowd gather: each pass costs the disk the same, however many it serves
	measureEvery   = 5 * time.Second       // for the gauges
	publishTimeout = 3 * time.Second       // of one window; shorter than the database's lock timeout
	longestPause   = 5 * time.Second       // between attempts while nothing gets through
	drainTimeout   = 5 * time.Second       // at the end
	holdAfter      = 3                     // failed attempts after which a message steps aside
	longestHold    = time.Minute           // how long it does, at most
	maxHeld        = 1000
)

// Relay publishes the outbox of one service.
//
// Every instance of a service runs one. On PostgreSQL they take turns, under an advisory lock rather than SKIP LOCKED: the
// outbox is published in the order of its rows, and a second publisher would overtake the first. A message that the stream
// refuses while others get through, or refuses again and again, steps aside: it is tried again after a second, later after
// up to a minute, and the others go on without it.
type Relay struct {
	db  *store.DB
	js  jetstream.JetStream
	log *slog.Logger

	nudge chan struct{}
	tries map[int64]int       // failed attempts, by row
	held  map[int64]time.Time // rows that stepped aside, and until when

	published, failed *observe.Counter
	waiting, oldest   *observe.Gauge
	measured          time.Time
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

		published: reg.Counter("starlight_outbox_published_total", "Messages published from the outbox.", "service", service),
		failed:    reg.Counter("starlight_outbox_failures_total", "Failed attempts to publish a message from the outbox.", "service", service),
		waiting:   reg.Gauge("starlight_outbox_messages", "Messages in the outbox, not yet published.", "service", service),
		oldest:    reg.Gauge("starlight_outbox_oldest_seconds", "Age of the oldest message in the outbox.", "service", service),
	}
}

// Nudge makes the relay look at the outbox now. It never blocks. Transactions that call Add do it by themselves.
func (r *Relay) Nudge() {
	select {
	case r.nudge <- struct{}{}:
	default: // it will look anyway
	}
}

// Run publishes until ctx ends, then publishes what is left, for at most 5 seconds, and returns nil. Failures are logged,
// counted and tried again. A Relay runs once.
func (r *Relay) Run(ctx context.Context) error {
	publisher, err := own(r.js)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	defer publisher.CleanupPublisher()
	r.js = publisher
	defer r.db.OnAnnounce(r.Nudge)()

	pause := time.Duration(0)
	outage := observe.NewOutage(r.log, "outbox: cannot publish", "outbox: published again", nil)
	for ctx.Err() == nil {
		n, err := r.pass(ctx)
		r.measure(ctx)
		if ctx.Err() == nil {
			outage.Report(ctx, err)
		}
		switch {
		case err != nil && ctx.Err() == nil:
			pause = min(max(2*pause, 50*time.Millisecond), longestPause)
			wait(ctx, pause, nil)
		case n == window:
			pause = 0
		default:
			pause = 0
			if n >= busy {
				wait(ctx, breath, nil)
			}
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
			return nil
		}
		if n < window {
			return nil
		}
	}
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

// pass publishes one window of the outbox and deletes what the stream has acknowledged. It returns how many rows it saw.
// An error means that nothing got through.
func (r *Relay) pass(ctx context.Context) (n int, err error) {
	if found, err := r.pending(ctx); err != nil || !found {
		return 0, err
	}
	if !r.js.Conn().IsConnected() {
		// What is published now would wait in the client's buffer, again with each attempt.
		return 0, errors.New("not connected to NATS")
	}
	var perr error
	if !r.db.Postgres() {
		// Not in a transaction: it would keep every writer of the service waiting for the network.
		rows, err := r.rows(ctx, r.db.Read())
		if err != nil || len(rows) == 0 {
			return len(rows), err
		}
		acked, perr := r.publish(ctx, rows)
		if len(acked) > 0 {
			err = r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return remove(ctx, tx, acked) })
		}
		return len(rows), errors.Join(err, perr)
	}
	err = r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", "starlight outbox "+r.db.Service())
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

// pending reports whether the outbox holds anything, without waiting for another instance.
func (r *Relay) pending(ctx context.Context) (found bool, err error) {
	err = r.db.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM outbox)").Scan(ctx, &found)
	return found, err
}

// rows returns the oldest rows but those that stepped aside.
func (r *Relay) rows(ctx context.Context, db bun.IDB) (rows []row, err error) {
	q := db.NewSelect().Table("outbox").Column("seq", "id", "subject", "header", "payload").Order("seq").Limit(window)
	now := time.Now()
	var aside []int64
	for seq, until := range r.held {
		if now.Before(until) {
			aside = append(aside, seq)
		} else {
			delete(r.held, seq)
		}
	}
	if len(aside) > 0 {
		q = q.Where("seq NOT IN (?)", bun.List(aside))
	}
	err = q.Scan(ctx, &rows)
	return rows, err
}

func remove(ctx context.Context, tx bun.Tx, seqs []int64) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM outbox WHERE seq IN (?)", bun.List(seqs))
	return err
}

// publish sends rows and returns those that are stored. An error means that none is, and that it is not the rows' fault.
func (r *Relay) publish(ctx context.Context, rows []row) (acked []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if len(rows) >= crowd && r.publishTogether(ctx, rows) == nil {
		acked = make([]int64, len(rows))
		for i, row := range rows {
			acked[i] = row.Seq
			delete(r.tries, row.Seq)
		}
		r.published.Add(len(rows))
		return acked, nil
	}
	futures := make([]jetstream.PubAckFuture, len(rows))
	errs := make([]error, len(rows))
	for i, row := range rows {
		futures[i], errs[i] = r.send(row)
	}
	acked = make([]int64, 0, len(rows))
	for i, row := range rows {
		if errs[i] == nil {
			errs[i] = settled(ctx, futures[i])
		}
		if errs[i] == nil {
			acked = append(acked, row.Seq)
			delete(r.tries, row.Seq)
		}
	}
	r.published.Add(len(acked))
	if len(acked) == len(rows) {
		return acked, nil
	}
	r.failed.Add(len(rows) - len(acked))
	return acked, r.blame(ctx, rows, errs, len(acked) > 0)
}

// publishTogether sends all rows as one atomic batch, which costs the stream one sync instead of one for each. It is all
// or nothing: one message that the stream refuses, or has already, refuses the batch, and then they go one by one.
func (r *Relay) publishTogether(ctx context.Context, rows []row) error {
	batch, err := jetstreamext.NewBatchPublisher(r.js, jetstreamext.BatchFlowControl{})
	if err != nil {
		return err
	}
	for i, row := range rows {
		msg, err := row.message()
		if err != nil {
			return err
		}
		if i == len(rows)-1 {
			_, err = batch.CommitMsg(ctx, msg)
		} else {
			err = batch.AddMsg(msg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// blame decides what becomes of rows that failed. It returns an error if nothing got through and rows are left that do
// not step aside: then the fault is not theirs.
func (r *Relay) blame(ctx context.Context, rows []row, errs []error, others bool) error {
	var first error
	for i, row := range rows {
		if errs[i] == nil {
			continue
		}
		r.tries[row.Seq]++
		tries, refused := r.tries[row.Seq], definite(errs[i])
		if len(r.held) < maxHeld && (refused && others || tries >= holdAfter && (refused || others)) {
			d := min(time.Second<<min(max(tries-holdAfter, 0), 6), longestHold)
			r.held[row.Seq] = time.Now().Add(d)
			r.log.ErrorContext(ctx, "outbox: message refused", "subject", row.Subject, "id", row.ID,
				"attempts", tries, "retry_in", d, "error", errs[i])
		} else if first == nil {
			first = errs[i]
		}
	}
	if others {
		return nil
	}
	return first
}

// definite reports whether err is an answer, as opposed to none in time.
func definite(err error) bool {
	for _, silence := range []error{context.DeadlineExceeded, context.Canceled, jetstream.ErrAsyncPublishTimeout,
		jetstream.ErrTooManyStalledMsgs, nats.ErrDisconnected, nats.ErrConnectionClosed} {
		if errors.Is(err, silence) {
			return false
		}
	}
	return true
}

func (r *Relay) send(row row) (jetstream.PubAckFuture, error) {
	msg, err := row.message()
	if err != nil {
		return nil, err
	}
	return r.js.PublishMsgAsync(msg)
}

// message returns the message that the row stands for.
func (row row) message() (*nats.Msg, error) {
	msg := nats.NewMsg(row.Subject)
	msg.Data = row.Payload
	var header map[string]string
	if err := json.Unmarshal([]byte(row.Header), &header); err != nil {
		return nil, err
	}
	for k, v := range header {
		msg.Header[k] = []string{v}
	}
	msg.Header.Set(nats.MsgIdHdr, row.ID)
	return msg, nil
}

// settled waits for the answer of the stream.
func settled(ctx context.Context, f jetstream.PubAckFuture) error {
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// measure updates the gauges now and then.
func (r *Relay) measure(ctx context.Context) {
	if time.Since(r.measured) < measureEvery {
		return
	}
	r.measured = time.Now()
	r.forget(ctx)
	var depth int
	var at []time.Time
	err := r.db.Read().NewRaw("SELECT count(*) FROM outbox").Scan(ctx, &depth)
	if err == nil {
		err = r.db.Read().NewRaw("SELECT at FROM outbox ORDER BY seq LIMIT 1").Scan(ctx, &at)
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

// forget drops what is remembered of rows that another instance has published meanwhile.
func (r *Relay) forget(ctx context.Context) {
	if len(r.tries) == 0 {
		return
	}
	var left []int64
	err := r.db.Read().NewSelect().Table("outbox").Column("seq").Where("seq IN (?)", bun.List(slices.Collect(maps.Keys(r.tries)))).Scan(ctx, &left)
	if err != nil {
		return // pass meets the same error and tells it
	}
	maps.DeleteFunc(r.tries, func(seq int64, _ int) bool { return !slices.Contains(left, seq) })
	maps.DeleteFunc(r.held, func(seq int64, _ time.Time) bool { return !slices.Contains(left, seq) })
}
