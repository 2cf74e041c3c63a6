package payment

import (
	"context"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// A callback belongs to one instance for as long as the work on it may last, counted from when the work begins.
func TestLeaseOfACallbackCoversItsWork(t *testing.T) {
	if callbackLease <= 2*lookTime || refundLease <= refundTime {
		t.Fatalf("a lease of %v for work of %v, and one of %v for %v", callbackLease, lookTime, refundLease, refundTime)
	}
	onBoth(t, func(t *testing.T, h *harness) {
		i, j := h.prepare(), h.prepare() // nothing runs: the test is the worker
		defer i.Close()
		defer j.Close()
		now := store.Time(h.clock.Now())
		row := &callbackRow{Provider: "sandbox", EventID: "evt_1", RemoteID: "sbp_1", Type: "x", Body: []byte("{}"), ReceivedAt: now, DueAt: now.Add(callbackLease)}
		if _, err := i.receipts.Do(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		worker := i.workers["sandbox"]
		h.clock.Advance(callbackLease - 2*lookTime) // it waits for its worker: what is left would not do
		if err := worker.hold(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		if left := row.DueAt.Sub(h.clock.Now()); left < 2*lookTime {
			t.Errorf("the work begins with a lease of %v", left)
		}
		h.clock.Advance(callbackLease) // it waits too long
		rows, err := j.store.waiting(t.Context(), 10)
		if err != nil || len(rows) != 1 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		if err := worker.hold(t.Context(), row); err != errTaken {
			t.Errorf("two instances work on a callback: %v", err)
		}
		if err := j.workers["sandbox"].hold(t.Context(), rows[0]); err != nil {
			t.Error(err)
		}
	})
}

// Callbacks are stored for a while and not for ever. One that waits stays.
func TestOldCallbacksAreDeleted(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.prepare()
		defer i.Close()
		const old, waiting = sweepLimit + 5, 3
		at := store.Time(h.clock.Now())
		err := i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			rows := make([]*callbackRow, 0, old+waiting)
			for k := range old + waiting {
				r := &callbackRow{Provider: "sandbox", EventID: ids.New[ids.PaymentKind](at).String(), RemoteID: "r", Type: "x", Body: []byte("{}"), ReceivedAt: at, DueAt: at}
				if k < old {
					r.ProcessedAt = &at
				}
				rows = append(rows, r)
			}
			_, err := tx.NewInsert().Model(&rows).Exec(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		count := func() int { return i.count(t, "SELECT count(*) FROM payment_callbacks") }
		h.clock.Advance(api.CallbackRetention.Default() - time.Minute)
		if err := i.deleteCallbacks(t.Context()); err != nil || count() != old+waiting {
			t.Errorf("%d callbacks are left before their time is over (%v)", count(), err)
		}
		h.clock.Advance(2 * time.Minute)
		if err := i.deleteCallbacks(t.Context()); err != nil || count() != waiting {
			t.Errorf("%d callbacks are left, want %d (%v)", count(), waiting, err)
		}
	})
}
