package ticketing

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func sale(o *api.Offer, n int, method string) api.NewSale {
	return api.NewSale{EventID: o.Event.ID, Payment: api.BoxOfficePayment{Method: method},
		Items: []api.NewOrderItem{{TicketTypeID: o.Event.TicketTypes[0].ID, Quantity: n}}}
}

// sell sells with an idempotency key.
func (h *harness) sell(seller ids.User, key string, in api.NewSale) (*api.Sale, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	header := map[string][]string{rpc.HeaderPrincipal: {rpc.Principal{User: seller}.String()},
		rpc.HeaderHTTP + rpc.IdempotencyKey: {key}}
	reply, err := h.caller(api.CreateSale.Spec).Forward(h.t.Context(), api.CreateSale.Spec, header, body)
	if err != nil {
		return nil, err
	}
	if err := rpc.Fault(reply); err != nil {
		return nil, err
	}
	var made api.Sale
	return &made, json.Unmarshal(reply.Data, &made)
}

// A sale is taken back once, by the event's managers. Its money counts as handed back, and its seats are for sale again,
// but for those of people who are inside.
func TestReverseSale(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.publish(10, 1000)
		owner, door := ownerOf(o), person()
		o.Team = []api.TeamMember{{UserID: door, Role: api.RoleDoor}}
		made, err := h.sell(owner, "sale-1", sale(o, 3, api.PaidInCash))
		if err != nil {
			t.Fatal(err)
		}
		req := api.ReverseSaleRequest{OrderID: made.OrderID, Reason: "wrong slip"}
		reverse := func(who ids.User, req api.ReverseSaleRequest, code fault.Code) {
			t.Helper()
			if got, err := do(h.as(who), h, api.ReverseSale, req); !fault.Is(err, code) {
				t.Errorf("%+v %v, want %s", got, err, code)
			}
		}
		reverse(door, req, fault.NotFound)
		reverse(person(), req, fault.NotFound)
		reverse(owner, api.ReverseSaleRequest{OrderID: made.OrderID, Reason: "a\nb"}, fault.Invalid)
		reverse(owner, api.ReverseSaleRequest{OrderID: h.buy(o, 1).ID}, fault.NotFound)
		h.clock.Set(o.Event.StartsAt)
		h.scanned(o, made.Tickets[0].Code, api.Admitted)
		reverse(owner, req, fault.Conflict)
		req.IncludeAdmitted = true
		var at sync.WaitGroup
		answers := make([]api.SaleReversal, 8)
		for i := range answers {
			at.Go(func() {
				got, err := do(h.as(owner), h, api.ReverseSale, req)
				if err != nil {
					t.Error(err)
					return
				}
				answers[i] = *got
			})
		}
		at.Wait()
		for _, got := range answers {
			if got.Refund != (api.Money{Amount: 3000, Currency: "EUR"}) || len(got.Tickets) != 3 || got.EventID != o.Event.ID ||
				!got.ReversedAt.Equal(answers[0].ReversedAt) {
				t.Errorf("taken back: %+v", got)
			}
		}
		for _, ticket := range made.Tickets {
			h.scanned(o, ticket.Code, api.RevokedTicket)
		}
		testkit.Eventually(t, 15*time.Second, func() error {
			if left := h.left(o); left.Sold != 2 || left.Available != 8 { // one of the sale is inside, and one was bought
				return fmt.Errorf("left is %+v", left)
			}
			return nil
		})
		var due api.RefundDue
		if msgs := h.published(api.OrderRefundDue.Subject); len(msgs) != 1 || json.Unmarshal(msgs[0].Data, &due) != nil ||
			due.Reason != api.RefundReversed || due.Amount.Amount != 3000 {
			t.Errorf("%d refunds are due, %+v", len(msgs), due)
		}
		h.audit()
	})
}

