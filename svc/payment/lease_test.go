package payment

import (
	"context"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// A callback belongs to one instance. When its claim is over, another instance takes it, and the first neither asks the
// provider nor puts it off.
func TestClaimOfACallback(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		g := newGiro(h)
		i, j := h.prepare(), h.prepare() // nothing runs: the test is the worker
		defer i.Close()
		defer j.Close()
		now := store.Time(h.clock.Now())
		row := &callbackRow{Provider: "giro", EventID: "evt_1", RemoteID: "giro_1", Type: "x", Body: []byte("{}"), ReceivedAt: now, DueAt: now}
		if fresh, err := i.receipts.Do(t.Context(), row); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		if rows := i.take(t, "sandbox"); len(rows) != 0 {
			t.Errorf("the sweep of another provider takes %d callbacks", len(rows))
		}
		mine := i.take(t, "giro")
		if again := j.take(t, "giro"); len(mine) != 1 || len(again) != 0 {
			t.Fatalf("%d and %d callbacks, want 1 and 0", len(mine), len(again))
		}
		h.clock.Advance(claimLease)
		theirs := j.take(t, "giro")
		if len(theirs) != 1 {
			t.Fatalf("%d callbacks after the claim, want 1", len(theirs))
		}
		i.process(t.Context(), i.providers["giro"], i.store.callbacks("giro"), mine[0])
		if n := g.fetches(); n != 0 {
			t.Errorf("two instances work on a callback: asked %d times", n)
		}
		if err := i.store.postpone(t.Context(), mine[0], now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		j.process(t.Context(), j.providers["giro"], j.store.callbacks("giro"), theirs[0])
		if n := i.count(t, "SELECT count(*) FROM payment_callbacks WHERE processed_at IS NOT NULL AND attempts = 0"); n != 1 {
			t.Error("the callback is not processed, or was put off by the instance that had lost it")
		}
	})
}

// take claims the callbacks of a provider.
func (i *instance) take(t *testing.T, provider string) []*callbackRow {
	t.Helper()
	rows, err := i.store.callbacks(provider).Take(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// A refund belongs to one instance. What happens to it while it is claimed, such as a manager's word that it is paid out,
// is not undone by the instance that had it before.
func TestClaimOfARefund(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		g := newGiro(h)
		i := h.prepare()
		defer i.Close()
		j := h.run()
		ctx, order := h.order()
		p, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: "giro"})
		if err != nil {
			t.Fatal(err)
		}
		g.succeed("giro_" + p.ID.String())
		h.awaitStatus(p.ID, api.PaymentSucceeded, api.PaymentPollAfter.Default())
		j.stop()
		h.refundAll(i, p.ID)
		mine, err := i.store.refundsDue().Take(t.Context(), 10)
		if err != nil || len(mine) != 1 {
			t.Fatalf("%d refunds, %v", len(mine), err)
		}
		due := store.Time(h.clock.Now())
		err = i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return record.RefundSoon(ctx, tx, due, mine[0].ID) })
		if err != nil {
			t.Fatal(err)
		}
		if err := i.store.postponeRefund(t.Context(), mine[0], due.Add(time.Hour), true); err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(claimLease) // so that the claim is to be renewed first
		i.refund(t.Context(), mine[0])
		if n := g.refunds(); n != 0 {
			t.Errorf("a refund whose claim is lost is made: asked %d times", n)
		}
		if n := i.count(t, "SELECT count(*) FROM payment_refunds WHERE due_at = ? AND status = 'pending' AND attempts = 0", due); n != 1 {
			t.Error("the refund was put off or given up by an instance that had lost it")
		}
		if err := i.sweepRefunds(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := i.count(t, "SELECT count(*) FROM payments WHERE status = 'refunded'"); n != 1 || g.refunds() != 1 {
			t.Errorf("%d payments are refunded by %d refunds", n, g.refunds())
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

// What people wrote of refunds is erased when its time is over, by the setting as it is then; what is pending keeps it,
// and the refunds stay.
func TestOldReasonsAreErased(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.prepare()
		defer i.Close()
		at := store.Time(h.clock.Now())
		const old = sweepLimit + 5
		err := i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			p := record.Payment{ID: ids.New[ids.PaymentKind](at), Provider: "sandbox", Status: api.PaymentSucceeded, Amount: 100, Currency: "EUR",
				RemoteKey: "k", Revision: 1, PollAt: at, CreatedAt: at, UpdatedAt: at}
			if _, err := tx.NewInsert().Model(&p).Exec(ctx); err != nil {
				return err
			}
			for k := range old + 1 {
				status := api.RefundSucceeded
				if k == old {
					status = api.RefundPending
				}
				refund := record.Refund{ID: ids.New[ids.RefundKind](at), PaymentID: p.ID, Amount: 100, Currency: "EUR",
					Reason: "the buyer is ill", Status: status, CreatedAt: at, UpdatedAt: at, DueAt: at}
				if _, err := tx.NewInsert().Model(&refund).Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		erase := func(want int) {
			t.Helper()
			if err := i.eraseReasons(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := i.count(t, "SELECT count(*) FROM payment_refunds WHERE reason <> ''"); n != want {
				t.Errorf("%d reasons are left, want %d", n, want)
			}
		}
		h.clock.Advance(api.ReasonRetention.Default() - time.Minute)
		erase(old + 1)
		h.clock.Advance(2 * time.Minute)
		if err := h.live.Change(api.ReasonRetention.Is(2 * api.ReasonRetention.Default())); err != nil {
			t.Fatal(err)
		}
		erase(old + 1)
		if err := h.live.Change(api.ReasonRetention.Is(api.ReasonRetention.Default())); err != nil {
			t.Fatal(err)
		}
		erase(1)
		if n := i.count(t, "SELECT count(*) FROM payment_refunds"); n != old+1 {
			t.Errorf("%d refunds are left", n)
		}
	})
}
