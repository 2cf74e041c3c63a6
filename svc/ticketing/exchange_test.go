package ticketing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
)

// exchangeable is an event whose buyers exchange tickets as they like.
func (h *harness) exchangeable(quantity int, prices ...int64) *api.Offer {
	o := h.publish(quantity, prices...)
	o.Event.OrderRules.Exchange = api.ExchangePolicy{SelfService: true, OtherTypes: true, Cheaper: true}
	return o
}

// anotherDate makes another date of an event's series, with the same prices.
func (h *harness) anotherDate(o *api.Offer) *api.Offer {
	if o.Event.SeriesID == "" {
		o.Event.SeriesID = ids.New[ids.SeriesKind](h.clock.Now())
	}
	next := h.publish(o.Event.TicketTypes[0].Quantity)
	next.Organizer, next.Event.OrganizerID = o.Organizer, o.Event.OrganizerID
	next.Event.SeriesID, next.Event.OrderRules = o.Event.SeriesID, o.Event.OrderRules
	next.Event.StartsAt, next.Event.EndsAt = o.Event.StartsAt.Add(24*time.Hour), o.Event.EndsAt.Add(24*time.Hour)
	for _, t := range o.Event.TicketTypes {
		t.ID = ids.New[ids.TicketTypeKind](h.clock.Now())
		next.Event.TicketTypes = append(next.Event.TicketTypes, t)
	}
	next.Event.Capacity = o.Event.Capacity
	return next
}

func (h *harness) ticketsOf(buyer ids.User, order ids.Order) []api.Ticket {
	h.t.Helper()
	return must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: order}).Items
}

// validOf returns the tickets of an order that are still good.
func (h *harness) validOf(buyer ids.User, order ids.Order) (valid []ids.Ticket) {
	for _, t := range h.ticketsOf(buyer, order) {
		if t.Status == api.TicketValid {
			valid = append(valid, t.ID)
		}
	}
	return valid
}

// exchange asks for an exchange of tickets of an order for those of a type.
func (h *harness) exchange(buyer ids.User, order ids.Order, o *api.Offer, typ int, tickets ...ids.Ticket) (*api.CreatedOrder, error) {
	return do(h.as(buyer), h, api.CreateExchange, api.NewExchange{OrderID: order, ExchangeFor: api.ExchangeFor{Tickets: tickets,
		ToEventID: o.Event.ID, TicketTypeID: o.Event.TicketTypes[typ].ID}})
}

// payDue pays what an exchange costs.
func (h *harness) payDue(user ids.User, o *api.Order) ids.Payment {
	h.t.Helper()
	id := ids.New[ids.PaymentKind](h.clock.Now())
	must(h.as(user), h, api.BeginPayment, api.BeginPaymentOf{OrderID: o.ID, PaymentID: id})
	h.paidDue(o, id)
	return id
}

func (h *harness) paidDue(o *api.Order, id ids.Payment) {
	h.announce(api.PaymentHasSucceeded.Subject, api.PaymentEvent{Payment: api.Payment{ID: id, OrderID: o.ID,
		UserID: o.UserID, Amount: o.ToPay(), Status: api.PaymentSucceeded}})
}

// dues returns what goes back of each payment, by what was published.
func (h *harness) dues() map[ids.Payment]int64 {
	h.t.Helper()
	out, seen := map[ids.Payment]int64{}, map[ids.Refund]bool{}
	for _, m := range h.published(api.OrderRefundDue.Subject) {
		var due api.RefundDue
		if err := json.Unmarshal(m.Data, &due); err != nil {
			h.t.Fatal(err)
		}
		if !seen[due.RefundID] {
			out[due.PaymentID] += due.Amount.Amount
		}
		seen[due.RefundID] = true
	}
	return out
}

// booksBalance fails unless what is kept of each payment is what orders keep of it.
func (h *harness) booksBalance(captured map[ids.Payment]int64) {
	h.t.Helper()
	testkit.Eventually(h.t, 15*time.Second, func() error {
		receipts, err := audit.Receipts(h.t.Context(), h.db)
		if err != nil {
			return err
		}
		kept, back := map[ids.Payment]int64{}, h.dues()
		for _, r := range receipts {
			kept[r.PaymentID] += r.Kept.Amount
		}
		for p, n := range captured {
			if kept[p] != n-back[p] {
				return fmt.Errorf("payment %s has captured %d, %d goes back, and orders keep %d", p, n, back[p], kept[p])
			}
			delete(kept, p)
		}
		for p, n := range kept {
			if n != 0 {
				return fmt.Errorf("orders keep %d of payment %q, which has captured nothing", n, p)
			}
		}
		return nil
	})
	h.audit()
}

