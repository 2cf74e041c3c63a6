package ticketing

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// paidOrder is an order of n tickets that the buyer has paid.
func (h *harness) paidOrder(buyer ids.User, o *api.Offer, n int) *api.Order {
	h.t.Helper()
	made := must(h.as(buyer), h, api.CreateOrder, order(o, n))
	h.pay(buyer, &made.Order)
	return h.becomes(buyer, made.ID, api.OrderPaid)
}

// givenBack tells that so much of the order's money is back with its buyer.
func (h *harness) givenBack(o *api.Order, amount int64) {
	refund := api.Refund{ID: ids.New[ids.RefundKind](h.clock.Now()), PaymentID: o.PaymentID, OrderID: o.ID}
	h.announce(api.RefundHasSucceeded.Subject, api.RefundEvent{Refund: refund, Payment: api.Payment{ID: o.PaymentID, OrderID: o.ID, UserID: o.UserID,
		Amount: o.Total, Refunded: eur(amount), Status: api.PaymentSucceeded}})
}

// Within the organizer's policy buyers give tickets back by themselves: the fee stays, the rest goes back, the seats
// are for sale again, and the order ends when the rest is back.
func TestBuyersGiveTicketsBack(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer := h.publish(10, 1999), person()
		o.Event.OrderRules.Cancellation = api.CancellationPolicy{SelfService: true, MinutesBefore: 24 * 60,
			FeePercent: 10, FeePerTicket: 50}
		made := h.paidOrder(buyer, o, 3)
		if _, err := do(h.as(person()), h, api.GetCancellation, api.OrderRef{ID: made.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger asks: %v", err)
		}
		options := must(h.as(buyer), h, api.GetCancellation, api.OrderRef{ID: made.ID})
		if !options.SelfService || len(options.Tickets) != 3 || options.Refund != eur(5247) || options.Fee != eur(750) ||
			options.Until == nil || !options.Until.Equal(o.Event.StartsAt.Add(-24*time.Hour)) {
			t.Errorf("the buyer may %+v", options)
		}
		one := must(h.as(buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: made.ID,
			Tickets: options.Tickets[:1]})
		if one.Status != api.CancellationGranted || one.Refund != eur(1749) || one.Fee != eur(250) {
			t.Errorf("one ticket: %+v", one)
		}
		rest := must(h.as(buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: made.ID})
		if rest.Status != api.CancellationGranted || len(rest.Tickets) != 2 || rest.Refund != eur(3498) {
			t.Errorf("the rest: %+v", rest)
		}
		now := h.becomes(buyer, made.ID, api.OrderRefunding)
		if now.Refunded != eur(1749+3498) {
			t.Errorf("%+v goes back", now.Refunded)
		}
		if _, err := do(h.as(buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: made.ID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("nothing is left: %v", err)
		}
		h.givenBack(now, 1749)
		h.givenBack(now, 1749+3498)
		h.becomes(buyer, made.ID, api.OrderRefunded)
		if n := must(h.t.Context(), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}).TicketTypes[0].Available; n != 10 {
			t.Errorf("%d seats are for sale", n)
		}
		h.audit()
	})
}

// Many requests at once at two instances give each ticket back once.
func TestATicketIsGivenBackOnce(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o, buyer := h.publish(10, 1000), person()
		o.Event.OrderRules.Cancellation = api.CancellationPolicy{SelfService: true}
		made := h.paidOrder(buyer, o, 4)
		tickets := must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: made.ID}).Items
		var granted atomic.Int64
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				c, err := do(h.as(buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: made.ID,
					Tickets: []ids.Ticket{tickets[i%4].ID, tickets[(i+1)%4].ID}})
				if err == nil && c.Status == api.CancellationGranted {
					granted.Add(int64(len(c.Tickets)))
				} else if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Conflict) {
					t.Errorf("%+v, %v", c, err)
				}
			})
		}
		all.Wait()
		after := must(h.as(buyer), h, api.GetOrder, api.OrderRef{ID: made.ID})
		if after.Refunded.Amount != 1000*granted.Load() {
			t.Errorf("%d tickets are given back, and %v goes back", granted.Load(), after.Refunded)
		}
		h.audit()
	})
}

