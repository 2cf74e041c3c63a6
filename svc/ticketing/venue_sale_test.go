package ticketing

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
)

// till is a venue that sells from a lease.
type till struct {
	*harness
	s      *Service
	o      *api.Offer
	lease  *api.Lease
	number int64
}

func newTill(h *harness, s *Service, o *api.Offer, seats int) *till {
	return &till{harness: h, s: s, o: o, lease: h.lease(o, seats)}
}

func (x *till) entry() line.Entry {
	x.number++
	return line.Entry{Number: x.number, EventID: x.o.Event.ID, At: x.clock.Now()}
}

// sale is an entry of a sale of n tickets.
func (x *till) sale(n int) line.Entry {
	e := x.entry()
	typ := x.o.Event.TicketTypes[0]
	price := typ.Price
	s := &line.Sale{OrderID: ids.New[ids.OrderKind](time.Now()), Payment: line.SalePayment{Method: api.PaidInCash}, By: "pas_till",
		Total: api.Money{Amount: price.Amount * int64(n), Currency: price.Currency},
		Lines: []line.SaleLine{{LeaseID: x.lease.ID, TicketTypeID: typ.ID, Quantity: n, UnitPrice: price}}}
	for range n {
		s.Tickets = append(s.Tickets, line.SoldTicket{ID: ids.New[ids.TicketKind](time.Now()), TicketTypeID: typ.ID,
			Holder: api.Attendee{Name: "Ada"}})
	}
	e.Sale = s
	return e
}

func (x *till) reversal(of line.Entry) line.Entry {
	e := x.entry()
	e.Reversal = &line.Reversal{OrderID: of.Sale.OrderID, Reason: "the wrong type", By: "pas_till"}
	return e
}

// The journal brings sales of the venue, whose key signs their tickets, and no others.
func TestJournalSells(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		h.start()
		o := h.publish(20, 1000)
		e := h.edge(ownerOf(o))
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		e.key.Public = public
		e.mustHello()
		typ := o.Event.TicketTypes[0].ID
		lease := must(h.as(ownerOf(o)), h, api.CreateLease, api.NewLease{EventID: o.Event.ID, VenueID: e.session.VenueID,
			TicketTypeID: typ, Quantity: 8})
		h.handOver(e, o, line.PolicyVenue)
		if st := e.state(o.Event.ID); st == nil || len(st.Leases) != 1 || st.Leases[0].ID != lease.ID || st.Leases[0].Quantity != 8 {
			t.Fatalf("the venue hears %+v", st)
		}
		e.hold(o.Event.ID)
		if err := e.take(o.Event.ID); err != nil {
			t.Fatal(err)
		}
		x := &till{harness: h, s: s, o: o, lease: lease}
		sold, cut := x.sale(3), x.entry()
		cut.LeaseCut = &line.LeaseCut{LeaseID: lease.ID, Quantity: 2}
		foreign := x.sale(1)
		foreign.EventID = h.publish(5, 1000).Event.ID
		for range 2 {
			if n, err := e.send(sold, cut, foreign); err != nil || n != 3 {
				t.Fatalf("the journal is here up to %d, %v", n, err)
			}
		}
		x.poolIs(14, 3, 3)
		x.leaseIs(api.LeaseOpen, 6, 3)
		if err := e.read(o.Event.ID, 100); err != nil || len(e.tickets) != 3 {
			t.Errorf("the manifest has %d tickets, %v", len(e.tickets), err)
		}
		h.audit()

		e.entries = make([]line.Entry, 3)
		must(h.as(ownerOf(o)), h, api.EndAuthority, api.AuthorityEnd{EventID: o.Event.ID})
		if err := e.giveBack(o.Event.ID, e.state(o.Event.ID).Epoch); err != nil {
			t.Fatal(err)
		}
		h.clock.Set(o.Event.StartsAt)
		signed := func(ticket ids.Ticket) string {
			return code.Sign(code.Payload{Event: o.Event.ID, Ticket: ticket, Revision: 1}, e.key.ID, private)
		}
		h.scanned(o, signed(sold.Sale.Tickets[0].ID), api.Admitted)
		h.scanned(o, signed(sold.Sale.Tickets[0].ID), api.AlreadyAdmitted)
		bought := must(h.as(ownerOf(o)), h, api.CreateSale, sale(o, 1, api.PaidInCash))
		h.scanned(o, signed(bought.Tickets[0].ID), api.InvalidCode) // not of this venue's sales
	})
}

var errKilled = errors.New("killed")

// hand hands entries up, as the journal does. stop ends it before the commit or before what follows it.
func (x *till) hand(stop string, entries ...line.Entry) error {
	b, err := x.s.beginSelling(x.t.Context(), x.lease.VenueID, entries)
	if err != nil {
		return err
	}
	err = x.s.db.TxRepeatable(x.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		b.reset(tx)
		for _, e := range entries {
			if err := b.apply(ctx, tx, e); err != nil {
				return err
			}
		}
		if stop == "commit" {
			return errKilled
		}
		return b.last(ctx, tx)
	})
	if err != nil || stop == "finish" {
		return err
	}
	b.finish(x.t.Context())
	return nil
}

