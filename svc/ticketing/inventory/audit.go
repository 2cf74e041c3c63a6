package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Ledger replays the inventory stream and checks its invariant at every revision of a pool: for each ticket type, held
// and sold equal the sums over the orders, none is negative, and held + sold is at most capacity.
type Ledger struct {
	pools  map[ids.Event]Pool
	orders map[ids.Order]ledgerEntry
	sums   map[ids.TicketType]*Counts

	changed map[ids.Order]time.Time // when the server stored the newest word on an order

	Checked int       // pool revisions that were compared
	Broken  []string  // what did not hold, in words
	ReadAt  time.Time // by the server's clock
}

type ledgerEntry struct {
	Entry
	event ids.Event
}

// NewLedger returns an empty ledger: the state before the first message.
func NewLedger() *Ledger {
	return &Ledger{pools: map[ids.Event]Pool{}, orders: map[ids.Order]ledgerEntry{}, sums: map[ids.TicketType]*Counts{}, changed: map[ids.Order]time.Time{}}
}

// Apply takes in the next message of the stream.
func (l *Ledger) Apply(key string, data []byte, deleted bool, seq uint64) {
	part := strings.Split(key, ".")
	switch {
	case part[0] == "order" && len(part) == 3:
		var e Entry
		if !deleted {
			if err := json.Unmarshal(data, &e); err != nil {
				l.broken(seq, "key %s is unreadable: %v", key, err)
				return
			}
		}
		order := ids.Order(part[2])
		l.count(l.orders[order].Entry, -1)
		l.count(e, +1)
		if e.State == "" {
			delete(l.orders, order)
		} else {
			l.orders[order] = ledgerEntry{e, ids.Event(part[1])}
		}
	case part[0] == "pool" && len(part) == 2:
		var p Pool
		if !deleted {
			if err := json.Unmarshal(data, &p); err != nil {
				l.broken(seq, "key %s is unreadable: %v", key, err)
				return
			}
		}
		l.pools[ids.Event(part[1])] = p
		l.check(ids.Event(part[1]), p, seq)
	case key == probeKey:
	default:
		l.broken(seq, "key %s is neither a pool nor an order", key)
	}
}

func (l *Ledger) count(e Entry, sign int) {
	for _, line := range e.Lines {
		c := l.sums[line.Type]
		if c == nil {
			c = &Counts{Type: line.Type}
			l.sums[line.Type] = c
		}
		switch e.State {
		case Held:
			c.Held += sign * line.N
		case Sold:
			c.Sold += sign * line.N
		}
	}
}

func (l *Ledger) check(event ids.Event, p Pool, seq uint64) {
	l.Checked++
	for _, c := range p.Types {
		sum := Counts{}
		if s := l.sums[c.Type]; s != nil {
			sum = *s
		}
		if c.Held != sum.Held || c.Sold != sum.Sold {
			l.broken(seq, "event %s type %s: the pool says held %d sold %d, its orders say held %d sold %d", event, c.Type, c.Held, c.Sold, sum.Held, sum.Sold)
		}
		if c.Held < 0 || c.Sold < 0 || c.Available() < 0 {
			l.broken(seq, "event %s type %s: capacity %d, held %d, sold %d", event, c.Type, c.Capacity, c.Held, c.Sold)
		}
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

// Orders calls f for every order that holds or has bought seats.
func (l *Ledger) Orders(f func(Ref, Entry)) {
	for order, e := range l.orders {
		f(Ref{e.event, order}, e.Entry)
	}
}

// Changed returns when the seats of an order changed last.
func (l *Ledger) Changed(order ids.Order) time.Time { return l.changed[order] }

// Audit reads the stream up to its present end into a ledger.
//
// The stream keeps the last 64 values of each key. An order has fewer, so all of its history is there; of a pool that
// changed more often only the newest are, and those are the revisions that are compared.
func Audit(ctx context.Context, js jetstream.JetStream) (*Ledger, error) {
	stream, err := js.Stream(ctx, Stream)
	if err != nil {
		return nil, err
	}
	l := NewLedger()
	l.ReadAt = stream.CachedInfo().TimeStamp
	if stream.CachedInfo().State.Msgs == 0 {
		return l, nil
	}
	cons, err := js.OrderedConsumer(ctx, Stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return nil, err
	}
	end := stream.CachedInfo().State.LastSeq
	it, err := cons.Messages()
	if err != nil {
		return nil, err
	}
	defer it.Stop()
	stop := context.AfterFunc(ctx, it.Stop)
	defer stop()
	for {
		msg, err := it.Next()
		if err != nil {
			return nil, fmt.Errorf("replay of the inventory: %w", errOr(ctx, err))
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		if meta.Sequence.Stream <= end {
			if ref, ok := orderOf(msg.Subject()); ok {
				l.changed[ref.Order] = meta.Timestamp
			}
			l.Apply(strings.TrimPrefix(msg.Subject(), prefix), msg.Data(), msg.Headers().Get(operationHeader) != "", meta.Sequence.Stream)
		}
		if meta.Sequence.Stream >= end || meta.NumPending == 0 {
			return l, nil
		}
	}
}

func errOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// orderOf returns the order that a subject of the stream is about.
func orderOf(subject string) (Ref, bool) {
	part := strings.Split(strings.TrimPrefix(subject, prefix), ".")
	if len(part) != 3 || part[0] != "order" {
		return Ref{}, false
	}
	return Ref{ids.Event(part[1]), ids.Order(part[2])}, true
}
