package ticketing

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// The answer to the commit of many orders is lost. All of them exist, and their buyers learn so; no seat is given away.
func TestLostCommitOfManyOrders(t *testing.T) {
	for name, price := range map[string]int64{"free": 0, "priced": 1000} {
		t.Run(name, func(t *testing.T) {
			lose := testkit.LoseCommits(t, testkit.Postgres(t))
			h := newHarness(t, testkit.Open(t, lose.URL, "ticketing", Migrations()))
			h.start()
			const n = 30
			offer := h.publish(n+1, price)
			must(h.as(person()), h, api.CreateOrder, order(offer, 1))
			lose.Next(func(query []byte) bool {
				return bytes.Contains(query, []byte(`INSERT INTO "orders"`)) && bytes.Count(query, []byte("'ord_")) >= 2
			})
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					buyer := person()
					var err error
					if i%2 == 0 {
						_, err = do(h.as(buyer), h, api.CreateOrder, order(offer, 1))
					} else {
						_, err = h.send(buyer, "a key", order(offer, 1))
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if !lose.Lost() {
				t.Fatal("no answer was lost")
			}
			if _, err := do(h.as(person()), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.SoldOut) {
				t.Errorf("one more order than there are seats: %v", err)
			}
			h.clock.Advance(freeHold) // those whose answer came from the store are confirmed at the end of their hold
			h.audit()
		})
	}
}

// The answer to the commit of payments is lost: each order has its tickets once.
func TestLostCommitOfPayments(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	h := newHarness(t, testkit.Open(t, lose.URL, "ticketing", Migrations()))
	h.start()
	offer := h.publish(10, 1000)
	lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(`INSERT INTO "tickets"`)) })
	h.buy(offer, 3)
	if !lose.Lost() {
		t.Fatal("no answer was lost")
	}
	h.audit()
}

// The answers to scans are lost on their way from the database: the door still hears that it has admitted.
func TestLostCommitOfScans(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	h := newHarness(t, testkit.Open(t, lose.URL, "ticketing", Migrations()))
	h.start()
	offer := h.publish(10, 0)
	b := h.buy(offer, 1)
	lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(`INSERT INTO "admissions"`)) })
	got := must(h.as(ownerOf(offer)), h, api.AdmitTicket,
		api.Admission{EventID: offer.Event.ID, Code: b.tickets[0].Code, Gate: "north"})
	if got.Result != api.Admitted || !lose.Lost() {
		t.Errorf("the door hears %+v", got)
	}
	if scans := must(h.as(ownerOf(offer)), h, api.ListAdmissions,
		api.EventPage{EventID: offer.Event.ID}).Items; len(scans) != 1 {
		t.Errorf("%d scans are kept", len(scans))
	}
}

// The answers to a transfer and to a cancellation are lost on their way from the database: both are answered as done,
// once.
func TestLostCommitOfATransfer(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	h := newHarness(t, testkit.Open(t, lose.URL, "ticketing", Migrations()))
	h.start()
	to := person()
	h.people["bo@example.org"] = api.Contact{ID: to, Email: "bo@example.org", EmailVerified: true, Name: "Bo"}
	b := h.buy(h.publish(10, 0), 1)
	lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte("UPDATE tickets SET owner_id")) })
	got, err := do(h.as(b.buyer), h, api.TransferTicket, api.Transfer{ID: b.tickets[0].ID, Email: "bo@example.org"})
	if err != nil || got.OwnerID != to || got.Revision != 2 || !lose.Lost() {
		t.Errorf("the transfer: %+v, %v", got, err)
	}

	buyer, offer := person(), h.publish(1, 1000)
	made := must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
	lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte("UPDATE orders SET status")) })
	ended, err := do(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: made.ID})
	if err != nil || ended.Status != api.OrderCancelled || !lose.Lost() {
		t.Errorf("the cancellation: %+v, %v", ended, err)
	}
	for subject, want := range map[string]int{api.TicketTransferred.Subject: 1, api.OrderWasCancelled.Subject: 1} {
		testkit.Eventually(t, 15*time.Second, func() error {
			if n := len(h.published(subject)); n != want {
				return fmt.Errorf("%d of %s", n, subject)
			}
			return nil
		})
	}
	h.audit()
}

