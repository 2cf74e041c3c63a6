package ticketing

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// bought is a paid order.
type bought struct {
	*api.Order
	buyer   ids.User
	payment ids.Payment
	tickets []api.Ticket
}

func (h *harness) buy(offer *api.Offer, n int) bought {
	h.t.Helper()
	buyer := person()
	o := must(h.as(buyer), h, api.CreateOrder, order(offer, n))
	b := bought{buyer: buyer}
	if o.Total.Amount > 0 {
		b.payment = h.pay(buyer, &o.Order)
	}
	b.Order = h.becomes(buyer, o.ID, api.OrderPaid)
	b.tickets = must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items
	return b
}

func (b bought) refund(amount *api.Money, tickets ...ids.Ticket) api.RefundOrder {
	return api.RefundOrder{RefundID: ids.New[ids.RefundKind](time.Now()), OrderID: b.ID, PaymentID: b.payment,
		Amount: amount, Tickets: tickets}
}

// sold waits until that many tickets of the event's first type are sold.
func (h *harness) sold(offer *api.Offer, want int) {
	h.t.Helper()
	testkit.Eventually(h.t, 15*time.Second, func() error {
		got := must(h.as(ownerOf(offer)), h, api.GetAvailability,
			api.AvailabilityQuery{ID: offer.Event.ID}).TicketTypes[0]
		if got.Sold != want || got.Held != 0 {
			return fmt.Errorf("sold %d, held %d, want %d and 0", got.Sold, got.Held, want)
		}
		return nil
	})
}

func TestRefunds(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 1000)
		organizer := h.as(ownerOf(offer))
		b := h.buy(offer, 3)
		euro := func(n int64) api.Money { return api.Money{Amount: n, Currency: "EUR"} }

		// Who may, and what makes no sense.
		if _, err := do(h.as(b.buyer), h, api.DecideRefund, b.refund(nil)); !fault.Is(err, fault.Forbidden) {
			t.Errorf("the buyer refunds: %v", err)
		}
		if err := h.live.Change(api.RefundStepUp.Is(2999)); err != nil {
			t.Fatal(err)
		}
		if _, err := do(organizer, h, api.DecideRefund, b.refund(nil)); !fault.Is(err, fault.Forbidden) ||
			fault.From(err).Fields[0].Field != "step_up" {
			t.Errorf("a large refund without a fresh proof: %v", err)
		}
		if err := h.live.Change(api.RefundStepUp.Is(3000)); err != nil {
			t.Fatal(err)
		}
		other := h.buy(offer, 1)
		tooMuch, dollars, nothing, some := euro(3001), api.Money{Amount: 1, Currency: "USD"}, euro(0), euro(500)
		for name, req := range map[string]api.RefundOrder{
			"too much":           b.refund(&tooMuch),
			"another currency":   b.refund(&dollars),
			"nothing":            b.refund(&nothing),
			"tickets and amount": b.refund(&some, b.tickets[0].ID),
			"a foreign ticket":   b.refund(nil, other.tickets[0].ID),
			"a ticket twice":     b.refund(nil, b.tickets[0].ID, b.tickets[0].ID),
		} {
			if _, err := do(organizer, h, api.DecideRefund, req); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		wrong := b.refund(nil)
		wrong.PaymentID = other.payment
		if _, err := do(organizer, h, api.DecideRefund, wrong); !fault.Is(err, fault.Conflict) {
			t.Errorf("refund of another payment: %v", err)
		}
		h.sold(offer, 4)

		// A part of the money: the tickets stay.
		req := b.refund(&some)
		for range 2 { // asked again, it is the same refund
			if due := must(organizer, h, api.DecideRefund, req); due.Amount != some || len(due.Tickets) != 0 {
				t.Errorf("refund of a part: %+v", due)
			}
		}
		if got := h.becomes(b.buyer, b.ID, api.OrderPaid); got.Refunded != some {
			t.Errorf("refunded %v", got.Refunded)
		}
		h.sold(offer, 4)

		// A ticket: it is revoked, and its seat comes back.
		if due := must(organizer, h, api.DecideRefund, b.refund(nil, b.tickets[1].ID)); due.Amount != euro(1000) ||
			len(due.Tickets) != 1 {
			t.Errorf("refund of a ticket: %+v", due)
		}
		h.sold(offer, 3)
		got := must(organizer, h, api.AdmitTicket, api.Admission{EventID: offer.Event.ID, Code: b.tickets[1].Code})
		if got.Result != api.RevokedTicket {
			t.Errorf("the refunded ticket is %s", got.Result)
		}
		if _, err := do(organizer, h, api.DecideRefund, b.refund(nil, b.tickets[1].ID)); !fault.Is(err, fault.Invalid) {
			t.Errorf("a ticket refunded twice: %v", err)
		}
		h.audit()

		// The rest.
		if due := must(organizer, h, api.DecideRefund, b.refund(nil)); due.Amount != euro(1500) ||
			len(due.Tickets) != 2 {
			t.Errorf("refund of the rest: %+v", due)
		}
		if got := h.becomes(b.buyer, b.ID, api.OrderRefunding); got.Refunded != euro(3000) {
			t.Errorf("refunded %v", got.Refunded)
		}
		if _, err := do(organizer, h, api.DecideRefund, b.refund(nil)); !fault.Is(err, fault.Conflict) {
			t.Errorf("refund of a refunded order: %v", err)
		}
		h.sold(offer, 1)
		h.paid(b.Order, b.payment) // told again, long after: nothing is owed for it
		h.announce(api.PaymentWasRefunded.Subject,
			api.PaymentEvent{Payment: api.Payment{ID: b.payment, OrderID: b.ID, UserID: b.buyer, Amount: b.Total}})
		h.becomes(b.buyer, b.ID, api.OrderRefunded)
		h.audit()
		testkit.Eventually(t, 15*time.Second, func() error {
			if due, revoked := len(h.published(api.OrderRefundDue.Subject)),
				len(h.published(api.TicketWasRevoked.Subject)); due != 3 || revoked != 3 {
				return fmt.Errorf("%d refunds were told, and %d revoked tickets", due, revoked)
			}
			return nil
		})
	})
}

