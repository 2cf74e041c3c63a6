package ticketing

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// share lets all ticket types of an event that is not on sale yet draw on a quota.
func (h *harness) share(o *api.Offer, capacity int) ids.Quota {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := api.Quota{ID: ids.New[ids.QuotaKind](h.clock.Now()), Name: "Hall", Capacity: capacity}
	o.Event.Quotas = append(o.Event.Quotas, q)
	for i := range o.Event.TicketTypes {
		o.Event.TicketTypes[i].Quotas = append(o.Event.TicketTypes[i].Quotas, q.ID)
	}
	return q.ID
}

// Two types share a hall. However many buy at once at two instances, as many get in as there is room for; at the box
// office, too. Neither a smaller hall nor a lost inventory changes that.
func TestQuotasHold(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		a, _ := h.start(), h.start()
		o := h.publish(100, 1000, 0)
		h.share(o, 30)
		both := order(o, 1)
		both.Items = append(both.Items, api.NewOrderItem{TicketTypeID: o.Event.TicketTypes[1].ID, Quantity: 1})
		left := func() (n int) {
			t.Helper()
			got := must(h.as(person()), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID})
			if got.TicketTypes[0].Available != got.TicketTypes[1].Available {
				t.Fatalf("two types of one hall have %+v", got)
			}
			return got.TicketTypes[0].Available
		}
		if left() != 30 {
			t.Error("an event that nobody has ordered from has not all of its hall")
		}
		var wg sync.WaitGroup
		var got atomic.Int64
		for range 20 {
			wg.Go(func() {
				switch _, err := h.createWithRetry(person(), both); {
				case err == nil:
					got.Add(1)
				case !fault.Is(err, fault.SoldOut):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got.Load() != 15 || left() != 0 {
			t.Fatalf("%d orders, %d seats left", got.Load(), left())
		}
		sale := api.NewSale{EventID: o.Event.ID, Items: order(o, 1).Items, Payment: api.BoxOfficePayment{Method: "cash"}}
		if _, err := do(h.as(ownerOf(o)), h, api.CreateSale, sale); !fault.Is(err, fault.SoldOut) {
			t.Errorf("a sale at the counter of a full hall: %v", err)
		}
		resize := func(revision int64, capacity int) error {
			shares := o.Event.QuotaShares()
			shares[0].Capacity = capacity
			_, err := do(t.Context(), h, api.ResizeInventory, api.Resize{EventID: o.Event.ID, Revision: revision,
				Quantities: map[ids.TicketType]int{o.Event.TicketTypes[0].ID: 100, o.Event.TicketTypes[1].ID: 100},
				Quotas:     shares})
			return err
		}
		if err := resize(2, 29); !fault.Is(err, fault.Conflict) {
			t.Errorf("a hall smaller than what is held of it: %v", err)
		}
		if err := resize(3, 32); err != nil {
			t.Fatal(err)
		}
		must(h.as(person()), h, api.CreateOrder, both)
		h.audit()
		h.emptyInventory()
		if _, err := do(h.as(person()), h, api.CreateOrder, both); !fault.Is(err, fault.SoldOut) {
			t.Errorf("an order after the inventory was lost: %v", err)
		}
		pool, err := a.inv.Pool(t.Context(), o.Event.ID)
		if err != nil || len(pool.Quotas) != 1 || pool.Quotas[0].Capacity != 32 {
			t.Errorf("the pool was made again as %+v: %v", pool, err)
		}
		h.audit()
	})
}
