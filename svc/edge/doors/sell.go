package doors

import (
	"context"
	"encoding/json"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// Sale is what somebody wants to sell at the venue.
type Sale struct {
	api.NewSale
	By string // a user or a pass

	// Key is the hash of who asks and of an idempotency key, Hash that of the request. The zero Key: there is none.
	Key, Hash [32]byte
}

// Sold is the answer to a sale, as JSON of api.Sale.
type Sold struct {
	Answer   json.RawMessage
	Replayed bool // it was sold before, under the same key
}

// Sell sells seats of the venue's leases, and answers when the sale is on the disk. Its tickets are good at once. The
// faults are those of Scan, SoldOut if the leases do not have the seats, Conflict if the event is over, cancelled or
// not on sale, Invalid if the sale does not fit the event, and Unprocessable for a key that was used with another
// request.
func (d *Doors) Sell(ctx context.Context, s *Sale) (*Sold, error) {
	if sold, err := d.beginSelling().replay(s); sold != nil || err != nil { // also when the doors were given back
		return sold, err
	}
	if err := d.ready(s.EventID); err != nil {
		return nil, err
	}
	v, err := d.scans.Do(ctx, request{Shown: Shown{EventID: s.EventID, By: s.By}, sale: s})
	if err != nil {
		return nil, err
	}
	return v.sold, nil
}

// selling is the sales of one commit. What they change is in it until that is on the disk.
type selling struct {
	d       *Doors
	leases  map[ids.Lease]disk.Lease
	answers map[[32]byte]*disk.Answer
	tickets map[*event][]line.Ticket
}

func (d *Doors) beginSelling() *selling {
	return &selling{d: d, leases: map[ids.Lease]disk.Lease{}, answers: map[[32]byte]*disk.Answer{},
		tickets: map[*event][]line.Ticket{}}
}

// sell decides on a sale. There is no entry if it was answered before.
func (b *selling) sell(e *event, r *request, number int64, now time.Time) (*Sold, *line.Entry, error) {
	s := r.sale
	if sold, err := b.replay(s); sold != nil || err != nil {
		return sold, nil, err
	}
	if err := e.onSale(now); err != nil {
		return nil, nil, err
	}
	if err := e.checkSale(&s.NewSale); err != nil { // here, as the event is at this moment
		return nil, nil, err
	}
	items := e.Offer.Event.TicketsFirst(s.Items)
	lines, taken, err := b.take(e, items)
	if err != nil {
		return nil, nil, err
	}
	sale := &line.Sale{OrderID: ids.New[ids.OrderKind](now), Lines: lines, By: s.By,
		Payment: line.SalePayment{Method: s.Payment.Method, Reference: s.Payment.Reference},
		Total:   totalOf(&e.Offer.Event, s.Items)}
	answer := api.Sale{OrderID: sale.OrderID, EventID: e.EventID, Total: sale.Total, Payment: s.Payment, SoldAt: now}
	var tickets []line.Ticket
	own := b.d.db.Identity()
	for _, item := range items {
		for range item.Quantity {
			t := line.SoldTicket{ID: ids.New[ids.TicketKind](now), TicketTypeID: item.TicketTypeID}
			if n := len(sale.Tickets); n < len(s.Attendees) {
				t.Holder = s.Attendees[n]
			}
			sale.Tickets = append(sale.Tickets, t)
			tickets = append(tickets, ticketSold(sale.OrderID, &t))
			answer.Tickets = append(answer.Tickets, api.SaleTicket{ID: t.ID, TicketTypeID: t.TicketTypeID,
				Holder: t.Holder,
				Code: code.Sign(code.Payload{Event: e.EventID, Ticket: t.ID, Revision: 1,
					Product: e.Offer.Event.TicketType(t.TicketTypeID).IsProduct()}, own.KeyID, own.Key)})
		}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, nil, err
	}
	if s.Key != [32]byte{} {
		b.answers[s.Key] = &disk.Answer{Hash: s.Hash, At: now, Body: text}
	}
	for _, l := range taken {
		b.leases[l.ID] = l
	}
	b.tickets[e] = append(b.tickets[e], tickets...)
	entry := &line.Entry{Number: number, EventID: e.EventID, Epoch: e.Epoch, At: now, Sale: sale}
	return &Sold{Answer: text}, entry, nil
}

// ticketSold is a ticket of a sale, as the manifest will have it from the hub.
func ticketSold(order ids.Order, t *line.SoldTicket) line.Ticket {
	return line.Ticket{ID: t.ID, Type: t.TicketTypeID, Order: order, Name: t.Holder.Name, Revision: 1,
		Status: api.TicketValid}
}

// replay returns the answer to a sale that was sold before, or nil.
func (b *selling) replay(s *Sale) (*Sold, error) {
	known, err := b.answer(s.Key)
	switch {
	case err != nil || known == nil:
		return nil, err
	case known.Hash != s.Hash:
		return nil, fault.New(fault.Unprocessable, "this idempotency key was used with another request")
	}
	return &Sold{Answer: known.Body, Replayed: true}, nil
}

// answer returns what was answered under a key, in this commit or before.
func (b *selling) answer(key [32]byte) (known *disk.Answer, err error) {
	if key == [32]byte{} || b.answers[key] != nil {
		return b.answers[key], nil
	}
	err = b.d.db.View(func(tx *disk.Tx) error {
		known, err = tx.Answer(key)
		return err
	})
	return known, err
}

// onSale returns nil while the event is sold.
func (e *event) onSale(now time.Time) error {
	o := &e.Offer.Event
	switch {
	case o.Status == api.EventCancelled:
		return fault.New(fault.Conflict, "the event is cancelled")
	case o.Status != api.EventPublished:
		return fault.New(fault.Conflict, "the event is not on sale")
	case !now.Before(o.EndsAt), e.Closes != nil && now.After(*e.Closes):
		return fault.New(fault.Conflict, "the event is over")
	case o.ChargesOnTop():
		return fault.New(fault.Conflict, "tax or fees come on top of the prices, which the till of a venue does not "+
			"charge: sell with the system")
	}
	return nil
}

// take takes seats out of leases, one after another, and returns what these are then.
func (b *selling) take(e *event, items []api.NewOrderItem) (lines []line.SaleLine, taken []disk.Lease, err error) {
	for _, item := range items {
		price, want, left := e.Offer.Event.TicketType(item.TicketTypeID), item.Quantity, 0
		for _, said := range e.Leases {
			if said.TicketTypeID != item.TicketTypeID {
				continue
			}
			l := b.lease(said.ID)
			n := min(want, l.Left())
			left += l.Left()
			if n == 0 {
				continue
			}
			want -= n
			l.Sold += n
			taken = append(taken, l)
			lines = append(lines, line.SaleLine{LeaseID: said.ID, TicketTypeID: item.TicketTypeID, Quantity: n,
				UnitPrice: price.Price})
		}
		if want > 0 {
			return nil, nil, fault.New(fault.SoldOut, "the venue has %d of %s left to sell, and not %d", left,
				price.Title(), item.Quantity)
		}
	}
	return lines, taken, nil
}

// lease returns a lease as it is in this commit.
func (b *selling) lease(id ids.Lease) disk.Lease {
	if l, changed := b.leases[id]; changed {
		return l
	}
	return b.d.leases[id]
}

// write writes what the sales change beside the journal.
func (b *selling) write(tx *disk.Tx) error {
	for _, l := range b.leases {
		if err := tx.PutLease(&l); err != nil {
			return err
		}
	}
	for key, a := range b.answers {
		if err := tx.PutAnswer(key, a); err != nil {
			return err
		}
	}
	for e, tickets := range b.tickets {
		if err := tx.PutTickets(e.EventID, e.Manifest.Generation, tickets); err != nil {
			return err
		}
	}
	return nil
}

// follow takes over what was written. The caller has mu.
func (b *selling) follow() {
	for id, l := range b.leases {
		b.d.leases[id] = l
	}
	for e, tickets := range b.tickets {
		for i := range tickets {
			e.put(&tickets[i])
		}
	}
}

// keepSold puts tickets that were sold here into a manifest that was read from the hub: it may not have heard of them.
func (e *event) keepSold(tx *disk.Tx, generation int64) error {
	var lost error
	err := tx.Walk(0, `"sale":{`, func(entry line.Entry) bool {
		if entry.Sale == nil || entry.EventID != e.EventID || entry.Epoch != e.Epoch {
			return true
		}
		for i := range entry.Sale.Tickets {
			t := ticketSold(entry.Sale.OrderID, &entry.Sale.Tickets[i])
			_, there, err := tx.Ticket(e.EventID, generation, t.ID)
			if err == nil && !there {
				err = tx.PutTickets(e.EventID, generation, []line.Ticket{t})
			}
			if lost = err; err != nil {
				return false
			}
		}
		return true
	})
	if err == nil {
		err = lost
	}
	return err
}

// ForgetAnswers deletes the answers that are older than a time.
func (d *Doors) ForgetAnswers(before time.Time) error {
	return d.Write(func(tx *disk.Tx) error { return tx.ForgetAnswers(before) })
}
