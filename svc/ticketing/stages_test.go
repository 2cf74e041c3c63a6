package ticketing

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// stage gives the first ticket type of an event that is not on sale yet a stage behind those that it has.
func (h *harness) stage(o *api.Offer, s api.Stage, cents int64) api.Stage {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &o.Event.TicketTypes[0]
	s.ID, s.Price = ids.New[ids.StageKind](h.clock.Now()), api.Money{Amount: cents, Currency: "EUR"}
	t.Stages = append(t.Stages, s)
	return s
}

// upTo is an order of n tickets by who was shown a price.
func upTo(o *api.Offer, n int, cents int64) api.NewOrder {
	req := order(o, n)
	req.Items[0].MaxPrice = &api.Money{Amount: cents, Currency: "EUR"}
	return req
}

// Of a thousand buyers who come at once, at two instances, for a stage of a hundred tickets, a hundred have its price:
// not one more, and not one fewer. The others pay the next price if they were shown that, or are told. What is given up
// is the stage's again, and a lost inventory changes none of it.
func TestStagesUnderRaces(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		a, _ := h.start(), h.start()
		o := h.publish(700, 2500)
		early := h.stage(o, api.Stage{Name: "Early bird", Quantity: 100}, 2000)
		var cheap, dear, told atomic.Int64
		var mu sync.Mutex
		var firsts []*api.Order
		buyers := map[ids.Order]ids.User{}
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				buyer, req := person(), order(o, 1)
				if i%2 == 0 {
					req = upTo(o, 1, 2000)
				}
				made, err := h.createWithRetry(buyer, req)
				switch {
				case fault.Is(err, fault.PriceChanged):
					told.Add(1)
				case err != nil:
					t.Error(err)
				case made.Total.Amount == 2500 && i%2 == 1 && made.Items[0].StageID == "":
					dear.Add(1)
				case made.Total.Amount == 2000 && made.Items[0].StageID == early.ID &&
					made.Items[0].Stage == early.Name:
					cheap.Add(1)
					mu.Lock()
					firsts = append(firsts, made)
					buyers[made.ID] = buyer
					mu.Unlock()
				default:
					t.Errorf("an order costs %+v", made)
				}
			})
		}
		wg.Wait()
		if cheap.Load() != 100 || cheap.Load()+dear.Load()+told.Load() != 1000 {
			t.Fatalf("%d at the price of a stage of 100, %d at the next, and %d were told", cheap.Load(), dear.Load(),
				told.Load())
		}
		h.audit()

		if _, err := do(h.as(person()), h, api.CreateOrder, upTo(o, 1, 2000)); !fault.Is(err, fault.PriceChanged) {
			t.Errorf("an order at the price of a stage that is sold out: %v", err)
		}
		must(h.as(buyers[firsts[0].ID]), h, api.CancelOrder, api.OrderRef{ID: firsts[0].ID})
		must(h.as(buyers[firsts[1].ID]), h, api.CancelOrder, api.OrderRef{ID: firsts[1].ID})
		_, err := do(h.as(person()), h, api.CreateOrder, upTo(o, 3, 2000))
		if f := fault.From(err); !fault.Is(err, fault.PriceChanged) ||
			f.Detail != "type 0: only 2 are left at 20.00 EUR (Early bird); 3 cost 25.00 EUR each" ||
			len(f.Fields) != 1 || f.Fields[0].Field != "items[0].max_price" {
			t.Errorf("an order of three where two are left: %v", err)
		}
		h.emptyInventory()
		if two := must(h.as(person()), h, api.CreateOrder, upTo(o, 2, 2000)); two.Total.Amount != 4000 {
			t.Errorf("the places that came back cost %+v", two)
		}
		if next := must(h.as(person()), h, api.CreateOrder, order(o, 1)); next.Total.Amount != 2500 {
			t.Errorf("after them one costs %+v", next.Total)
		}
		testkit.Eventually(t, 10*time.Second, func() error { // the other instance may have decided the last orders
			pool, err := a.inv.Pool(t.Context(), o.Event.ID)
			if err != nil || len(pool.Stages) != 1 || pool.Stages[0].Held != 100 {
				return fmt.Errorf("the pool was made again with %+v: %w", pool.Stages, err)
			}
			return nil
		})
		h.audit()
	})
}

