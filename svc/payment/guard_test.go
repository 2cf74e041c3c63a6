package payment

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// createAt creates a payment of a fresh order at giro, by an instance that does nothing in the background.
func (i *instance) createAt(t *testing.T, h *harness) *api.Payment {
	t.Helper()
	ctx, order := h.order()
	p, err := i.createPayment(ctx, &api.NewPayment{OrderID: order.ID, Provider: "giro"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// observeAt says what giro has of a payment.
func (i *instance) observeAt(t *testing.T, of string, p *api.Payment, status provider.Status, amount api.Money) confirmation {
	t.Helper()
	out, err := i.confirmations.Do(t.Context(), observation{provider: of,
		remote: provider.State{ID: "giro_" + p.ID.String(), PaymentID: p.ID, Status: status, Amount: amount}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A callback that several instances look at, or one twice in a commit, keeps its first outcome and is due no more.
func TestCallbackProcessedTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		g := newGiro(h)
		i := h.prepare()
		defer i.Close()
		p := i.createAt(t, h)
		g.succeed("giro_" + p.ID.String())
		now := store.Time(h.clock.Now())
		row := &callbackRow{Provider: "giro", EventID: "evt_1", RemoteID: "giro_" + p.ID.String(), Type: "x", Body: []byte("{}"), ReceivedAt: now, DueAt: now}
		look := observation{provider: "giro", callback: row,
			remote: provider.State{ID: row.RemoteID, PaymentID: p.ID, Status: provider.Succeeded, Amount: p.Amount}}
		for _, r := range i.store.confirm(t.Context(), []observation{look, look}) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if err := i.confirm(t.Context(), i.providers["giro"], row.RemoteID, row); err != nil {
			t.Fatal(err)
		}
		if err := i.store.postpone(t.Context(), row, now); err != nil {
			t.Fatal(err)
		}
		if n := i.count(t, "SELECT count(*) FROM payment_callbacks WHERE outcome = 'moved' AND attempts = 0"); n != 1 {
			t.Error("the outcome is not that of the first look, or the callback was put off after it")
		}
		h.clock.Advance(2 * claimLease)
		if rows := i.take(t, "giro"); len(rows) != 0 {
			t.Error("a processed callback is due")
		}
	})
}

// What one provider has is no payment of another, and a payment that has collected something else is dealt with.
func TestObservationsThatMoveNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		newGiro(h)
		i := h.prepare()
		defer i.Close()
		p := i.createAt(t, h)
		if out := i.observeAt(t, "sandbox", p, provider.Succeeded, p.Amount); out.verdict != verdictUnknown {
			t.Errorf("another provider's look is %s", out.verdict)
		}
		if out := i.observeAt(t, "giro", p, provider.Succeeded, api.Money{Currency: "EUR"}); out.verdict != verdictMismatch {
			t.Errorf("a success over nothing is %s", out.verdict)
		}
		if out := i.observeAt(t, "giro", p, provider.Succeeded, p.Amount); out.verdict != verdictNone || out.status != api.PaymentFailed {
			t.Errorf("a look after a mismatch is %s: %s", out.verdict, out.status)
		}
	})
}

// A refund that is done is neither made again nor put off nor claimed; one that the provider refuses is given up.
func TestRefundTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		g := newGiro(h)
		i := h.prepare()
		defer i.Close()
		refund := func() *record.Refund {
			t.Helper()
			p := i.createAt(t, h)
			i.observeAt(t, "giro", p, provider.Succeeded, p.Amount)
			h.refundAll(i, p.ID)
			if err := i.sweepRefunds(t.Context()); err != nil {
				t.Fatal(err)
			}
			rows, err := i.store.refunds(t.Context(), p.ID)
			if err != nil || len(rows) != 1 {
				t.Fatalf("%d refunds, %v", len(rows), err)
			}
			return rows[0]
		}
		row := refund()
		if err := i.tryRefund(t.Context(), row); err != nil {
			t.Error(err)
		}
		if err := i.store.postponeRefund(t.Context(), row, h.clock.Now(), true); err != nil {
			t.Error(err)
		}
		h.clock.Advance(2 * claimLease)
		if rows, err := i.store.refundsDue().Take(t.Context(), 10); err != nil || len(rows) != 0 {
			t.Errorf("%d refunds are due, %v", len(rows), err)
		}
		if n := i.count(t, "SELECT count(*) FROM payment_refunds WHERE status = 'succeeded' AND attempts = 0"); n != 1 || g.refunds() != 1 {
			t.Errorf("%d refunds have succeeded by %d calls", n, g.refunds())
		}

		g.set(func() { g.refuses = fault.New(fault.Conflict, "giro gives nothing back") })
		if row = refund(); row.Status != api.RefundFailed {
			t.Errorf("a refund that is refused is %s", row.Status)
		}
	})
}

// A payment that is open for long is asked for more and more seldom, a failed one for a while.
func TestPollSchedule(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		newGiro(h)
		i := h.prepare()
		defer i.Close()
		interval, start := api.PaymentPollAfter.Default(), h.clock.Now()
		due := func(want int) {
			t.Helper()
			rows, err := i.store.unfinished(t.Context(), interval, 10)
			if err != nil || len(rows) != want {
				t.Errorf("%v after the beginning %d payments are asked for, want %d (%v)", h.clock.Now().Sub(start), len(rows), want, err)
			}
		}
		p := i.createAt(t, h)
		due(0)
		h.clock.Advance(10 * interval)
		due(1)
		due(0)
		h.clock.Advance(10*interval - time.Second)
		due(0) // it is asked for when its age has doubled
		h.clock.Advance(time.Second)
		due(1)
		i.observeAt(t, "giro", p, provider.Failed, p.Amount)
		h.clock.Advance(20 * interval)
		due(1) // the money may come after all
		h.clock.Advance(watchFailed + 40*interval)
		due(1)
		h.clock.Advance(100 * watchFailed)
		due(0)
		i.observeAt(t, "giro", p, provider.Succeeded, p.Amount)
		h.clock.Advance(10000 * watchFailed)
		due(0)
	})
}

func TestCloseBounds(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	i := h.prepare()
	defer i.Close()
	list := make([]ids.Order, 501)
	for k := range list {
		list[k] = ids.New[ids.OrderKind](h.clock.Now())
	}
	_, err := i.closePayments(t.Context(), &api.OrdersToClose{OrderIDs: list})
	wantFault(t, err, fault.Invalid)
	if out, err := i.closePayments(t.Context(), &api.OrdersToClose{OrderIDs: list[1:]}); err != nil || len(out.OrderIDs) != 500 {
		t.Errorf("closed %+v, %v", out, err)
	}
}
