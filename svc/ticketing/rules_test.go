package ticketing

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Each order has a number that people can say, also one at a counter; the same request has the same.
func TestOrdersHaveNumbers(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer := h.publish(20, 1000), person()
		first, err := h.send(buyer, "the-same-key-as-before", order(o, 1))
		if err != nil {
			t.Fatal(err)
		}
		again, err := h.send(buyer, "the-same-key-as-before", order(o, 1))
		if err != nil || again.Number != first.Number {
			t.Errorf("the same request has number %v, %v, want %s", again, err, first.Number)
		}
		if strings.Trim(first.Number, numberLetters) != "" || len(first.Number) != numberLength {
			t.Errorf("the order is called %q", first.Number)
		}
		other := must(h.as(buyer), h, api.CreateOrder, order(o, 1))
		sale := must(h.as(ownerOf(o)), h, api.CreateSale, api.NewSale{EventID: o.Event.ID, Items: order(o, 1).Items,
			Payment: api.BoxOfficePayment{Method: api.PaidInCash}})
		sold := must(h.as(ownerOf(o)), h, api.GetOrder, api.OrderRef{ID: sale.OrderID})
		if other.Number == first.Number || sold.Number == "" || sold.Number == other.Number {
			t.Errorf("three orders are called %s, %s and %s", first.Number, other.Number, sold.Number)
		}
	})
}

// A number that another order of the event has is replaced, and the stored answer says the new one: also if both are
// written at the same moment.
func TestTakenNumbersAreReplaced(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		a, b := h.start(), h.start()
		o := h.publish(100, 1000)
		must(h.as(person()), h, api.CreateOrder, order(o, 1)) // makes the currency known
		const n, writers = 8, 4
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				var in []creation
				for i := range n {
					key := fmt.Sprintf("order %d of writer %d", i, w)
					row, _, err := a.draftOrder(&api.NewOrder{Items: order(o, 1).Items}, o, person(), h.clock.Now())
					if err != nil {
						t.Error(err)
						return
					}
					row.Number = numberOf(ids.Derive[ids.OrderKind]("taken", fmt.Sprint(i)), 0)
					in = append(in, creation{row: row, remember: true, scope: "s", key: key, hash: "h",
						answer: []byte(`{"number":"` + row.Number + `"}`)})
				}
				s := []*Service{a, b}[w%2]
				done, err := s.db.create(t.Context(), in, store.Time(h.clock.Now()))
				if err != nil {
					t.Error(err)
					return
				}
				for i, r := range done {
					_, _, body, found, err := idempotency.In(h.db).Lookup(t.Context(), "s", in[i].key)
					if r.Err != nil || err != nil || !found || !strings.Contains(string(body), r.Out.Number) {
						t.Errorf("order %s is answered as %s: %v, %v", r.Out.Number, body, r.Err, err)
					}
				}
			})
		}
		all.Wait()
		var numbers, orders int
		err := h.db.Read().NewRaw("SELECT COUNT(DISTINCT number), COUNT(*) FROM orders WHERE event_id = ?",
			o.Event.ID).Scan(t.Context(), &numbers, &orders)
		if err != nil || orders != 1+n*writers || numbers != orders {
			t.Errorf("%d orders have %d numbers: %v", orders, numbers, err)
		}
	})
}

// What an organizer asks of orders is held, by who buys; a counter is not bound by what is about one buyer.
func TestOrdersFollowTheRules(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(100, 1000, 500)
		o.Event.OrderRules = api.OrderRules{MinPerOrder: 3, MaxPerOrder: 6}
		o.Event.TicketTypes[0].MinPerOrder = 2
		for _, c := range []struct {
			first, second int
			field         string
		}{{1, 5, "items[0].quantity"}, {2, 0, "items"}, {4, 3, "items"}, {2, 1, ""}, {0, 6, ""}} {
			req := api.NewOrder{EventID: o.Event.ID}
			for i, n := range []int{c.first, c.second} {
				if n > 0 {
					req.Items = append(req.Items, api.NewOrderItem{TicketTypeID: o.Event.TicketTypes[i].ID, Quantity: n})
				}
			}
			_, err := do(h.as(person()), h, api.CreateOrder, req)
			got := ""
			if err != nil {
				got = fault.From(err).Fields[0].Field
			}
			if got != c.field {
				t.Errorf("%d and %d tickets: %v, want %q", c.first, c.second, err, c.field)
			}
		}
		must(h.as(ownerOf(o)), h, api.CreateSale, api.NewSale{EventID: o.Event.ID, Items: order(o, 1).Items,
			Payment: api.BoxOfficePayment{Method: api.PaidInCash}})
	})
}

