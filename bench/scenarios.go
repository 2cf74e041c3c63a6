package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Check is something that must be true whatever the machine's mood. A failed one makes the harness exit with 1.
type Check struct {
	Scenario string `json:"scenario"`
	Target   string `json:"target"`
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Detail   string `json:"detail"`
}

// mostly reports whether operations did what they should, but for one in a hundred whose outcome is unknown. A server
// that refuses everything breaks no other rule.
func mostly(good, unknown int64) bool { return good > 0 && 100*unknown <= good }

// The sizes of the events.
const (
	plenty = 1_000_000 // seats of the event on which throughput is measured
	scarce = 500       // seats of the event that is sold out under the eyes of everybody
)

// browse is GET of one hot event: the system, the same bytes over NATS from nobody, and the same bytes from Fiber
// alone; and of what is left of it, which the system answers from no copy.
func (b *bench) browse(ctx context.Context) error {
	hot := offer{EventID: ids.New[ids.EventKind](time.Now())}
	payload := sampleEvent(hot.EventID)
	var targets, ask []target
	if b.wants("system") {
		sys, err := b.system(ctx)
		if err != nil {
			return err
		}
		if hot, err = sys.sell("Browse", 2500, 1000); err != nil {
			return err
		}
		var raw, left json.RawMessage // each of its own: the next answer would be written over the one before
		if err := sys.client.call("GET", "/v1/events/"+string(hot.EventID), "", nil, &raw, 200); err != nil {
			return err
		}
		payload = raw
		path := eventPath(hot)
		targets = append(targets, target{"system", getOp(sys.client, path, payload), sys.cpu})
		path += "/availability"
		if err := sys.client.call("GET", path, "", nil, &left, 200); err != nil {
			return err
		}
		ask = append(ask, target{"system", getOp(sys.client, path, left), sys.cpu})
	}
	for _, kind := range []string{"echo", "fiber"} {
		if !b.wants(kind) {
			continue
		}
		p, h, err := b.baseline(ctx, kind, payload)
		if err != nil {
			return err
		}
		targets = append(targets, target{kind, getOp(newClient(h.Addr), eventPath(hot), payload), p.cpu})
	}
	if err := b.compare(ctx, "browse", targets, 64); err != nil {
		return err
	}
	closed := Load{Conns: cmp.Or(b.Conns, 64), Duration: b.Duration}
	b.rows = append(b.rows, alternate(ctx, "availability", "capacity", ask, closed, b.cores, b.Options)...)
	return ctx.Err()
}

// page is the page of one event for people, beside GET of the same event for programs. The page also says what is left.
func (b *bench) page(ctx context.Context) error {
	sys, err := b.system(ctx)
	if err != nil {
		return err
	}
	hot, err := sys.sell("Page", 2500, 1000)
	if err != nil {
		return err
	}
	var event json.RawMessage
	if err := sys.client.call("GET", eventPath(hot), "", nil, &event, 200); err != nil {
		return err
	}
	path := "/events/page-" + string(hot.EventID)
	html, err := sys.client.text(path)
	if err != nil {
		return err
	}
	return b.compare(ctx, "page", []target{{"page", getOp(sys.client, path, html), sys.cpu},
		{"system", getOp(sys.client, eventPath(hot), event), sys.cpu}}, 64)
}

func eventPath(o offer) string { return "/v1/events/" + string(o.EventID) }

// getOp reads what is under a path. Only an answer with exactly these bytes is a good one.
func getOp(c *Client, path string, want []byte) func(int) Op {
	return func(int) Op {
		r := c.prepare("GET", path, "", nil)
		return func(context.Context, int64) Outcome {
			status := r.send()
			return Outcome{Status: status, Good: status == 200 && bytes.Equal(r.resp.Body(), want)}
		}
	}
}

// sampleEvent is an event of usual size, for a run without the system.
func sampleEvent(id ids.Event) []byte {
	return fmt.Appendf(nil, `{"id":%q,"organizer_id":%q,"status":"published","name":"Browse","description":%q,"category":"concert",`+
		`"starts_at":"2027-06-01T18:00:00Z","ends_at":"2027-06-01T22:00:00Z","timezone":"Europe/Berlin","location":{"name":"Great Hall",`+
		`"address":"Am Markt 1","city":"Leipzig","country":"DE","latitude":51.34,"longitude":12.37},"capacity":1000,"ticket_types":[{"id":%q,`+
		`"name":"Standing","price":{"amount":2500,"currency":"EUR"},"quantity":1000,"max_per_order":0}],"revision":2,`+
		`"created_at":"2027-01-01T00:00:00Z","updated_at":"2027-01-01T00:00:00Z"}`,
		id, ids.New[ids.OrganizerKind](time.Now()),
		strings.Repeat("An evening of strings and stars under an open roof. ",
			8), ids.New[ids.TicketTypeKind](time.Now()))
}

// seller is a server that takes orders, and what the harness was told by it.
type seller struct {
	name   string
	client *Client
	tokens []string
	hot    offer
	few    offer
	cpu    func() time.Duration
}

