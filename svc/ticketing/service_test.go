package ticketing

import (
	"bytes"
	"fmt"
	"image/png"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/offers"
)

func TestBuyAndEnter(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer, buyer := h.publish(10, 2500, 4000), person()
		req := api.NewOrder{EventID: offer.Event.ID, Attendees: []api.Attendee{{Name: "Ada", Email: "ada@example.org"}},
			Items: []api.NewOrderItem{{TicketTypeID: offer.Event.TicketTypes[0].ID, Quantity: 2},
				{TicketTypeID: offer.Event.TicketTypes[1].ID, Quantity: 1}}}
		o := must(h.as(buyer), h, api.CreateOrder, req)
		if o.Status != api.OrderPending || o.Total != (api.Money{Amount: 9000, Currency: "EUR"}) ||
			o.ExpiresAt == nil || !o.ExpiresAt.Equal(h.clock.Now().Add(time.Minute)) {
			t.Fatalf("order is %+v", o)
		}
		left := must(t.Context(), h, api.GetAvailability, api.AvailabilityQuery{ID: offer.Event.ID})
		if got := left.TicketTypes[0]; got.Quantity != 10 || got.Available != 8 || got.Held != 2 || got.Sold != 0 {
			t.Errorf("availability is %+v", got)
		}
		if _, err := do(h.as(person()), h, api.GetOrder, api.OrderRef{ID: o.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger reads the order: %v", err)
		}
		payment := h.pay(buyer, &o.Order)
		if got := h.becomes(buyer, o.ID, api.OrderPaid); got.PaymentID != payment || got.PaidAt == nil ||
			got.ExpiresAt != nil {
			t.Errorf("paid order is %+v", got)
		}
		h.paid(&o.Order, payment) // told again: nothing changes

		tickets := must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items
		if len(tickets) != 3 || tickets[0].Holder.Name != "Ada" || tickets[0].EventName != "Nocturne" {
			t.Fatalf("tickets are %+v", tickets)
		}
		picture := must(h.as(buyer), h, api.GetTicketQR, api.TicketRef{ID: tickets[0].ID})
		if _, err := png.Decode(bytes.NewReader(picture.Data)); err != nil {
			t.Errorf("QR code: %v", err)
		}
		door := h.as(ownerOf(offer))
		admit := func(code string) *api.AdmissionResult {
			return must(door, h, api.AdmitTicket, api.Admission{EventID: offer.Event.ID, Code: code, Gate: "north"})
		}
		if got := admit(" \t" + tickets[0].Code + "\r\n"); got.Result != api.Admitted ||
			got.Ticket.ID != tickets[0].ID || got.FirstAdmittedAt == nil {
			t.Errorf("first scan: %+v", got)
		}
		first := h.clock.Now()
		h.clock.Advance(time.Minute)
		if got := admit(tickets[0].Code); got.Result != api.AlreadyAdmitted || !got.FirstAdmittedAt.Equal(first) ||
			got.FirstGate != "north" {
			t.Errorf("second scan: %+v", got)
		}
		for _, code := range []string{"x", tickets[1].Code[:40], tickets[1].Code + "A", "ST1.a.b.c.1.d"} {
			if got := admit(code); got.Result != api.InvalidCode || got.Ticket != nil {
				t.Errorf("scan of %q: %+v", code, got)
			}
		}
		other := h.publish(10, 0)
		if got := must(h.as(ownerOf(other)), h, api.AdmitTicket,
			api.Admission{EventID: other.Event.ID, Code: tickets[1].Code}); got.Result != api.WrongEvent {
			t.Errorf("scan at another event: %+v", got)
		}
		if _, err := do(h.as(buyer), h, api.AdmitTicket,
			api.Admission{EventID: offer.Event.ID, Code: tickets[1].Code}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a buyer admits: %v", err)
		}
		scans := must(door, h, api.ListAdmissions, api.EventPage{EventID: offer.Event.ID}).Items
		if len(scans) != 6 {
			t.Errorf("%d scans are kept, want 6", len(scans))
		}
		h.audit()
	})
}