func TestSaleAtACounter(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(4, 1000)
		seller := ownerOf(o)
		in := sale(o, 2, api.PaidByCard)
		in.Payment.Reference, in.Attendees = "T1-7", []api.Attendee{{Name: "Ada"}}
		// A good till asks again when it has no answer.
		got, err := h.sell(seller, "sale-1", in)
		if err != nil {
			t.Fatal(err)
		}
		again, err := h.sell(seller, "sale-1", in)
		if err != nil || again.OrderID != got.OrderID || again.Tickets[1] != got.Tickets[1] {
			t.Errorf("again: %+v, %v; want %+v", again, err, got)
		}
		if got.Total != (api.Money{Amount: 2000, Currency: "EUR"}) || len(got.Tickets) != 2 || got.Tickets[0].Holder.Name != "Ada" {
			t.Errorf("sale is %+v", got)
		}
		order := must(h.as(seller), h, api.GetOrder, api.OrderRef{ID: got.OrderID})
		if order.Status != api.OrderPaid || order.UserID != api.BoxOfficeBuyer || order.PaymentID == "" {
			t.Errorf("order is %+v", order)
		}
		if left := h.left(o); left.Sold != 2 || left.Held != 0 {
			t.Errorf("left is %+v", left)
		}
		h.clock.Set(o.Event.StartsAt)
		for i, ticket := range got.Tickets {
			if a := must(h.as(seller), h, api.AdmitTicket, api.Admission{EventID: o.Event.ID, Code: ticket.Code}); a.Result != api.Admitted {
				t.Errorf("ticket %d is %s", i, a.Result)
			}
		}
		testkit.Eventually(t, 10*time.Second, func() error { // the outbox follows on the answer
			if n := len(h.published(api.OrderWasPaid.Subject)) + len(h.published(api.OrderWasSold.Subject)); n < 2 {
				return fmt.Errorf("%d events were published", n)
			}
			return nil
		})
		var sold api.SaleEvent
		if msgs := h.published(api.OrderWasSold.Subject); len(msgs) != 1 || json.Unmarshal(msgs[0].Data, &sold) != nil ||
			sold.Payment != in.Payment || sold.By != seller.String() || sold.Order.PaymentID != order.PaymentID ||
			sold.OrganizerID != o.Event.OrganizerID || sold.OrganizerID == "" {
			t.Errorf("%d sales were published, %+v", len(msgs), sold)
		}
		if paid := h.published(api.OrderWasPaid.Subject); len(paid) != 1 {
			t.Errorf("%d paid orders were published", len(paid))
		}
		if _, err := h.sell(seller, "sale-2", sale(o, 3, api.PaidInCash)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("3 of 2: %v", err)
		}
		h.audit()
	})
}

func TestSaleRefused(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o, gift := h.publish(4, 1000), h.publish(4, 0)
		for name, c := range map[string]struct {
			ctx  context.Context
			in   api.NewSale
			want fault.Code
		}{
			"a stranger":          {h.as(person()), sale(o, 1, api.PaidInCash), fault.Forbidden},
			"a gift for money":    {h.as(ownerOf(gift)), sale(gift, 1, api.PaidInCash), fault.Invalid},
			"money for nothing":   {h.as(ownerOf(o)), sale(o, 1, api.PaidNot), fault.Invalid},
			"another way":         {h.as(ownerOf(o)), sale(o, 1, "shells"), fault.Invalid},
			"another event's":     {h.as(ownerOf(o)), api.NewSale{EventID: o.Event.ID, Items: sale(gift, 1, "").Items}, fault.Invalid},
			"no items":            {h.as(ownerOf(o)), api.NewSale{EventID: o.Event.ID}, fault.Invalid},
			"more than there are": {h.as(ownerOf(o)), sale(o, 5, api.PaidInCash), fault.SoldOut},
		} {
			if got, err := do(c.ctx, h, api.CreateSale, c.in); !fault.Is(err, c.want) {
				t.Errorf("%s: %+v, %v; want %s", name, got, err, c.want)
			}
		}
		if got := must(h.as(ownerOf(gift)), h, api.CreateSale, sale(gift, 1, api.PaidNot)); got.Total.Amount != 0 {
			t.Errorf("a gift is %+v", got)
		}
		h.change(o.Event.ID, api.EventWasCancelled.Subject, func(o *api.Offer) { o.Event.Status = api.EventCancelled })
		testkit.Eventually(t, 10*time.Second, func() error { // ticketing has heard of it
			if now, err := s.offers.Get(t.Context(), o.Event.ID); err != nil || now.Event.Status != api.EventCancelled {
				return fmt.Errorf("%v, %v", now, err)
			}
			return nil
		})
		if _, err := do(h.as(ownerOf(o)), h, api.CreateSale, sale(o, 1, api.PaidInCash)); !fault.Is(err, fault.Conflict) {
			t.Errorf("a cancelled event: %v", err)
		}
		h.audit()
	})
}

// Tills and buyers want the last seats: each goes to one of them.
func TestTillsAndBuyers(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.publish(30, 1000)
		var mu sync.Mutex
		won := 0
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				var err error
				if i%2 == 0 {
					_, err = do(h.as(ownerOf(o)), h, api.CreateSale, sale(o, 1, api.PaidInCash))
				} else {
					_, err = h.createWithRetry(person(), order(o, 1))
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !fault.Is(err, fault.SoldOut) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won != 30 {
			t.Errorf("%d of 30 seats were sold", won)
		}
		h.audit()
	})
}

// The refund of a sale gives its seats back, and says what is to be paid out.
func TestRefundOfASale(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(4, 1000)
		made := must(h.as(ownerOf(o)), h, api.CreateSale, sale(o, 2, api.PaidInCash))
		due := must(h.as(ownerOf(o)), h, api.DecideRefund, api.RefundOrder{RefundID: ids.New[ids.RefundKind](time.Now()),
			OrderID: made.OrderID, PaymentID: paymentOf(made.OrderID, 2000), Tickets: []ids.Ticket{made.Tickets[0].ID}})
		if due.Amount.Amount != 1000 {
			t.Errorf("due is %+v", due)
		}
		if left := h.left(o); left.Sold != 1 {
			t.Errorf("left is %+v", left)
		}
		h.audit()
	})
}
