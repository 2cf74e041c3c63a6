package ticketing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/doors"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
	"github.com/starlightsymphony/starlight/svc/ticketing/leases"
)

// What became of a sale of a venue.
const (
	saleLeased      = "leased"      // its seats are from its leases
	saleBeside      = "beside"      // the leases did not have them, and the pool did
	saleQuarantined = "quarantined" // it is not booked: a person has to look at it
	saleReversed    = "reversed"
)

// noRoom is why a sale waits for the event to have more seats. It is the one reason that can pass by itself.
const noRoom = "neither its leases nor the event have the seats"

// mostSold bounds the tickets of a sale: what an order can be allowed to have at most.
const mostSold = 1000

// verdict is what the inventory says of a sale, before it is booked.
type verdict struct {
	state, reason string
}

// selling books what a venue's journal says of sales, reversals and leases.
//
// A sale has happened: the money is in the till and the tickets are in people's hands. It is taken from its leases;
// if they do not have the seats, as after this system was restored from a backup, from the pool; and if that has no
// room either, or the sale makes no sense, it is kept in quarantine, counted, logged and listed, and its seats are
// booked as soon as the event has them.
//
// The inventory is asked before the transaction, so that no writer waits for it, and given back after it what was not
// booked. Each step finds what it did before.
type selling struct {
	*Service
	venue    ids.Venue
	verdicts map[ids.Order]verdict
	sales    map[ids.Order]*line.Sale
	events   map[ids.Order]ids.Event

	// What a run of the transaction has changed.
	batch   *leases.Batch
	moved   map[ids.Lease]bool   // a move may be due
	changed map[ids.Order]bool   // tickets were revoked
	undo    map[ids.Order]string // sales that the inventory has and SQL has not, and why
	flagged map[ids.Order]verdict
	over    map[ids.Event]bool // cancelled
	ignored []string
	bills   invoices.Batch
}

// beginSelling asks the inventory for the seats of the sales among entries. Call reset at the beginning of each run of
// the transaction, apply for each entry, last at its end, and finish after the commit.
func (s *Service) beginSelling(ctx context.Context, venue ids.Venue, entries []line.Entry) (*selling, error) {
	b := &selling{Service: s, venue: venue, verdicts: map[ids.Order]verdict{}, sales: map[ids.Order]*line.Sale{},
		events: map[ids.Order]ids.Event{}}
	var list []line.Entry
	var named []ids.Lease
	for _, e := range entries {
		switch {
		case e.Sale != nil:
			list = append(list, e)
		case e.LeaseDone != "":
			named = append(named, e.LeaseDone)
		case e.LeaseCut != nil:
			named = append(named, e.LeaseCut.LeaseID)
		}
	}
	if err := s.leases.Settle(ctx, named...); err != nil {
		return nil, err
	}
	verdicts, errs := make([]verdict, len(list)), make([]error, len(list))
	together(list, func(i int, e line.Entry) { verdicts[i], errs[i] = s.takeSeats(ctx, e.EventID, e.Sale) })
	for i, e := range list {
		b.verdicts[e.Sale.OrderID], b.sales[e.Sale.OrderID] = verdicts[i], e.Sale
		b.events[e.Sale.OrderID] = e.EventID
	}
	return b, errors.Join(errs...)
}

// sellThere is beginSelling for the journal.
func (s *Service) sellThere(ctx context.Context, venue ids.Venue, entries []line.Entry) (doors.Selling, error) {
	b, err := s.beginSelling(ctx, venue, entries)
	if err != nil {
		return doors.Selling{}, err
	}
	return doors.Selling{Reset: b.reset, Apply: b.apply, Last: b.last, Finish: b.finish}, nil
}

