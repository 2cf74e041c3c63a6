package ticketing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// Whatever is taken out of an order, in whatever parts: no payment gives more than it has paid, the own one is empty
// before a credit is touched, and what is left is what was not taken; the taxes of the parts are those of the whole.
func TestAnyMoneyIsDrawnOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := rapid.Int64Range(0, 5000).Draw(t, "own")
		row := orderRow{Total: own, PaymentID: "pay_own", Currency: "EUR"}
		paid := map[ids.Payment]int64{"pay_own": own}
		for i := range rapid.IntRange(0, 3).Draw(t, "credits") {
			c := credit{Payment: ids.Payment(fmt.Sprintf("pay_%d", i)), Amount: rapid.Int64Range(1, 3000).Draw(t, "credit")}
			row.Exchange.Credits = append(row.Exchange.Credits, c)
			row.Total += c.Amount
			paid[c.Payment] = c.Amount
		}
		gross := row.money(row.Total)
		row.Charges.Taxes = []api.TaxTotal{{Rate: "19", Gross: gross, Net: row.money(row.Total - row.Total/7), Tax: row.money(row.Total / 7)}}
		taken := map[ids.Payment]int64{}
		for row.Refunded < row.Total {
			d := decision{row: row, due: api.RefundDue{RefundID: "rfd_1", Amount: row.money(rapid.Int64Range(1, row.Total-row.Refunded).Draw(t, "amount"))}}
			d.due.Taxes, d.givenBack = price.Refund(row.Charges.Taxes, row.GivenBack, nil, d.due.Amount.Amount)
			d.moved = rapid.Int64Range(0, d.due.Amount.Amount).Draw(t, "moved")
			after, back, moved := d.settle()
			sum := int64(0)
			for _, p := range append(back, moved...) {
				taken[p.payment] += p.amount
				sum += p.amount
				if p.payment != "pay_own" && taken["pay_own"] != own {
					t.Fatalf("%d of %d were taken of the own payment before %s", taken["pay_own"], own, p.payment)
				}
			}
			if sum != d.due.Amount.Amount || after.Refunded != row.Refunded+sum {
				t.Fatalf("%d were taken for %v, and the order has %d", sum, d.due.Amount, after.Refunded)
			}
			leaves, tax := int64(0), int64(0)
			for _, due := range d.dues(back) {
				leaves += due.Amount.Amount
				for _, of := range due.Taxes {
					tax += of.Gross.Amount
				}
			}
			if leaves != sum-d.moved || tax != leaves {
				t.Fatalf("%d of %d leave, by their taxes %d", leaves, sum-d.moved, tax)
			}
			after.GivenBack = d.givenBack
			row = after
		}
		for p, n := range taken {
			if n != paid[p] {
				t.Fatalf("%s has paid %d, and %d were taken", p, paid[p], n)
			}
		}
	})
}

// An exchange that dies at any commit, at once or when its difference is paid, is made or not made: invoices have no
// gap, and the books balance.
func TestExchangesKilledAtEachStep(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		var hook atomic.Pointer[func()]
		h.db.AroundCommit(func(bool) {
			if f := hook.Load(); f != nil {
				(*f)()
			}
		})
		s := h.start()
		o := h.exchangeable(1000, 1000, 1500, 700)
		charge(o)
		invoicing(o)
		captured := map[ids.Payment]int64{}
		killed := func(kill int, user ids.User, step func(context.Context) error) bool {
			ctx, cancel := context.WithCancel(rpc.WithPrincipal(t.Context(), rpc.Principal{User: user}))
			defer cancel()
			var commits atomic.Int32
			count := func() {
				if int(commits.Add(1)) == kill {
					cancel()
				}
			}
			hook.Store(&count)
			_ = step(ctx)
			hook.Store(nil)
			if err := step(rpc.WithPrincipal(t.Context(), rpc.Principal{User: user})); err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Invalid) {
				t.Fatalf("killed at %d: %v", kill, err)
			}
			return int(commits.Load()) >= kill
		}
		for kill, more := 1, true; more; kill++ {
			buyer := person()
			made := must(h.as(buyer), h, api.CreateOrder, order(o, 2)).Order
			first := h.pay(buyer, &made)
			h.becomes(buyer, made.ID, api.OrderPaid)
			captured[first] = made.Total.Amount
			tickets := h.validOf(buyer, made.ID)
			row, err := s.db.order(t.Context(), made.ID)
			if err != nil {
				t.Fatal(err)
			}
			ask := func(typ int, ticket ids.Ticket) func(context.Context) error {
				return func(ctx context.Context) error {
					_, err := s.exchange(ctx, row, &api.ExchangeFor{Tickets: []ids.Ticket{ticket}, TicketTypeID: o.Event.TicketTypes[typ].ID}, false)
					return err
				}
			}
			more = killed(kill, buyer, ask(2, tickets[0])) // cheaper: at once
			more = killed(kill, buyer, ask(1, tickets[1])) || more
			var waits []orderRow
			if err := h.db.Read().NewRaw("SELECT * FROM orders WHERE exchange_of = ? AND status = 'pending'", made.ID).Scan(t.Context(), &waits); err != nil || len(waits) != 1 {
				t.Fatalf("killed at %d, %d exchanges wait: %v", kill, len(waits), err)
			}
			pay := ids.New[ids.PaymentKind](h.clock.Now())
			must(h.as(buyer), h, api.BeginPayment, api.BeginPaymentOf{OrderID: waits[0].ID, PaymentID: pay})
			due := waits[0].order()
			captured[pay] = due.Due.Amount
			p := api.Payment{ID: pay, OrderID: due.ID, UserID: buyer, Amount: due.Due}
			more = killed(kill, buyer, func(ctx context.Context) error { return s.recordPayment(ctx, p) }) || more
			h.becomes(buyer, due.ID, api.OrderPaid)
			if left := h.validOf(buyer, made.ID); len(left) != 0 {
				t.Fatalf("killed at %d, %v are still good", kill, left)
			}
			h.balance()
			if kill > 50 {
				t.Fatal("there is no end of commits")
			}
		}
		h.clock.Advance(2 * freeHold) // what was not confirmed is, by the end of its hold
		h.booksBalance(captured)
	})
}

