package doors_test

import (
	"reflect"
	"sync"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// reverse takes a sale back.
func (x *till) reverse(s api.Sale, admitted bool) (api.SaleReversal, error) {
	x.t.Helper()
	sale, _, err := x.d.FindSale(s.OrderID)
	if err != nil || sale.Number == 0 {
		x.t.Fatalf("the sale is %+v, %v", sale, err)
	}
	r := &doors.Reversal{Sale: sale, By: "pas_till", Reason: "wrong slip", IncludeAdmitted: admitted}
	done, err := x.d.Reverse(x.t.Context(), r)
	if err != nil {
		return api.SaleReversal{}, err
	}
	return r.Answer(done), nil
}

func (x *till) leaseIs(quantity, sold, left int) {
	x.t.Helper()
	if l := x.d.Leases(x.event.EventID)[0]; l.Quantity != quantity || l.Sold != sold || l.Left != left {
		x.t.Errorf("the lease is %+v, want %d seats, %d sold, %d left", l, quantity, sold, left)
	}
}

// reversals counts those in the journal.
func (x *till) reversals() (n int) {
	for _, e := range x.journal() {
		if e.Reversal != nil {
			n++
		}
	}
	return n
}

// A sale is taken back once, however often it is asked for: its tickets are good no more, whatever the hub says of them
// meanwhile, and its seats may be sold again.
func TestReversal(t *testing.T) {
	x := newTill(t, 3)
	sale := x.mustSell(2)
	first, err := x.reverse(sale, false)
	if err != nil || first.Refund != (api.Money{Amount: 5000, Currency: "EUR"}) || len(first.Tickets) != 2 {
		t.Fatalf("%+v %v", first, err)
	}
	x.leaseIs(3, 0, 3)
	revoked := func() {
		t.Helper()
		for _, ticket := range sale.Tickets {
			x.want(ticket.Code, "", api.RevokedTicket)
		}
	}
	revoked()
	x.tell(1) // the hub has the sale, and not its end
	x.event.Position = 2
	x.tell(1)
	ask, _ := x.d.NextPage(x.event.EventID)
	x.page(ask, &line.Page{Position: 2, Tickets: []line.Ticket{{ID: sale.Tickets[0].ID, Type: sale.Tickets[0].TicketTypeID,
		Order: sale.OrderID, Revision: 1, Status: api.TicketValid, Position: 2}}})
	revoked()
	x.again()
	revoked()
	x.leaseIs(3, 0, 3)
	if again, err := x.reverse(sale, false); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("again: %+v %v, want %+v", again, err, first)
	}
	x.mustSell(3)
	x.refused(x.sale(1, ""), fault.SoldOut)
	if n := x.reversals(); n != 1 {
		t.Errorf("%d reversals", n)
	}
}

// A sale of which somebody is inside is taken back only on purpose. None of its seats is for sale again here.
func TestReversalOfAnAdmittedSale(t *testing.T) {
	x := newTill(t, 4)
	sale := x.mustSell(2)
	x.want(sale.Tickets[0].Code, "", api.Admitted)
	if _, err := x.reverse(sale, false); !fault.Is(err, fault.Conflict) {
		t.Fatalf("taken back: %v", err)
	}
	x.want(sale.Tickets[1].Code, "", api.Admitted)
	if got, err := x.reverse(sale, true); err != nil || got.Refund.Amount != 5000 {
		t.Fatalf("%+v %v", got, err)
	}
	x.want(sale.Tickets[0].Code, "", api.RevokedTicket)
	x.leaseIs(2, 0, 2)
	x.tell(1) // in which the hub does not have it yet
	x.leaseIs(2, 0, 2)
	x.again()
	x.leaseIs(2, 0, 2)
	x.mustSell(2)
	x.refused(x.sale(1, ""), fault.SoldOut)
}

// What the system has refunded before is neither handed back again nor a seat of the lease.
func TestReversalAfterARefund(t *testing.T) {
	x := newTill(t, 4)
	sale := x.mustSell(2)
	refund := func(i int) {
		x.event.Position++
		x.tell(1)
		ask, _ := x.d.NextPage(x.event.EventID)
		x.page(ask, &line.Page{Position: x.event.Position, Tickets: []line.Ticket{{ID: sale.Tickets[i].ID, Type: sale.Tickets[i].TicketTypeID,
			Order: sale.OrderID, Revision: 1, Status: api.TicketRevoked, Position: x.event.Position}}})
	}
	refund(0)
	if got, err := x.reverse(sale, false); err != nil || got.Refund.Amount != 2500 || len(got.Tickets) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	x.leaseIs(3, 0, 3)
	sale = x.mustSell(2)
	refund(0)
	refund(1)
	if _, err := x.reverse(sale, true); !fault.Is(err, fault.Conflict) {
		t.Errorf("taken back: %v", err)
	}
}

// Two at once take a sale back once, while its tickets are shown at the doors: each was admitted before, or is revoked.
func TestReversalRace(t *testing.T) {
	x := newTill(t, 40)
	for range 20 {
		sale := x.mustSell(1)
		var at sync.WaitGroup
		for range 4 {
			at.Go(func() {
				if _, err := x.reverse(sale, false); err != nil && !fault.Is(err, fault.Conflict) {
					t.Error(err)
				}
			})
			at.Go(func() { x.scan(sale.Tickets[0].Code, "north") })
		}
		at.Wait()
		_, done, err := x.d.FindSale(sale.OrderID)
		v := x.scan(sale.Tickets[0].Code, "north")
		if err != nil || done.Number > 0 != (v.Result == api.RevokedTicket) {
			t.Errorf("taken back by %+v, %v, and the door says %s", done, err, v.Result)
		}
	}
	orders := map[string]bool{}
	for _, e := range x.journal() {
		if e.Reversal != nil && orders[e.Reversal.OrderID.String()] {
			t.Errorf("order %s was taken back twice", e.Reversal.OrderID)
		} else if e.Reversal != nil {
			orders[e.Reversal.OrderID.String()] = true
		}
	}
}
