package ticketing

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Whatever buyers and organizers do, in any order, and wherever a step dies and is tried again: after each step the
// seats of types, quotas, stages and codes are those of a simple model, the records agree, and the books balance.
//
// More of it: go test -run TestAnyStory ./svc/ticketing -rapid.checks=1000
func TestAnyStory(t *testing.T) {
	few := flag.Lookup("rapid.checks")
	if few.Value.String() == few.DefValue {
		if err := few.Value.Set("6"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = few.Value.Set(few.DefValue) })
	}
	each(t, func(t *testing.T, h *harness) {
		var atCommit atomic.Pointer[func()]
		h.db.AroundCommit(func(bool) {
			if f := atCommit.Load(); f != nil {
				(*f)()
			}
		})
		s := h.start()
		rapid.Check(t, func(t *rapid.T) {
			newStory(t, h, s, &atCommit).run(t)
		})
	})
}

// story is an event of two ticket types and a dinner, which comes with tickets of the second, and what is expected of
// it.
type story struct {
	h        *harness
	s        *Service
	atCommit *atomic.Pointer[func()]

	offer    *api.Offer
	quantity [2]int // of its types
	hall     int    // what both may have together
	dinners  int    // that there are, bought by themselves or with tickets
	early    int    // tickets of the first type with the price of its stage
	uses     int    // of the code
	orders   []*told
}

// told is an order of the story.
type told struct {
	bought
	kind   int          // which type
	code   bool         // whether it uses the code
	seats  int          // that it has
	extra  []api.Ticket // dinners that were bought by themselves
	extras int          // how many of them it has
	from   *told        // whose first tickets it is exchanged for, once it is paid
}

const storyCode = "early-riser"

func newStory(t *rapid.T, h *harness, s *Service, atCommit *atomic.Pointer[func()]) *story {
	st := &story{h: h, s: s, atCommit: atCommit,
		quantity: [2]int{rapid.IntRange(1, 6).Draw(t, "first"), rapid.IntRange(1, 6).Draw(t, "second")},
		hall:     rapid.IntRange(1, 9).Draw(t, "hall"), early: rapid.IntRange(1, 4).Draw(t, "early"),
		uses: rapid.IntRange(1, 3).Draw(t, "uses")}
	o := h.publish(6, 2000, 1234)
	for i := range o.Event.TicketTypes {
		o.Event.TicketTypes[i].Quantity = st.quantity[i]
	}
	charge(o)
	invoicing(o)
	h.share(o, st.hall)
	st.dinners = rapid.IntRange(0, 8).Draw(t, "dinners")
	dinner := api.TicketType{ID: ids.New[ids.TicketTypeKind](h.clock.Now()), Kind: api.KindProduct, Name: "Dinner",
		Per: api.PerOrder, Price: eur(799), Quantity: st.dinners, Tax: api.Tax{Name: "VAT", Rate: "7", Included: true}}
	o.Event.TicketTypes = append(o.Event.TicketTypes, dinner)
	o.Event.TicketTypes[1].Includes = []api.IncludedProduct{{TicketTypeID: dinner.ID, Quantity: 1, Price: eur(333)}}
	h.stage(o, api.Stage{Name: "Early", Quantity: st.early}, 1500)
	o.Event.OrderRules.Exchange = api.ExchangePolicy{SelfService: true, OtherTypes: true, Cheaper: true}
	o.Event.OrderRules.Cancellation = api.CancellationPolicy{SelfService: true, FeePercent: 10}
	terms := percent("33.33")
	terms.MaxUses = st.uses
	h.code(o, storyCode, terms)
	st.offer = o
	return st
}

func (st *story) run(t *rapid.T) {
	t.Repeat(map[string]func(*rapid.T){
		"":         st.check,
		"order":    st.order,
		"pay":      st.pay,
		"late":     st.payLate,
		"cancel":   st.cancel,
		"expire":   st.expire,
		"refund":   st.refund,
		"money":    st.refundMoney,
		"product":  st.refundProduct,
		"return":   st.giveBack,
		"exchange": st.exchange,
		"resize":   st.resize,
		"lose":     st.lose,
	})
}

// free returns how many more tickets of a type can be had.
func (st *story) free(kind int) int {
	used, all := 0, 0
	for _, o := range st.orders {
		if all += o.seats; o.kind == kind {
			used += o.seats
		}
	}
	left := min(st.quantity[kind]-used, st.hall-all)
	if kind == 1 {
		left = min(left, st.dinnersLeft())
	}
	return left
}

