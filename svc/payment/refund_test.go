package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// due publishes that ticketing owes a refund, as a new message each time.
func (h *harness) due(p *api.Payment) {
	h.t.Helper()
	data, err := json.Marshal(api.RefundDue{RefundID: ids.Derive[ids.RefundKind]("test", p.ID.String()), OrderID: p.OrderID, PaymentID: p.ID,
		Amount: p.Amount, Reason: "the seats are gone"})
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.nats.JS.PublishMsg(h.t.Context(), &nats.Msg{Subject: api.OrderRefundDue.Subject, Data: data}); err != nil {
		h.t.Fatal(err)
	}
}

// TestRefundOnce has two instances consume several times that a refund is due.
func TestRefundOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		j := h.run()
		const n = 5
		paid := make([]*api.Payment, n)
		for k := range paid {
			ctx, order := h.order()
			p := h.create(ctx, order.ID)
			h.mustDecide(p.ID, "succeeded")
			paid[k] = h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		}
		for range 5 {
			for _, p := range paid {
				h.due(p)
			}
		}
		for _, p := range paid {
			h.awaitStatus(p.ID, api.PaymentRefunded, 0)
		}
		published := h.published(api.PaymentWasRefunded, n)
		if len(published) != n {
			t.Errorf("published %d refunds, want %d", len(published), n)
		}
		// Once more, when all is over, and straight at the work: nothing is left to do.
		for _, p := range paid {
			h.due(p)
		}
		var rows []*record.Refund
		if err := i.db.Read().NewSelect().Model(&rows).Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		var again sync.WaitGroup
		for _, r := range rows {
			for _, s := range []*instance{i, j} {
				own := *r // each instance has a row of its own
				again.Go(func() { s.refund(t.Context(), &own) })
			}
		}
		again.Wait()
		if len(rows) != n {
			t.Errorf("%d refunds, want %d", len(rows), n)
		}
		for what, query := range map[string]string{
			"refunds at the provider":        "SELECT count(*) FROM sandbox_refunds",
			"payments refunded in full":      "SELECT count(*) FROM sandbox_payments WHERE refunded = amount",
			"refunds that succeeded with us": "SELECT count(*) FROM payment_refunds WHERE status = 'succeeded'",
		} {
			if got := i.count(t, query); got != n {
				t.Errorf("%d %s, want %d", got, what, n)
			}
		}
		const consumed = "starlight_consumer_messages_total"
		if got := i.counter(consumed, "-", "consumer", consumer, "outcome", "retried") + j.counter(consumed, "-", "consumer", consumer, "outcome", "retried"); got != 0 {
			t.Errorf("%d duplicates were taken for failures", got)
		}
		const name = "starlight_payment_refunds_total"
		if got := i.counter(name, "-", "result", "succeeded") + j.counter(name, "-", "result", "succeeded"); got != n {
			t.Errorf("%d counted, want %d", got, n)
		}
	})
}

// An event with many paid orders is cancelled while the database is away: every refund that is due is made when it is back.
func TestOutageLosesNoRefund(t *testing.T) {
	outage := testkit.NewOutage(t, testkit.Postgres(t))
	h := newHarness(t, outage.URL)
	h.nats.Stream("DEAD", "dead.>")
	i := h.prepare()
	i.pauses = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond}
	h.start(i)
	const n = 200
	paid := make([]*api.Payment, n)
	each := make([]**api.Payment, n)
	for k := range each {
		each[k] = &paid[k]
	}
	err := parallel(t.Context(), 50, each, func(_ context.Context, p **api.Payment) {
		owner, order := h.order()
		*p = h.create(owner, order.ID)
		h.mustDecide((*p).ID, "succeeded")
	})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Minute, func() error {
		if got := i.count(t, "SELECT count(*) FROM payments WHERE status = 'succeeded'"); got != n {
			return fmt.Errorf("%d of %d payments have succeeded", got, n)
		}
		return nil
	})
	outage.Begin()
	for _, p := range paid {
		h.due(p)
	}
	testkit.Eventually(t, time.Minute, func() error {
		postponed := i.counter("starlight_consumer_messages_total", "-", "consumer", consumer, "outcome", "postponed")
		if postponed < 12*n {
			return fmt.Errorf("%d tries", postponed)
		}
		return nil
	})
	outage.End()
	testkit.Eventually(t, time.Minute, func() error {
		var got int // a connection from before the outage may end with this question
		err := i.db.Read().NewRaw("SELECT count(*) FROM payments WHERE status = 'refunded'").Scan(t.Context(), &got)
		if err != nil || got != n {
			return fmt.Errorf("%d of %d payments are refunded, error %v", got, n, err)
		}
		return nil
	})
	if got := len(h.nats.Messages("DEAD")); got != 0 {
		t.Errorf("%d dead letters", got)
	}
	i.audit(t)
}

// TestRefundAtOnce lets two instances work on the same refund at the same time.
func TestRefundAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i, j := h.run(), h.prepare()
		defer j.Close()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		var row *record.Refund
		err := i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			var err error
			row, err = i.store.addRefund(ctx, tx, api.RefundDue{RefundID: ids.New[ids.RefundKind](h.clock.Now()), OrderID: p.OrderID, PaymentID: p.ID, Amount: p.Amount})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		for _, s := range []*instance{i, j, i, j} {
			work.Go(func() {
				if err := s.tryRefund(t.Context(), row); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
		if published := h.published(api.PaymentWasRefunded, 1); len(published) != 1 || published[0].Status != api.PaymentRefunded {
			t.Errorf("published %+v", published)
		}
		if n := i.count(t, "SELECT count(*) FROM sandbox_refunds"); n != 1 {
			t.Errorf("%d refunds at the provider", n)
		}
	})
}

// TestRefundRefused owes money that was never taken, and more than was taken: neither is given, and the tables refuse it.
func TestRefundRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		addRefund := func(amount int64, currency string) error {
			return i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := i.store.addRefund(ctx, tx, api.RefundDue{RefundID: ids.New[ids.RefundKind](h.clock.Now()), OrderID: p.OrderID, PaymentID: p.ID,
					Amount: api.Money{Amount: amount, Currency: currency}})
				return err
			})
		}
		wantFault(t, addRefund(1, "EUR"), fault.Unavailable) // not yet
		h.mustDecide(p.ID, "succeeded")
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		wantFault(t, addRefund(5001, "EUR"), fault.Conflict)
		wantFault(t, addRefund(1, "USD"), fault.Conflict)
		if err := addRefund(4000, "EUR"); err != nil {
			t.Fatal(err)
		}
		wantFault(t, addRefund(1001, "EUR"), fault.Conflict)
		for _, change := range []string{"UPDATE ledger_transfers SET amount = 1", "DELETE FROM ledger_transfers",
			"UPDATE payments SET refunding = captured + 1", "UPDATE payments SET refunded = refunding + 1"} {
			err := i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, change)
				return err
			})
			if err == nil {
				t.Errorf("%s: done", change)
			}
		}
		i.audit(t)
	})
}
