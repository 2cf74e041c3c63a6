package inventory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/run"
)

const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second

	// silence is how long no message comes before the follower asks whether there is one that it should have.
	silence = time.Second

	// staleAfter is how old the last proof may be that the view is current.
	staleAfter = 10 * time.Second
)

// follower is how far this instance has followed the stream.
type follower struct {
	created time.Time // when the stream was made
	caught  uint64    // all up to here is known
	silent  uint64    // the stream's last sequence in the last silence
	current time.Time // when the view was last known to be current
	evicted time.Time // when idle events were last looked for
}

// Follow keeps this instance's view current with what all instances write, until ctx ends. While it cannot, it tries
// again, and Ready says so.
func (inv *Inventory) Follow(ctx context.Context) error {
	inv.mu.Lock()
	inv.at.current = inv.now()
	inv.mu.Unlock()
	retry := run.Backoff{First: firstRetry, Last: lastRetry}
	for failed := false; ; {
		began := time.Now()
		err := inv.follow(ctx, func() {
			if failed {
				inv.log.InfoContext(ctx, "the inventory is followed again")
			}
			failed = false
		})
		if ctx.Err() != nil {
			return nil
		}
		inv.metrics.followFailures.Inc()
		if !failed {
			inv.log.InfoContext(ctx, "the inventory cannot be followed and is tried again", "error", err)
		}
		failed = true
		if time.Since(began) > staleAfter {
			retry.Reset()
		}
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

// Ready returns an error while this instance's view of the inventory may be old.
func (inv *Inventory) Ready(context.Context) error {
	if age := inv.viewAge(); age > staleAfter {
		return fmt.Errorf("the inventory has not been followed for %v", age.Round(time.Second))
	}
	return nil
}

func (inv *Inventory) viewAge() time.Duration {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	return inv.now().Sub(inv.at.current)
}

// follow reads the stream from where this instance is until ctx ends or messages stop coming. It calls started once
// they come.
func (inv *Inventory) follow(ctx context.Context, started func()) error {
	from, end, err := inv.place(ctx)
	if err != nil {
		return err
	}
	cfg := reading(from, poolSubject("*"), probeSubject)
	if from == 1 { // the newest record of each event tells whether the others are needed
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverLastPerSubjectPolicy, 0
	}
	cons, err := inv.stream.CreateConsumer(ctx, cfg)
	if err != nil {
		return err
	}
	messages, err := cons.Messages(jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	if cons.CachedInfo().NumPending == 0 {
		inv.reached(end, inv.now())
	}
	started()
	for next := uint64(1); ; next++ {
		msg, err := messages.Next(jetstream.NextMaxWait(silence))
		if errors.Is(err, nats.ErrTimeout) {
			if err = inv.checkSilence(ctx); err == nil {
				next--
				continue
			}
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != next {
			return fmt.Errorf("message %d of the follower came as %d", next, meta.Sequence.Consumer)
		}
		if err := inv.observe(ctx, msg, meta); err != nil {
			return err
		}
		inv.reached(meta.Sequence.Stream, meta.Timestamp)
		if meta.NumPending == 0 {
			inv.reached(end, inv.now())
		}
	}
}

// place returns the sequence to follow from, and the last that is there. A stream that was made anew, or that lacks
// what is known, makes this instance forget everything.
func (inv *Inventory) place(ctx context.Context) (from, end uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	info, err := inv.stream.Info(ctx)
	if err != nil {
		return 0, 0, err
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if !inv.at.created.Equal(info.Created) || info.State.LastSeq < inv.at.caught {
		inv.reset()
		inv.at.created, inv.at.caught = info.Created, 0
	}
	return inv.at.caught + 1, info.State.LastSeq, nil
}

// reached takes note that all up to seq is known, and that this was all there was at a time.
func (inv *Inventory) reached(seq uint64, at time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.at.caught = max(inv.at.caught, seq)
	if now := inv.now(); now.Sub(inv.at.evicted) > idleAfter {
		inv.at.evicted = now
		inv.evict()
	}
	if at.After(inv.at.current) {
		inv.at.current = at
	}
}

// checkSilence finds out whether no message came because there is none.
func (inv *Inventory) checkSilence(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	info, err := inv.stream.Info(ctx)
	if err != nil {
		return err
	}
	inv.mu.Lock()
	defer inv.mu.Unlock()
	switch {
	case !inv.at.created.Equal(info.Created):
		return errors.New("the stream was made anew")
	case inv.at.caught < info.State.LastSeq && inv.at.silent == info.State.LastSeq:
		return fmt.Errorf("no message comes; %d were followed of %d", inv.at.caught, info.State.LastSeq)
	case inv.at.caught >= info.State.LastSeq:
		inv.at.current = inv.now()
	}
	inv.at.silent = info.State.LastSeq
	return nil
}

// observe takes over one message of the stream, unless something newer is known.
func (inv *Inventory) observe(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
	event, found := poolOf(msg.Subject())
	if !found {
		return nil
	}
	if err := inv.observeRecord(event, msg, meta); err != nil {
		inv.log.ErrorContext(ctx, "unreadable inventory message",
			"subject", msg.Subject(), "sequence", meta.Sequence.Stream, "error", err)
		return nil
	}
	inv.mu.Lock()
	st := inv.states[event]
	close(inv.advanced)
	inv.advanced = make(chan struct{})
	behind := st != nil && !st.isExact() && (st.holds() || st.orders != nil)
	inv.mu.Unlock()
	if !behind {
		return nil
	}
	err := inv.load(ctx, event) // its holds count, and expire
	if errors.Is(err, ErrBroken) {
		inv.log.ErrorContext(ctx, "the seats of an event are not known", "event", event, "error", err)
		return nil
	}
	return err
}

// observeRecord takes over the message of a pool.
func (inv *Inventory) observeRecord(event ids.Event, msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	seq := meta.Sequence.Stream
	st, c := inv.states[event], inv.inFlight[event]
	rec := stored{exists: true, seq: seq, at: meta.Timestamp, size: len(msg.Data())}
	switch {
	case st != nil && seq <= st.at:
		return nil
	case msg.Headers().Get(operationHeader) != "":
		inv.replace(event, &state{seq: seq, at: seq, orders: map[ids.Order]Entry{}})
		return nil
	case c != nil && msg.Headers().Get(commitHeader) == c.id:
		rec.record = c.record // it need not be decoded
	default:
		if err := unmarshal(msg.Subject(), msg.Data(), &rec.record); err != nil {
			return err
		}
	}
	if st == nil {
		st = &state{}
		inv.states[event] = st
	}
	inv.applyRecord(event, st, rec)
	return nil
}