// meals returns how many dinners an order has.
func (o *told) meals() int { return o.extras + o.kind*o.seats }

func (st *story) dinnersLeft() int {
	left := st.dinners
	for _, o := range st.orders {
		left -= o.meals()
	}
	return left
}

// load reads the tickets of a paid order.
func (st *story) load(t *rapid.T, o *told) {
	o.tickets, o.extra = nil, nil
	products := 0
	for _, ticket := range must(st.h.as(o.buyer), st.h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items {
		if ticket.Kind != api.KindProduct {
			o.tickets = append(o.tickets, ticket)
			continue
		}
		if products++; products <= o.extras {
			o.extra = append(o.extra, ticket)
		}
	}
	if len(o.tickets) != o.seats || products != o.meals() {
		t.Fatalf("%d tickets for %d seats, and %d dinners for %d", len(o.tickets), o.seats, products, o.meals())
	}
}

// used returns how often the code is used.
func (st *story) used() (n int) {
	for _, o := range st.orders {
		if o.code && o.seats+o.extras > 0 {
			n++
		}
	}
	return n
}

// atStage returns how many tickets have the price of the stage.
func (st *story) atStage() (n int) {
	for _, o := range st.orders {
		if o.Items[0].StageID != "" {
			n += o.seats
		}
	}
	return n
}

// pick returns one of the orders that the step is for.
func (st *story) pick(t *rapid.T, fit func(*told) bool) *told {
	some := slices.DeleteFunc(slices.Clone(st.orders), func(o *told) bool { return !fit(o) })
	if len(some) == 0 {
		t.Skip("there is no such order")
	}
	return rapid.SampledFrom(some).Draw(t, "which")
}

// has returns which orders have a status and seats, and no exchange of theirs that waits to be paid.
func (st *story) has(status string) func(*told) bool {
	return func(o *told) bool {
		waits := slices.ContainsFunc(st.orders, func(x *told) bool { return x.from == o && x.Status == api.OrderPending })
		return o.Status == status && o.seats > 0 && !waits
	}
}

// first returns which of the paid orders are no exchanges: refunds are of one payment.
func (st *story) first(o *told) bool { return st.has(api.OrderPaid)(o) && o.from == nil }

// killed does a step that dies before or after one of its commits, and then once more.
func (st *story) killed(t *rapid.T, step func(context.Context) error) {
	kill := rapid.IntRange(0, 4).Draw(t, "dies at") // 0: not at all
	as := rpc.WithPrincipal(t.Context(), rpc.Principal{User: ownerOf(st.offer)})
	if kill > 0 {
		ctx, cancel := context.WithCancel(as)
		defer cancel()
		var commits atomic.Int32
		count := func() {
			if int(commits.Add(1)) == kill {
				cancel()
			}
		}
		st.atCommit.Store(&count)
		_ = step(ctx)
		st.atCommit.Store(nil)
	}
	if err := step(as); err != nil {
		t.Fatal(err)
	}
}

func (st *story) order(t *rapid.T) {
	o := &told{kind: rapid.IntRange(0, 1).Draw(t, "type"), seats: rapid.IntRange(1, 3).Draw(t, "seats"),
		code: rapid.Bool().Draw(t, "code"), extras: rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "dinners")}
	req := api.NewOrder{EventID: st.offer.Event.ID, Billing: billing(), Items: []api.NewOrderItem{{
		TicketTypeID: st.offer.Event.TicketTypes[o.kind].ID, Quantity: o.seats}}}
	if o.extras > 0 {
		req.Items = append(req.Items, api.NewOrderItem{TicketTypeID: st.offer.Event.TicketTypes[2].ID, Quantity: o.extras})
	}
	if o.code {
		req.PromoCode = storyCode
	}
	o.buyer = person()
	made, err := st.h.createWithRetry(o.buyer, req)
	if fits := o.seats <= st.free(o.kind) && o.meals() <= st.dinnersLeft() && (!o.code || st.used() < st.uses); fits != (err == nil) ||
		!fits && !fault.Is(err, fault.SoldOut) {
		t.Fatalf("an order of %d of type %d and %d dinners, code %v, when %d and %d are left: %v", o.seats, o.kind, o.meals(),
			o.code, st.free(o.kind), st.dinnersLeft(), err)
	}
	if err == nil {
		o.Order = made
		st.orders = append(st.orders, o)
	}
}

