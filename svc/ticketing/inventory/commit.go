package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// How a commit can fail without being refused for good.
var (
	errConflict = errors.New("another instance was first")             // nothing was written
	errUnknown  = errors.New("the outcome of the commit is not known") // it may have been written, or be later
)

const (
	publishTimeout = 3 * time.Second
	maxRounds      = 1000 // of one commit: its context ends long before
)

// commit is a record on its way to the stream.
type commit struct {
	event  ids.Event
	id     string
	record record
	data   []byte
}

// commitAll decides operations of several events, each event's together.
func (inv *Inventory) commitAll(ctx context.Context, ops []op) []batch.Result[struct{}] {
	results := make([]batch.Result[struct{}], len(ops))
	events := map[ids.Event][]int{}
	for i := range ops {
		events[ops[i].Event] = append(events[ops[i].Event], i)
	}
	var wg sync.WaitGroup
	for event, which := range events {
		if len(events) == 1 {
			inv.decide(ctx, event, ops, which, results)
			break
		}
		wg.Go(func() { inv.decide(ctx, event, ops, which, results) })
	}
	wg.Wait()
	return results
}

// decide applies the operations of an event, by their indexes, in as few commits as their sizes and the other instances
// allow. An error of the inventory leaves open whether an operation has happened.
func (inv *Inventory) decide(
	ctx context.Context, event ids.Event, ops []op, open []int, results []batch.Result[struct{}],
) {
	fail := func(err error) {
		for _, i := range open {
			results[i].Err = err
		}
	}
	var refused *commit
	for n, asked := 0, false; len(open) > 0; n, asked = n+1, true {
		if n == maxRounds {
			fail(fault.New(fault.Unavailable, "too many instances compete for the same seats").After(time.Second))
			return
		}
		if err := inv.prepare(ctx, event, refused, asked); err != nil {
			fail(err)
			return
		}
		r, c, later, err := inv.round(event, ops, open)
		if err == nil && c != nil {
			err = inv.store(ctx, c)
		}
		if errors.Is(err, errConflict) {
			inv.metrics.conflicts.Inc()
			refused = c
			continue
		}
		if err != nil {
			fail(err)
			return
		}
		for k, i := range r.in {
			results[i].Err = r.answers[k]
		}
		open, refused = later, nil
	}
}

// prepare makes the state of an event exact. After a commit that was refused it is another state. That there is no
// pool is an answer without a commit that would prove it, so the leader is asked once.
func (inv *Inventory) prepare(ctx context.Context, event ids.Event, refused *commit, asked bool) error {
	if refused != nil {
		inv.awaitAdvance(ctx, event, refused.record.After)
	}
	for range loadTries {
		inv.mu.Lock()
		st := inv.states[event]
		ready := st.isExact() && (st.exists || asked) && (refused == nil || st.seq != refused.record.After)
		inv.mu.Unlock()
		if ready {
			return nil
		}
		if err := inv.load(ctx, event); err != nil {
			return err
		}
		asked, refused = true, nil // another look at the leader shows no more
	}
	return unreachable(errors.New("the records of the event come faster than they are replayed"))
}

// advanceWithin is how long a refused commit waits for the winner's record to be delivered before it is asked for.
const advanceWithin = 20 * time.Millisecond

// awaitAdvance waits until an event is at another record than seq. The winner's record is delivered to all who
// follow, and comes as soon as an answer to a question would: so the loser begins again when the winner does, and has
// the same chance.
func (inv *Inventory) awaitAdvance(ctx context.Context, event ids.Event, seq uint64) {
	late := time.After(advanceWithin)
	for {
		inv.mu.Lock()
		advanced, st := inv.advanced, inv.states[event]
		moved := st == nil || st.seq != seq
		inv.mu.Unlock()
		if moved {
			return
		}
		select {
		case <-advanced:
		case <-late:
			return
		case <-ctx.Done():
			return
		}
	}
}