// A dearer ticket is had when the difference is paid, and until then nothing changes; a cheaper one at once, and the
// rest goes back: of the newest payment first. All can be given back, by the payments that it came from.
func TestBuyersExchangeTickets(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer := h.exchangeable(10, 2000, 3500), person()
		o.Event.OrderRules.Exchange.FeePerTicket = 100
		first := h.paidOrder(buyer, o, 2)
		old := h.validOf(buyer, first.ID)
		options := must(h.as(buyer), h, api.GetExchange, api.ExchangeQuery{OrderID: first.ID, Tickets: old[:1]})
		want := api.ExchangeOffer{TicketTypeID: o.Event.TicketTypes[1].ID, Name: "type 1", Available: 10, Total: eur(3600),
			Fee: eur(100), Due: eur(1600), Refund: eur(0)}
		if !options.Allowed || options.Credit != eur(2000) || len(options.Tickets) != 2 || len(options.Offers) != 1 || options.Offers[0] != want {
			t.Fatalf("the buyer may %+v", options)
		}
		if _, err := do(h.as(person()), h, api.GetExchange, api.ExchangeQuery{OrderID: first.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger asks: %v", err)
		}
		second, err := h.exchange(buyer, first.ID, o, 1, old[0])
		if err != nil {
			t.Fatal(err)
		}
		if second.Status != api.OrderPending || second.Total != eur(3600) || second.Due != eur(1600) || second.ExchangeOf != first.ID ||
			len(second.Credits) != 1 || second.Credits[0].Amount != eur(2000) || second.Credits[0].PaymentID != first.PaymentID {
			t.Fatalf("the exchange is %+v", second.Order)
		}
		if got := h.validOf(buyer, first.ID); len(got) != 2 {
			t.Errorf("before it is paid, %v are good", got)
		}
		if _, err := h.exchange(buyer, first.ID, o, 1, old[1]); !fault.Is(err, fault.Conflict) {
			t.Errorf("another exchange beside one that waits: %v", err)
		}
		pay := h.payDue(buyer, &second.Order)
		h.becomes(buyer, second.ID, api.OrderPaid)
		if got := h.validOf(buyer, first.ID); !slices.Equal(got, old[1:]) {
			t.Errorf("of the old order are good: %v", got)
		}
		after := must(h.as(buyer), h, api.GetOrder, api.OrderRef{ID: first.ID})
		if after.Status != api.OrderPaid || after.Refunded != eur(2000) || after.Credited != eur(2000) {
			t.Errorf("the old order is %+v", after)
		}
		if due := h.dues(); len(due) != 0 {
			t.Errorf("money leaves: %v", due)
		}
		captured := map[ids.Payment]int64{first.PaymentID: 4000, pay: 1600}
		h.booksBalance(captured)

		// a later exchange of the exchange costs 2100, and 3500 was paid: 1400 go back, all of it by the second payment
		third, err := h.exchange(buyer, second.ID, o, 0, h.validOf(buyer, second.ID)...)
		if err != nil || third.Status != api.OrderPaid || third.Due.Amount != 0 || len(third.Credits) != 2 {
			t.Fatalf("the exchange of the exchange is %+v, %v", third, err)
		}
		h.booksBalance(captured)
		if due := h.dues(); due[pay] != 1400 || len(due) != 1 {
			t.Errorf("goes back: %v", due)
		}
		h.becomes(buyer, second.ID, api.OrderRefunding)
		for _, m := range h.published(api.OrderRefundDue.Subject) {
			h.refundSucceeds(m.Data)
		}
		h.becomes(buyer, second.ID, api.OrderRefunded)

		// and all of it goes back, by both payments
		due := must(h.as(ownerOf(o)), h, api.DecideRefund, api.RefundOrder{RefundID: ids.New[ids.RefundKind](h.clock.Now()), OrderID: third.ID, PaymentID: first.PaymentID})
		if due.Amount.Amount >= 2100 {
			t.Errorf("the first part is %+v", due)
		}
		h.booksBalance(captured)
		h.becomes(buyer, third.ID, api.OrderRefunding)
		for _, m := range h.published(api.OrderRefundDue.Subject) {
			h.refundSucceeds(m.Data)
		}
		h.becomes(buyer, third.ID, api.OrderRefunded)
		if n := must(h.t.Context(), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}).TicketTypes; n[0].Available != 9 || n[1].Available != 10 {
			t.Errorf("for sale are %+v", n)
		}
	})
}