// Many refunds of one order at once never give back more than was paid, nor a seat twice.
func TestRefundsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer := h.publish(10, 1000)
		b := h.buy(offer, 8)
		var wg sync.WaitGroup
		for _, ticket := range b.tickets[:6] {
			wg.Go(func() {
				if _, err := do(h.as(ownerOf(offer)), h, api.DecideRefund,
					b.refund(nil, ticket.ID)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		h.sold(offer, 2)
		if got := h.becomes(b.buyer, b.ID, api.OrderPaid); got.Refunded.Amount != 6000 {
			t.Errorf("refunded %v", got.Refunded)
		}
		h.audit()
	})
}

// The process ends between the decision and the inventory: SQL remembers that seats have to come back.
func TestSeatsComeBackAfterACrash(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer := h.publish(10, 1000)
		b := h.buy(offer, 2)
		req := b.refund(nil, b.tickets[0].ID)
		if _, err := s.db.refund(t.Context(), &req, math.MaxInt64, h.clock.Now()); err != nil {
			t.Fatal(err)
		}
		h.sold(offer, 1)
		h.audit()
	})
}

func TestFreeOrderIsGivenUp(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(3, 0)
		b := h.buy(offer, 2)
		if got := must(h.as(b.buyer), h, api.CancelOrder, api.OrderRef{ID: b.ID}); got.Status != api.OrderCancelled {
			t.Errorf("order is %s", got.Status)
		}
		h.sold(offer, 0)
		used := h.buy(offer, 1)
		must(h.as(ownerOf(offer)), h, api.AdmitTicket,
			api.Admission{EventID: offer.Event.ID, Code: used.tickets[0].Code})
		if _, err := do(h.as(used.buyer), h, api.CancelOrder, api.OrderRef{ID: used.ID}); !fault.Is(err,
			fault.Conflict) {
			t.Errorf("an order that was used is given up: %v", err)
		}
		paid := h.buy(h.publish(1, 1000), 1)
		if _, err := do(h.as(paid.buyer), h, api.CancelOrder, api.OrderRef{ID: paid.ID}); !fault.Is(err,
			fault.Conflict) {
			t.Errorf("a paid order is given up: %v", err)
		}
		h.audit()
	})
}

