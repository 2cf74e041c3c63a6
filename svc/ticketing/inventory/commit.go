package inventory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// How a batch can fail without being refused for good.
var (
	errConflict = errors.New("a key was changed by another instance") // nothing was written
	errUnknown  = errors.New("the outcome of the batch is unknown")   // all or nothing was written
)

const (
	publishTimeout = 3 * time.Second
	maxRounds      = 1000 // of one commit: its context ends long before
	loaders        = 16   // keys read at the same time after a conflict
)

// commit applies operations in as few batches as their sizes and the other instances allow.
func (inv *Inventory) commit(ctx context.Context, ops []op) []batch.Result[struct{}] {
	results := make([]batch.Result[struct{}], len(ops))
	open := make([]int, len(ops)) // indexes of the undecided operations
	for i := range ops {
		open[i] = i
	}
	for n := 0; len(open) > 0; n++ {
		if n == maxRounds {
			return fail(results, open, fault.New(fault.Unavailable, "too many instances compete for the same seats").After(time.Second))
		}
		var err error
		if open, err = inv.attempt(ctx, ops, open, results); err != nil {
			return fail(results, open, err)
		}
	}
	return results
}

func fail(results []batch.Result[struct{}], open []int, err error) []batch.Result[struct{}] {
	for _, i := range open {
		results[i].Err = err
	}
	return results
}

// attempt makes one round of the open operations and returns those that are open after it. An error means that the
// inventory cannot be reached; what is open then may or may not have happened.
func (inv *Inventory) attempt(ctx context.Context, ops []op, open []int, results []batch.Result[struct{}]) ([]int, error) {
	if err := inv.prepare(ctx, ops, open); err != nil {
		return open, err
	}
	r := newRound()
	var in, later []int
	inv.mu.Lock()
	for _, i := range open {
		o := &ops[i]
		v := inv.believe(o)
		if r.apply(*o, v) {
			in = append(in, i)
			continue
		}
		o.look = o.look || !v.sure
		o.loaded = nil
		later = append(later, i)
	}
	inv.mu.Unlock()

	writes, err := r.writes()
	if err != nil {
		return open, fault.Wrap(err, fault.Internal, "the inventory could not be encoded")
	}
	last := uint64(0)
	if len(writes) > 0 {
		start := time.Now()
		last, err = inv.publish(ctx, writes)
		inv.metrics.commit.UpdateDuration(start)
	}
	switch {
	case errors.Is(err, errConflict):
		inv.metrics.conflicts.Inc()
		inv.lose(ops, in, r)
		return open, nil
	case errors.Is(err, errUnknown):
		// Either all of the batch was written or nothing. The order keys tell which: the next round reads them, and an
		// operation that finds its own mark changes nothing.
		inv.metrics.unknown.Inc()
		inv.log.InfoContext(ctx, "inventory batch has an unknown outcome, reading back", "error", err, "messages", len(writes))
		inv.forget(ops, in)
		if ctx.Err() != nil {
			return open, fault.Wrap(err, fault.Timeout, "the inventory did not answer in time")
		}
		return open, nil
	case err != nil:
		return open, unreachable(err)
	}
	inv.metrics.batches.Inc()
	inv.metrics.messages.Add(len(writes))
	inv.accept(r, last-uint64(len(writes)), ops, in)
	for k, i := range in {
		results[i].Err = r.answers[k]
	}
	return later, nil
}

// view returns what an operation goes by. inv.mu must be held.
func (inv *Inventory) view(o *op) view {
	v := view{pool: inv.pools[o.Event]}
	if o.loaded != nil {
		// An entry changes only together with its pool, so what was read before the pool moved may be old.
		v.entry, v.sure = *o.loaded, v.pool.seq == o.loadedAt
		return v
	}
	cached := false
	v.entry, cached = inv.held[o.Order]
	v.sure = !cached && v.pool.gap == 0
	return v
}

// prepare reads the pools and entries that the operations need and this instance does not know.
func (inv *Inventory) prepare(ctx context.Context, ops []op, open []int) error {
	inv.awaitNews(ctx, ops, open)
	pools := map[ids.Event]bool{}
	inv.mu.Lock()
	for _, i := range open {
		// That there is no pool is an answer without a batch that would prove it, so the leader is asked once.
		o := &ops[i]
		if p, ok := inv.pools[o.Event]; !ok || !p.exists && !o.asked || o.lost > 0 && p.seq == o.lostAt {
			pools[o.Event] = true
			o.asked = true
		}
	}
	inv.mu.Unlock()
	for event := range pools {
		if _, err := inv.loadPool(ctx, event); err != nil {
			return err
		}
	}
	inv.suspect(ops, open)

	var entries []int
	inv.mu.Lock()
	for _, i := range open {
		o := &ops[i]
		_, held := inv.held[o.Order]
		fresh := o.kind == take && !o.look
		if !o.ofPool() && o.loaded == nil && (o.look || !held && !fresh) {
			o.loadedAt = inv.pools[o.Event].seq
			entries = append(entries, i)
		}
	}
	inv.mu.Unlock()
	return inv.loadEntries(ctx, ops, entries)
}