// takeSeats takes the seats of a sale in the inventory, unless it is booked, and says where they are from.
func (s *Service) takeSeats(ctx context.Context, event ids.Event, sale *line.Sale) (verdict, error) {
	known, err := s.db.venueSale(ctx, sale.OrderID)
	switch {
	case err != nil:
		return verdict{}, err
	case known.State != "" && known.State != saleQuarantined:
		return verdict{state: known.State}, nil
	}
	if reason, err := s.checkVenueSale(ctx, event, sale); reason != "" || err != nil {
		return verdict{saleQuarantined, reason}, err
	}
	ref, user := inventory.Ref{Event: event, Order: sale.OrderID}, api.BoxOfficeBuyer
	sell := func() (verdict, error) {
		err := s.inv.SellLeased(ctx, ref, user, takesOf(sale))
		if err == nil || !errors.Is(err, inventory.ErrOverLease) {
			return verdict{state: saleLeased}, err
		}
		err = s.inv.SellBeside(ctx, ref, user, linesOf(sale))
		if errors.Is(err, inventory.ErrSoldOut) {
			return verdict{saleQuarantined, noRoom}, nil
		}
		return verdict{saleBeside, "its leases do not have the seats"}, err
	}
	v, err := sell()
	if errors.Is(err, inventory.ErrClosed) || errors.Is(err, inventory.ErrNoPool) {
		if err := s.refill(ctx, event); err != nil {
			return verdict{}, err
		}
		v, err = sell()
	}
	if errors.Is(err, inventory.ErrNoPool) || errors.Is(err, inventory.ErrClosed) { // the event is over
		return verdict{saleQuarantined, "the inventory does not have the event"}, nil
	}
	return v, err
}

// checkVenueSale says why a sale makes no sense; "" if it does.
func (s *Service) checkVenueSale(ctx context.Context, event ids.Event, sale *line.Sale) (string, error) {
	offer, err := s.offers.Get(ctx, event)
	if fault.Is(err, fault.NotFound) {
		return "there is no such event", nil
	}
	if err != nil {
		return "", err
	}
	if sale.OrderID == "" || len(sale.Lines) == 0 || len(sale.Tickets) == 0 || len(sale.Tickets) > mostSold {
		return "it has no order, or no tickets, or too many", nil
	}
	count, total := map[ids.TicketType]int{}, int64(0)
	for _, l := range sale.Lines {
		if offer.Event.TicketType(l.TicketTypeID) == nil {
			return fmt.Sprintf("the event has no ticket type %s", l.TicketTypeID), nil
		}
		if l.Quantity < 1 || l.Quantity > mostSold || l.UnitPrice.Amount < 0 || l.UnitPrice.Amount > maxTotal ||
			l.UnitPrice.Currency != sale.Total.Currency {
			return "a line has an impossible quantity or price", nil
		}
		count[l.TicketTypeID] += l.Quantity
		total += l.UnitPrice.Amount * int64(l.Quantity)
	}
	named := map[ids.Ticket]bool{}
	for _, t := range sale.Tickets {
		count[t.TicketTypeID]--
		named[t.ID] = t.ID != ""
	}
	for _, n := range count {
		if n != 0 {
			return "its tickets are not those of its lines", nil
		}
	}
	if len(named) != len(sale.Tickets) || total != sale.Total.Amount || named[""] {
		return "its tickets or its total do not add up", nil
	}
	if (api.BoxOfficePayment{Method: sale.Payment.Method}).Check(total) != nil {
		return fmt.Sprintf("it cannot be paid by %q", sale.Payment.Method), nil
	}
	return s.db.foreign(ctx, s.db.Read(), event, sale)
}

func takesOf(sale *line.Sale) []inventory.Take {
	out := make([]inventory.Take, len(sale.Lines))
	for i, l := range sale.Lines {
		out[i] = inventory.Take{Lease: l.LeaseID, N: l.Quantity}
	}
	return out
}

func linesOf(sale *line.Sale) []inventory.Line {
	var out []inventory.Line
	for _, l := range sale.Lines {
		out = append(out, inventory.Line{Type: l.TicketTypeID, N: l.Quantity})
	}
	return out
}

// reset forgets what an earlier run of the transaction has changed.
func (b *selling) reset(tx tx) {
	b.batch = b.leases.Batch(tx)
	b.moved, b.changed = map[ids.Lease]bool{}, map[ids.Order]bool{}
	b.undo, b.flagged = map[ids.Order]string{}, map[ids.Order]verdict{}
	b.over, b.ignored, b.bills = map[ids.Event]bool{}, nil, invoices.Batch{}
}

// last issues the invoices of what was applied, as the last step of the transaction.
func (b *selling) last(ctx context.Context, tx tx) error { return b.bills.Issue(ctx, tx) }