func (x *till) must(entries ...line.Entry) {
	x.t.Helper()
	if err := x.hand("", entries...); err != nil {
		x.t.Fatal(err)
	}
}

func (x *till) leaseIs(state string, quantity, sold int) {
	x.t.Helper()
	for _, l := range must(x.as(ownerOf(x.o)), x.harness, api.ListLeases, api.EventRef{ID: x.o.Event.ID}).Items {
		if l.ID == x.lease.ID && (l.State != state || l.Quantity != quantity || l.Sold != sold) {
			x.t.Errorf("lease is %+v; want %s, %d of %d sold", l, state, sold, quantity)
		}
	}
}

func (x *till) poolIs(available, sold, leased int) {
	x.t.Helper()
	if got := x.left(x.o); got.Available != available || got.Sold != sold || got.Leased != leased {
		x.t.Errorf("the pool is %+v; want %d available, %d sold, %d leased", got, available, sold, leased)
	}
}

// venueSees lets the venue hear of the lease.
func (x *till) venueSees() {
	x.t.Helper()
	if _, err := x.s.leases.State(x.t.Context(), x.lease.VenueID, []ids.Event{x.o.Event.ID}); err != nil {
		x.t.Fatal(err)
	}
}

func TestSalesOfAVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(20, 1000)
		x := newTill(h, s, o, 8)
		x.venueSees()
		first, second := x.sale(2), x.sale(3)
		x.must(first, second)
		x.must(first, second) // it comes again
		x.poolIs(12, 5, 3)
		x.leaseIs(api.LeaseOpen, 8, 5)
		order := must(h.as(ownerOf(o)), h, api.GetOrder, api.OrderRef{ID: first.Sale.OrderID})
		if order.Status != api.OrderPaid || order.Total.Amount != 2000 || order.UserID != api.BoxOfficeBuyer {
			t.Errorf("order is %+v", order)
		}
		tickets := must(h.as(ownerOf(o)), h, api.ListOrderTickets, api.OrderRef{ID: first.Sale.OrderID}).Items
		if len(tickets) != 2 || tickets[0].ID != first.Sale.Tickets[0].ID || tickets[0].Holder.Name != "Ada" {
			t.Errorf("tickets are %+v", tickets)
		}
		if sold := h.published(api.OrderWasSold.Subject); len(sold) == 2 {
			var e api.SaleEvent
			if err := json.Unmarshal(sold[0].Data, &e); err != nil || e.VenueID != x.lease.VenueID || e.By != "pas_till" {
				t.Errorf("published is %+v, %v", e, err)
			}
		}
		h.audit()

		// One is taken back, and sold again by the venue.
		x.must(x.reversal(first))
		x.must(x.reversal(first))
		x.poolIs(12, 3, 5)
		x.leaseIs(api.LeaseOpen, 8, 3)
		h.audit()
		x.must(x.sale(5))
		x.poolIs(12, 8, 0)
		h.audit()
	})
}

// The venue gives back what it is asked for, then all.
func TestVenueGivesBack(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(20, 1000)
		x := newTill(h, s, o, 8)
		x.venueSees()
		if _, err := h.resizeLease(x.lease, 4); err != nil {
			t.Fatal(err)
		}
		cut := x.entry()
		cut.LeaseCut = &line.LeaseCut{LeaseID: x.lease.ID, Quantity: 4}
		x.must(x.sale(1), cut)
		x.poolIs(16, 1, 3)
		x.leaseIs(api.LeaseOpen, 4, 1)
		h.audit()
		must(h.as(ownerOf(o)), h, api.CloseLease, api.LeaseToClose{EventID: o.Event.ID, LeaseID: x.lease.ID})
		last, done := x.sale(2), x.entry()
		done.LeaseDone = x.lease.ID
		x.must(last, done)
		x.poolIs(17, 3, 0)
		x.leaseIs(api.LeaseClosed, 3, 3)
		h.audit()
		x.must(x.reversal(last)) // its seats are the pool's now
		x.poolIs(19, 1, 0)
		x.leaseIs(api.LeaseClosed, 1, 1)
		wild, stray := x.entry(), x.entry()
		wild.LeaseCut, stray.LeaseDone = &line.LeaseCut{LeaseID: x.lease.ID, Quantity: 9}, ids.New[ids.LeaseKind](time.Now())
		x.must(wild, stray, x.reversal(line.Entry{Sale: &line.Sale{OrderID: ids.New[ids.OrderKind](time.Now())}}))
		h.audit()
	})
}

