package ticketing

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// price makes the event service offer the first type in another currency.
func (h *harness) price(offer *api.Offer, currency string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := *h.offers[offer.Event.ID]
	o.Event.Revision++
	o.Event.TicketTypes = []api.TicketType{o.Event.TicketTypes[0]}
	o.Event.TicketTypes[0].Price.Currency = currency
	h.offers[offer.Event.ID] = &o
}

func (h *harness) resize(offer *api.Offer, quantity int, currency string) error {
	h.mu.Lock()
	revision := h.offers[offer.Event.ID].Event.Revision + 1
	h.mu.Unlock()
	_, err := do(h.t.Context(), h, api.ResizeInventory,
		api.Resize{EventID: offer.Event.ID, Revision: revision, Currency: currency,
			Quantities: map[ids.TicketType]int{offer.Event.TicketTypes[0].ID: quantity}})
	return err
}

// The currency of an event changes until the first order was made, and never afterwards.
func TestCurrencyIsFrozenByOrders(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer, buyer := h.publish(5, 1000), person()
		for _, currency := range []string{"USD", "JPY"} {
			if err := h.resize(offer, 5, currency); err != nil {
				t.Errorf("to %s, with nothing sold: %v", currency, err)
			}
		}
		if _, err := do(h.as(buyer), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.Conflict) {
			t.Errorf("an order at the old price: %v", err)
		}
		h.price(offer, "JPY")
		s.offers.Evict(offer.Event.ID)
		made := must(h.as(buyer), h, api.CreateOrder, order(offer, 2))
		if made.Total.Currency != "JPY" {
			t.Errorf("the total is %v", made.Total)
		}
		must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: made.ID})
		if err := h.resize(offer, 5, "EUR"); !fault.Is(err, fault.Conflict) {
			t.Errorf("after an order: %v", err)
		}
		if err := h.resize(offer, 6, "JPY"); err != nil {
			t.Error(err)
		}
		h.audit()

		// A change that is refused for its quantity changes nothing.
		other := h.publish(5, 1000)
		if err := h.resize(other, 5, "EUR"); err != nil {
			t.Fatal(err)
		}
		ref := inventory.Ref{Event: other.Event.ID, Order: ids.New[ids.OrderKind](h.clock.Now())}
		lines := []inventory.Line{{Type: other.Event.TicketTypes[0].ID, N: 3}}
		if err := s.inv.Hold(t.Context(), ref, buyer, lines, h.clock.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := h.resize(other, 2, "JPY"); !fault.Is(err, fault.Conflict) {
			t.Errorf("below what is held: %v", err)
		}
		must(h.as(buyer), h, api.CreateOrder, order(other, 1))
	})
}

// No moment of a change that the inventory refuses leaves the new currency behind: a process that ends there, ends
// nothing.
func TestRefusedChangeNeverShowsItsCurrency(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		var watched atomic.Value // ids.Event
		var shown atomic.Bool
		h.db.AroundCommit(func(done bool) {
			event, _ := watched.Load().(ids.Event)
			if !done || event == "" {
				return
			}
			var currency string
			if err := h.db.Read().NewRaw("SELECT currency FROM currencies WHERE event_id = ?",
				event).Scan(context.Background(), &currency); err != nil {
				t.Error(err)
			}
			if currency != "EUR" {
				shown.Store(true)
			}
		})
		s := h.start()
		offer := h.publish(5, 1000)
		if err := h.resize(offer, 5, "EUR"); err != nil {
			t.Fatal(err)
		}
		ref := inventory.Ref{Event: offer.Event.ID, Order: ids.New[ids.OrderKind](h.clock.Now())}
		lines := []inventory.Line{{Type: offer.Event.TicketTypes[0].ID, N: 3}}
		if err := s.inv.Hold(t.Context(), ref, person(), lines, h.clock.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		watched.Store(offer.Event.ID)
		if err := h.resize(offer, 2, "JPY"); !fault.Is(err, fault.Conflict) {
			t.Errorf("below what is held: %v", err)
		}
		if shown.Load() {
			t.Error("the currency of a refused change was there")
		}
		must(h.as(person()), h, api.CreateOrder, order(offer, 1))
	})
}

// Orders and a change of the currency at the same moment: all orders of the event are in one currency.
func TestOrdersAgainstAChangeOfCurrency(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		for range 5 {
			offer := h.publish(50, 1000)
			var wg sync.WaitGroup
			var changed error
			made := make([]error, 10)
			wg.Go(func() { changed = h.resize(offer, 50, "JPY") })
			for i := range made {
				wg.Go(func() { _, made[i] = do(h.as(person()), h, api.CreateOrder, order(offer, 1)) })
			}
			wg.Wait()
			for _, err := range made {
				if (err == nil) == (changed == nil) {
					t.Fatalf("an order: %v, and the change: %v", err, changed)
				}
			}
		}
	})
}