// refundSucceeds tells that a refund is with its buyer.
func (h *harness) refundSucceeds(data []byte) {
	h.t.Helper()
	var due api.RefundDue
	if err := json.Unmarshal(data, &due); err != nil {
		h.t.Fatal(err)
	}
	h.announce(api.RefundHasSucceeded.Subject, api.RefundEvent{Refund: api.Refund{ID: due.RefundID, OrderID: due.OrderID,
		PaymentID: due.PaymentID, Amount: due.Amount}, Payment: api.Payment{ID: due.PaymentID, UserID: person(), OrderID: ids.New[ids.OrderKind](h.clock.Now())}})
}

// What a policy does not have is refused, and the organizer may all the same.
func TestExchangePolicy(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer := h.exchangeable(10, 2000, 3500, 1000), person()
		next := h.anotherDate(o)
		elsewhere := h.exchangeable(10, 2000)
		made := h.paidOrder(buyer, o, 2)
		tickets := h.validOf(buyer, made.ID)
		set := func(p api.ExchangePolicy) {
			h.mu.Lock()
			defer h.mu.Unlock()
			c := *h.offers[o.Event.ID]
			c.Event.OrderRules.Exchange = p
			h.offers[o.Event.ID] = &c
		}
		refused := func(what string, to *api.Offer, typ int) {
			t.Helper()
			if _, err := h.exchange(buyer, made.ID, to, typ, tickets[0]); !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("an event of another organizer", elsewhere, 0)
		refused("the same type", o, 0)
		refused("another date, which is not allowed", next, 0)
		for what, p := range map[string]api.ExchangePolicy{
			"never":     {OtherTypes: true, Cheaper: true},
			"too late":  {SelfService: true, OtherTypes: true, MinutesBefore: 40 * 24 * 60},
			"the types": {SelfService: true, OtherDates: true, Cheaper: true},
		} {
			set(p)
			h.change(o.Event.ID, api.EventUpdated.Subject, func(*api.Offer) {})
			testkit.Eventually(t, 15*time.Second, func() error { // until the instance has heard of it
				options := must(h.as(buyer), h, api.GetExchange, api.ExchangeQuery{OrderID: made.ID})
				if len(options.Offers) > 0 {
					return fmt.Errorf("%s: %+v", what, options)
				}
				return nil
			})
			refused(what, o, 1)
		}
		set(api.ExchangePolicy{SelfService: true, OtherTypes: true, OtherDates: true})
		h.change(o.Event.ID, api.EventUpdated.Subject, func(*api.Offer) {})
		testkit.Eventually(t, 15*time.Second, func() error { // until the instance has heard of it
			options := must(h.as(buyer), h, api.GetExchange, api.ExchangeQuery{OrderID: made.ID, ToEventID: next.Event.ID})
			if !options.Allowed || len(options.Offers) != 2 { // the third costs less
				return fmt.Errorf("the buyer may %+v", options)
			}
			return nil
		})
		refused("what costs less", o, 2)
		most := eur(100)
		_, err := do(h.as(buyer), h, api.CreateExchange, api.NewExchange{OrderID: made.ID, ExchangeFor: api.ExchangeFor{
			Tickets: tickets[:1], TicketTypeID: o.Event.TicketTypes[1].ID, MaxDifference: &most}})
		if !fault.Is(err, fault.PriceChanged) {
			t.Errorf("dearer than was shown: %v", err)
		}
		moved, err := h.exchange(buyer, made.ID, next, 0, tickets[0])
		if err != nil || moved.Status != api.OrderPaid || moved.EventID != next.Event.ID {
			t.Fatalf("another date: %+v, %v", moved, err)
		}
		boss := api.StaffExchange{EventID: o.Event.ID, OrderID: made.ID, ExchangeFor: api.ExchangeFor{Tickets: tickets[1:],
			TicketTypeID: o.Event.TicketTypes[2].ID}}
		if _, err := do(h.as(buyer), h, api.CreateStaffExchange, boss); !fault.Is(err, fault.Forbidden) {
			t.Errorf("the buyer as the organizer: %v", err)
		}
		byStaff := must(h.as(ownerOf(o)), h, api.CreateStaffExchange, boss)
		if byStaff.Status != api.OrderPaid || byStaff.UserID != buyer {
			t.Errorf("the organizer makes %+v", byStaff)
		}
		h.booksBalance(map[ids.Payment]int64{made.PaymentID: 4000})
		if due := h.dues(); due[made.PaymentID] != 1000 {
			t.Errorf("goes back: %v", due)
		}
	})
}

