package ticketing

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// stall keeps orders from being written until the returned function is called.
func (h *harness) stall() (resume func()) {
	h.t.Helper()
	locked, free, done := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		done <- h.db.Tx(context.Background(), func(ctx context.Context, tx bun.Tx) error {
			if h.db.Postgres() { // SQLite has one writer
				if _, err := tx.ExecContext(ctx, "LOCK TABLE orders IN EXCLUSIVE MODE"); err != nil {
					return err
				}
			}
			close(locked)
			<-free
			return nil
		})
	}()
	<-locked
	return func() {
		h.t.Helper()
		close(free)
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
}

// holds waits until the person has so many orders that hold seats.
func (h *harness) holds(s *Service, user ids.User, n int) {
	h.t.Helper()
	testkit.Eventually(h.t, 10*time.Second, func() error {
		if got := s.inv.HeldBy(user); got != n {
			return fmt.Errorf("%d orders hold seats, want %d", got, n)
		}
		return nil
	})
}

// The database is slow for a moment. A buyer whose order was still waiting to be written when time was up holds nothing
// for it, and is not locked out by holds without orders.
func TestOrderThatWaitedTooLongHoldsNothing(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = fixed(api.HoldTTL.Is(10*time.Minute), api.MaxOpenOrders.Is(1))
		s := h.start()
		o := h.publish(100, 1000)
		must(h.as(person()), h, api.CreateOrder, order(o, 1)) // opens the pool
		resume := h.stall()
		first, buyer := person(), person()
		written := make(chan error, 1)
		go func() { // keeps the writer busy
			req := order(o, 1)
			_, err := s.createOrder(h.as(first), &req)
			written <- err
		}()
		h.holds(s, first, 1)
		for tries := 0; ; tries++ {
			ctx, cancel := context.WithTimeout(h.as(buyer), 300*time.Millisecond)
			req := order(o, 1)
			_, err := s.createOrder(ctx, &req)
			cancel()
			if !fault.Is(err, fault.Timeout) {
				t.Fatalf("an order that cannot be written: %v", err)
			}
			if errors.Is(err, batch.ErrAbandoned) {
				break
			}
			if tries == 5 {
				t.Fatal("no order waited")
			}
			buyer = person() // it was handed to the database, and may yet be written
		}
		h.holds(s, buyer, 0)
		resume()
		if err := <-written; err != nil {
			t.Error(err)
		}
		must(h.as(buyer), h, api.CreateOrder, order(o, 1))
		h.audit()
	})
}

// What a request took is given back though its time is up.
func TestHoldIsGivenBackAfterItsRequest(t *testing.T) {
	h := newHarness(t, testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations()))
	s := h.start()
	o := h.publish(100, 1000)
	must(h.as(person()), h, api.CreateOrder, order(o, 1))
	ctx, cancel := context.WithCancel(h.as(person()))
	cancel()
	buyer := person()
	row, lines, err := s.draftOrder(&api.NewOrder{EventID: o.Event.ID, Items: order(o, 1).Items}, o, buyer,
		h.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.hold(t.Context(), row.ref(), o, buyer, lines, row.ExpiresAt, "mine"); err != nil {
		t.Fatal(err)
	}
	s.releaseHold(ctx, row.ref(), "mine") // though the request is over
	h.holds(s, buyer, 0)
}
