package analytics

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// fold is a group of facts on their way into one transaction. What they change is kept in memory until the end, so that
// a thousand facts of one minute write one cell.
type fold struct {
	tx      *bolt.Tx
	cells   map[cell]*counts
	totals  map[cell]*counts // of minute 0
	orders  map[ids.Order]*orderState
	tickets map[ids.Ticket]*ticketState
	touched map[ids.Event]bool
}

// cell is what is counted together: a dimension of an event in one minute.
type cell struct {
	event  ids.Event
	kind   byte
	dim    string
	minute uint32
}

func newFold(tx *bolt.Tx) *fold {
	return &fold{tx: tx, cells: map[cell]*counts{}, totals: map[cell]*counts{}, orders: map[ids.Order]*orderState{},
		tickets: map[ids.Ticket]*ticketState{}, touched: map[ids.Event]bool{}}
}

// searches stands where the id of an event would: a search belongs to none.
const searches ids.Event = "searches"

// longestName bounds what becomes part of a key, in bytes.
const longestName = 100

// dimension makes a name safe as part of a key.
func dimension(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
	if len(s) > longestName {
		s = strings.ToValidUTF8(s[:longestName], "")
	}
	return s
}

// count adds to a cell and to its total.
func (f *fold) count(event ids.Event, kind byte, dim string, minute int64, counter int, n int64) {
	if n == 0 {
		return
	}
	f.touched[event] = true
	at(f.totals, cell{event, kind, dim, 0})[counter] += n
	at(f.cells, cell{event, kind, dim, uint32(minute)})[counter] += n
}

func at(m map[cell]*counts, key cell) *counts {
	c := m[key]
	if c == nil {
		c = new(counts)
		m[key] = c
	}
	return c
}

func minuteOf(t time.Time) int64 { return max(t.Unix()/60, 0) }

func (v *views) fold(f *fold) error {
	minute := minuteOf(v.At)
	if v.EventID == "" {
		f.count(searches, byEvent, "", minute, nViews, v.Count)
		return nil
	}
	f.count(v.EventID, byEvent, "", minute, nViews, v.Count)
	if v.Referrer != "" {
		f.count(v.EventID, byReferrer, f.referrer(v.EventID, dimension(v.Referrer)), minute, nViews, v.Count)
	}
	return nil
}

// mostReferrers of an event are counted by name: a client can make them up, and a summary reads them all.
const mostReferrers = 500

// otherReferrers are all that come later.
const otherReferrers = "others"

// referrer returns the name under which a referrer of an event counts.
func (f *fold) referrer(event ids.Event, name string) string {
	key := cell{event, byReferrer, name, 0}
	if f.totals[key] != nil || f.tx.Bucket(bucketTotals).Get(totalKey(event, byReferrer, name)) != nil {
		return name
	}
	different := at(f.totals, cell{event, referrersOf, "", 0})
	if before := total(f.tx, event, referrersOf, ""); before[nViews]+different[nViews] >= mostReferrers {
		return otherReferrers
	}
	different[nViews]++
	return name
}

func (v *creation) fold(f *fold) error { return v.keepNewest(f, true) }

func (v *description) fold(f *fold) error { return v.keepNewest(f, false) }

// keepNewest keeps the newest description of an event. When facts are lost, those of an event that was created unseen
// are among them.
func (v *description) keepNewest(f *fold, first bool) error {
	known, err := described(f.tx, v.Event.ID)
	if err != nil {
		return err
	}
	if known == nil && !first && number(f.tx, lostKey) > 0 {
		if err := f.tx.Bucket(bucketLacking).Put([]byte(v.Event.ID), []byte{}); err != nil {
			return err
		}
	}
	if known != nil && known.Event.Revision >= v.Event.Revision {
		return nil
	}
	f.touched[v.Event.ID] = true
	v.Event.Description = ""
	if err := keepTeam(f.tx, &v.Organizer); err != nil {
		return err
	}
	v.Organizer = api.OrganizerTeam{} // joined when it is read
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return f.tx.Bucket(bucketEvents).Put([]byte(v.Event.ID), data)
}

