package ticketing

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// defaults are the settings as they are when nobody has changed them.
func defaults() *settings.Live { return settings.Fixed(api.HoldTTL.Is(time.Minute)) }

// heldOf is how many seats of an event are held.
func (h *harness) heldOf(o *api.Offer) int {
	h.t.Helper()
	got := must(h.t.Context(), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID})
	return got.TicketTypes[0].Held
}

// One buyer does not hold a whole house unpaid, whatever the number of orders.
func TestOneBuyerDoesNotHoldAHouse(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = defaults()
		h.start()
		house, other, buyer := h.publish(100, 1000), h.publish(100, 1000), person()
		first := must(h.as(buyer), h, api.CreateOrder, order(house, 15))
		refused := func(o *api.Offer, n int, why string) {
			t.Helper()
			_, err := do(h.as(buyer), h, api.CreateOrder, order(o, n))
			if !fault.Is(err, fault.RateLimited) || fault.From(err).RetryAfter <= 0 {
				t.Errorf("%s: %v, want rate_limited with a time to wait", why, err)
			}
		}
		refused(house, 6, "more than 20 seats of an event")
		must(h.as(buyer), h, api.CreateOrder, order(house, 5))
		must(h.as(buyer), h, api.CreateOrder, order(other, 20))
		refused(other, 1, "a fourth order")
		if n := h.heldOf(house); n != 20 {
			t.Errorf("%d seats are held, want 20", n)
		}
		must(h.as(person()), h, api.CreateOrder, order(house, 20)) // another person
		must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: first.ID})
		must(h.as(buyer), h, api.CreateOrder, order(house, 15)) // a change of mind, at once
		h.audit()
	})
}

// The bounds hold for orders that come at once at two instances.
func TestUnpaidBoundsAreExact(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = defaults()
		h.start()
		h.start()
		house := h.publish(100, 1000)
		must(h.as(person()), h, api.CreateOrder, order(house, 1)) // opens the pool
		for _, c := range []struct{ each, want int }{{1, 3}, {8, 2}} {
			buyer := person()
			var mu sync.Mutex
			made := 0
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					_, err := do(h.as(buyer), h, api.CreateOrder, order(house, c.each))
					if err != nil && !fault.Is(err, fault.RateLimited) && !fault.Is(err, fault.SoldOut) {
						t.Errorf("an order: %v", err)
					}
					if err == nil {
						mu.Lock()
						defer mu.Unlock()
						made++
					}
				})
			}
			all.Wait()
			if made != c.want {
				t.Errorf("%d orders of %d seats, want %d", made, c.each, c.want)
			}
		}
		if n := h.heldOf(house); n != 1+3+16 {
			t.Errorf("%d seats are held, want those of the orders", n)
		}
		h.audit()
	})
}

// Who has let seats expire gets others of the event only after a pause, so that everybody else can have them first.
func TestRenewalGoesBehindOthers(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = defaults()
		h.start()
		house, other, buyer := h.publish(20, 1000), h.publish(20, 1000), person()
		made := must(h.as(buyer), h, api.CreateOrder, order(house, 20))
		h.clock.Advance(time.Minute)
		h.becomes(buyer, made.ID, api.OrderExpired)
		_, err := do(h.as(buyer), h, api.CreateOrder, order(house, 20))
		if !fault.Is(err, fault.RateLimited) {
			t.Errorf("a renewal: %v, want rate_limited", err)
		}
		must(h.as(buyer), h, api.CreateOrder, order(other, 1))
		late := person()
		taken := must(h.as(late), h, api.CreateOrder, order(house, 15))
		h.clock.Advance(time.Minute)
		h.becomes(late, taken.ID, api.OrderExpired)
		again := must(h.as(buyer), h, api.CreateOrder, order(house, 20))
		h.clock.Advance(31 * time.Second)
		must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: again.ID})
		if _, err := do(h.as(buyer), h, api.CreateOrder, order(house, 20)); !fault.Is(err, fault.RateLimited) {
			t.Errorf("after a late cancellation: %v, want rate_limited", err)
		}
		h.audit()
	})
}