// receive tells that an order is paid.
func (st *story) receive(t *rapid.T, o *told) {
	o.payment = ids.New[ids.PaymentKind](st.h.clock.Now())
	p := api.Payment{ID: o.payment, OrderID: o.ID, UserID: o.buyer, Amount: o.ToPay(), Status: api.PaymentSucceeded}
	st.killed(t, func(ctx context.Context) error { return st.s.recordPayment(ctx, p) })
}

func (st *story) pay(t *rapid.T) {
	o := st.pick(t, st.has(api.OrderPending))
	st.receive(t, o)
	o.Order = st.h.becomes(o.buyer, o.ID, api.OrderPaid)
	st.load(t, o)
	if o.from != nil {
		st.gone(o.from, o.seats)
	}
}

// exchange is a buyer who exchanges tickets for those of the other type: at once, or when the difference is paid.
func (st *story) exchange(t *rapid.T) {
	from := st.pick(t, st.has(api.OrderPaid))
	o := &told{kind: 1 - from.kind, seats: rapid.IntRange(1, len(from.tickets)).Draw(t, "tickets"), from: from}
	var some []ids.Ticket
	for _, ticket := range from.tickets[:o.seats] {
		some = append(some, ticket.ID)
	}
	made, err := st.h.exchange(from.buyer, from.ID, st.offer, o.kind, some...)
	if fits := o.seats <= st.free(o.kind); fits != (err == nil) || !fits && !fault.Is(err, fault.SoldOut) {
		t.Fatalf("an exchange for %d of type %d, when %d are left: %v", o.seats, o.kind, st.free(o.kind), err)
	}
	if err != nil {
		return
	}
	o.buyer, o.Order = from.buyer, &made.Order
	if st.orders = append(st.orders, o); o.Status == api.OrderPaid {
		st.load(t, o)
		st.gone(from, o.seats)
	}
}

// payLate pays an order that has lost its seats: it has them again if they are free, at its price, and else the money
// goes back.
func (st *story) payLate(t *rapid.T) {
	o := st.pick(t, func(o *told) bool { return o.Status == api.OrderExpired && o.from == nil })
	n, extras := o.Items[0].Quantity, 0
	for _, item := range o.Items {
		if item.IsProduct() && item.IncludedInID == "" {
			extras = item.Quantity
		}
	}
	want := api.OrderRefunding
	atItsPrice := o.Items[0].StageID == "" || n <= st.early-st.atStage()
	if n <= st.free(o.kind) && extras+o.kind*n <= st.dinnersLeft() && atItsPrice && (!o.code || st.used() < st.uses) {
		want = api.OrderPaid
	}
	st.receive(t, o)
	if o.Order = st.h.becomes(o.buyer, o.ID, want); want == api.OrderPaid {
		o.seats, o.extras = n, extras
		st.load(t, o)
	}
}

func (st *story) cancel(t *rapid.T) {
	o := st.pick(t, st.has(api.OrderPending))
	o.Order = must(st.h.as(o.buyer), st.h, api.CancelOrder, api.OrderRef{ID: o.ID})
	o.seats, o.extras = 0, 0
	if o.Status != api.OrderCancelled {
		t.Fatalf("it is %s", o.Status)
	}
}

// expire lets time pass until all holds are over.
func (st *story) expire(t *rapid.T) {
	pending := st.has(api.OrderPending)
	st.pick(t, pending)
	st.h.clock.Advance(2 * time.Minute)
	for _, o := range st.orders {
		if pending(o) {
			o.Order = st.h.becomes(o.buyer, o.ID, api.OrderExpired)
			o.seats, o.extras = 0, 0
		}
	}
}

// refund refunds some tickets, or all.
func (st *story) refund(t *rapid.T) {
	o := st.pick(t, st.first)
	n := rapid.IntRange(1, len(o.tickets)).Draw(t, "tickets")
	var some []ids.Ticket
	for _, ticket := range o.tickets[:n] {
		some = append(some, ticket.ID)
	}
	req := o.bought.refund(nil, some...)
	st.killed(t, func(ctx context.Context) error {
		_, err := st.s.decideRefund(ctx, &req)
		return err
	})
	st.gone(o, n)
}

// refundProduct refunds a dinner that was bought by itself, of an order that may have no tickets any more.
func (st *story) refundProduct(t *rapid.T) {
	o := st.pick(t, func(o *told) bool { return o.Status == api.OrderPaid && len(o.extra) > 0 && o.from == nil })
	req := o.bought.refund(nil, o.extra[0].ID)
	st.killed(t, func(ctx context.Context) error {
		_, err := st.s.decideRefund(ctx, &req)
		return err
	})
	o.extra, o.extras = o.extra[1:], o.extras-1
	st.gone(o, 0)
}

