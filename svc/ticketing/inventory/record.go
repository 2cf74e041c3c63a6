package inventory

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Stream is the JetStream stream behind the bucket, and prefix what its subjects begin with.
const (
	Stream = api.InventoryStream
	prefix = api.InventoryPrefix
)

const (
	// operationHeader marks a deletion in a KV stream.
	operationHeader = "KV-Operation"

	// commitHeader carries the id of a commit, by which its instance knows its own record again.
	commitHeader = "Starlight-Commit"
)

// Line is a number of tickets of one type, at the price of a stage or at that of the type.
type Line struct {
	Type  ids.TicketType `json:"t"`
	N     int            `json:"n"`
	Stage ids.Stage      `json:"p,omitempty"`
}

// Counts is the state of one ticket type.
type Counts struct {
	Type     ids.TicketType `json:"t"`
	Capacity int            `json:"c"`
	Held     int            `json:"h"`
	Sold     int            `json:"s"`
	Leased   int            `json:"l,omitempty"` // that only venues may sell
}

// Available is what can still be held.
func (c Counts) Available() int { return c.Capacity - c.Held - c.Sold - c.Leased }

// Pool is what is offered, held, sold and leased of an event: its ticket types, in the event's order.
type Pool struct {
	Revision int64    `json:"r"` // of the event whose quantities these are
	Types    []Counts `json:"types"`
	Closed   bool     `json:"x,omitempty"` // no order may have new seats: they are counted again, or the event is over
	Leases   []Lease  `json:"leases,omitempty"`

	Quotas   []Quota   `json:"quotas,omitempty"`
	Reserves []Reserve `json:"reserves,omitempty"`
	Stages   []Stage   `json:"stages,omitempty"` // at whose prices orders have seats
}

func (p *Pool) counts(t ids.TicketType) *Counts {
	for i := range p.Types {
		if p.Types[i].Type == t {
			return &p.Types[i]
		}
	}
	return nil
}

// holds reports whether any seat is held.
func (p *Pool) holds() bool {
	for _, c := range p.Types {
		if c.Held > 0 {
			return true
		}
	}
	return false
}

// The states of an Entry.
const (
	Held = "held"
	Sold = "sold"
)

// Entry is what one order holds or has bought. Without a State it has no seats.
type Entry struct {
	State   string   `json:"s,omitempty"`
	Lines   []Line   `json:"l,omitempty"`
	Expires int64    `json:"e,omitempty"` // Unix milliseconds, while held
	User    ids.User `json:"u,omitempty"`
	Op      string   `json:"o,omitempty"` // the operation that took the seats; makes it recognisable
	Changed int64    `json:"a,omitempty"` // Unix seconds; in a checkpoint only, a record has the time of its message

	Code ids.PromoCode `json:"k,omitempty"` // that the order uses
}

// signs are 1 for what the entry's lines count as, held or sold, and 0 otherwise.
func (e Entry) signs() (held, sold int) {
	switch e.State {
	case Held:
		return 1, 0
	case Sold:
		return 0, 1
	}
	return 0, 0
}

// record is the value of a pool key, one commit: the counters after it, and what it changed of the orders.
type record struct {
	Pool
	After      uint64     `json:"after"` // the sequence of the record before; 0 for the first
	Checkpoint checkpoint `json:"checkpoint,omitzero"`
	Orders     []change   `json:"orders,omitempty"`
	Codes      []Code     `json:"codes,omitempty"` // those that it changed
}

// change is what an order has after a commit.
type change struct {
	ID ids.Order `json:"id"`
	Entry
}

// size is about how many bytes of JSON a change takes.
func (e Entry) size() int { return 200 + 64*len(e.Lines) }

// checkpoint names the messages that keep all orders with seats as of a record: the replay of an event begins there.
type checkpoint struct {
	Seq   uint64 `json:"seq"` // of the record
	Parts int    `json:"parts"`
	Bytes int    `json:"bytes"`
}

// part is the value of one of a checkpoint's keys.
type part struct {
	Orders []change `json:"orders"`
	Codes  []Code   `json:"codes,omitempty"`
}

func poolSubject(e ids.Event) string { return prefix + "pool." + e.String() }

// partSubject is that of a checkpoint's part, and with "*" of all of them.
func (c checkpoint) partSubject(e ids.Event, part string) string {
	return prefix + "checkpoint." + e.String() + "." + strconv.FormatUint(c.Seq, 10) + "." + part
}

// poolOf returns the event that a subject of a record names.
func poolOf(subject string) (ids.Event, bool) {
	event, found := strings.CutPrefix(subject, prefix+"pool.")
	return ids.Event(event), found
}

// tally counts the seats of an event's orders by ticket type, and its codes. Leases are counted where they stand: in
// each record.
type tally struct {
	types  map[ids.TicketType]*Counts
	codes  map[ids.PromoCode]*codeTally
	stages map[ids.Stage]Stage
}

func newTally() tally {
	return tally{map[ids.TicketType]*Counts{}, map[ids.PromoCode]*codeTally{}, map[ids.Stage]Stage{}}
}

func (t tally) add(e Entry, sign int) {
	if e.Code != "" {
		t.addCode(e, sign)
	}
	held, sold := e.signs()
	for _, l := range e.Lines {
		c := t.types[l.Type]
		if c == nil {
			c = &Counts{Type: l.Type}
			t.types[l.Type] = c
		}
		c.Held += sign * held * l.N
		c.Sold += sign * sold * l.N
		if l.Stage != "" {
			t.addStage(l.Stage, sign*held*l.N, sign*sold*l.N)
		}
	}
}

// check returns in words where the counters of a pool are not the sums over its orders, or are impossible.
func (t tally) check(p *Pool) []string {
	wrong := append(p.checkLeases(), p.overdrawn()...)
	wrong = append(append(wrong, t.checkReserves(p)...), t.checkStages(p)...)
	for _, c := range p.Types {
		sum := Counts{}
		if s := t.types[c.Type]; s != nil {
			sum = *s
		}
		if c.Held != sum.Held || c.Sold != sum.Sold {
			wrong = append(wrong, fmt.Sprintf("type %s: the pool says held %d sold %d, its orders say held %d sold %d",
				c.Type, c.Held, c.Sold, sum.Held, sum.Sold))
		}
		if c.Held < 0 || c.Sold < 0 || c.Available() < 0 {
			wrong = append(wrong, fmt.Sprintf("type %s: capacity %d, held %d, sold %d, leased %d",
				c.Type, c.Capacity, c.Held, c.Sold, c.Leased))
		}
	}
	return wrong
}

// unmarshal decodes what the bucket keeps under a subject.
func unmarshal(subject string, data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: key %s: %w", ErrBroken, strings.TrimPrefix(subject, prefix), err)
	}
	return nil
}