func (inv *Inventory) loadEntries(ctx context.Context, ops []op, which []int) error {
	var wg sync.WaitGroup
	errs := make([]error, len(which))
	slots := make(chan struct{}, loaders)
	for k, i := range which {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			e, err := inv.loadEntry(ctx, ops[i].Ref)
			ops[i].loaded, errs[k] = &e, err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lose takes note of a batch that was refused: nothing of it was written, and its pools have to be read again.
func (inv *Inventory) lose(ops []op, in []int, r *round) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, i := range in {
		ops[i].lost++
		ops[i].lostAt = r.pools[ops[i].Event].before.seq
	}
}

// newsWithin is how long a batch that lost waits for the winner's state to be delivered before it asks for it.
const newsWithin = 20 * time.Millisecond

// awaitNews waits until a pool has moved on since a batch lost over it. Who won is delivered to all who follow, and comes
// as soon as an answer to a question would: so the loser begins again when the winner does, and has the same chance.
func (inv *Inventory) awaitNews(ctx context.Context, ops []op, open []int) {
	var late <-chan time.Time
	for {
		lost, moved := false, false
		inv.mu.Lock()
		news := inv.news
		for _, i := range open {
			o := &ops[i]
			lost = lost || o.lost > 0
			moved = moved || o.lost > 0 && inv.pools[o.Event].seq != o.lostAt
		}
		inv.mu.Unlock()
		if !lost || moved {
			return
		}
		if late == nil {
			late = time.After(newsWithin)
		}
		select {
		case <-news:
		case <-late:
			return
		case <-ctx.Done():
			return
		}
	}
}

// patience is how often an operation may lose before the entry that it goes by is read again.
const patience = 3

// suspect decides what a refused batch was refused for. Mostly another instance has moved a pool, and then what is known
// of the orders is as good as before. If no pool has moved, or an operation loses again and again, it is the entries.
func (inv *Inventory) suspect(ops []op, open []int) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	moved := false
	for _, i := range open {
		moved = moved || ops[i].lost > 0 && inv.pools[ops[i].Event].seq != ops[i].lostAt
	}
	for _, i := range open {
		if o := &ops[i]; o.lost >= patience || o.lost > 0 && !moved {
			o.reread()
		}
	}
}

// forget drops what the round believed, so that the next one reads it again.
func (inv *Inventory) forget(ops []op, in []int) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, i := range in {
		delete(inv.pools, ops[i].Event)
		ops[i].reread()
	}
}

// accept takes over the state that a committed round wrote at the sequences after before, and what it has proven.
func (inv *Inventory) accept(r *round, before uint64, ops []op, in []int) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	seq := before
	for _, event := range r.order {
		p := r.pools[event]
		for _, e := range p.orders {
			seq++
			inv.setEntry(e.Ref, e.after, seq)
		}
		if p.exists {
			seq++
			inv.setPool(event, poolAt{Pool: p.Pool, exists: true, seq: seq, at: seq, gap: p.before.gap})
		}
	}
	for _, i := range in {
		if o := &ops[i]; o.loaded != nil && r.entries[o.Order] == nil {
			inv.learn(o)
		}
	}
}

// learn takes over an entry that was read from the leader and that stayed as it was. inv.mu must be held.
func (inv *Inventory) learn(o *op) {
	if o.loaded.State == Held {
		inv.setEntry(o.Ref, o.loaded.Entry, o.loaded.seq)
		return
	}
	if old, ok := inv.held[o.Order]; ok && old.seq <= o.loadedAt {
		inv.drop(o.Order)
	}
}

// publishBatch sends the writes as one atomic batch and returns the stream sequence of the last one. The sequences of a
// batch are consecutive.
func (inv *Inventory) publishBatch(ctx context.Context, writes []write) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	pub, err := jetstreamext.NewBatchPublisher(inv.js, jetstreamext.BatchFlowControl{})
	if err != nil {
		return 0, err
	}
	for i, w := range writes {
		msg := &nats.Msg{Subject: prefix + w.key, Data: w.data}
		if w.delete {
			msg.Header = nats.Header{operationHeader: {"DEL"}}
		}
		expect := jetstreamext.WithBatchExpectLastSequencePerSubject(w.expect)
		if i < len(writes)-1 {
			if err := pub.AddMsg(msg, expect); err != nil {
				return 0, err // nothing is written without the commit message
			}
			continue
		}
		ack, err := pub.CommitMsg(ctx, msg, expect)
		if err != nil {
			return 0, classify(err)
		}
		return ack.Sequence, nil
	}
	return 0, errors.New("empty batch")
}

// The server's codes for a compare-and-set that lost.
const (
	wrongLastSequence         jetstream.ErrorCode = 10071
	wrongLastSequenceConstant jetstream.ErrorCode = 10164
)

func classify(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		if errors.Is(err, nats.ErrNoResponders) {
			return err // nobody took the message
		}
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	switch api.ErrorCode {
	case wrongLastSequence, wrongLastSequenceConstant:
		return errConflict
	case jetstreamext.JSErrCodeBatchPublishIncomplete:
		return errConflict // abandoned by the server, for example at a change of leader: nothing was written
	}
	return err
}