// Without a policy, and after its time, the organizer decides: once, about tickets that are still there.
func TestTheOrganizerDecides(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer := h.publish(20, 1000), person()
		manager := h.as(ownerOf(o))
		ask := func(made *api.Order) *api.Cancellation {
			t.Helper()
			return must(h.as(buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: made.ID, Reason: "ill"})
		}
		made := h.paidOrder(buyer, o, 2)
		open := ask(made)
		if open.Status != api.CancellationOpen || open.Refund != eur(2000) {
			t.Fatalf("asked for: %+v", open)
		}
		if _, err := do(h.as(buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: made.ID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("asked twice: %v", err)
		}
		list := must(manager, h, api.ListCancellations, api.CancellationPage{EventPage: api.EventPage{EventID: o.Event.ID},
			Status: api.CancellationOpen})
		if len(list.Items) != 1 || list.Items[0].Reason != "ill" {
			t.Errorf("the organizer sees %+v", list.Items)
		}
		decide := func(ctx context.Context, c *api.Cancellation, grant bool, amount *api.Money) (*api.Cancellation, error) {
			return do(ctx, h, api.DecideCancellation, api.CancellationDecision{EventID: o.Event.ID, ID: c.ID,
				Decision: map[bool]string{true: api.CancellationGranted, false: api.CancellationDeclined}[grant], Refund: amount, Answer: "as you like"})
		}
		if _, err := decide(h.as(buyer), open, true, nil); !fault.Is(err, fault.Forbidden) {
			t.Errorf("the buyer decides: %v", err)
		}
		half, much := eur(1000), eur(2001)
		if _, err := decide(manager, open, true, &much); !fault.Is(err, fault.Invalid) {
			t.Errorf("more than they cost: %v", err)
		}
		for range 2 {
			got, err := decide(manager, open, true, &half)
			if err != nil || got.Status != api.CancellationGranted || got.Refund != half || got.Fee != half {
				t.Errorf("decided: %+v, %v", got, err)
			}
		}
		if _, err := decide(manager, open, false, nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("decided otherwise: %v", err)
		}
		now := h.becomes(buyer, made.ID, api.OrderRefunding)
		h.givenBack(now, 1000)
		h.becomes(buyer, made.ID, api.OrderRefunded)

		kept := h.paidOrder(buyer, o, 1)
		wish := ask(kept)
		for range 2 { // once more changes nothing
			declined, err := decide(manager, wish, false, nil)
			if err != nil || declined.Status != api.CancellationDeclined {
				t.Fatalf("declined: %+v, %v", declined, err)
			}
		}
		testkit.Eventually(t, 10*time.Second, func() error {
			told := h.published(api.CancellationWasDeclined.Subject)
			if len(told) != 1 {
				return fmt.Errorf("told %d times", len(told))
			}
			var e api.CancellationEvent
			if err := json.Unmarshal(told[0].Data, &e); err != nil {
				t.Fatal(err)
			}
			want := api.CancellationEvent{ID: wish.ID, OrderID: kept.ID, EventID: o.Event.ID, UserID: buyer, Total: kept.Total, Answer: "as you like"}
			if e != want {
				t.Fatalf("told %+v, want %+v", e, want)
			}
			return nil
		})
		options := must(h.as(buyer), h, api.GetCancellation, api.OrderRef{ID: kept.ID})
		if options.Last == nil || options.Last.Answer != "as you like" || len(options.Tickets) != 1 {
			t.Errorf("the buyer reads %+v", options)
		}
		again := ask(kept)
		ticket := must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: kept.ID}).Items[0]
		h.clock.Advance(o.Event.StartsAt.Sub(h.clock.Now()))
		must(manager, h, api.AdmitTicket, api.Admission{EventID: o.Event.ID, Code: ticket.Code})
		if _, err := decide(manager, again, true, nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("granted though it was used: %v", err)
		}
		h.audit()
	})
}

// Who keeps all of the money ends the order without one that goes back.
func TestAFeeOfEverything(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer := h.publish(5, 1000), person()
		o.Event.OrderRules.Cancellation = api.CancellationPolicy{SelfService: true, FeePercent: 100}
		made := h.paidOrder(buyer, o, 2)
		c := must(h.as(buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: made.ID})
		if c.Refund.Amount != 0 || c.Fee != eur(2000) {
			t.Errorf("given back: %+v", c)
		}
		h.becomes(buyer, made.ID, api.OrderCancelled)
		h.audit()
	})
}