// onsale is POST /v1/orders for one seat of one hot event by many buyers: the system, and one PostgreSQL transaction on
// a hot row. Afterwards each sells out a small event, and the books are checked.
func (b *bench) onsale(ctx context.Context) error {
	var sellers []seller
	if b.wants("system") {
		sys, err := b.system(ctx)
		if err != nil {
			return err
		}
		s := seller{name: "system", client: sys.client, tokens: sys.buyers, cpu: sys.cpu}
		if s.hot, err = sys.sell("On sale", 2500, plenty); err != nil {
			return err
		}
		if s.few, err = sys.sell("The last seats", 2500, scarce); err != nil {
			return err
		}
		sellers = append(sellers, s)
	}
	if b.wants("codes") {
		s, err := b.rationed(ctx)
		if err != nil {
			return err
		}
		sellers = append(sellers, s)
	}
	for _, kind := range []string{"pgrow", "pgone"} {
		if !b.wants(kind) {
			continue
		}
		now := time.Now()
		hot := offer{EventID: ids.New[ids.EventKind](now), TicketTypeID: ids.New[ids.TicketTypeKind](now),
			Quantity: plenty}
		few := offer{EventID: ids.New[ids.EventKind](now), TicketTypeID: ids.New[ids.TicketTypeKind](now),
			Quantity: scarce}
		p, h, err := b.shop(ctx, kind, []offer{hot, few})
		if err != nil {
			return err
		}
		database := b.pg
		cpu := func() time.Duration { return p.cpu() + database.cpu() }
		sellers = append(sellers, seller{kind, newClient(h.Addr), h.Tokens, hot, few, cpu})
	}
	var targets []target
	ledgers := make([]ledger, len(sellers))
	for i, s := range sellers {
		targets = append(targets, target{s.name, orderOp(s, s.hot, &ledgers[i]), s.cpu})
	}
	if err := b.compare(ctx, "onsale", targets, 256); err != nil {
		return err
	}
	for i, s := range sellers {
		if ledgers[i].soldOut.Load() > 0 {
			return fmt.Errorf("%s sold all %d seats while it was measured, so that its numbers mean nothing: take a "+
				"shorter -duration or fewer -rounds", s.name, plenty)
		}
		if err := b.checkBooks("onsale", s, s.hot, &ledgers[i]); err != nil {
			return err
		}
		var l ledger
		Run(ctx, Load{Conns: 256, Count: 4 * scarce}, orderOp(s, s.few, &l))
		if err := b.checkBooks("onsale", s, s.few, &l); err != nil {
			return err
		}
		created, unknown := l.created.Load(), l.unknown.Load()
		b.check("onsale", s.name, "sold out to the last seat", created+unknown >= scarce &&
			mostly(created, unknown) && l.soldOut.Load() > 0,
			"%d of %d seats, %d with unknown outcome, %d refused as sold out", created, scarce,
			unknown, l.soldOut.Load())
	}
	return nil
}

// rationed is the system with events that have quotas, whose buyers all enter a code with a limit.
func (b *bench) rationed(ctx context.Context) (seller, error) {
	sys, err := b.system(ctx)
	if err != nil {
		return seller{}, err
	}
	s := seller{name: "codes", client: sys.client, tokens: sys.buyers, cpu: sys.cpu}
	if s.hot, err = sys.sell("On sale with codes", 2500, plenty); err == nil {
		s.hot, err = sys.ration(s.hot)
	}
	if err == nil {
		s.few, err = sys.sell("The last seats with codes", 2500, scarce)
	}
	if err == nil {
		s.few, err = sys.ration(s.few)
	}
	return s, err
}

// ledger counts what a seller promised to the harness, in every run: warm-up, capacity, paced.
type ledger struct {
	created atomic.Int64 // 201
	soldOut atomic.Int64 // 409
	unknown atomic.Int64 // no answer, or a 5xx: the seat may have been taken
}

// orderOp orders one seat. Buyers take turns.
func orderOp(s seller, o offer, l *ledger) func(int) Op {
	body := orderBody(o, 1)
	return func(conn int) Op {
		r := s.client.prepare("POST", "/v1/orders", s.tokens[conn%len(s.tokens)], body)
		return func(context.Context, int64) Outcome {
			status := r.send()
			switch {
			case status == 201:
				l.created.Add(1)
			case status == 409:
				l.soldOut.Add(1)
			case status == 0 || status >= 500:
				l.unknown.Add(1)
			}
			return Outcome{Status: status, Good: status == 201}
		}
	}
}

// checkBooks compares what a seller says with what it promised, after the last order.
func (b *bench) checkBooks(scenario string, s seller, o offer, l *ledger) error {
	have, err := left(s.client, o)
	if err != nil {
		return err
	}
	taken, created, unknown := have.Held+have.Sold, l.created.Load(), l.unknown.Load()
	b.oversold += max(0, taken-o.Quantity, created-o.Quantity)
	b.check(scenario, s.name, "nothing oversold", taken <= o.Quantity && created <= o.Quantity && have.Available >= 0,
		"%d orders acknowledged, %d seats taken, of %d", created, taken, o.Quantity)
	b.check(scenario, s.name, "quantity = available + held + sold", have.Quantity == o.Quantity &&
		have.Quantity == have.Available+taken, "%d = %d + %d + %d", have.Quantity, have.Available, have.Held, have.Sold)
	b.check(scenario, s.name, "orders are acknowledged", mostly(created, unknown),
		"%d acknowledged, %d with unknown outcome", created, unknown)
	b.check(scenario, s.name, "every acknowledged order has its seat, and nobody else",
		created <= taken && taken <= created+unknown, "%d acknowledged, %d with unknown outcome, %d seats taken",
		created, unknown, taken)
	return nil
}