// A seat that was refunded here went to the pool. The venue that takes the sale back has one more by its own count: its
// lease has one fewer.
func TestRefundThenReversal(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(20, 1000)
		x := newTill(h, s, o, 8)
		x.venueSees()
		e := x.sale(3)
		x.must(e)
		must(h.as(ownerOf(o)), h, api.DecideRefund, api.RefundOrder{RefundID: ids.New[ids.RefundKind](time.Now()),
			OrderID: e.Sale.OrderID, PaymentID: paymentOf(e.Sale.OrderID, 3000), Tickets: []ids.Ticket{e.Sale.Tickets[0].ID}})
		x.poolIs(13, 2, 5)
		x.must(x.reversal(e))
		x.poolIs(13, 0, 7)
		x.leaseIs(api.LeaseOpen, 7, 0)
		if row, err := s.leases.Get(t.Context(), x.lease.ID); err != nil || row.Target != 7 {
			t.Errorf("the lease shall have %d seats, %v", row.Target, err)
		}
		h.audit()
	})
}

// What a venue has sold without a lease is booked from the pool, or waits in quarantine until there is room.
func TestSalesWithoutALease(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(10, 1000)
		x := newTill(h, s, o, 4)
		x.venueSees()
		must(h.as(person(), "admin"), h, api.CloseLease, api.LeaseToClose{EventID: o.Event.ID, LeaseID: x.lease.ID, Force: true})
		x.must(x.sale(3))
		x.poolIs(7, 3, 0)
		must(h.as(person()), h, api.CreateOrder, order(o, 6))
		tooMany, nonsense := x.sale(2), x.sale(1)
		nonsense.Sale.Total.Amount = 1
		x.must(tooMany, nonsense)
		x.must(tooMany, nonsense)
		x.poolIs(1, 3, 0)
		h.audit()
		if got, err := s.db.venueSale(t.Context(), tooMany.Sale.OrderID); err != nil || got.State != saleQuarantined || got.Reason != noRoom {
			t.Errorf("the sale is %+v, %v", got, err)
		}
		flagged := must(h.as(ownerOf(o)), h, api.ListFlaggedSales, api.EventPage{EventID: o.Event.ID})
		states := map[string]int{}
		for _, f := range flagged.Items {
			states[f.State]++
		}
		if states[saleBeside] != 1 || states[saleQuarantined] != 2 {
			t.Errorf("flagged are %+v", flagged.Items)
		}
		seen, cursor := 0, ""
		for ok := true; ok; ok = cursor != "" {
			page := must(h.as(ownerOf(o)), h, api.ListFlaggedSales, api.EventPage{EventID: o.Event.ID, Page: api.Page{Limit: 1, Cursor: cursor}})
			seen, cursor = seen+len(page.Items), page.NextCursor
		}
		if seen != 3 {
			t.Errorf("page after page there are %d", seen)
		}
		if err := s.retrySales(t.Context()); err != nil {
			t.Error(err)
		}
		x.poolIs(1, 3, 0)
		h.change(o.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) { o.Event.TicketTypes[0].Quantity = 12 })
		if _, err := do(t.Context(), h, api.ResizeInventory, api.Resize{EventID: o.Event.ID, Revision: 2,
			Quantities: map[ids.TicketType]int{o.Event.TicketTypes[0].ID: 12}}); err != nil {
			t.Fatal(err)
		}
		if err := s.retrySales(t.Context()); err != nil {
			t.Error(err)
		}
		x.poolIs(1, 5, 0)
		h.audit()
		if got, err := s.db.venueSale(t.Context(), nonsense.Sale.OrderID); err != nil || got.State != saleQuarantined {
			t.Errorf("the other is %+v, %v", got, err)
		}
	})
}

// A process that dies at any step between the two stores is made good by the entries coming again.
func TestVenueSaleKilledAtEachStep(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		for _, stop := range []string{"commit", "finish"} {
			o := h.publish(20, 1000)
			x := newTill(h, s, o, 8)
			x.venueSees()
			sold, cut, done := x.sale(2), x.entry(), x.entry()
			cut.LeaseCut, done.LeaseDone = &line.LeaseCut{LeaseID: x.lease.ID, Quantity: 3}, x.lease.ID
			back := x.reversal(sold)
			for _, e := range []line.Entry{sold, cut, back, x.sale(1), done} {
				if err := x.hand(stop, e); err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				if stop == "commit" { // it was not kept, and comes again
					x.must(e)
				}
				h.clock.Advance(time.Minute)
				if err := s.leases.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				h.audit()
			}
			x.poolIs(19, 1, 0)
			x.leaseIs(api.LeaseClosed, 1, 1)
		}
	})
}

// Both databases and the inventory are restored without the lease: the venue's sales find no lease, and are booked.
func TestSalesAfterARestore(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(10, 1000)
		x := newTill(h, s, o, 4)
		x.venueSees()
		if err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE stock SET leased = 0")
			if err == nil {
				_, err = tx.ExecContext(ctx, "DELETE FROM leases")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(2 * audit.OnItsWay)
		h.rebuild(o.Event.ID)
		x.poolIs(10, 0, 0)
		e := x.sale(2)
		x.must(e)
		x.poolIs(8, 2, 0)
		if got, err := s.db.venueSale(t.Context(), e.Sale.OrderID); err != nil || got.State != saleBeside {
			t.Errorf("the sale is %+v, %v", got, err)
		}
		h.audit()
	})
}
