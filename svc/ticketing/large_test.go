package ticketing

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// A large event is cancelled: its orders go back by the hundred, and the seats of all come back.
func TestCancelledLargeEvent(t *testing.T) {
	const n = 1000
	each(t, func(t *testing.T, h *harness) {
		var commits atomic.Int64
		h.db.AroundCommit(func(done bool) {
			if done {
				commits.Add(1)
			}
		})
		s := h.start()
		offer := h.publish(n, 1000)
		orders := h.fill(s, offer, n, person)
		lines := []inventory.Line{{Type: offer.Event.TicketTypes[0].ID, N: 1}}
		for some := range slices.Chunk(orders, sweepSize) {
			together(some, func(_ int, id ids.Order) {
				if err := s.inv.Sell(t.Context(), inventory.Ref{Event: offer.Event.ID, Order: id}, "", lines,
					"test", nil); err != nil {
					t.Error(err)
				}
			})
		}
		h.sold(offer, n)
		before := commits.Load()
		if err := s.refundEvent(t.Context(), offer.Event.ID); err != nil {
			t.Fatal(err)
		}
		took := commits.Load() - before
		h.sold(offer, 0)
		t.Logf("%d orders in %d commits", n, took)
		if took > n/40 {
			t.Errorf("%d orders took %d commits", n, took)
		}
		h.audit()
	})
}

// Overdue orders whose payments cannot be ended do not keep the others from ending, however many they are.
func TestOrdersThatCannotBeEnded(t *testing.T) {
	h := newHarness(t, testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations()))
	s := h.start()
	offer, buyer := h.publish(2*sweepSize, 1000), person()
	if err := s.setQuantities(t.Context(), offer.Event.ID, 1, stockOf(offer), ""); err != nil {
		t.Fatal(err)
	}
	now := store.Time(h.clock.Now())
	in := make([]creation, sweepSize+1) // none of them has a hold: only SQL knows them
	for i := range in {
		req := order(offer, 1)
		row, _, err := s.draftOrder(&req, offer, buyer, now)
		if err != nil {
			t.Fatal(err)
		}
		if i < sweepSize {
			row.ID, row.PaymentID = ids.Order(fmt.Sprintf("ord_%026d", i)), ids.New[ids.PaymentKind](now)
			h.unpaid[row.ID] = true
		}
		in[i] = creation{row: row}
	}
	if _, err := s.db.create(t.Context(), in, now); err != nil {
		t.Fatal(err)
	}
	last := in[sweepSize].row.ID
	h.clock.Advance(2 * time.Minute)
	h.becomes(buyer, last, api.OrderExpired)
	if got := must(h.as(buyer), h, api.GetOrder, api.OrderRef{ID: in[0].row.ID}); got.Status != api.OrderPending {
		t.Errorf("an order that may be paid is %s", got.Status)
	}

	// The same when the event is cancelled or the person leaves.
	req := order(offer, 1)
	row, _, err := s.draftOrder(&req, offer, buyer, store.Time(h.clock.Now()))
	if err == nil {
		_, err = s.db.create(t.Context(), []creation{{row: row}}, now)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cancelOrders(t.Context(), "event_id", offer.Event.ID); err == nil {
		t.Error("orders that are being paid are given up")
	}
	h.becomes(buyer, row.ID, api.OrderCancelled)
}

// What has just happened is on its way between the inventory and SQL, and not broken. It is when it stays so.
func TestAuditKnowsWhatIsOnItsWay(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer := h.publish(5, 0, 1000)
		free := h.free(s, offer, person(), 2)
		paid := must(h.as(person()), h, api.CreateOrder, api.NewOrder{EventID: offer.Event.ID,
			Items: []api.NewOrderItem{{TicketTypeID: offer.Event.TicketTypes[1].ID, Quantity: 1}}})
		// the money's tickets come next
		if err := s.inv.Confirm(t.Context(), inventory.Ref{Event: offer.Event.ID, Order: paid.ID}); err != nil {
			t.Fatal(err)
		}
		findings, err := audit.Run(t.Context(), h.db, h.nats.JS)
		if err != nil {
			t.Fatal(err)
		}
		pending := 0
		for _, f := range findings {
			pending += len(f.Pending)
			if len(f.Broken) > 0 {
				t.Errorf("%s: %v", f.Check, f.Broken)
			}
		}
		if pending != 4 { // two orders, two ticket types
			t.Errorf("%d are on their way: %+v", pending, findings)
		}

		ledger, err := inventory.Audit(t.Context(), h.nats.JS)
		if err != nil {
			t.Fatal(err)
		}
		ledger.ReadAt = ledger.ReadAt.Add(2 * audit.OnItsWay)
		findings, err = audit.Compare(t.Context(), h.db, ledger)
		if err != nil {
			t.Fatal(err)
		}
		if f := findings[2]; len(f.Broken) != 2 || len(f.Pending) != 0 {
			t.Errorf("minutes later: %+v", f)
		}
		h.pay(paid.UserID, &paid.Order)
		if err := s.confirm(t.Context(), free); err != nil {
			t.Error(err)
		}
		h.audit()
	})
}