// Who owes something for an exchange that the organizer makes is told so, and who makes it is not.
func TestBuyersAreToldWhatTheyOwe(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer, other := h.exchangeable(5, 1000, 3500), person(), person()
		own := h.paidOrder(other, o, 1)
		if _, err := h.exchange(other, own.ID, o, 1, h.ticketsOf(other, own.ID)[0].ID); err != nil {
			t.Fatal(err)
		}
		made := h.paidOrder(buyer, o, 1)
		swap := must(h.as(ownerOf(o)), h, api.CreateStaffExchange, api.StaffExchange{EventID: o.Event.ID, OrderID: made.ID,
			ExchangeFor: api.ExchangeFor{Tickets: []ids.Ticket{h.ticketsOf(buyer, made.ID)[0].ID}, TicketTypeID: o.Event.TicketTypes[1].ID}})
		var due []*jetstream.RawStreamMsg
		testkit.Eventually(t, 15*time.Second, func() error {
			if due = h.published(api.OrderIsDue.Subject); len(due) == 0 {
				return errors.New("nobody is told")
			}
			return nil
		})
		var told api.OrderEvent
		if err := json.Unmarshal(due[0].Data, &told); err != nil || len(due) != 1 || told.Order.ID != swap.ID || told.Order.UserID != buyer ||
			told.Order.ToPay() != eur(2500) {
			t.Errorf("%d are told, %+v %v", len(due), told.Order, err)
		}
	})
}

// What becomes of the old tickets before the difference is paid decides: the money of an exchange that cannot be goes
// back, the new seats are for others, and the old order stays as it is.
func TestExchangeThatIsOver(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		for what, meanwhile := range map[string]func(o *api.Offer, made *api.Order, buyer ids.User, ticket api.Ticket){
			"scanned": func(o *api.Offer, made *api.Order, buyer ids.User, ticket api.Ticket) {
				h.clock.Advance(o.Event.StartsAt.Sub(h.clock.Now()))
				got := must(h.as(ownerOf(o)), h, api.AdmitTicket, api.Admission{EventID: o.Event.ID, Code: ticket.Code})
				if got.Result != api.Admitted {
					t.Fatalf("%+v", got)
				}
			},
			"refunded": func(o *api.Offer, made *api.Order, buyer ids.User, ticket api.Ticket) {
				must(h.as(ownerOf(o)), h, api.DecideRefund, api.RefundOrder{RefundID: ids.New[ids.RefundKind](h.clock.Now()), OrderID: made.ID, PaymentID: made.PaymentID,
					Tickets: []ids.Ticket{ticket.ID}})
			},
			"refunded in part": func(o *api.Offer, made *api.Order, buyer ids.User, ticket api.Ticket) {
				most := eur(1500)
				must(h.as(ownerOf(o)), h, api.DecideRefund, api.RefundOrder{RefundID: ids.New[ids.RefundKind](h.clock.Now()), OrderID: made.ID, PaymentID: made.PaymentID,
					Amount: &most})
			},
		} {
			o, buyer := h.exchangeable(5, 1000, 3500), person()
			made := h.paidOrder(buyer, o, 2)
			ticket := h.ticketsOf(buyer, made.ID)[0]
			swap, err := h.exchange(buyer, made.ID, o, 1, ticket.ID)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			id := ids.New[ids.PaymentKind](h.clock.Now())
			must(h.as(buyer), h, api.BeginPayment, api.BeginPaymentOf{OrderID: swap.ID, PaymentID: id})
			before := h.dues()
			meanwhile(o, made, buyer, ticket)
			h.paidDue(&swap.Order, id)
			h.becomes(buyer, swap.ID, api.OrderRefunding)
			testkit.Eventually(t, 15*time.Second, func() error {
				if due := h.dues(); due[id] != 2500 {
					return fmt.Errorf("%s: goes back %v, before %v", what, due, before)
				}
				types := must(h.t.Context(), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}).TicketTypes
				if types[1].Available != 5 {
					return fmt.Errorf("%s: for sale are %+v", what, types)
				}
				return nil
			})
			h.audit()
		}
	})
}