// How many tickets one buyer may have of a type and of an event holds at two instances, for guests by their address;
// what is given back may be bought again.
func TestOneBuyerHasNoMoreThanTheRulesAllow(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.publish(200, 1000, 0)
		o.Event.OrderRules.MaxPerPerson = 7
		o.Event.TicketTypes[0].MaxPerPerson = 4
		item := func(i, n int) []api.NewOrderItem {
			return []api.NewOrderItem{{TicketTypeID: o.Event.TicketTypes[i].ID, Quantity: n}}
		}
		must(h.as(person()), h, api.CreateOrder, order(o, 1)) // opens the pool
		rush := func(ctx context.Context, email string, i, n int) (made int64) {
			var count atomic.Int64
			var all sync.WaitGroup
			for range 12 {
				all.Go(func() {
					_, err := do(ctx, h, api.CreateOrder, api.NewOrder{EventID: o.Event.ID, Items: item(i, n),
						Email: email})
					if err == nil {
						count.Add(1)
					} else if !fault.Is(err, fault.Conflict) {
						t.Errorf("an order of %d: %v", n, err)
					}
				})
			}
			all.Wait()
			return count.Load()
		}
		buyer := person()
		for _, c := range []struct {
			who   string
			ctx   context.Context
			email string
		}{{"a person", h.as(buyer), ""}, {"a guest", t.Context(), "guest@example.org"}} {
			if n := rush(c.ctx, c.email, 0, 2); n != 2 {
				t.Errorf("%s has %d orders of 2 tickets of a type of which one may have 4", c.who, n)
			}
			if n := rush(c.ctx, c.email, 1, 1); n != 3 {
				t.Errorf("%s has %d tickets beside 4 of an event of which one may have 7", c.who, n)
			}
		}
		mine := must(h.as(buyer), h, api.ListMyOrders, api.Page{})
		priced := slices.IndexFunc(mine.Items, func(made api.Order) bool { return made.Total.Amount > 0 })
		must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: mine.Items[priced].ID})
		if n := rush(h.as(buyer), "", 0, 1); n != 2 {
			t.Errorf("after 2 tickets were given back %d are bought", n)
		}
		h.audit()
	})
}

// Where an event has no limits of a person, no order of a person is looked at.
func TestNoPersonLimitsAskForNothing(t *testing.T) {
	o := api.Event{TicketTypes: []api.TicketType{{ID: "tty_a"}, {ID: "tty_b", MaxPerPerson: 2}}}
	row := orderRow{Items: []api.OrderItem{{TicketTypeID: "tty_a", Quantity: 1}}}
	if l := personLimitsOf(&o, row); l != nil {
		t.Errorf("the limits of an order without any are %+v", l)
	}
	row.Items[0].TicketTypeID = "tty_b"
	if l := personLimitsOf(&o, row); l == nil || l.types["tty_b"] != 2 {
		t.Errorf("the limits are %+v", l)
	}
}

// What was kept as a fee before, or went back in part, is not there to go back with the next tickets.
func TestWorthOfWhatIsLeft(t *testing.T) {
	row := orderRow{Total: 200, Items: []api.OrderItem{{Quantity: 2, UnitPrice: api.Money{Amount: 100, Currency: "EUR"}}}}
	second := []ticketRow{{Position: 1}}
	for _, c := range []struct{ refunded, kept, want int64 }{{0, 0, 100}, {80, 20, 100}, {130, 20, 50}, {180, 20, 0},
		{200, 20, 0}} {
		row.Refunded, row.Fee = c.refunded, c.kept
		if refund, fee := worth(row, second, api.CancellationPolicy{}); refund != c.want || fee != 0 {
			t.Errorf("with %d back and %d kept a ticket is worth %d and %d", c.refunded, c.kept, refund, fee)
		}
	}
}