// Every order of a cancelled event goes back, whatever state it is in, and what is paid a moment later goes back too.
func TestCancelledEventGivesAllBack(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer, free := h.publish(300, 1000), h.publish(5, 0)
		var paid []bought
		for range 3 {
			paid = append(paid, h.buy(offer, 2))
		}
		part := api.Money{Amount: 300, Currency: "EUR"}
		must(h.as(ownerOf(offer)), h, api.DecideRefund, paid[0].refund(&part))
		gratis := h.buy(free, 2)
		pending := person()
		waiting := must(h.as(pending), h, api.CreateOrder, order(offer, 1))
		paying := person()
		tied := must(h.as(paying), h, api.CreateOrder, order(offer, 1))
		payment := ids.New[ids.PaymentKind](h.clock.Now())
		must(h.as(paying), h, api.BeginPayment, api.BeginPaymentOf{OrderID: tied.ID, PaymentID: payment})
		h.mu.Lock()
		h.unpaid[tied.ID] = true // the provider says that it has just been paid
		h.mu.Unlock()

		for _, o := range []*api.Offer{offer, free} {
			h.change(o.Event.ID, api.EventWasCancelled.Subject,
				func(o *api.Offer) { o.Event.Status = api.EventCancelled })
		}
		for _, b := range paid {
			if got := h.becomes(b.buyer, b.ID, api.OrderRefunding); got.Refunded != b.Total {
				t.Errorf("refunded %v of %v", got.Refunded, b.Total)
			}
		}
		h.becomes(gratis.buyer, gratis.ID, api.OrderCancelled)
		h.becomes(pending, waiting.ID, api.OrderCancelled)
		h.paid(&tied.Order, payment)
		h.becomes(paying, tied.ID, api.OrderRefunding)
		h.sold(offer, 0)
		h.sold(free, 0)
		h.audit()
		testkit.Eventually(t, 15*time.Second, func() error {
			if got := len(h.published(api.OrderRefundDue.Subject)); got != 5 {
				return fmt.Errorf("%d refunds are due, want 5", got)
			}
			return nil
		})
	})
}

// An order that may be paid at this moment keeps its seats beyond its time: until the payment has been ended, and at
// most for the grace.
func TestHoldOutlivesItsPayment(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(2, 1000)
		begin := func() (ids.User, *api.Order) {
			buyer := person()
			o := must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
			must(h.as(buyer), h, api.BeginPayment,
				api.BeginPaymentOf{OrderID: o.ID, PaymentID: ids.New[ids.PaymentKind](h.clock.Now())})
			return buyer, &o.Order
		}
		set := func(away bool) { h.mu.Lock(); h.away = away; h.mu.Unlock() }

		set(true)
		buyer, o := begin()
		if _, err := do(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: o.ID}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("cancelled while the payment cannot be ended: %v", err)
		}
		h.clock.Advance(2 * time.Minute)
		fresh, free := person(), must(h.as(person()), h, api.CreateOrder, order(offer, 1)) // nobody pays for this one
		h.clock.Advance(2 * time.Minute)
		h.becomes(free.UserID, free.ID, api.OrderExpired)
		h.becomes(buyer, o.ID, api.OrderPending)
		must(h.as(fresh), h, api.CreateOrder, order(offer, 1))
		if _, err := do(h.as(person()), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("the seat of a payment under way is sold: %v", err)
		}
		set(false)
		h.clock.Advance(time.Minute)
		h.becomes(buyer, o.ID, api.OrderExpired)

		set(true)
		buyer, o = begin()
		h.clock.Advance(api.PaymentGrace.Get(h.live) + 2*time.Minute)
		h.becomes(buyer, o.ID, api.OrderExpired)
		h.audit()
	})
}