func (v *teamChange) fold(f *fold) error { return keepTeam(f.tx, &v.Team) }

// keepTeam keeps the newest team of an organizer.
func keepTeam(tx *bolt.Tx, team *api.OrganizerTeam) error {
	b := tx.Bucket(bucketOrganizers)
	if data := b.Get([]byte(team.ID)); data != nil {
		var known struct {
			Revision int64 `json:"revision"`
		}
		if err := json.Unmarshal(data, &known); err != nil || known.Revision >= team.Revision {
			return err
		}
	}
	data, err := json.Marshal(team)
	if err != nil {
		return err
	}
	return b.Put([]byte(team.ID), data)
}

// persistent is the state of something, with its form on the disk.
type persistent[State any] interface {
	*State
	read([]byte) error
	bytes() ([]byte, error)
}

// state returns the state of an order or a ticket, as this group has left it so far.
func state[ID ~string, State any, S persistent[State]](known map[ID]S, b *bolt.Bucket, id ID) (S, error) {
	if s := known[id]; s != nil {
		return s, nil
	}
	s := S(new(State))
	if data := b.Get([]byte(id)); data != nil {
		if err := s.read(data); err != nil {
			return nil, err
		}
	}
	known[id] = s
	return s, nil
}

func (v *orderChange) fold(f *fold) error {
	s, err := state(f.orders, f.tx.Bucket(bucketOrders), v.id)
	if err != nil {
		return err
	}
	s.event = v.event
	promo := dimension(v.promo)
	step := func(bit uint8, counter int, when time.Time) bool {
		if s.seen&bit != 0 {
			return false
		}
		s.seen |= bit
		f.count(v.event, byEvent, "", minuteOf(when), counter, 1)
		if promo != "" {
			f.count(v.event, byPromo, promo, minuteOf(when), counter, 1)
		}
		return true
	}
	switch v.subject {
	case api.OrderWasHeld.Subject:
		step(seenHeld, nHeld, v.created)
	case api.OrderHasExpired.Subject:
		step(seenExpired, nExpired, v.updated)
	case api.OrderWasCancelled.Subject:
		step(seenCancelled, nCancelled, v.updated)
	case api.OrderWasRefunded.Subject:
		step(seenRefunded, nRefunded, v.updated)
	case api.OrderWasPaid.Subject:
		when := v.paid
		if when.IsZero() {
			when = v.updated
		}
		if v.created.IsZero() {
			v.created = when
		}
		step(seenHeld, nHeld, v.created) // a free order is paid at once
		if step(seenPaid, nPaid, when) {
			s.payments = v.payments
			f.sold(v, promo, minuteOf(when))
			f.countRefunds(s)
		}
	}
	return nil
}

// sold counts what a paid order is about.
func (f *fold) sold(v *orderChange, promo string, minute int64) {
	var tickets int64
	for _, item := range v.items {
		if !item.product {
			tickets += item.quantity
		}
		f.count(v.event, byType, dimension(string(item.typ)), minute, nSold, item.quantity)
		f.count(v.event, byType, dimension(string(item.typ)), minute, nRevenue, item.cost)
	}
	f.count(v.event, byEvent, "", minute, nSold, tickets)
	f.count(v.event, byEvent, "", minute, nRevenue, v.total)
	if promo != "" {
		f.count(v.event, byPromo, promo, minute, nSold, tickets)
		f.count(v.event, byPromo, promo, minute, nRevenue, v.total)
	}
}

func (v *refundChange) fold(f *fold) error {
	s, err := state(f.orders, f.tx.Bucket(bucketOrders), v.order)
	if err != nil {
		return err
	}
	var changed int64
	if !v.at.IsZero() {
		changed = v.at.UnixNano()
	}
	before, known := s.refunds[v.id]
	if known && changed <= before.Changed {
		return nil
	}
	if before.Counted {
		f.count(s.event, byEvent, "", before.At, nRefunds, -before.Amount)
	}
	if s.refunds == nil {
		s.refunds = map[string]refund{}
	}
	s.refunds[v.id] = refund{Payment: v.payment, Amount: v.amount, At: minuteOf(v.at), Failed: v.failed,
		Changed: changed}
	f.countRefunds(s)
	return nil
}

