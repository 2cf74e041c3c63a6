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
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// fold is a group of facts on their way into one transaction. What they change is kept in memory until the end, so that
// a thousand facts of one minute write one cell.
type fold struct {
	tx      *bolt.Tx
	cells   map[string]*counts
	totals  map[string]*counts
	orders  map[ids.Order]*orderState
	tickets map[ids.Ticket]*ticketState
	touched map[ids.Event]bool
}

func newFold(tx *bolt.Tx) *fold {
	return &fold{tx: tx, cells: map[string]*counts{}, totals: map[string]*counts{}, orders: map[ids.Order]*orderState{},
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

// count adds to a cell of time and to its total.
func (f *fold) count(event ids.Event, kind byte, dim string, minute int64, counter int, n int64) {
	if n == 0 {
		return
	}
	dim = dimension(dim)
	f.touched[event] = true
	at(f.totals, string(totalKey(event, kind, dim)))[counter] += n
	at(f.cells, string(binary.BigEndian.AppendUint32(cellPrefix(event, kind, dim), uint32(minute))))[counter] += n
}

func at(m map[string]*counts, key string) *counts {
	c := m[key]
	if c == nil {
		c = new(counts)
		m[key] = c
	}
	return c
}

func minuteOf(t time.Time) int64 { return max(t.Unix()/60, 0) }

// read makes a change of a message. What is not readable is a fault of code Invalid; what is of no interest is nil.
func read(subject string, data []byte, stored time.Time) (change, error) {
	switch subject {
	case api.FactViews, api.FactSearches:
		v, err := decode[views](data)
		if err != nil || v.Count < 0 || v.EventID == "" && subject == api.FactViews {
			return nil, unreadable(subject, err)
		}
		return v, nil
	case api.EventCreated.Subject, api.EventUpdated.Subject, api.EventWasPublished.Subject, api.EventWasCancelled.Subject:
		v, err := decode[description](data)
		if err != nil || v.Event.ID == "" {
			return nil, unreadable(subject, err)
		}
		return v, nil
	case api.OrderWasHeld.Subject, api.OrderWasPaid.Subject, api.OrderHasExpired.Subject, api.OrderWasCancelled.Subject, api.OrderWasRefunded.Subject:
		v, err := decode[orderFact](data)
		if err != nil || v.Order.ID == "" || v.Order.EventID == "" {
			return nil, unreadable(subject, err)
		}
		v.subject = subject
		return v, nil
	case api.RefundHasSucceeded.Subject:
		v, err := decode[refundFact](data)
		if err != nil || v.Refund.OrderID == "" || v.Refund.ID == "" {
			return nil, unreadable(subject, err)
		}
		return v, nil
	case api.TicketWasRevoked.Subject, api.TicketAdmission.Subject:
		v, err := decode[ticketFact](data)
		if err != nil || v.TicketID == "" || v.EventID == "" {
			return nil, unreadable(subject, err)
		}
		if v.subject = subject; v.At.IsZero() {
			v.At = stored
		}
		return v, nil
	}
	return nil, nil
}

func decode[T any](data []byte) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(data, v)
}

func unreadable(subject string, err error) error {
	if err == nil {
		return fault.New(fault.Invalid, "a fact on %s lacks what it is about", subject)
	}
	return fault.Wrap(err, fault.Invalid, "a fact on %s is not readable", subject)
}

// views are looks at an event, or searches.
type views api.TrafficFact

func (v *views) fold(f *fold) error {
	minute := minuteOf(v.At)
	if v.EventID == "" { // a search belongs to no event
		f.count(searches, byEvent, "", minute, nViews, v.Count)
		return nil
	}
	f.count(v.EventID, byEvent, "", minute, nViews, v.Count)
	if v.Referrer != "" {
		f.count(v.EventID, byReferrer, v.Referrer, minute, nViews, v.Count)
	}
	return nil
}

// description is an event as it is offered.
type description api.Offer

// fold keeps the newest description of an event.
func (v *description) fold(f *fold) error {
	known, err := offer(f.tx, v.Event.ID)
	if err != nil {
		return err
	}
	if known != nil && known.Event.Revision >= v.Event.Revision {
		return nil
	}
	f.touched[v.Event.ID] = true
	v.Event.Description = ""
	return putJSON(f.tx.Bucket(bucketEvents), string(v.Event.ID), v)
}

// orderFact is the part of api.OrderEvent that counts. Most of what the streams hold is orders: what is not named here is
// not decoded.
type orderFact struct {
	subject string
	Order   struct {
		ID        ids.Order   `json:"id"`
		EventID   ids.Event   `json:"event_id"`
		PaymentID ids.Payment `json:"payment_id"`
		PromoCode string      `json:"promo_code"`
		Total     money       `json:"total"`
		Items     []struct {
			TicketTypeID ids.TicketType `json:"ticket_type_id"`
			Quantity     int64          `json:"quantity"`
			UnitPrice    money          `json:"unit_price"`
		} `json:"items"`
		CreatedAt time.Time  `json:"created_at"`
		UpdatedAt time.Time  `json:"updated_at"`
		PaidAt    *time.Time `json:"paid_at"`
	} `json:"order"`
}

// money is minor units of the event's currency.
type money struct {
	Amount int64 `json:"amount"`
}

func (f *fold) orderState(id ids.Order) (*orderState, error) {
	if s := f.orders[id]; s != nil {
		return s, nil
	}
	s := new(orderState)
	if b := f.tx.Bucket(bucketOrders).Get([]byte(id)); b != nil {
		if err := json.Unmarshal(b, s); err != nil {
			return nil, err
		}
	}
	f.orders[id] = s
	return s, nil
}

func (v *orderFact) fold(f *fold) error {
	o := &v.Order
	s, err := f.orderState(o.ID)
	if err != nil {
		return err
	}
	s.Event = o.EventID
	step := func(bit uint8, counter int, when time.Time) bool {
		if s.Seen&bit != 0 {
			return false
		}
		s.Seen |= bit
		f.count(o.EventID, byEvent, "", minuteOf(when), counter, 1)
		if o.PromoCode != "" {
			f.count(o.EventID, byPromo, o.PromoCode, minuteOf(when), counter, 1)
		}
		return true
	}
	switch v.subject {
	case api.OrderWasHeld.Subject:
		step(seenHeld, nHeld, o.CreatedAt)
	case api.OrderHasExpired.Subject:
		step(seenExpired, nExpired, o.UpdatedAt)
	case api.OrderWasCancelled.Subject:
		step(seenCancelled, nCancelled, o.UpdatedAt)
	case api.OrderWasRefunded.Subject:
		step(seenRefunded, nRefunded, o.UpdatedAt)
	case api.OrderWasPaid.Subject:
		when := o.UpdatedAt
		if o.PaidAt != nil {
			when = *o.PaidAt
		}
		if step(seenPaid, nPaid, when) {
			s.Payment = o.PaymentID
			f.sold(v, minuteOf(when))
			f.settle(s)
		}
	}
	return nil
}

// sold counts what a paid order is about.
func (f *fold) sold(v *orderFact, minute int64) {
	o := &v.Order
	var tickets int64
	for _, item := range o.Items {
		n := item.Quantity
		tickets += n
		f.count(o.EventID, byType, string(item.TicketTypeID), minute, nSold, n)
		f.count(o.EventID, byType, string(item.TicketTypeID), minute, nRevenue, n*item.UnitPrice.Amount)
	}
	f.count(o.EventID, byEvent, "", minute, nSold, tickets)
	f.count(o.EventID, byEvent, "", minute, nRevenue, o.Total.Amount)
	if o.PromoCode != "" {
		f.count(o.EventID, byPromo, o.PromoCode, minute, nSold, tickets)
		f.count(o.EventID, byPromo, o.PromoCode, minute, nRevenue, o.Total.Amount)
	}
}

// refundFact is the part of api.RefundEvent that counts.
type refundFact struct {
	Refund api.Refund `json:"refund"`
}

func (v *refundFact) fold(f *fold) error {
	s, err := f.orderState(v.Refund.OrderID)
	if err != nil {
		return err
	}
	if _, known := s.Refunds[string(v.Refund.ID)]; known {
		return nil
	}
	if s.Refunds == nil {
		s.Refunds = map[string]refund{}
	}
	s.Refunds[string(v.Refund.ID)] = refund{Payment: v.Refund.PaymentID, Amount: v.Refund.Amount.Amount, At: minuteOf(v.Refund.UpdatedAt)}
	f.settle(s)
	return nil
}

// settle counts the refunds of an order once it is known to be paid. Money that came for an order without seats, and
// went back, was never revenue.
func (f *fold) settle(s *orderState) {
	if s.Seen&seenPaid == 0 {
		return
	}
	for id, r := range s.Refunds {
		if !r.Counted && r.Payment == s.Payment {
			f.count(s.Event, byEvent, "", r.At, nRefunds, r.Amount)
			r.Counted = true
			s.Refunds[id] = r
		}
	}
}

// ticketFact is what happened to a ticket.
type ticketFact struct {
	subject string
	api.TicketEvent
}

func (v *ticketFact) fold(f *fold) error {
	s := f.tickets[v.TicketID]
	if s == nil {
		s = new(ticketState)
		if b := f.tx.Bucket(bucketTickets).Get([]byte(v.TicketID)); b != nil {
			if err := json.Unmarshal(b, s); err != nil {
				return err
			}
		}
		f.tickets[v.TicketID] = s
	}
	s.Event = v.EventID
	if v.subject == api.TicketWasRevoked.Subject {
		if !s.Revoked {
			s.Revoked = true
			f.count(v.EventID, byEvent, "", minuteOf(v.At), nRevoked, 1)
			f.count(v.EventID, byType, string(v.TicketTypeID), minuteOf(v.At), nRevoked, 1)
		}
		return nil
	}
	when := v.At.UnixNano()
	if s.Admitted != 0 && (s.Admitted < when || s.Admitted == when && s.Gate <= v.Gate) {
		return nil
	}
	if s.Admitted != 0 { // an earlier one came late
		f.admit(v, minuteOf(time.Unix(0, s.Admitted)), s.Gate, -1)
	}
	s.Admitted, s.Gate = when, v.Gate
	f.admit(v, minuteOf(v.At), v.Gate, 1)
	return nil
}

func (f *fold) admit(v *ticketFact, minute int64, gate string, n int64) {
	f.count(v.EventID, byEvent, "", minute, nAdmitted, n)
	f.count(v.EventID, byType, string(v.TicketTypeID), minute, nAdmitted, n)
	f.count(v.EventID, byGate, gate, minute, nAdmitted, n)
}

// write puts what has changed into the transaction, in the order of the keys: a page that grows at its end is cheap.
func (f *fold) write() error {
	for bucket, changed := range map[string]map[string]*counts{string(bucketCells): f.cells, string(bucketTotals): f.totals} {
		b := f.tx.Bucket([]byte(bucket))
		for _, key := range slices.Sorted(maps.Keys(changed)) {
			var sum counts
			sum.read(b.Get([]byte(key)))
			sum.add(changed[key])
			if err := b.Put([]byte(key), sum.bytes()); err != nil {
				return err
			}
		}
	}
	if err := putStates(f.tx.Bucket(bucketOrders), f.orders); err != nil {
		return err
	}
	return putStates(f.tx.Bucket(bucketTickets), f.tickets)
}

func putStates[ID ~string, State any](b *bolt.Bucket, states map[ID]*State) error {
	for _, id := range slices.Sorted(maps.Keys(states)) {
		if err := putJSON(b, string(id), states[id]); err != nil {
			return err
		}
	}
	return nil
}

func putJSON(b *bolt.Bucket, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), data)
}