// A payment that takes its time keeps the seats for that long, and never beyond the beginning of the event.
func TestSlowPaymentKeepsTheSeats(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(2, 1000)
		begin := func(o *api.Order, until time.Time) *api.Payable {
			return must(h.as(o.UserID), h, api.BeginPayment,
				api.BeginPaymentOf{OrderID: o.ID, PaymentID: ids.New[ids.PaymentKind](h.clock.Now()),
					HoldUntil: &until})
		}
		slow := must(h.as(person()), h, api.CreateOrder, order(offer, 1))
		until := h.clock.Now().Add(7 * 24 * time.Hour)
		if got := begin(&slow.Order, until).Order.ExpiresAt; !got.Equal(until) {
			t.Errorf("the order is held until %v, want %v", got, until)
		}
		if got := begin(&slow.Order, h.clock.Now().Add(time.Second)).Order.ExpiresAt; !got.Equal(until) {
			t.Errorf("another payment has shortened the hold to %v", got)
		}
		quick := must(h.as(person()), h, api.CreateOrder, order(offer, 1))
		if got := begin(&quick.Order, h.clock.Now().AddDate(1, 0, 0)).Order.ExpiresAt; !got.Equal(offer.Event.StartsAt) {
			t.Errorf("the order is held until %v, and the event begins %v", got, offer.Event.StartsAt)
		}
		h.clock.Advance(6 * 24 * time.Hour)
		if _, err := do(h.as(person()), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("a seat that is being paid is sold: %v", err)
		}
		h.clock.Advance(25 * time.Hour)
		h.becomes(slow.UserID, slow.ID, api.OrderExpired)
		h.becomes(quick.UserID, quick.ID, api.OrderPending)
		h.audit()
	})
}

// A refund of all that is left, given as an amount, is a refund of all. With keep_tickets the tickets stay, and can be
// revoked later, though no money goes back with them.
func TestRefundOfTheWholeSum(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(20, 1000)
		organizer := h.as(ownerOf(offer))
		whole := api.Money{Amount: 2000, Currency: "EUR"}

		b := h.buy(offer, 2)
		if due := must(organizer, h, api.DecideRefund, b.refund(&whole)); due.Amount != whole || len(due.Tickets) != 2 {
			t.Errorf("the whole sum: %+v", due)
		}
		h.becomes(b.buyer, b.ID, api.OrderRefunding)
		h.sold(offer, 0)

		keep := func(b bought, amount *api.Money) {
			t.Helper()
			req := b.refund(amount)
			req.KeepTickets = true
			if due := must(organizer, h, api.DecideRefund, req); due.Amount != whole || len(due.Tickets) != 0 {
				t.Errorf("the whole sum, and the tickets stay: %+v", due)
			}
			if got := h.becomes(b.buyer, b.ID, api.OrderPaid); got.Refunded != whole {
				t.Errorf("refunded %v", got.Refunded)
			}
			req = b.refund(amount)
			req.KeepTickets = true
			if _, err := do(organizer, h, api.DecideRefund, req); !fault.Is(err, fault.Conflict) {
				t.Errorf("the whole sum twice: %v", err)
			}
		}
		one := h.buy(offer, 2)
		keep(one, &whole)
		req := one.refund(nil, one.tickets[0].ID)
		for range 2 { // asked again, it is the same decision
			if due := must(organizer, h, api.DecideRefund, req); due.Amount.Amount != 0 || len(due.Tickets) != 1 {
				t.Errorf("a ticket whose money is back: %+v", due)
			}
		}
		h.sold(offer, 1)
		if due := must(organizer, h, api.DecideRefund, one.refund(nil)); due.Amount.Amount != 0 ||
			len(due.Tickets) != 1 {
			t.Errorf("the last ticket: %+v", due)
		}
		h.becomes(one.buyer, one.ID, api.OrderRefunded)

		two := h.buy(offer, 2)
		keep(two, nil)
		if got := must(h.as(two.buyer), h, api.CancelOrder, api.OrderRef{ID: two.ID}); got.Status != api.OrderRefunded {
			t.Errorf("given up, an order whose money is back is %s", got.Status)
		}
		h.sold(offer, 0)
		h.audit()
		testkit.Eventually(t, 15*time.Second, func() error {
			if due, revoked := len(h.published(api.OrderRefundDue.Subject)),
				len(h.published(api.TicketWasRevoked.Subject)); due != 3 || revoked != 6 {
				return fmt.Errorf("%d refunds were told, and %d revoked tickets", due, revoked)
			}
			return nil
		})
	})
}