// countRefunds counts the refunds of an order once it is known to be paid. Money that came for an order without
// seats, and went back, was never revenue.
func (f *fold) countRefunds(s *orderState) {
	if s.seen&seenPaid == 0 {
		return
	}
	for id, r := range s.refunds {
		if !r.Counted && !r.Failed && slices.Contains(s.payments, r.Payment) {
			f.count(s.event, byEvent, "", r.At, nRefunds, r.Amount)
			r.Counted = true
			s.refunds[id] = r
		}
	}
}

func (v *ticketChange) fold(f *fold) error {
	s, err := state(f.tickets, f.tx.Bucket(bucketTickets), v.id)
	if err != nil {
		return err
	}
	s.event = v.event
	if v.subject == api.TicketWasRevoked.Subject {
		if !s.revoked {
			s.revoked = true
			if !v.product {
				f.count(v.event, byEvent, "", minuteOf(v.at), nRevoked, 1)
			}
			f.count(v.event, byType, dimension(string(v.typ)), minuteOf(v.at), nRevoked, 1)
		}
		return nil
	}
	before, gate := s.admitted, s.gate
	if v.subject == api.TicketAdmissionUndone.Subject {
		s.undo(v.at.UnixNano())
	} else {
		s.admit(v.at.UnixNano(), v.gate)
	}
	if s.admitted == before && s.gate == gate {
		return nil
	}
	if before != 0 {
		f.admit(v, minuteOf(time.Unix(0, before)), gate, -1)
	}
	if s.admitted != 0 {
		f.admit(v, minuteOf(time.Unix(0, s.admitted)), s.gate, 1)
	}
	return nil
}

func (f *fold) admit(v *ticketChange, minute int64, gate string, n int64) {
	f.count(v.event, byEvent, "", minute, nAdmitted, n)
	f.count(v.event, byType, dimension(string(v.typ)), minute, nAdmitted, n)
	f.count(v.event, byGate, dimension(gate), minute, nAdmitted, n)
}

// write puts what has changed into the transaction.
func (f *fold) write() error {
	totals := make(map[string]*counts, len(f.totals))
	for c, n := range f.totals {
		totals[string(totalKey(c.event, c.kind, c.dim))] = n
	}
	if err := add(f.tx.Bucket(bucketTotals), totals); err != nil {
		return err
	}
	cells := make(map[string]*counts, len(f.cells))
	for c, n := range f.cells {
		cells[string(binary.BigEndian.AppendUint32(cellPrefix(c.event, c.kind, c.dim), c.minute))] = n
	}
	if err := add(f.tx.Bucket(bucketCells), cells); err != nil {
		return err
	}
	if err := writeStates(f.tx.Bucket(bucketOrders), f.orders); err != nil {
		return err
	}
	return writeStates(f.tx.Bucket(bucketTickets), f.tickets)
}

// add adds counts to those that are there. Here and below keys go in order: a page that grows at its end is cheap.
func add(b *bolt.Bucket, changed map[string]*counts) error {
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		var sum counts
		sum.read(b.Get([]byte(key)))
		sum.add(changed[key])
		if err := b.Put([]byte(key), sum.bytes()); err != nil {
			return err
		}
	}
	return nil
}

// writeStates writes states. Most are of new orders and tickets, whose ids are the highest: pages are left nearly full.
func writeStates[ID ~string, State any, S persistent[State]](b *bolt.Bucket, states map[ID]S) error {
	b.FillPercent = 0.9
	for _, id := range slices.Sorted(maps.Keys(states)) {
		data, err := states[id].bytes()
		if err != nil {
			return err
		}
		if err := b.Put([]byte(id), data); err != nil {
			return err
		}
	}
	return nil
}
