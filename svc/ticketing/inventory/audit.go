package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Ledger replays the records of events and checks their invariant at every one: it follows the one before it, and for
// each ticket type, held and sold equal the sums over the orders and leased the sum over the leases, none is negative,
// and held + sold + leased is at most capacity.
type Ledger struct {
	events map[ids.Event]*eventLedger
	orders map[ids.Order]ledgerEntry
	sums   tally

	changed map[ids.Order]int64 // when the server stored the newest word on an order

	Checked int       // records that were compared
	Broken  []string  // what did not hold, in words
	ReadAt  time.Time // by the server's clock
}

type eventLedger struct {
	Pool
	seq uint64
}

type ledgerEntry struct {
	Entry
	event ids.Event
}

// NewLedger returns an empty ledger: the state before the first message.
func NewLedger() *Ledger {
	return &Ledger{events: map[ids.Event]*eventLedger{}, orders: map[ids.Order]ledgerEntry{}, sums: tally{},
		changed: map[ids.Order]int64{}}
}

// begin takes in the checkpoint of an event.
func (l *Ledger) begin(event ids.Event, h *history) {
	l.events[event] = &eventLedger{}
	for _, c := range h.base {
		l.set(event, c)
	}
}

// apply takes in the next record of an event.
func (l *Ledger) apply(event ids.Event, rec stored) {
	e := l.events[event]
	if e == nil {
		e = &eventLedger{}
		l.events[event] = e
	}
	if rec.After != e.seq && e.seq != 0 {
		l.broken(rec.seq, "event %s: the record follows %d, not %d", event, rec.After, e.seq)
	}
	e.Pool, e.seq = rec.Pool, rec.seq
	for _, c := range rec.Orders {
		c.Changed = rec.at.Unix()
		l.set(event, c)
	}
	l.Checked++
	for _, wrong := range l.sums.check(&rec.Pool) {
		l.broken(rec.seq, "event %s %s", event, wrong)
	}
}

func (l *Ledger) set(event ids.Event, c change) {
	l.sums.add(l.orders[c.ID].Entry, -1)
	l.sums.add(c.Entry, +1)
	l.changed[c.ID] = c.Changed
	if c.State == "" {
		delete(l.orders, c.ID)
	} else {
		l.orders[c.ID] = ledgerEntry{c.Entry, event}
	}
}

func (l *Ledger) broken(seq uint64, format string, args ...any) {
	l.Broken = append(l.Broken, fmt.Sprintf("revision %d: ", seq)+fmt.Sprintf(format, args...))
}

// Sold returns the tickets sold of every type that sold any.
func (l *Ledger) Sold() map[ids.TicketType]int {
	out := map[ids.TicketType]int{}
	for t, c := range l.sums {
		if c.Sold != 0 {
			out[t] = c.Sold
		}
	}
	return out
}

// Leases returns all leases of an event, closed ones included as long as they are remembered.
func (l *Ledger) Leases(event ids.Event) []Lease {
	if e := l.events[event]; e != nil {
		return e.Leases
	}
	return nil
}

// Orders calls f for every order that holds or has bought seats.
func (l *Ledger) Orders(f func(Ref, Entry)) {
	for order, e := range l.orders {
		f(Ref{e.event, order}, e.Entry)
	}
}

// Has reports whether the inventory has a pool of the event.
func (l *Ledger) Has(event ids.Event) bool { return l.events[event] != nil }

// Changed returns when the seats of an order changed last, to the second, or the beginning of time.
func (l *Ledger) Changed(order ids.Order) time.Time { return time.Unix(l.changed[order], 0) }

// Audit reads the records of all events into a ledger, from their checkpoints on.
func Audit(ctx context.Context, js jetstream.JetStream) (*Ledger, error) {
	stream, err := js.Stream(ctx, Stream)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, err
	}
	l := NewLedger()
	l.ReadAt = info.TimeStamp
	var events []ids.Event
	for subject := range info.State.Subjects {
		event, found := poolOf(subject)
		switch {
		case found:
			events = append(events, event)
		case subject == probeSubject, strings.HasPrefix(subject, prefix+"checkpoint."):
		default:
			l.Broken = append(l.Broken, fmt.Sprintf("key %s is no pool and no checkpoint",
				strings.TrimPrefix(subject, prefix)))
		}
	}
	slices.Sort(events)
	for _, event := range events {
		h, err := currentHistory(ctx, stream, event)
		switch {
		case errors.Is(err, ErrNoPool): // retired since
			continue
		case errors.Is(err, ErrBroken):
			l.Broken = append(l.Broken, err.Error())
			continue
		case err != nil:
			return nil, fmt.Errorf("replay of the inventory: %w", err)
		}
		l.begin(event, h)
		for _, rec := range h.records {
			l.apply(event, rec)
		}
	}
	return l, nil
}