// A stage begins and ends on time, whoever has not paid loses the place in it, and late money gets it again only if it
// is there. At a counter the price is that of the ticket type.
func TestStagesInTime(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		now := h.clock.Now()
		until, late := now.Add(time.Hour), now.Add(2*time.Hour)
		o := h.publish(10, 2500)
		h.stage(o, api.Stage{Name: "Early bird", Quantity: 2, Until: &until}, 2000)
		h.stage(o, api.Stage{Name: "Late", From: &late}, 3000)
		seen := func() api.TypeAvailability {
			t.Helper()
			return must(h.as(person()), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}).TicketTypes[0]
		}
		if a := seen(); a.Price.Amount != 2000 || a.Stage == nil || a.Stage.Left != 2 || !a.Stage.Until.Equal(until) ||
			a.Next == nil || a.Next.Price.Amount != 2500 || a.Next.From != nil {
			t.Errorf("on sale is %+v, then %+v", a.Stage, a.Next)
		}
		buyer := person()
		slow := must(h.as(buyer), h, api.CreateOrder, order(o, 2))
		if a := seen(); a.Price.Amount != 2500 || a.Stage != nil || !a.Next.From.Equal(late) || a.Next.Name != "Late" {
			t.Errorf("after the stage is held: %+v, %+v", a, a.Next)
		}
		sale := api.NewSale{EventID: o.Event.ID, Items: order(o, 1).Items,
			Payment: api.BoxOfficePayment{Method: "cash"}}
		h.pay(buyer, &slow.Order)
		h.becomes(buyer, slow.ID, api.OrderPaid)
		if sold := must(h.as(ownerOf(o)), h, api.CreateSale, sale); sold.Total.Amount != 2500 {
			t.Errorf("at the counter one costs %+v", sold.Total)
		}

		other := person()
		o = h.publish(10, 2500)
		h.stage(o, api.Stage{Name: "Early bird", Quantity: 2, Until: &until}, 2000)
		lost := must(h.as(other), h, api.CreateOrder, order(o, 2))
		h.clock.Advance(2 * time.Minute)
		h.becomes(other, lost.ID, api.OrderExpired)
		if a := seen(); a.Price.Amount != 2000 || a.Stage.Left != 2 {
			t.Errorf("what expired is %+v", a.Stage)
		}
		third := must(h.as(buyer), h, api.CreateOrder, upTo(o, 1, 2000))
		h.paid(&lost.Order, ids.New[ids.PaymentKind](now))
		h.becomes(other, lost.ID, api.OrderRefunding)
		h.pay(buyer, &third.Order)
		h.becomes(buyer, third.ID, api.OrderPaid)
		h.clock.Advance(time.Hour)
		if a := seen(); a.Price.Amount != 2500 || a.Stage != nil {
			t.Errorf("after its end: %+v", a)
		}
		if _, err := do(h.as(other), h, api.CreateOrder, upTo(o, 1, 2000)); !fault.Is(err, fault.PriceChanged) {
			t.Errorf("an order at a price that is over: %v", err)
		}
		h.audit()
	})
}

// A smaller stage sells no more, and takes nothing from whoever has it; the newest word of its size counts, whichever
// instance has heard it.
func TestStageIsResized(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		a := h.start()
		o := h.publish(10, 2500)
		s := h.stage(o, api.Stage{Name: "Early bird", Quantity: 4}, 2000)
		must(h.as(person()), h, api.CreateOrder, upTo(o, 3, 2000))
		older := inventory.Terms{Stages: []inventory.Stage{{ID: s.ID, Limit: 4, Revision: 1}}}
		ref := func() inventory.Ref {
			return inventory.Ref{Event: o.Event.ID, Order: ids.New[ids.OrderKind](h.clock.Now())}
		}
		hold := func(n int, terms inventory.Terms) error {
			return a.inv.HoldAs(t.Context(), ref(), person(), []inventory.Line{{Type: o.Event.TicketTypes[0].ID, N: n,
				Stage: s.ID}}, h.clock.Now().Add(time.Minute), "a tag", &terms)
		}
		smaller := inventory.Terms{Stages: []inventory.Stage{{ID: s.ID, Limit: 2, Revision: 2}}}
		if err := hold(1, smaller); !errors.Is(err, inventory.ErrStage) {
			t.Errorf("a hold in a smaller stage: %v", err)
		}
		if err := hold(1, inventory.Terms{Stages: []inventory.Stage{{ID: s.ID, Limit: 5, Revision: 3}}}); err != nil {
			t.Errorf("a hold in a larger stage: %v", err)
		}
		if err := hold(1, older); err != nil {
			t.Errorf("a hold by an instance that has not heard of it: %v", err)
		}
		if err := hold(1, older); !errors.Is(err, inventory.ErrStage) {
			t.Errorf("one more than the stage has: %v", err)
		}
	})
}

// The files of orders and of attendees say at the price of which stage tickets were sold.
func TestStagesInFiles(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(10, 2500, 3000)
		early := h.stage(o, api.Stage{Name: "Early bird", Quantity: 1}, 2000)
		for range 2 {
			req := order(o, 1)
			req.Items = append([]api.NewOrderItem{{TicketTypeID: o.Event.TicketTypes[1].ID, Quantity: 1}}, req.Items[0])
			h.clock.Advance(time.Second)
			buyer := person()
			made := must(h.as(buyer), h, api.CreateOrder, req)
			h.pay(buyer, &made.Order)
			h.becomes(buyer, made.ID, api.OrderPaid)
		}
		attending := must(h.as(ownerOf(o)), h, api.GetAttendeesCSV,
			api.AttendeeExport{EventExport: api.EventExport{EventID: o.Event.ID}}).Data
		if n := bytes.Count(attending, []byte(early.ID.String()+",Early bird\n")); n != 1 {
			t.Errorf("%d attendees at the stage: %s", n, attending)
		}
		file := must(h.as(ownerOf(o)), h, api.GetOrdersCSV, api.EventExport{EventID: o.Event.ID}).Data
		rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
		if err != nil || len(rows) != 3 {
			t.Fatalf("%d rows: %v", len(rows), err)
		}
		ids, names := slices.Index(rows[0], "stage_ids"), slices.Index(rows[0], "stages")
		if got := rows[2]; got[ids] != "; "+early.ID.String() || got[names] != "; Early bird" {
			t.Errorf("of the order at the stage: %q, %q", got[ids], got[names])
		}
		if got := rows[1]; got[ids] != "" || got[names] != "" {
			t.Errorf("of the order after it: %q, %q", got[ids], got[names])
		}
	})
}