// round decides operations by the state of their event. It returns the commit that proves the answers, unless there
// is no pool to write, and the indexes of the operations that did not fit.
func (inv *Inventory) round(event ids.Event, ops []op, open []int) (r *round, c *commit, later []int, err error) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	st := inv.states[event]
	r = newRound(st)
	for _, i := range open {
		if !r.apply(&ops[i]) {
			later = append(later, i)
			continue
		}
		r.in = append(r.in, i)
	}
	if !r.exists {
		return r, nil, later, nil
	}
	inv.commits++
	c = &commit{event: event, id: inv.id + "." + strconv.FormatUint(inv.commits, 10), record: r.record()}
	if c.data, err = json.Marshal(&c.record); err != nil {
		return nil, nil, nil, fault.Wrap(err, fault.Internal, "the inventory could not be encoded")
	}
	inv.inFlight[event] = c
	return r, c, later, nil
}

// store publishes a commit, and finds out what has become of it. As the record of a commit names the one that it
// follows, and only one can follow that, a commit may be published again until one of its copies, or another record,
// has won.
func (inv *Inventory) store(ctx context.Context, c *commit) error {
	defer inv.finished(c)
	for unknown := false; ; unknown = true {
		start := time.Now()
		seq, err := inv.publish(ctx, c)
		inv.metrics.commit.UpdateDuration(start)
		if unknown && errors.Is(err, errConflict) { // maybe with itself
			seq, err = inv.readBack(ctx, c)
		}
		switch {
		case err == nil:
			inv.metrics.commits.Inc()
			inv.metrics.changes.Add(len(c.record.Orders))
			inv.accept(c, seq)
			return nil
		case errors.Is(err, errConflict):
			return err
		case !errors.Is(err, errUnknown) && !unknown:
			return unreachable(err)
		}
		inv.metrics.unknown.Inc()
		inv.log.InfoContext(ctx, "the outcome of an inventory commit is not known, reading back",
			"event", c.event, "after", c.record.After, "error", err)
		if ctx.Err() != nil {
			return fault.Wrap(err, fault.Timeout, "the inventory did not answer in time")
		}
	}
}

// finished takes note that a commit is not on its way any more.
func (inv *Inventory) finished(c *commit) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if inv.inFlight[c.event] == c {
		delete(inv.inFlight, c.event)
	}
}

// readBack returns the sequence of a commit that was refused after an attempt of unknown outcome, if it was stored
// then. If another record has its place, that is a conflict.
func (inv *Inventory) readBack(ctx context.Context, c *commit) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg, err := inv.stream.GetMsg(ctx, c.record.After+1, jetstream.WithGetMsgSubject(poolSubject(c.event)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, errConflict // the pool is gone, with the commit or without it
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUnknown, err)
	}
	if msg.Header.Get(commitHeader) == c.id {
		return msg.Sequence, nil
	}
	var next record
	err = json.Unmarshal(msg.Data, &next)
	if err == nil && next.After != c.record.After && msg.Header.Get(operationHeader) == "" {
		return 0, fmt.Errorf("a checkpoint has purged the outcome of a commit: %w", errUnknown)
	}
	return 0, errConflict
}

// accept takes over the state that a commit left behind, unless the follower was faster.
func (inv *Inventory) accept(c *commit, seq uint64) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	st := inv.states[c.event]
	if st == nil {
		return
	}
	if st.seq == c.record.After && st.at <= seq {
		inv.applyRecord(c.event, st, stored{record: c.record, exists: true, seq: seq, at: inv.now(), size: len(c.data)})
	}
	if inv.limits.exceeded(st) {
		st.saving = true
		inv.saving.Go(func() { inv.saveCheckpoint(c.event) })
	}
}

// publishCommit sends a commit as one message, under compare-and-set of the record that it follows.
func (inv *Inventory) publishCommit(ctx context.Context, c *commit) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg := &nats.Msg{Subject: poolSubject(c.event), Data: c.data, Header: nats.Header{commitHeader: {c.id}}}
	ack, err := inv.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(c.record.After))
	if err != nil {
		return 0, classify(err)
	}
	return ack.Sequence, nil
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
			return err // no server took the message
		}
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	if api.ErrorCode == wrongLastSequence || api.ErrorCode == wrongLastSequenceConstant {
		return errConflict
	}
	return err
}
