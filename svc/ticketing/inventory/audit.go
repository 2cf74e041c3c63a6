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

	changed map[ids.Order]int64 // when the server stored the newest word on an order

	Checked int       // records that were compared
	Broken  []string  // what did not hold, in words
	ReadAt  time.Time // by the server's clock
}

type eventLedger struct {
	Pool
	seq   uint64
	sums  tally
	codes map[ids.PromoCode]Code
}

func newEventLedger() *eventLedger {
	return &eventLedger{sums: newTally(), codes: map[ids.PromoCode]Code{}}
}

type ledgerEntry struct {
	Entry
	event ids.Event
}

// NewLedger returns an empty ledger: the state before the first message.
func NewLedger() *Ledger {
	return &Ledger{events: map[ids.Event]*eventLedger{}, orders: map[ids.Order]ledgerEntry{},
		changed: map[ids.Order]int64{}}
}

// begin takes in the checkpoint of an event.
func (l *Ledger) begin(event ids.Event, h *history) {
	e := newEventLedger()
	l.events[event] = e
	for _, c := range h.base {
		l.set(event, c)
	}
	for _, c := range h.codes {
		e.codes[c.ID] = c
	}
}

// apply takes in the next record of an event.
func (l *Ledger) apply(event ids.Event, rec stored) {
	e := l.events[event]
	if e == nil {
		e = newEventLedger()
		l.events[event] = e
	}
	if rec.After != e.seq && e.seq != 0 {
		l.broken(rec.seq, "event %s: the record follows %d, not %d", event, rec.After, e.seq)
	}
	if e.seq != 0 || rec.After == 0 { // what was before the record of a checkpoint is not known
		for _, wrong := range rec.Pool.outgrown(&e.Pool) {
			l.broken(rec.seq, "event %s %s", event, wrong)
		}
	}
	e.Pool, e.seq = rec.Pool, rec.seq
	touched := map[ids.PromoCode]bool{}
	for _, c := range rec.Orders {
		touched[l.orders[c.ID].Code], touched[c.Code] = true, true
		c.Changed = rec.at.Unix()
		l.set(event, c)
	}
	l.Checked++
	for _, wrong := range append(e.sums.check(&rec.Pool), e.applyCodes(rec.Codes, touched)...) {
		l.broken(rec.seq, "event %s %s", event, wrong)
	}
}

// applyCodes takes in the codes of a record, and returns in words where a counter is not the sum over the orders, or
// has grown beyond its limit.
func (e *eventLedger) applyCodes(codes []Code, touched map[ids.PromoCode]bool) (wrong []string) {
	for _, c := range codes {
		if before := e.codes[c.ID]; c.Limit != 0 && c.used() > max(c.Limit, before.used()) {
			wrong = append(wrong, fmt.Sprintf("code %s: it is used %d times, and may be %d times", c.ID, c.used(),
				c.Limit))
		}
		e.codes[c.ID], touched[c.ID] = c, true
	}
	delete(touched, "")
	for id := range touched {
		c := e.codes[id]
		c.ID = id
		wrong = append(wrong, e.sums.checkCode(c)...)
	}
	return wrong
}

// Uses returns how many orders of an event use each of its codes, held and sold.
func (l *Ledger) Uses(event ids.Event) map[ids.PromoCode]Code {
	if e := l.events[event]; e != nil {
		return e.codes
	}
	return nil
}

func (l *Ledger) set(event ids.Event, c change) {
	if l.events[event] == nil {
		l.events[event] = newEventLedger()
	}
	sums := l.events[event].sums
	sums.add(l.orders[c.ID].Entry, -1)
	sums.add(c.Entry, +1)
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
	for _, e := range l.events {
		for t, c := range e.sums.types {
			if c.Sold != 0 {
				out[t] = c.Sold
			}
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