func TestFreeOrderIsPaidAtOnce(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer, buyer := h.publish(5, 0), person()
		o := must(h.as(buyer), h, api.CreateOrder, order(offer, 2))
		if o.Status != api.OrderPaid || o.PaidAt == nil {
			t.Fatalf("order is %+v", o)
		}
		if got := must(h.as(buyer), h, api.ListMyTickets, api.Page{}).Items; len(got) != 2 {
			t.Errorf("%d tickets", len(got))
		}
		h.audit()

		// A crash after the order is written and before the inventory is told: the end of the hold finds a paid order.
		user := person()
		ref := inventory.Ref{Event: offer.Event.ID, Order: ids.New[ids.OrderKind](h.clock.Now())}
		row, lines, err := s.draftOrder(&api.NewOrder{EventID: offer.Event.ID, Items: order(offer, 3).Items}, offer,
			user, h.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		row.ID = ref.Order
		if err := s.inv.Hold(t.Context(), ref, user, lines, row.ExpiresAt); err != nil {
			t.Fatal(err)
		}
		if _, err := s.db.create(t.Context(), []creation{{row: row, free: true}}, h.clock.Now()); err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(2 * time.Minute)
		h.audit()
		h.becomes(user, row.ID, api.OrderPaid)
	})
}

func TestUnpaidHoldExpires(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start() // two instances notice; one expiry is told
		offer, buyer := h.publish(2, 1000), person()
		o := must(h.as(buyer), h, api.CreateOrder, order(offer, 2))
		if _, err := do(h.as(buyer), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.SoldOut) {
			t.Fatalf("order of more than there is: %v", err)
		}
		h.clock.Advance(time.Minute)
		h.becomes(buyer, o.ID, api.OrderExpired)
		if _, err := do(h.as(buyer), h, api.BeginPayment,
			api.BeginPaymentOf{OrderID: o.ID, PaymentID: ids.New[ids.PaymentKind](h.clock.Now())}); !fault.Is(err,
			fault.Conflict) {
			t.Errorf("payment of an expired order: %v", err)
		}
		must(h.as(buyer), h, api.CreateOrder, order(offer, 2))
		h.audit()
		testkit.Eventually(t, 10*time.Second, func() error {
			if got := len(h.published(api.OrderHasExpired.Subject)); got != 1 {
				return fmt.Errorf("the expiry was told %d times", got)
			}
			return nil
		})
	})
}

func TestLateAndOddMoney(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(2, 1000)
		due := func(want int) {
			t.Helper()
			testkit.Eventually(t, 10*time.Second, func() error { // what is written is told a moment later
				if got := len(h.published(api.OrderRefundDue.Subject)); got != want {
					return fmt.Errorf("%d refunds are due, want %d", got, want)
				}
				return nil
			})
		}
		expired := func(n int) (ids.User, *api.Order, ids.Payment) {
			t.Helper()
			buyer := person()
			o := must(h.as(buyer), h, api.CreateOrder, order(offer, n))
			payment := ids.New[ids.PaymentKind](h.clock.Now())
			must(h.as(buyer), h, api.BeginPayment, api.BeginPaymentOf{OrderID: o.ID, PaymentID: payment})
			h.clock.Advance(2 * time.Minute)
			h.becomes(buyer, o.ID, api.OrderExpired)
			return buyer, &o.Order, payment
		}

		// Late, and there is room: the seats are taken again.
		buyer, o, payment := expired(1)
		h.paid(o, payment)
		h.becomes(buyer, o.ID, api.OrderPaid)
		due(0)

		// Paid twice: the second payment goes back, the order stays paid by the first.
		second := ids.New[ids.PaymentKind](h.clock.Now())
		h.paid(o, second)
		h.paid(o, second)
		// Late, and the seat is gone.
		buyer2, o2, payment2 := expired(1)
		winner := person()
		last := must(h.as(winner), h, api.CreateOrder, order(offer, 1))
		h.paid(o2, payment2)
		h.becomes(buyer2, o2.ID, api.OrderRefunding)
		due(2)
		if got := h.becomes(buyer, o.ID, api.OrderPaid); got.PaymentID != payment {
			t.Errorf("the order is now paid by %s", got.PaymentID)
		}
		h.announce(api.PaymentWasRefunded.Subject,
			api.PaymentEvent{Payment: api.Payment{ID: payment2, OrderID: o2.ID, UserID: buyer2, Amount: o2.Total}})
		h.becomes(buyer2, o2.ID, api.OrderRefunded)

		// Paid at the moment of giving up.
		must(h.as(winner), h, api.CancelOrder, api.OrderRef{ID: last.ID})
		payment3 := ids.New[ids.PaymentKind](h.clock.Now())
		h.paid(&last.Order, payment3)
		h.becomes(winner, last.ID, api.OrderRefunding)
		due(3)
		h.audit()
	})
}