// apply applies an entry that is no scan, in the transaction that keeps it.
func (b *selling) apply(ctx context.Context, tx tx, e line.Entry) error {
	problem, err := leases.Problem(""), error(nil)
	switch {
	case e.Sale != nil:
		return b.book(ctx, tx, e.EventID, e.Sale, e.At)
	case e.Reversal != nil:
		problem, err = b.reverse(ctx, tx, e.Reversal)
	case e.LeaseCut != nil:
		b.moved[e.LeaseCut.LeaseID] = true
		problem, err = b.batch.Cut(ctx, b.venue, e.LeaseCut.LeaseID, e.LeaseCut.Quantity)
	case e.LeaseDone != "":
		b.moved[e.LeaseDone] = true
		problem, err = b.batch.Done(ctx, b.venue, e.LeaseDone)
	}
	if problem != "" {
		b.ignored = append(b.ignored, fmt.Sprintf("entry %d: %s", e.Number, problem))
	}
	return err
}

// finish makes the moves that follow from the commit, and reports what a person should know. What it cannot do is found
// later by the sweeps, or when the entries come again.
func (b *selling) finish(ctx context.Context) {
	for order, reason := range b.undo {
		b.log.WarnContext(ctx, "seats of a sale that is not booked are given back", "order", order, "reason", reason)
		var back []inventory.Take
		if b.verdicts[order].state == saleLeased {
			back = takesOf(b.sales[order])
		}
		ref := inventory.Ref{Event: b.events[order], Order: order}
		if err := b.inv.ReturnLeased(ctx, ref, back); err != nil {
			b.log.ErrorContext(ctx, "seats of a sale that is not booked stay sold until a rebuild", "order", order,
				"error", err)
		}
	}
	b.returnSeats(ctx, sortedKeys(b.changed)...)
	if err := b.leases.Settle(ctx, sortedKeys(b.moved)...); err != nil {
		b.log.InfoContext(ctx, "seats of leases come back later", "venue", b.venue, "error", err)
	}
	for order, v := range b.flagged {
		b.metrics.venueSale(v.state)
		b.log.ErrorContext(ctx, "a venue has sold what it had no lease for", "venue", b.venue, "order", order,
			"outcome", v.state, "reason", v.reason)
	}
	for _, text := range b.ignored {
		b.metrics.venueSale("ignored")
		b.log.ErrorContext(ctx, "an entry of a venue's journal changes nothing", "venue", b.venue, "problem", text)
	}
	for event := range b.over {
		if err := b.refundEvent(ctx, event); err != nil {
			b.log.WarnContext(ctx, "sales of a cancelled event are refunded later", "event", event, "error", err)
		}
	}
}

// flaggedSales shows the sales of venues that a person should look at.
func (s *Service) flaggedSales(ctx context.Context, req *api.EventPage) (*api.List[api.FlaggedSale], error) {
	if _, err := s.offerAs(ctx, req.EventID, api.MayReadOrders); err != nil {
		return nil, err
	}
	rows, next, err := s.db.flaggedSales(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.FlaggedSale]{Items: make([]api.FlaggedSale, len(rows)), NextCursor: next}
	for i, r := range rows {
		out.Items[i] = api.FlaggedSale{OrderID: r.OrderID, VenueID: r.VenueID, State: r.State, Reason: r.Reason,
			Total: r.Sale.Total, Tickets: make([]ids.Ticket, len(r.Sale.Tickets)), SoldAt: r.SoldAt.UTC()}
		for k, t := range r.Sale.Tickets {
			out.Items[i].Tickets[k] = t.ID
		}
	}
	return out, nil
}

// retryEvery is how often sales in quarantine are looked at that wait for seats.
const retryEvery = 30 * time.Second

// retrySales books the sales in quarantine for which there is room by now.
func (s *Service) retrySales(ctx context.Context) error {
	var failed error
	for after := ids.Order(""); ; {
		rows, err := s.db.waitingSales(ctx, after, sweepSize)
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, row := range rows {
			after = row.OrderID
			e := line.Entry{EventID: row.EventID, At: row.SoldAt, Sale: &row.Sale}
			b, err := s.beginSelling(ctx, row.VenueID, []line.Entry{e})
			if err == nil && b.verdicts[row.OrderID].state != saleQuarantined {
				err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
					b.reset(tx)
					if err := b.apply(ctx, tx, e); err != nil {
						return err
					}
					return b.last(ctx, tx)
				})
				if err == nil {
					b.finish(ctx)
				}
			}
			failed = errors.Join(failed, err)
		}
		if len(rows) < sweepSize {
			return failed
		}
	}
}
