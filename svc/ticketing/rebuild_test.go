package ticketing

import (
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// emptyInventory empties the inventory's stream.
func (h *harness) emptyInventory() {
	h.t.Helper()
	s, err := h.nats.JS.Stream(h.t.Context(), inventory.Stream)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := s.Purge(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) rebuild(event ids.Event) api.RebuiltInventory {
	h.t.Helper()
	return *must(h.t.Context(), h, api.RebuildInventory, api.RebuildOf{EventID: event})
}

// The inventory and SQL disagree in every way. A rebuild leaves alone what changed a moment ago, then mends all of it,
// and leaves a hold whose order is about to be written.
func TestRebuildMendsWhatDiffers(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = fixed(api.HoldTTL.Is(time.Hour))
		s := h.start()
		o := h.publish(20, 1000, 0)
		typ := o.Event.TicketTypes[0].ID
		buyer := person()
		buy := func() *api.Order { return &must(h.as(buyer), h, api.CreateOrder, order(o, 2)).Order }
		good, lost, freed, kept, back := buy(), buy(), buy(), buy(), buy()
		for _, made := range []*api.Order{good, lost, kept} {
			h.pay(buyer, made)
			h.becomes(buyer, made.ID, api.OrderPaid)
		}
		must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: back.ID})
		ref := func(id ids.Order) inventory.Ref { return inventory.Ref{Event: o.Event.ID, Order: id} }
		lines := []inventory.Line{{Type: typ, N: 2}}
		ctx := t.Context()
		flight := ref(ids.New[ids.OrderKind](time.Now()))
		for what, err := range map[string]error{
			"paid and gone":            s.inv.Return(ctx, ref(lost.ID)),
			"pending and gone":         s.inv.Release(ctx, ref(freed.ID)),
			"paid with fewer seats":    s.inv.Reduce(ctx, ref(kept.ID), []inventory.Line{{Type: typ, N: 1}}),
			"cancelled and sold":       s.inv.Sell(ctx, ref(back.ID), buyer, lines, "stray", nil),
			"sold without an order":    s.inv.Sell(ctx, ref(ids.New[ids.OrderKind](time.Now())), buyer, lines, "stray", nil),
			"held, not yet an order":   s.inv.Hold(ctx, flight, buyer, lines, h.clock.Now().Add(time.Hour)),
			"another event, untouched": nil,
		} {
			if err != nil {
				t.Fatal(what, err)
			}
		}
		if got := h.rebuild(o.Event.ID); got.Mended != 0 || got.Waiting != 5 {
			t.Fatalf("at once: %+v", got)
		}
		h.clock.Advance(2 * audit.OnItsWay)
		if got := h.rebuild(o.Event.ID); got.Mended != 5 || got.Waiting != 0 || got.NoRoom != 0 {
			t.Fatalf("later: %+v", got)
		}
		h.audit()
		known, err := s.inv.Entries(ctx, o.Event.ID)
		if err != nil || known[flight.Order].State != inventory.Held || known[freed.ID].State != inventory.Held ||
			known[good.ID].State != inventory.Sold {
			t.Errorf("%v %+v", err, known)
		}
		if got := h.rebuild(o.Event.ID); got.Mended+got.Waiting != 0 {
			t.Errorf("once more: %+v", got)
		}
		h.pay(buyer, freed)
		h.becomes(buyer, freed.ID, api.OrderPaid)
		h.audit()
	})
}

// The inventory is lost. The operators' rebuild, and the first order that comes, bring back what SQL knows before
// anything else is sold.
func TestLostInventory(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = fixed(api.HoldTTL.Is(time.Hour))
		h.start()
		buyer := person()
		events := []*api.Offer{h.publish(3, 1000), h.publish(3, 1000)}
		var pending []*api.Order
		for _, o := range events {
			paid := must(h.as(buyer), h, api.CreateOrder, order(o, 2))
			h.pay(buyer, &paid.Order)
			h.becomes(buyer, paid.ID, api.OrderPaid)
			pending = append(pending, &must(h.as(buyer), h, api.CreateOrder, order(o, 1)).Order)
		}
		h.emptyInventory()
		if got := h.rebuild(events[0].Event.ID); got.Mended != 2 {
			t.Errorf("rebuild: %+v", got)
		}
		for i, o := range events { // the second is brought back by this order
			if _, err := do(h.as(person()), h, api.CreateOrder, order(o, 1)); !fault.Is(err, fault.SoldOut) {
				t.Errorf("an order for a seat that is held: %v", err)
			}
			h.pay(buyer, pending[i])
			h.becomes(buyer, pending[i].ID, api.OrderPaid)
		}
		h.audit()
		all := 0
		for req := (api.RebuildOf{}); ; all++ {
			got := must(t.Context(), h, api.RebuildInventory, req)
			if req.After = got.EventID; got.EventID == "" {
				break
			}
		}
		if all != len(events) {
			t.Errorf("%d events are rebuilt one after another", all)
		}
	})
}

// The quantities of an event change when its pool is lost and the instance does not know that yet. The pool is filled
// in again: one without its orders would sell their seats a second time.
func TestQuantitiesOfALostPool(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer := h.publish(3, 1000)
		h.buy(offer, 2)
		h.emptyInventory()
		lines := []inventory.Line{{Type: offer.Event.TicketTypes[0].ID, N: 4}}
		if err := s.setQuantities(t.Context(), offer.Event.ID, offer.Event.Revision+1, stock{lines: lines}, ""); err != nil {
			t.Fatal(err)
		}
		h.sold(offer, 2)
		h.audit()
	})
}

// The inventory is lost in the middle of a sale at two instances, and rebuilt meanwhile. No seat is sold twice, and in
// the end all agree.
func TestLostInventoryInASale(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = fixed(api.HoldTTL.Is(time.Hour))
		h.start()
		h.start()
		o := h.publish(60, 0)
		must(h.as(person()), h, api.CreateOrder, order(o, 1))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 15 {
					_, err := h.createWithRetry(person(), order(o, 1))
					if err != nil && !fault.Is(err, fault.SoldOut) && !fault.Is(err, fault.Unavailable) {
						t.Error(err)
					}
				}
			})
		}
		h.emptyInventory()
		for range 3 {
			if _, err := do(t.Context(), h, api.RebuildInventory, api.RebuildOf{EventID: o.Event.ID}); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		h.clock.Advance(2 * audit.OnItsWay)
		if got := h.rebuild(o.Event.ID); got.NoRoom != 0 {
			t.Errorf("in the end: %+v", got)
		}
		h.audit()
	})
}