// The guest of an admitted ticket that is refunded may still be inside: the seat is not sold again.
func TestSeatOfAnAdmittedTicketIsNotSoldAgain(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(2, 1000)
		b := h.buy(offer, 2)
		must(h.as(ownerOf(offer)), h, api.AdmitTicket,
			api.Admission{EventID: offer.Event.ID, Code: b.tickets[0].Code})
		if due := must(h.as(ownerOf(offer)), h, api.DecideRefund, b.refund(nil)); due.Amount != b.Total ||
			len(due.Tickets) != 2 {
			t.Errorf("refund: %+v", due)
		}
		h.sold(offer, 1)
		must(h.as(person()), h, api.CreateOrder, order(offer, 1))
		if _, err := do(h.as(person()), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("the seat of a guest who is inside is sold: %v", err)
		}
		h.paid(b.Order, ids.New[ids.PaymentKind](h.clock.Now())) // money that comes late for it changes nothing there
		testkit.Eventually(t, 15*time.Second, func() error {
			if got := len(h.published(api.OrderRefundDue.Subject)); got != 2 {
				return fmt.Errorf("%d refunds are due, want 2", got)
			}
			return nil
		})
		h.audit()
	})
}

// Many small refunds of a day count as one, for one person and currency. One with a fresh proof does not count.
func TestSmallRefundsAddUp(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.clock.Set(h.clock.Now().UTC().Truncate(24 * time.Hour).Add(time.Hour))
		offer := h.publish(10, 1000)
		b := h.buy(offer, 5)
		if err := h.live.Change(api.RefundStepUp.Is(2000)); err != nil {
			t.Fatal(err)
		}
		organizer := ownerOf(offer)
		give := func(ctx context.Context, amount int64) (api.RefundOrder, error) {
			req := b.refund(&api.Money{Amount: amount, Currency: "EUR"})
			_, err := do(ctx, h, api.DecideRefund, req)
			return req, err
		}
		first, err := give(h.as(organizer), 1500)
		if err != nil {
			t.Fatal(err)
		}
		must(h.as(organizer), h, api.DecideRefund, first) // asked again, it counts once
		if _, err := give(h.as(organizer), 500); err != nil {
			t.Errorf("as much as goes: %v", err)
		}
		for range 2 { // what was refused does not count
			if _, err := give(h.as(organizer), 1); !fault.Is(err, fault.Forbidden) || fault.From(err).Fields[0].Field != "step_up" {
				t.Errorf("one more: %v", err)
			}
		}
		if _, err := give(h.as(person(), rpc.RoleAdmin), 100); err != nil {
			t.Errorf("by another person: %v", err)
		}
		fresh := rpc.WithPrincipal(t.Context(), rpc.Principal{User: organizer, Fresh: true})
		if _, err := give(fresh, 1000); err != nil {
			t.Errorf("with a fresh proof: %v", err)
		}
		h.clock.Advance(24 * time.Hour)
		if _, err := give(h.as(organizer), 100); err != nil {
			t.Errorf("a day later: %v", err)
		}
	})
}