// gone says that an order has lost its first n tickets.
func (st *story) gone(o *told, n int) {
	o.tickets, o.seats = o.tickets[n:], o.seats-n
	o.Order = must(st.h.as(o.buyer), st.h, api.GetOrder, api.OrderRef{ID: o.ID})
}

// refundMoney sends a cent back, for which nobody loses a seat.
func (st *story) refundMoney(t *rapid.T) {
	o := st.pick(t, func(o *told) bool { return st.first(o) && o.Total.Amount > o.Refunded.Amount+100 })
	amount := eur(rapid.Int64Range(1, 50).Draw(t, "cents"))
	req := o.bought.refund(&amount)
	st.killed(t, func(ctx context.Context) error {
		_, err := st.s.decideRefund(ctx, &req)
		return err
	})
	st.gone(o, 0)
}

// giveBack is a buyer who gives a ticket back for less than it cost.
func (st *story) giveBack(t *rapid.T) {
	o := st.pick(t, st.has(api.OrderPaid))
	back := []ids.Ticket{o.tickets[0].ID}
	if o.seats == 1 { // no dinner stays without a ticket
		for _, dinner := range o.extra {
			back = append(back, dinner.ID)
		}
		o.extra, o.extras = nil, 0
	}
	must(st.h.as(o.buyer), st.h, api.CreateCancellation, api.NewCancellation{OrderID: o.ID, Tickets: back})
	st.gone(o, 1)
}

// resize makes the hall larger or smaller, but never smaller than what is in it.
func (st *story) resize(t *rapid.T) {
	hall := rapid.IntRange(1, 9).Draw(t, "hall")
	all := 0
	for _, o := range st.orders {
		all += o.seats
	}
	shares := st.offer.Event.QuotaShares()
	shares[0].Capacity = hall
	e := &st.offer.Event
	e.Revision++
	quantities := map[ids.TicketType]int{e.TicketTypes[0].ID: st.quantity[0], e.TicketTypes[1].ID: st.quantity[1],
		e.TicketTypes[2].ID: st.dinners}
	_, err := do(t.Context(), st.h, api.ResizeInventory, api.Resize{EventID: e.ID, Revision: e.Revision,
		Quantities: quantities, Quotas: shares})
	if all > hall != fault.Is(err, fault.Conflict) || all <= hall && err != nil {
		t.Fatalf("a hall of %d for %d: %v", hall, all, err)
	}
	if err == nil {
		st.hall, e.Quotas[0].Capacity = hall, hall
	}
}

// lose empties the inventory, which is made again from the orders of all events.
func (st *story) lose(t *rapid.T) {
	st.h.emptyInventory()
	for all := (api.RebuildOf{}); ; {
		if all.After = must(t.Context(), st.h, api.RebuildInventory, all).EventID; all.After == "" {
			return
		}
	}
}

// check compares the system with the model.
func (st *story) check(t *rapid.T) {
	var held, sold [3]int
	for _, o := range st.orders {
		of := &sold
		if o.Status == api.OrderPending {
			of = &held
		}
		of[o.kind] += o.seats
		of[2] += o.meals()
	}
	left := []int{st.free(0), st.free(1), st.dinnersLeft()}
	testkit.Eventually(st.h.t, 15*time.Second, func() error {
		got := must(t.Context(), st.h, api.GetAvailability, api.AvailabilityQuery{ID: st.offer.Event.ID})
		for i, a := range got.TicketTypes {
			if a.Available != left[i] || len(st.orders) > 0 && (a.Held != held[i] || a.Sold != sold[i]) {
				return fmt.Errorf("type %d: %+v, want %d held, %d sold, %d left", i, a, held[i], sold[i], left[i])
			}
		}
		return nil
	})
	if early := st.atStage(); early > st.early {
		t.Fatalf("%d tickets have the price of a stage of %d", early, st.early)
	}
	codes := must(st.h.as(ownerOf(st.offer)), st.h, api.ListPromoCodes, api.PromoCodeQuery{EventID: st.offer.Event.ID}).Items
	if codes[0].Used != st.used() {
		t.Fatalf("the code is used %d times, want %d", codes[0].Used, st.used())
	}
	st.h.audit()
	st.h.balance()
	if st.h.t.Failed() {
		t.FailNow()
	}
}
