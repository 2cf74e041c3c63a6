package inventory

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
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
}

// Follow keeps this instance's view current with what all instances write, until ctx ends. While it cannot, it tries
// again, and Ready says so.
func (inv *Inventory) Follow(ctx context.Context) error {
	inv.mu.Lock()
	inv.at.current = inv.now()
	inv.mu.Unlock()
	for wait, failed := firstRetry, false; ; wait = min(2*wait, lastRetry) {
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
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
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

// follow reads the stream from where this instance is until ctx ends or messages stop coming. It calls started once they
// come.
func (inv *Inventory) follow(ctx context.Context, started func()) error {
	from, end, err := inv.place(ctx)
	if err != nil {
		return err
	}
	cfg := jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from}
	if from == 1 { // what is written over need not be read
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.FilterSubject = jetstream.DeliverLastPerSubjectPolicy, 0, prefix+">"
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
		inv.observe(msg, meta.Sequence.Stream)
		inv.reached(meta.Sequence.Stream, meta.Timestamp)
		if meta.NumPending == 0 {
			inv.reached(end, inv.now())
		}
	}
}

// place returns the sequence to follow from, and the last that is there. A stream that was made anew, or that lacks what
// is known, makes this instance forget everything.
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
		inv.pools, inv.held, inv.perUser, inv.expiry = map[ids.Event]poolAt{}, map[ids.Order]entryAt{}, map[ids.User]int{}, nil
		inv.at.created, inv.at.caught = info.Created, 0
	}
	return inv.at.caught + 1, info.State.LastSeq, nil
}

// reached takes note that all up to seq is known, and that this was all there was at a time.
func (inv *Inventory) reached(seq uint64, at time.Time) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.at.caught = max(inv.at.caught, seq)
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
func (inv *Inventory) observe(msg jetstream.Msg, seq uint64) {
	key := strings.Split(strings.TrimPrefix(msg.Subject(), prefix), ".")
	deleted := msg.Headers().Get(operationHeader) != ""
	switch {
	case key[0] == "pool" && len(key) == 2:
		var p Pool
		if !deleted && json.Unmarshal(msg.Data(), &p) != nil {
			inv.log.Error("unreadable inventory message", "subject", msg.Subject(), "sequence", seq)
			return
		}
		inv.mu.Lock()
		inv.closeGap(ids.Event(key[1]), seq)
		inv.setPool(ids.Event(key[1]), poolAt{Pool: p, exists: !deleted, seq: seq, at: seq})
		close(inv.news)
		inv.news = make(chan struct{})
		inv.mu.Unlock()
	case key[0] == "order" && len(key) == 3:
		var e Entry
		if !deleted && json.Unmarshal(msg.Data(), &e) != nil {
			inv.log.Error("unreadable inventory message", "subject", msg.Subject(), "sequence", seq)
			return
		}
		inv.mu.Lock()
		inv.setEntry(Ref{ids.Event(key[1]), ids.Order(key[2])}, e, seq)
		inv.mu.Unlock()
	}
}

// closeGap takes note that all of an event was heard of up to a sequence. inv.mu must be held.
func (inv *Inventory) closeGap(event ids.Event, seq uint64) {
	if p := inv.pools[event]; p.gap != 0 && p.gap <= seq {
		p.gap = 0
		inv.pools[event] = p
	}
}

// setPool remembers a pool unless a newer state of it is known. inv.mu must be held.
func (inv *Inventory) setPool(event ids.Event, p poolAt) {
	old, ok := inv.pools[event]
	if ok && (p.at < old.at || p.at == old.at && p.seq == old.seq) {
		return
	}
	inv.pools[event] = p
}

// setEntry remembers a hold, or forgets it when the entry is not one any more. inv.mu must be held.
func (inv *Inventory) setEntry(ref Ref, e Entry, seq uint64) {
	if p := inv.pools[ref.Event]; p.gap == 0 && seq <= p.at {
		return // all holds of that time are known, and this one may have ended since
	}
	if old, ok := inv.held[ref.Order]; ok && old.seq >= seq {
		return
	}
	inv.drop(ref.Order)
	if e.State != Held {
		return
	}
	inv.held[ref.Order] = entryAt{Entry: e, event: ref.Event, seq: seq}
	inv.perUser[e.User]++
	heap.Push(&inv.expiry, expiring{at: e.Expires, expires: e.Expires, Ref: ref})
}

// drop forgets a hold. inv.mu must be held.
func (inv *Inventory) drop(order ids.Order) {
	old, ok := inv.held[order]
	if !ok {
		return
	}
	delete(inv.held, order)
	if inv.perUser[old.User]--; inv.perUser[old.User] <= 0 {
		delete(inv.perUser, old.User)
	}
}