func TestHundredSeatsForThousandBuyers(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer := h.publish(100, 1000)
		var won, lost atomic.Int64
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				_, err := h.createWithRetry(person(), order(offer, 1))
				switch {
				case err == nil:
					won.Add(1)
				case fault.Is(err, fault.SoldOut):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 100 || lost.Load() != 900 {
			t.Errorf("%d orders for 100 seats, %d sold out", won.Load(), lost.Load())
		}
		h.audit()
	})
}

// Cancelling and paying at the same moment: whatever happens first, seats, money and tickets agree.
func TestCancelAgainstPay(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer := h.publish(50, 1000)
		var wg sync.WaitGroup
		orders := map[ids.Order]ids.User{}
		for range 30 {
			buyer := person()
			o := must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
			orders[o.ID] = buyer
			wg.Go(func() { h.paid(&o.Order, ids.New[ids.PaymentKind](h.clock.Now())) })
			wg.Go(func() { do(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: o.ID}) })
		}
		wg.Wait()
		paid := 0
		for id, buyer := range orders {
			testkit.Eventually(t, 15*time.Second, func() error {
				switch got := must(h.as(buyer), h, api.GetOrder, api.OrderRef{ID: id}).Status; got {
				case api.OrderPaid:
					paid++
				case api.OrderRefunding:
				default:
					return fmt.Errorf("order is %s", got)
				}
				return nil
			})
		}
		h.audit()
		testkit.Eventually(t, 10*time.Second, func() error {
			if got := len(h.published(api.OrderRefundDue.Subject)); got != len(orders)-paid {
				return fmt.Errorf("%d of %d orders are paid and %d refunds are due", paid, len(orders), got)
			}
			return nil
		})
		t.Logf("%d of %d orders were paid", paid, len(orders))
	})
}

func TestIdempotentOrder(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer, buyer := h.publish(10, 1000), person()
		send := func(n int) (*api.Order, error) { return h.send(buyer, "k1", order(offer, n)) }
		var mu sync.Mutex
		seen := map[ids.Order]int{}
		var wg sync.WaitGroup
		for range 20 { // at once, and then again
			wg.Go(func() {
				o, err := send(1)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				seen[o.ID]++
			})
		}
		wg.Wait()
		if o, err := send(1); err != nil || len(seen) != 1 || seen[o.ID] != 20 {
			t.Errorf("one key made %d orders (%v)", len(seen), err)
		}
		if _, err := send(2); !fault.Is(err, fault.Unprocessable) {
			t.Errorf("the key with another body: %v", err)
		}
		got := must(t.Context(), h, api.GetAvailability, api.AvailabilityQuery{ID: offer.Event.ID}).TicketTypes[0]
		if got.Held != 1 {
			t.Errorf("%d seats are held", got.Held)
		}
		h.audit()
	})
}

func TestEventChanges(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer, buyer := h.publish(3, 1000), person()
		o := must(h.as(buyer), h, api.CreateOrder, order(offer, 3))
		typ := offer.Event.TicketTypes[0].ID
		resize := func(n int) error {
			_, err := do(t.Context(), h, api.ResizeInventory,
				api.Resize{EventID: offer.Event.ID, Revision: 2, Quantities: map[ids.TicketType]int{typ: n}})
			return err
		}
		if err := resize(2); !fault.Is(err, fault.Conflict) {
			t.Errorf("resize below what is held: %v", err)
		}
		if err := resize(5); err != nil {
			t.Fatal(err)
		}
		pending := must(h.as(buyer), h, api.CreateOrder, order(offer, 2))
		h.pay(buyer, &o.Order)
		h.becomes(buyer, o.ID, api.OrderPaid)
		h.audit()

		h.change(offer.Event.ID, api.EventWasCancelled.Subject,
			func(o *api.Offer) { o.Event.Status = api.EventCancelled })
		h.becomes(buyer, pending.ID, api.OrderCancelled)
		if _, err := do(h.as(buyer), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.Conflict) {
			t.Errorf("order for a cancelled event: %v", err)
		}
		code := must(h.as(buyer), h, api.ListMyTickets, api.Page{}).Items[0].Code
		if got := must(h.as(ownerOf(offer)), h, api.AdmitTicket,
			api.Admission{EventID: offer.Event.ID, Code: code}); got.Result != api.RevokedTicket {
			t.Errorf("admission to a cancelled event: %+v", got)
		}
		h.audit()
		testkit.Eventually(t, 15*time.Second, func() error {
			told := h.published(api.TicketWasRevoked.Subject)
			if len(told) != 3 || !bytes.Contains(told[0].Data, []byte(`"cause":"event_cancelled"`)) {
				return fmt.Errorf("%d revocations are told, or not why", len(told))
			}
			return nil
		})
	})
}