// An exchange that is not paid in time changes nothing, and makes way for another.
func TestExchangeExpires(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer := h.exchangeable(5, 1000, 3500), person()
		made := h.paidOrder(buyer, o, 1)
		tickets := h.validOf(buyer, made.ID)
		swap, err := h.exchange(buyer, made.ID, o, 1, tickets...)
		if err != nil {
			t.Fatal(err)
		}
		id := ids.New[ids.PaymentKind](h.clock.Now())
		must(h.as(buyer), h, api.BeginPayment, api.BeginPaymentOf{OrderID: swap.ID, PaymentID: id})
		h.clock.Advance(2 * time.Minute)
		h.becomes(buyer, swap.ID, api.OrderExpired)
		if got := h.validOf(buyer, made.ID); !slices.Equal(got, tickets) {
			t.Errorf("good are %v", got)
		}
		again, err := h.exchange(buyer, made.ID, o, 1, tickets...)
		if err != nil {
			t.Fatal(err)
		}
		// the money for the first comes after all: that is the one that is made, and the money for the second goes back
		h.paidDue(&swap.Order, id)
		h.becomes(buyer, swap.ID, api.OrderPaid)
		other := h.payDue(buyer, &again.Order)
		h.becomes(buyer, again.ID, api.OrderRefunding)
		testkit.Eventually(t, 15*time.Second, func() error {
			if due := h.dues(); due[other] != 2500 || len(due) != 1 {
				return fmt.Errorf("goes back: %v", due)
			}
			return nil
		})
		h.booksBalance(map[ids.Payment]int64{made.PaymentID: 1000, id: 2500, other: 2500})
	})
}

// Many exchanges of the same tickets at once at two instances: each ticket is exchanged once, and the books balance.
func TestATicketIsExchangedOnce(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o, buyer := h.exchangeable(50, 1000, 1000, 800), person()
		made := h.paidOrder(buyer, o, 4)
		tickets := h.validOf(buyer, made.ID)
		var exchanged atomic.Int64
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				some := []ids.Ticket{tickets[i%4], tickets[(i+1)%4]}
				if i%3 == 0 {
					some = some[:1]
				}
				got, err := h.exchange(buyer, made.ID, o, 1+i%2, some...)
				switch {
				case err == nil && got.Status == api.OrderPaid:
					exchanged.Add(int64(len(some)))
				case !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.RateLimited):
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		all.Wait()
		after := must(h.as(buyer), h, api.GetOrder, api.OrderRef{ID: made.ID})
		if n := exchanged.Load(); n == 0 || after.Refunded.Amount != 1000*n {
			t.Errorf("%d tickets are exchanged, and the order is %+v", n, after)
		}
		h.booksBalance(map[ids.Payment]int64{made.PaymentID: 4000})
	})
}

// A guest has the new order with a token of its own, and the same request has the same answer.
func TestGuestsExchangeTickets(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.exchangeable(10, 1000, 1500)
		req := order(o, 1)
		req.Email, req.Name = "kim@example.org", "Kim"
		made := must(context.Background(), h, api.CreateOrder, req)
		guest := api.GuestOf(made.ID)
		first := h.pay(guest, &made.Order)
		h.becomes(guest, made.ID, api.OrderPaid)
		swap, err := h.exchange(guest, made.ID, o, 1, h.validOf(guest, made.ID)...)
		if err != nil || swap.AccessToken == "" || swap.UserID != api.GuestOf(swap.ID) || swap.Buyer == nil || swap.Buyer.Email != "kim@example.org" {
			t.Fatalf("the exchange is %+v, %v", swap, err)
		}
		pass := must(h.t.Context(), h, api.CheckOrderToken, api.CheckToken{Token: swap.AccessToken})
		if pass.UserID != swap.UserID {
			t.Errorf("the token is that of %s", pass.UserID)
		}
		pay := h.payDue(swap.UserID, &swap.Order)
		h.becomes(swap.UserID, swap.ID, api.OrderPaid)
		h.booksBalance(map[ids.Payment]int64{first: 1000, pay: 500})
	})
}