// The answer under a key is no longer stored. The key still means its order: no second one, and no seat lost or won.
func TestKeyOutlivesItsAnswer(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer, buyer := h.publish(5, 1000), person()
		forget := func() {
			t.Helper()
			if err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "DELETE FROM answers")
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		first, err := h.send(buyer, "my key", order(offer, 1))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			forget()
			if again, err := h.send(buyer, "my key", order(offer, 1)); err != nil || again.ID != first.ID ||
				again.Status != api.OrderPending {
				t.Errorf("the key again: %+v, %v", again, err)
			}
		}
		if _, err := do(h.as(person()), h, api.CreateOrder, order(offer, 5)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("the seat of a pending order was sold: %v", err)
		}
		h.clock.Advance(2 * time.Minute)
		h.becomes(buyer, first.ID, api.OrderExpired)
		forget()
		if again, err := h.send(buyer, "my key", order(offer, 1)); err != nil || again.ID != first.ID ||
			again.Status != api.OrderExpired {
			t.Errorf("the key of an expired order: %+v, %v", again, err)
		}
		must(h.as(person()), h, api.CreateOrder, order(offer, 5))
		h.audit()
	})
}

// keyed returns the context of a request with an idempotency key, and the id of its order.
func (h *harness) keyed(buyer ids.User, key string) (context.Context, ids.Order) {
	ctx := rpc.WithMeta(h.t.Context(), rpc.Meta{Principal: rpc.Principal{User: buyer}, Endpoint: "create_order",
		IdempotencyKey: key, BodyHash: "hash"})
	scope, key, hash, _ := rpc.Answer(ctx)
	return ctx, ids.Derive[ids.OrderKind](scope, key, hash)
}

// Two requests with one key share the hold: the one that fails does not take it from the order of the other.
func TestFailedTwinLeavesTheHold(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer, buyer := h.publish(1, 1000), person()
		req := order(offer, 1)
		ctx, id := h.keyed(buyer, "twin")
		ref := inventory.Ref{Event: offer.Event.ID, Order: id}
		expires := store.Time(h.clock.Now().Add(time.Minute))
		lines := []inventory.Line{{Type: req.Items[0].TicketTypeID, N: 1}}
		for _, overtaken := range []bool{true, false} {
			if err := s.hold(ctx, ref, offer, buyer, lines, expires, "twin"); err != nil {
				t.Fatal(err)
			}
			if overtaken {
				if _, err := s.createOrder(ctx, &req); err != nil {
					t.Fatal(err)
				}
			}
			s.undoHold(ctx, ref, "twin", fault.New(fault.Unavailable, "the service is overloaded"))
			if _, err := do(h.as(person()), h, api.CreateOrder, order(offer, 1)); !fault.Is(err, fault.SoldOut) {
				t.Errorf("the last seat is promised to two: %v", err)
			}
		}
		h.clock.Advance(2 * time.Minute)
		h.becomes(buyer, id, api.OrderExpired)
		// Without a twin and without an order the seat is free again at once.
		ref.Order = ids.New[ids.OrderKind](h.clock.Now())
		if err := s.hold(ctx, ref, offer, buyer, lines, store.Time(h.clock.Now().Add(time.Minute)),
			"alone"); err != nil {
			t.Fatal(err)
		}
		s.undoHold(ctx, ref, "alone", fault.New(fault.Unavailable, "the service is overloaded"))
		must(h.as(person()), h, api.CreateOrder, order(offer, 1))
	})
}

// A request is repeated minutes after its hold, of which no order came: the order has its seats for as long as it says.
func TestRepeatedRequestHoldsAsLongAsItSays(t *testing.T) {
	h := newHarness(t, testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations()))
	s := h.start()
	offer, buyer := h.publish(1, 1000), person()
	req := order(offer, 1)
	ctx, id := h.keyed(buyer, "again")
	lines := []inventory.Line{{Type: req.Items[0].TicketTypeID, N: 1}}
	if err := s.hold(ctx, inventory.Ref{Event: offer.Event.ID, Order: id}, offer, buyer, lines,
		store.Time(h.clock.Now().Add(time.Minute)), "first"); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(50 * time.Second)
	made, err := s.createOrder(ctx, &req)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.inv.Expired(made.ExpiresAt.Add(-time.Second), 10); len(got) != 0 {
		t.Errorf("the order is held until %v, and its hold has ended: %v", made.ExpiresAt, got)
	}
	if got := s.inv.Expired(*made.ExpiresAt, 10); len(got) != 1 {
		t.Errorf("the hold does not end with its order: %v", got)
	}
}