// The organizer makes orders for people: complimentary ones that have their tickets, and ones that are paid later.
func TestStaffMakeOrders(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(10, 1000)
		o.Event.TicketTypes[0].Hidden = true
		o.Event.OrderRules.MaxPerPerson = 1
		manager := h.as(ownerOf(o))
		req := api.StaffOrder{EventID: o.Event.ID, Items: order(o, 2).Items, Email: "vip@example.org", Name: "Vip",
			Attendees: []api.Attendee{{Name: "First"}}, Complimentary: true}
		if _, err := do(h.as(person()), h, api.CreateStaffOrder, req); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a stranger makes one: %v", err)
		}
		free := must(manager, h, api.CreateStaffOrder, req)
		if free.Status != api.OrderPaid || free.Total.Amount != 0 || free.Discount != eur(2000) {
			t.Errorf("a complimentary order is %+v", free)
		}
		guest := api.GuestOf(free.ID)
		tickets := must(h.as(guest), h, api.ListOrderTickets, api.OrderRef{ID: free.ID}).Items
		if len(tickets) != 2 || tickets[0].Holder.Name != "First" {
			t.Errorf("its tickets are %+v", tickets)
		}
		req.Complimentary = false
		later := must(manager, h, api.CreateStaffOrder, req)
		if later.Status != api.OrderPending || later.Total != eur(2000) ||
			!later.ExpiresAt.Equal(h.clock.Now().Add(staffHold)) {
			t.Errorf("an order that is paid later is %+v", later)
		}
		h.clock.Advance(time.Hour) // longer than other orders live
		h.pay(api.GuestOf(later.ID), later)
		h.becomes(api.GuestOf(later.ID), later.ID, api.OrderPaid)
		h.audit()
	})
}

// The organizer mends names and addresses, and notes what others of its people have to know.
func TestStaffMendOrders(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(10, 0)
		manager := h.as(ownerOf(o))
		made := must(t.Context(), h, api.CreateOrder, api.NewOrder{EventID: o.Event.ID, Items: order(o, 1).Items,
			Email: "typo@exmaple.org", Attendees: []api.Attendee{{Name: "Jon"}}})
		guest := h.as(api.GuestOf(made.ID))
		ticket := must(guest, h, api.ListOrderTickets, api.OrderRef{ID: made.ID}).Items[0]
		email, note := "right@example.org", "calls on Monday"
		edit := api.OrderEdit{EventID: o.Event.ID, OrderID: made.ID, Email: &email, Note: &note,
			Holders: []api.TicketHolder{{TicketID: ticket.ID, Holder: api.Attendee{Name: "John"}}}}
		if _, err := do(h.as(person()), h, api.UpdateEventOrder, edit); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a stranger changes it: %v", err)
		}
		after := must(manager, h, api.UpdateEventOrder, edit)
		if after.Buyer == nil || after.Buyer.Email != email || after.Note != note {
			t.Errorf("the order is %+v", after)
		}
		if seen := must(guest, h, api.GetOrder, api.OrderRef{ID: made.ID}); seen.Note != "" || seen.Buyer.Email != email {
			t.Errorf("the buyer sees %+v", seen)
		}
		if got := must(guest, h, api.GetTicket, api.TicketRef{ID: ticket.ID}); got.Holder.Name != "John" || got.Code != ticket.Code {
			t.Errorf("the ticket is %+v", got)
		}
		other := h.publish(10, 0)
		edit.EventID = other.Event.ID
		if _, err := do(h.as(ownerOf(other)), h, api.UpdateEventOrder, edit); !fault.Is(err, fault.NotFound) {
			t.Errorf("another organizer changes it: %v", err)
		}
		must(guest, h, api.ForgetOrder, api.OrderRef{ID: made.ID})
		if got := must(manager, h, api.GetOrder, api.OrderRef{ID: made.ID}); got.Note != "" || got.Buyer != nil {
			t.Errorf("of who is forgotten %+v is left", got)
		}
	})
}

// Tickets are mailed again so often, for their buyer and for the organizer.
func TestTicketsAreMailedAgain(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o, buyer := h.publish(10, 1000), person()
		made := h.paidOrder(buyer, o, 1)
		pending := must(h.as(buyer), h, api.CreateOrder, order(o, 1))
		for id, want := range map[ids.Order]fault.Code{pending.ID: fault.Conflict, "ord_01k3q8v5z7m2n4p6r8s9t0w1xy": fault.NotFound} {
			if _, err := do(h.as(buyer), h, api.MailOrderTickets, api.OrderRef{ID: id}); !fault.Is(err, want) {
				t.Errorf("tickets of %s: %v, want %s", id, err, want)
			}
		}
		for _, who := range []ids.User{buyer, ownerOf(o), buyer} {
			must(h.as(who), h, api.MailOrderTickets, api.OrderRef{ID: made.ID})
		}
		if _, err := do(h.as(buyer), h, api.MailOrderTickets, api.OrderRef{ID: made.ID}); !fault.Is(err, fault.RateLimited) {
			t.Errorf("a fourth time: %v", err)
		}
		testkit.Eventually(t, 10*time.Second, func() error {
			if n := len(h.published(api.TicketsWereRequested.Subject)); n != 3 {
				return fault.New(fault.Internal, "%d mails are asked for", n)
			}
			return nil
		})
		h.clock.Advance(time.Hour + time.Minute)
		must(h.as(buyer), h, api.MailOrderTickets, api.OrderRef{ID: made.ID})
	})
}