// Whatever buyers, organizers and the clock do, in whatever order, at two instances: the books balance.
func TestAnyExchangesBalance(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.exchangeable(60, 1000, 1700, 0)
		next := h.anotherDate(o)
		o.Event.OrderRules.Exchange.OtherDates, next.Event.OrderRules.Exchange.OtherDates = true, true
		o.Event.OrderRules.Exchange.FeePerTicket = 30
		for _, e := range []*api.Offer{o, next} {
			e.Event.OrderRules.Cancellation = api.CancellationPolicy{SelfService: true, FeePercent: 10}
		}
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 1))
		buyer := person()
		captured := map[ids.Payment]int64{}
		done := map[string]int{}
		orders := []ids.Order{}
		for range 3 {
			made := must(h.as(buyer), h, api.CreateOrder, order(o, 3)).Order
			captured[h.pay(buyer, &made)] = made.Total.Amount
			h.becomes(buyer, made.ID, api.OrderPaid)
			orders = append(orders, made.ID)
		}
		for range 60 {
			id := orders[rnd.IntN(len(orders))]
			now := must(h.as(buyer), h, api.GetOrder, api.OrderRef{ID: id})
			valid := h.validOf(buyer, id)
			if now.Status != api.OrderPaid || len(valid) == 0 {
				continue
			}
			some := valid[:1+rnd.IntN(len(valid))]
			event := []*api.Offer{o, next}[rnd.IntN(2)]
			payment := now.PaymentID
			if payment == "" && len(now.Credits) > 0 {
				payment = now.Credits[0].PaymentID
			}
			switch op := rnd.IntN(10); {
			case op < 6:
				made, err := h.exchange(buyer, id, event, rnd.IntN(3), some...)
				if err != nil {
					done["refused"]++
					continue
				}
				switch orders = append(orders, made.ID); {
				case made.Status == api.OrderPaid:
					done["at once"]++
				case rnd.IntN(4) == 0:
					done["given up"]++
					must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: made.ID})
				default:
					done["paid"]++
					captured[h.payDue(buyer, &made.Order)] = made.Due.Amount
					h.becomes(buyer, made.ID, api.OrderPaid)
				}
			case op < 8:
				if _, err := do(h.as(buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: id, Tickets: some[:1]}); err == nil {
					done["cancelled"]++
				}
			case payment != "":
				owner := ownerOf(o)
				req := api.RefundOrder{RefundID: ids.New[ids.RefundKind](h.clock.Now()), OrderID: id, PaymentID: payment, Tickets: some[:1]}
				if rnd.IntN(2) == 0 {
					amount := eur(1 + rnd.Int64N(600))
					req.Tickets, req.Amount = nil, &amount
				}
				if _, err := do(h.as(owner), h, api.DecideRefund, req); err == nil {
					done["refunded"]++
				} else if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Conflict) {
					t.Errorf("a refund: %v", err)
				}
			}
		}
		t.Log(done)
		if done["at once"] == 0 || done["paid"] == 0 {
			t.Errorf("too little was done: %v", done)
		}
		h.booksBalance(captured)
	})
}