// free writes a free order whose hold is not confirmed yet, and returns it with its hold's end.
func (h *harness) free(s *Service, offer *api.Offer, buyer ids.User, n int) orderRow {
	h.t.Helper()
	req := order(offer, n)
	row, lines, err := s.draftOrder(&req, offer, buyer, store.Time(h.clock.Now()))
	if err != nil {
		h.t.Fatal(err)
	}
	if err := s.hold(h.t.Context(), row.ref(), offer, buyer, lines, h.clock.Now().Add(freeHold), "free"); err != nil {
		h.t.Fatal(err)
	}
	made, err := s.creations.Do(h.t.Context(),
		creation{row: row, free: true, message: stream.NewMessage(h.t.Context(), "", nil)})
	if err != nil {
		h.t.Fatal(err)
	}
	return made
}

// A free order is given up before the inventory has heard that it is paid, by its buyer or with its event.
func TestFreeOrderGivenUpBeforeItsConfirmation(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer, buyer := h.publish(5, 0), person()
		row := h.free(s, offer, buyer, 2)
		must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: row.ID})
		if err := s.confirm(t.Context(), row); err != nil {
			t.Error(err)
		}
		h.sold(offer, 0)
		row = h.free(s, offer, buyer, 2)
		h.change(offer.Event.ID, api.EventWasCancelled.Subject,
			func(o *api.Offer) { o.Event.Status = api.EventCancelled })
		h.becomes(buyer, row.ID, api.OrderCancelled)
		if err := s.confirm(t.Context(), row); err != nil {
			t.Error(err)
		}
		h.sold(offer, 0)
		h.audit()
	})
}

// The instance ends, or is overloaded, before it confirms a free order: another does so within seconds.
func TestFreeOrderIsConfirmedByOthers(t *testing.T) {
	h := newHarness(t, testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations()))
	s := h.start()
	offer := h.publish(5, 0)
	ctx, cancel := context.WithCancel(h.as(person()))
	row := h.free(s, offer, rpc.Caller(ctx).User, 2)
	cancel()
	if err := s.confirm(ctx, row); err == nil {
		t.Error("confirmed under an ended context")
	}
	h.clock.Advance(freeHold)
	h.sold(offer, 2)
	h.audit()
}

// A free order is written after its hold has ended. If there is room it takes its seats again; if not, it is taken
// back.
func TestFreeOrderWrittenAfterItsHold(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer := h.publish(3, 0)
		first, second := person(), person()
		room := h.free(s, offer, first, 1)
		if err := s.inv.Release(t.Context(), room.ref()); err != nil {
			t.Fatal(err)
		}
		if err := s.confirm(t.Context(), room); err != nil {
			t.Error(err)
		}
		h.sold(offer, 1)
		h.audit()

		late := h.free(s, offer, second, 1)
		if err := s.inv.Release(t.Context(), late.ref()); err != nil {
			t.Fatal(err)
		}
		taker := inventory.Ref{Event: offer.Event.ID, Order: ids.New[ids.OrderKind](h.clock.Now())}
		all := []inventory.Line{{Type: offer.Event.TicketTypes[0].ID, N: 2}}
		if err := s.inv.Hold(t.Context(), taker, first, all, h.clock.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.confirm(t.Context(), late); err != nil {
			t.Error(err)
		}
		h.becomes(second, late.ID, api.OrderCancelled)
		if err := s.inv.Release(t.Context(), taker); err != nil {
			t.Fatal(err)
		}
		h.audit()
	})
}

// The inventory has let a sale through that the stock refuses. The money goes back, and others are paid as usual.
func TestPaymentThatTheStockRefuses(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(5, 1000, 1000)
		made := must(h.as(person()), h, api.CreateOrder, order(offer, 2))
		well := must(h.as(person()), h, api.CreateOrder, api.NewOrder{EventID: offer.Event.ID,
			Items: []api.NewOrderItem{{TicketTypeID: offer.Event.TicketTypes[1].ID, Quantity: 1}}})
		if err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE stock SET capacity = 0 WHERE ticket_type_id = ?",
				offer.Event.TicketTypes[0].ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		h.pay(made.UserID, &made.Order)
		h.pay(well.UserID, &well.Order)
		h.becomes(made.UserID, made.ID, api.OrderRefunding)
		h.becomes(well.UserID, well.ID, api.OrderPaid)
		h.sold(offer, 0)
		testkit.Eventually(t, 10*time.Second, func() error {
			if got := len(h.published(api.OrderRefundDue.Subject)); got != 1 {
				return fmt.Errorf("%d refunds are due, want 1", got)
			}
			return nil
		})
		h.audit()
	})
}