// Seats that wait for days for a bank transfer are few, also for payments that begin at once at two instances.
func TestManualPaymentHasItsOwnBound(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = defaults()
		h.start()
		h.start()
		house, buyer := h.publish(100, 1000), person()
		var orders []*api.Order
		for range 3 {
			orders = append(orders, &must(h.as(buyer), h, api.CreateOrder, order(house, 4)).Order)
		}
		begin := func(o *api.Order, until *time.Time) error {
			_, err := do(h.as(buyer), h, api.BeginPayment, api.BeginPaymentOf{OrderID: o.ID,
				PaymentID: ids.New[ids.PaymentKind](h.clock.Now()), HoldUntil: until})
			return err
		}
		until := h.clock.Now().Add(7 * 24 * time.Hour)
		errs := make([]error, len(orders))
		var all sync.WaitGroup
		for i, o := range orders {
			all.Go(func() { errs[i] = begin(o, &until) })
		}
		all.Wait()
		began := 0
		for i, err := range errs {
			if err == nil {
				began++
				continue
			}
			if !fault.Is(err, fault.Conflict) {
				t.Errorf("payment %d: %v", i, err)
			}
			if err := begin(orders[i], nil); err != nil { // by a quick payment it can be had all the same
				t.Errorf("a quick payment: %v", err)
			}
		}
		if began != 1 {
			t.Errorf("%d orders of 4 seats wait for days, want 1", began)
		}
		h.audit()
	})
}

// An order waits for another one of the same person that is being written, and counts it.
func TestOrdersOfAPersonAreWrittenOneByOne(t *testing.T) {
	h := newHarness(t, testkit.Open(t, testkit.Postgres(t), "ticketing", Migrations()))
	s := h.start()
	house, buyer := h.publish(10, 1000), person()
	must(h.as(person()), h, api.CreateOrder, order(house, 1))
	now := store.Time(h.clock.Now())
	draft := func() creation {
		req := order(house, 1)
		row, _, err := s.draftOrder(&req, house, buyer, now)
		if err != nil {
			t.Fatal(err)
		}
		return creation{row: row, limits: unpaidLimits{orders: 1}}
	}
	first, second := draft(), draft()
	var refused error
	done := make(chan struct{})
	err := s.db.Tx(t.Context(), func(ctx context.Context, tx tx) error {
		if _, err := s.db.overLimits(ctx, tx, []creation{first}, now); err != nil {
			return err
		}
		go func() {
			defer close(done)
			results, err := s.db.create(t.Context(), []creation{second}, now)
			if refused = err; err == nil {
				refused = results[0].Err
			}
		}()
		testkit.Eventually(t, 10*time.Second, func() error { // it waits, or it is done
			var waiting int
			err := s.db.Read().NewRaw("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(ctx,
				&waiting)
			select {
			case <-done:
				return err
			default:
			}
			if err == nil && waiting == 0 {
				err = errors.New("nothing waits")
			}
			return err
		})
		_, err := tx.NewInsert().Model(&first.row).Exec(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if <-done; !fault.Is(refused, fault.RateLimited) {
		t.Errorf("the second order beside one that is being written: %v, want rate_limited", refused)
	}
}

// Where there are no limits nobody's orders are read: an order costs the same however many its buyer has.
func TestNoLimitsAskForNothing(t *testing.T) {
	none := []settings.Override{api.MaxOpenOrders.Is(0), api.MaxUnpaidSeats.Is(0), api.RenewalPause.Is(0)}
	s := &Service{live: settings.Fixed(none...)}
	if got := s.unpaidLimitsOf(orderRow{Total: 1}); got != (unpaidLimits{}) {
		t.Errorf("%+v, want none", got)
	}
	s.live = settings.Fixed(append(none[:2:2], api.RenewalPause.Is(time.Minute), api.HoldTTL.Is(time.Hour))...)
	if got, want := s.unpaidLimitsOf(orderRow{Total: 1}), (unpaidLimits{pause: time.Minute, long: time.Hour / 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := s.unpaidLimitsOf(orderRow{}); got != (unpaidLimits{}) {
		t.Errorf("an order that costs nothing: %+v, want none", got)
	}
}
