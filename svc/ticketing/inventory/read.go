package inventory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// loadTries is how often a replay begins again because a checkpoint has purged what it was about to read.
const loadTries = 5

// errGap is a replay that lacks messages. Mostly a checkpoint has purged them meanwhile.
var errGap = errors.New("records are missing")

// stored is a record with what the stream knows of its message.
type stored struct {
	record
	exists bool // it is no marker that deletes the pool
	seq    uint64
	at     time.Time
	size   int
}

// history is what the stream keeps of an event: the orders as of the checkpoint, if there is one, and the records from
// there on.
type history struct {
	base    []change
	codes   []Code // as of the checkpoint
	cleared bool   // the pool was deleted in between: what was before counts no more
	records []stored
}

// load makes the state of an event exact, as of a moment after the call.
func (inv *Inventory) load(ctx context.Context, event ids.Event) error {
	inv.mu.Lock()
	inv.loading[event]++
	inv.mu.Unlock()
	defer func() {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		if inv.loading[event]--; inv.loading[event] == 0 {
			delete(inv.loading, event)
		}
	}()
	missing := checkpoint{Seq: math.MaxUint64}
	for range loadTries {
		last, at, err := lastRecord(ctx, inv.stream, event)
		if err != nil {
			return err
		}
		if !last.exists {
			inv.mu.Lock()
			defer inv.mu.Unlock()
			inv.replace(event, &state{seq: last.seq, at: at, orders: map[ids.Order]Entry{}})
			return nil
		}
		from, done := inv.catchUp(event, last)
		if done {
			return nil
		}
		next, err := inv.replay(ctx, event, last, from)
		if errors.Is(err, errGap) && from != nil { // maybe the pool was deleted and made anew
			next, err = inv.replay(ctx, event, last, nil)
		}
		switch {
		case errors.Is(err, errGap) && last.Checkpoint == missing:
			return fmt.Errorf("%w: %w", ErrBroken, err) // no checkpoint explains it
		case errors.Is(err, errGap):
			missing = last.Checkpoint
			continue
		case err != nil:
			return err
		}
		inv.mu.Lock()
		defer inv.mu.Unlock()
		inv.replace(event, next)
		return nil
	}
	return unreachable(errGap)
}

// catchUp moves the state on to the leader's last record if that is the next one. Otherwise it returns a copy of the
// state from which the replay can begin, if there is one.
func (inv *Inventory) catchUp(event ids.Event, last stored) (from *state, done bool) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	st := inv.states[event]
	switch {
	case st == nil || st.orders == nil || !st.exists:
		return nil, false
	case st.seq >= last.seq:
		return nil, st.isExact()
	case last.After == st.seq:
		inv.advance(event, st, &last)
		inv.pursue(event, st)
		return nil, st.isExact()
	case st.seq < last.Checkpoint.Seq:
		return nil, false
	}
	return &state{exists: true, seq: st.seq, checkpoint: st.checkpoint, tail: st.tail,
		orders: maps.Clone(st.orders), gone: maps.Clone(st.gone), codes: maps.Clone(st.codes)}, false
}

// replay returns the state that the last record left behind, beginning with a state of before or, without one, with the
// checkpoint.
func (inv *Inventory) replay(ctx context.Context, event ids.Event, last stored, from *state) (*state, error) {
	after := uint64(0)
	if from != nil {
		after = from.seq
	}
	h, err := readHistory(ctx, inv.stream, event, last, after)
	if err != nil {
		return nil, err
	}
	st := from
	if st == nil || h.cleared {
		st = &state{orders: make(map[ids.Order]Entry, len(h.base))}
		for _, c := range h.base {
			st.set(c)
		}
		for _, c := range h.codes {
			st.setCode(c)
		}
	}
	for i := range h.records {
		rec := &h.records[i]
		for _, c := range rec.Orders {
			c.Changed = rec.at.Unix()
			st.set(c)
		}
		st.proceed(rec)
	}
	sums := newTally()
	for _, e := range st.orders {
		sums.add(e, +1)
	}
	wrong := sums.check(&st.Pool)
	for _, c := range st.codes {
		wrong = append(wrong, sums.checkCode(c)...)
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%w: event %s, revision %d: %s", ErrBroken, event, st.seq, strings.Join(wrong, "; "))
	}
	return st, nil
}

// set makes an order of a state that is being replayed what a record says.
func (st *state) set(c change) {
	if st.orders[c.ID] = c.Entry; c.State == "" {
		delete(st.orders, c.ID)
	}
	st.note(c)
}

// lastRecord reads the newest record of an event from the stream's leader. If there is none, at is a sequence at which
// there was none.
func lastRecord(ctx context.Context, stream jetstream.Stream, event ids.Event) (last stored, at uint64, err error) {
	if last, err = getRecord(ctx, stream, event); err != nil || last.seq != 0 {
		return last, last.seq, err
	}
	// A sequence is needed at which there was none, lest it be believed over a pool that was opened meanwhile.
	info, err := streamInfo(ctx, stream)
	if err != nil {
		return stored{}, 0, err
	}
	last, err = getRecord(ctx, stream, event)
	return last, max(info.State.LastSeq, last.seq), err
}

func streamInfo(
	ctx context.Context, stream jetstream.Stream, opts ...jetstream.StreamInfoOpt,
) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	info, err := stream.Info(ctx, opts...)
	if err != nil {
		return nil, unreachable(err)
	}
	return info, nil
}

func getRecord(ctx context.Context, stream jetstream.Stream, event ids.Event) (stored, error) {
	msg, err := lastMessage(ctx, stream, event)
	if err != nil || msg == nil {
		return stored{}, err
	}
	return recordOf(msg)
}

