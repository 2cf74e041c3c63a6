package doors

import (
	"context"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// Reversal is a sale that somebody wants to take back.
type Reversal struct {
	Sale            line.Entry // as FindSale returned it
	Reason          string
	By              string // a user or a pass
	IncludeAdmitted bool   // also if a ticket of it was admitted
}

// FindSale returns the entries of the journal by which an order was sold, and taken back; the Number of one that there
// is not is 0.
func (d *Doors) FindSale(order ids.Order) (sale, reversal line.Entry, err error) {
	err = d.db.View(func(tx *disk.Tx) error {
		return tx.WalkBack(0, `"order_id":"`+string(order)+`"`, func(e line.Entry) bool {
			switch {
			case e.Sale != nil && e.Sale.OrderID == order:
				sale = e
			case e.Reversal != nil && e.Reversal.OrderID == order:
				reversal = e
			}
			return sale.Number == 0
		})
	})
	return sale, reversal, err
}

// Reverse takes a sale back, and answers when that is on the disk: its tickets are good no more, and its seats are the
// lease's again, unless one of its tickets was admitted. It returns the entry by which that was done, now or before.
// The faults are those of Scan, and Conflict if a ticket was admitted, or if none of the sale is left.
func (d *Doors) Reverse(ctx context.Context, r *Reversal) (line.Entry, error) {
	order := r.Sale.Sale.OrderID
	if _, done, err := d.FindSale(order); done.Number > 0 || err != nil { // also when the doors were given back
		return done, err
	}
	if err := d.ready(r.Sale.EventID); err != nil {
		return line.Entry{}, err
	}
	v, err := d.scans.Do(ctx, request{Shown: Shown{EventID: r.Sale.EventID, By: r.By}, reversal: r})
	if err != nil {
		return line.Entry{}, err
	}
	if v.reversed != nil {
		return *v.reversed, nil
	}
	_, done, err := d.FindSale(order) // another request has just done it
	return done, err
}

// reverse decides on a reversal. There is no entry if the sale was taken back before. seat returns a ticket as it is
// in this commit.
func (b *selling) reverse(
	e *event, r *request, seat func(ids.Ticket) seat, number int64, now time.Time,
) (*line.Entry, error) {
	sale := r.reversal.Sale.Sale
	free := map[ids.TicketType]int{} // seats that nobody has any more
	out := &line.Reversal{OrderID: sale.OrderID, Reason: r.reversal.Reason, By: r.By}
	admitted, before := false, false
	for _, t := range sale.Tickets {
		s := seat(t.ID)
		switch state := s.state(); state.status {
		case revoked:
			before = before || s.own.status == revoked
			continue
		case inside, outside:
			admitted = true
		}
		free[t.TicketTypeID]++
		out.Tickets = append(out.Tickets, t.ID)
	}
	switch {
	case before:
		return nil, nil
	case len(out.Tickets) == 0:
		return nil, fault.New(fault.Conflict, "all of the sale was refunded by the system")
	case admitted && !r.reversal.IncludeAdmitted:
		return nil, api.ErrAdmittedSale
	case admitted: // as the system has it: what was admitted keeps its seat, and the others are the pool's
		clear(free)
	}
	for _, l := range sale.Lines {
		n := min(free[l.TicketTypeID], l.Quantity)
		free[l.TicketTypeID] -= n
		b.unsell(l.LeaseID, l.Quantity, l.Quantity-n, number)
	}
	return &line.Entry{Number: number, EventID: e.EventID, Epoch: e.Epoch, At: now, Reversal: out}, nil
}

// unsell gives n seats back to a lease, all but those that are lost to it: the lease has as many fewer, and keeps to
// that until the hub says so, too.
func (b *selling) unsell(id ids.Lease, n, lost int, number int64) {
	l := b.lease(id)
	l.Sold -= n
	if lost > 0 {
		l.Quantity -= lost
		l.Cut = number
	}
	b.leases[id] = l
}

// refundOf is what a customer is handed back for tickets of a sale.
func refundOf(sale *line.Sale, tickets []ids.Ticket) api.Money {
	out := api.Money{Currency: sale.Total.Currency}
	for _, t := range sale.Tickets {
		if !slices.Contains(tickets, t.ID) {
			continue
		}
		for _, l := range sale.Lines {
			if l.TicketTypeID == t.TicketTypeID {
				out.Amount += l.UnitPrice.Amount
				break
			}
		}
	}
	return out
}

// Answer is what is said of a reversal.
func (r *Reversal) Answer(done line.Entry) api.SaleReversal {
	return api.SaleReversal{OrderID: done.Reversal.OrderID, EventID: done.EventID, Tickets: done.Reversal.Tickets,
		Refund: refundOf(r.Sale.Sale, done.Reversal.Tickets), ReversedAt: done.At}
}