func TestTransfer(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer, from, to := h.publish(3, 0), person(), person()
		h.people["bo@example.org"] = api.Contact{ID: to, Email: "bo@example.org", EmailVerified: true, Name: "Bo"}
		must(h.as(from), h, api.CreateOrder, order(offer, 1))
		ticket := must(h.as(from), h, api.ListMyTickets, api.Page{}).Items[0]
		if _, err := do(h.as(to), h, api.TransferTicket,
			api.Transfer{ID: ticket.ID, Email: "bo@example.org"}); !fault.Is(err, fault.NotFound) {
			t.Errorf("transfer of somebody else's ticket: %v", err)
		}
		done := must(h.as(from), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: "bo@example.org"})
		if _, err := do(h.as(from), h, api.GetTicket, api.TicketRef{ID: ticket.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("the old owner still reads the ticket: %v", err)
		}
		fresh := must(h.as(to), h, api.GetTicket, api.TicketRef{ID: ticket.ID})
		admit := func(code string) string {
			return must(h.as(ownerOf(offer)), h, api.AdmitTicket,
				api.Admission{EventID: offer.Event.ID, Code: code}).Result
		}
		if got := admit(ticket.Code); got != api.RevokedTicket {
			t.Errorf("the old code: %s", got)
		}
		if got := admit(fresh.Code); got != api.Admitted {
			t.Errorf("the new code: %s", got)
		}
		if _, err := do(h.as(to), h, api.TransferTicket,
			api.Transfer{ID: ticket.ID, Email: "bo@example.org"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("transfer of a used ticket: %v", err)
		}
		// A ticket that cannot be given away does not tell which addresses have an account.
		if _, err := do(h.as(to), h, api.TransferTicket,
			api.Transfer{ID: ticket.ID, Email: "nobody@example.org"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("transfer of a used ticket to nobody: %v", err)
		}
		h.people["dee@example.org"] = api.Contact{ID: person(), Email: "dee@example.org", EmailVerified: true}
		var answers []string
		for _, address := range []string{"nobody@example.org", "dee@example.org"} {
			_, err := do(h.as(from), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: address})
			answers = append(answers, fault.From(err).Detail)
		}
		if answers[0] != answers[1] || answers[0] == "" {
			t.Errorf("who has given a ticket away is answered %q", answers)
		}

		// Who has not heard the answer asks again, and learns no more than the first time.
		again := must(h.as(from), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: "bo@example.org"})
		if !reflect.DeepEqual(again, done) || again.OwnerID != to || again.Code != "" {
			t.Errorf("the transfer again: %+v, first %+v", again, done)
		}
		h.people["cy@example.org"] = api.Contact{ID: person(), Email: "cy@example.org", EmailVerified: true}
		for caller, target := range map[ids.User]string{from: "cy@example.org", person(): "bo@example.org"} {
			if _, err := do(h.as(caller), h, api.TransferTicket,
				api.Transfer{ID: ticket.ID, Email: target}); !fault.Is(err, fault.NotFound) {
				t.Errorf("transfer of another's ticket to %s: %v", target, err)
			}
		}
	})
}

// Many doors scan the same ticket at the same moment; one person goes in.
func TestOneAdmission(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer, buyer := h.publish(3, 0), person()
		must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
		code := must(h.as(buyer), h, api.ListMyTickets, api.Page{}).Items[0].Code
		var in, again atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				switch r, err := do(h.as(ownerOf(offer)), h, api.AdmitTicket,
					api.Admission{EventID: offer.Event.ID, Code: code}); {
				case err != nil:
					t.Error(err)
				case r.Result == api.Admitted:
					in.Add(1)
				case r.Result == api.AlreadyAdmitted:
					again.Add(1)
				}
			})
		}
		wg.Wait()
		if in.Load() != 1 || again.Load() != 49 {
			t.Errorf("admitted %d times, already admitted %d times", in.Load(), again.Load())
		}
		if got := len(h.published(api.TicketAdmission.Subject)); got > 1 {
			t.Errorf("the admission was told %d times", got)
		}
	})
}