// lastMessage returns the newest message of an event's pool, nil if there is none.
func lastMessage(ctx context.Context, stream jetstream.Stream, event ids.Event) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg, err := stream.GetLastMsgForSubject(ctx, poolSubject(event))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unreachable(err)
	}
	return msg, nil
}

func recordOf(msg *jetstream.RawStreamMsg) (stored, error) {
	rec := stored{seq: msg.Sequence, at: msg.Time, size: len(msg.Data), exists: msg.Header.Get(operationHeader) == ""}
	if !rec.exists {
		return rec, nil
	}
	return rec, unmarshal(msg.Subject, msg.Data, &rec.record)
}

// currentHistory reads what is stored of an event now. It returns ErrNoPool if that is nothing.
func currentHistory(ctx context.Context, stream jetstream.Stream, event ids.Event) (*history, error) {
	missing := checkpoint{Seq: math.MaxUint64}
	for range loadTries {
		last, _, err := lastRecord(ctx, stream, event)
		if err != nil {
			return nil, err
		}
		if !last.exists {
			return nil, ErrNoPool
		}
		h, err := readHistory(ctx, stream, event, last, 0)
		if !errors.Is(err, errGap) {
			return h, err
		}
		if last.Checkpoint == missing {
			return nil, fmt.Errorf("%w: %w", ErrBroken, err)
		}
		missing = last.Checkpoint
	}
	return nil, unreachable(errGap)
}

// readHistory reads what is stored of an event up to its last record. With after, a sequence that the checkpoint does
// not come behind, it reads the records that follow that one and no checkpoint.
func readHistory(
	ctx context.Context, stream jetstream.Stream, event ids.Event, last stored, after uint64,
) (*history, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var h history
	first, cp := after+1, last.Checkpoint
	filters := []string{poolSubject(event)}
	if after == 0 && cp.Seq > 0 {
		first, filters = cp.Seq, append(filters, cp.partSubject(event, "*"))
	}
	if after == 0 && cp.Seq == 0 && last.After == 0 {
		h.records = []stored{last}
		return &h, nil
	}
	seen, prev := 0, after
	err := readMessages(ctx, stream, first, last.seq, filters, func(msg jetstream.Msg,
		meta *jetstream.MsgMetadata) error {
		if _, found := poolOf(msg.Subject()); !found {
			var p part
			if err := unmarshal(msg.Subject(), msg.Data(), &p); err != nil {
				return err
			}
			seen++
			h.base = append(h.base, p.Orders...)
			h.codes = append(h.codes, p.Codes...)
			return nil
		}
		rec := stored{seq: meta.Sequence.Stream, at: meta.Timestamp, size: len(msg.Data())}
		rec.exists = msg.Headers().Get(operationHeader) == ""
		if !rec.exists { // what was before it counts no more
			h.base, h.codes, h.records, h.cleared, prev = nil, nil, nil, true, rec.seq
			return nil
		}
		if err := unmarshal(msg.Subject(), msg.Data(), &rec.record); err != nil {
			return err
		}
		begins := len(h.records) == 0 && prev == 0 && rec.seq == cp.Seq
		if rec.After != prev && !begins {
			return fmt.Errorf("%w: event %s, revision %d follows %d, not %d", errGap, event, rec.seq, rec.After, prev)
		}
		h.records, prev = append(h.records, rec), rec.seq
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case after == 0 && cp.Seq > 0 && seen != cp.Parts:
		return nil, fmt.Errorf("%w: event %s has %d parts of %d", errGap, event, seen, cp.Parts)
	}
	return &h, nil
}

// reading returns a consumer of the messages of some subjects from a sequence on. It is gone soon after its reader.
func reading(first uint64, subjects ...string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: time.Minute, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
		FilterSubjects: subjects}
}

// readMessages calls f for the messages of some subjects from a sequence to another, at which there is one of them. It
// returns errGap if that is gone.
func readMessages(
	ctx context.Context, stream jetstream.Stream, first, last uint64, filters []string,
	f func(jetstream.Msg, *jetstream.MsgMetadata) error,
) error {
	cons, err := stream.CreateConsumer(ctx, reading(first, filters...))
	if err != nil {
		return unreachable(err)
	}
	defer func() { _ = stream.DeleteConsumer(context.WithoutCancel(ctx), cons.CachedInfo().Name) }()
	messages, err := cons.Messages(jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return unreachable(err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for next := uint64(1); ; next++ {
		msg, err := messages.Next(jetstream.NextMaxWait(publishTimeout))
		if err != nil {
			return unreachable(errors.Join(err, ctx.Err()))
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		switch {
		case meta.Sequence.Stream > last:
			return errGap
		case meta.Sequence.Consumer != next:
			return unreachable(fmt.Errorf("message %d of a replay came as %d", next, meta.Sequence.Consumer))
		}
		if err := f(msg, meta); err != nil || meta.Sequence.Stream == last {
			return err
		}
	}
}

func unreachable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the inventory cannot be reached").After(time.Second)
}

// FreeTogether returns how many times all of the lines can be held together: the first by an order with the code, and
// what comes with it.
func (p *Pool) FreeTogether(lines []Line, code ids.PromoCode) int {
	least := math.MaxInt
	for _, l := range lines {
		least = min(least, max(p.Free(l.Type, code), 0)/l.N)
	}
	own := p.reserve(code)
	for _, q := range p.Quotas {
		each, of := 0, -1
		for _, l := range lines {
			if i := p.index(l.Type); i >= 0 && slices.Contains(q.Types, i) {
				each += l.N
				if code != "" && own >= 0 && p.covers(p.Reserves[own], i) {
					of = own
				}
			}
		}
		if each > 0 {
			least = min(least, max(p.quotaLeft(q, of), 0)/each)
		}
	}
	return least
}