func TestOrderRules(t *testing.T) {
	h := newHarness(t, testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations()))
	h.start()
	offer, buyer := h.publish(1000, 1000, 2000), person()
	typ := offer.Event.TicketTypes[0].ID
	now := h.clock.Now()
	before, after := now.Add(-time.Hour), now.Add(time.Hour)
	soon := h.publish(10, 1000)
	soon.Event.TicketTypes[0].SalesStart = &after
	over := h.publish(10, 1000)
	over.Event.TicketTypes[0].SalesEnd = &before
	few := h.publish(10, 1000)
	few.Event.TicketTypes[0].MaxPerOrder = 2
	draft := h.publish(10, 1000)
	draft.Event.Status = api.EventDraft
	past := h.publish(10, 1000)
	past.Event.StartsAt, past.Event.EndsAt = before.Add(-time.Hour), before
	item := func(t ids.TicketType, n int) []api.NewOrderItem {
		return []api.NewOrderItem{{TicketTypeID: t, Quantity: n}}
	}
	for name, c := range map[string]struct {
		req  api.NewOrder
		want fault.Code
	}{
		"no items":     {api.NewOrder{EventID: offer.Event.ID}, fault.Invalid},
		"none":         {order(offer, 0), fault.Invalid},
		"negative":     {order(offer, -1), fault.Invalid},
		"too many":     {order(offer, 21), fault.Invalid},
		"far too many": {order(offer, 1<<60), fault.Invalid},
		"too many together": {api.NewOrder{EventID: offer.Event.ID,
			Items: append(item(typ, 15), item(offer.Event.TicketTypes[1].ID, 15)...)}, fault.Invalid},
		"twice the type": {api.NewOrder{EventID: offer.Event.ID, Items: append(item(typ, 1), item(typ, 1)...)},
			fault.Invalid},
		"foreign type": {api.NewOrder{EventID: offer.Event.ID, Items: item(soon.Event.TicketTypes[0].ID, 1)},
			fault.Invalid},
		"promo code": {api.NewOrder{EventID: offer.Event.ID, Items: item(typ, 1), PromoCode: "FREE"},
			fault.Invalid},
		"more attendees": {api.NewOrder{EventID: offer.Event.ID, Items: item(typ, 1),
			Attendees: make([]api.Attendee, 2)}, fault.Invalid},
		"line break": {api.NewOrder{EventID: offer.Event.ID, Items: item(typ, 1),
			Attendees: []api.Attendee{{Name: "a\r\nb"}}}, fault.Invalid},
		"reversed name": {api.NewOrder{EventID: offer.Event.ID, Items: item(typ, 1),
			Attendees: []api.Attendee{{Name: "Eve \u202eadA"}}}, fault.Invalid},
		"bad address": {api.NewOrder{EventID: offer.Event.ID, Items: item(typ, 1),
			Attendees: []api.Attendee{{Email: "x"}}}, fault.Invalid},
		"no such event":     {api.NewOrder{EventID: ids.New[ids.EventKind](now), Items: item(typ, 1)}, fault.NotFound},
		"draft":             {order(draft, 1), fault.NotFound},
		"not yet on sale":   {order(soon, 1), fault.Conflict},
		"no longer on sale": {order(over, 1), fault.Conflict},
		"over":              {order(past, 1), fault.Conflict},
		"above the type's":  {order(few, 3), fault.Invalid},
	} {
		if _, err := do(h.as(buyer), h, api.CreateOrder, c.req); !fault.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if err := h.live.Change(api.MaxOpenOrders.Is(1)); err != nil {
		t.Fatal(err)
	}
	must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
	if _, err := do(h.as(buyer), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.RateLimited) {
		t.Errorf("a second open order: %v", err)
	}
	h.audit()
}

// With the event service away, what is known of an event is enough to sell and to admit.
func TestWithoutTheEventService(t *testing.T) {
	h := newHarness(t, testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations()))
	s := h.start()
	offer, buyer := h.publish(10, 0), person()
	must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
	// no service answers there
	away := rpc.NewClient(testkit.NATS(t).Conn, rpc.ClientConfig{Name: "ticketing", Grace: -1})
	s.offers = offers.New(h.db, away, h.clock.Now)
	h.clock.Advance(time.Minute)
	must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
	if _, err := do(h.as(buyer), h, api.GetAvailability,
		api.AvailabilityQuery{ID: ids.New[ids.EventKind](h.clock.Now())}); err == nil {
		t.Error("an unknown event has availability")
	}
}
