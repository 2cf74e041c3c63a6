package payment

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/sandbox"
)

func TestPay(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		i := w.run()
		ctx, order := w.order()
		p := w.create(ctx, order.ID)
		if p.Status != api.PaymentRequiresAction || p.Provider != "sandbox" || p.Amount != order.Total || p.OrderID != order.ID || p.UserID != order.UserID {
			t.Errorf("created %+v", p)
		}
		if want := w.http.URL + "/sandbox/checkout/" + p.ID.String(); p.CheckoutURL != want {
			t.Errorf("checkout at %s, want %s", p.CheckoutURL, want)
		}
		if again := w.create(ctx, order.ID); again.ID != p.ID || again.CheckoutURL != p.CheckoutURL {
			t.Errorf("a second payment was opened: %+v", again)
		}
		if w.tied[order.ID] != p.ID {
			t.Errorf("ticketing knows payment %s, want %s", w.tied[order.ID], p.ID)
		}

		page, err := rpc.Call(ctx, w.client, api.GetSandboxCheckout, &api.PaymentRef{ID: p.ID})
		if err != nil || !strings.Contains(string(page.Data), "50.00 EUR") || !strings.Contains(string(page.Data), "2 × Standing") {
			t.Errorf("checkout page: %v\n%s", err, page.Data)
		}

		w.mustDecide(p.ID, "succeeded")
		paid := w.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		if paid.CheckoutURL != "" || paid.Revision <= p.Revision {
			t.Errorf("paid %+v", paid)
		}
		if published := w.published(api.PaymentHasSucceeded, 1); len(published) != 1 || published[0] != *paid {
			t.Errorf("told %+v, want one with %+v", published, paid)
		}

		w.mustDecide(p.ID, "succeeded")
		wantFault(t, w.decide(p.ID, "declined"), fault.Conflict)
		_, err = rpc.Call(ctx, w.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID})
		wantFault(t, err, fault.Conflict)

		other, _ := w.order()
		_, err = rpc.Call(other, w.client, api.GetPayment, &api.PaymentRef{ID: p.ID})
		wantFault(t, err, fault.NotFound)
		if n := i.count(t, "SELECT count(*) FROM sandbox_callbacks"); n != 1 {
			t.Errorf("%d callbacks, want 1", n)
		}
	})
}

func TestDecline(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		w.run()
		ctx, order := w.order()
		p := w.create(ctx, order.ID)
		w.mustDecide(p.ID, "declined")
		failed := w.awaitStatus(p.ID, api.PaymentFailed, 0)
		if failed.FailureReason != "declined" {
			t.Errorf("failed because of %q", failed.FailureReason)
		}
		if published := w.published(api.PaymentHasFailed, 1); len(published) != 1 || published[0] != *failed {
			t.Errorf("told %+v", published)
		}
		wantFault(t, w.decide(p.ID, "succeeded"), fault.Conflict)

		again := w.create(ctx, order.ID)
		if again.ID == p.ID {
			t.Error("a failed payment was opened again")
		}
		w.mustDecide(again.ID, "succeeded")
		w.awaitStatus(again.ID, api.PaymentSucceeded, 0)
	})
}

func TestCreateRefuses(t *testing.T) {
	w := newHarness(t, testkit.SQLite(t))
	w.run()
	ctx, order := w.order()
	call := func(ctx context.Context, order ids.Order, provider string) error {
		_, err := rpc.Call(ctx, w.client, api.CreatePayment, &api.NewPayment{OrderID: order, Provider: provider})
		return err
	}
	wantFault(t, call(ctx, order.ID, "nobody"), fault.Invalid)
	wantFault(t, call(ctx, ids.New[ids.OrderKind](w.clock.Now()), ""), fault.NotFound)
	wantFault(t, call(context.Background(), order.ID, ""), fault.Unauthenticated)
	other, paid := w.order()
	wantFault(t, call(other, order.ID, ""), fault.NotFound)
	paid.Status = api.OrderPaid
	wantFault(t, call(other, paid.ID, ""), fault.Conflict)
	_, free := w.order()
	free.Total.Amount = 0
	wantFault(t, call(as(free.UserID), free.ID, ""), fault.Conflict)

	p := w.create(ctx, order.ID)
	wantFault(t, w.decide(p.ID, ""), fault.Invalid)
	wantFault(t, w.decide(p.ID, "maybe"), fault.Invalid)
	wantFault(t, w.decide(ids.New[ids.PaymentKind](w.clock.Now()), "succeeded"), fault.NotFound)
	_, err := rpc.Call(ctx, w.client, api.GetSandboxCheckout, &api.PaymentRef{ID: ids.New[ids.PaymentKind](w.clock.Now())})
	wantFault(t, err, fault.NotFound)
	_, err = rpc.Call(ctx, w.client, api.ReceiveCallback, &api.Callback{Provider: "nobody", Body: []byte("{}")})
	wantFault(t, err, fault.NotFound)

	if err := w.live.Change(api.SandboxEnabled.Is(false)); err != nil {
		t.Fatal(err)
	}
	wantFault(t, call(ctx, order.ID, "sandbox"), fault.Invalid)
	wantFault(t, call(ctx, order.ID, ""), fault.Unavailable)
	wantFault(t, w.decide(p.ID, "succeeded"), fault.NotFound)
	_, err = rpc.Call(ctx, w.client, api.GetSandboxCheckout, &api.PaymentRef{ID: p.ID})
	wantFault(t, err, fault.NotFound)
}

func TestCheckoutExpires(t *testing.T) {
	w := newHarness(t, testkit.SQLite(t))
	w.run()
	ctx, order := w.order()
	p := w.create(ctx, order.ID)
	w.clock.Advance(sandbox.CheckoutTTL)
	wantFault(t, w.decide(p.ID, "succeeded"), fault.Expired)
	if failed := w.awaitStatus(p.ID, api.PaymentFailed, 0); failed.FailureReason != "expired" {
		t.Errorf("failed because of %q", failed.FailureReason)
	}
}

// TestCreateAtOnce lets many requests, on two instances, open a payment of one order: there is one payment, every request gets
// it, and it is the one that ticketing knows.
func TestCreateAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		i := w.run()
		w.run()
		ctx, order := w.order()
		const n = 24
		got := make([]ids.Payment, n)
		var calls sync.WaitGroup
		for k := range n {
			calls.Go(func() {
				p, err := rpc.Call(ctx, w.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID})
				if err != nil {
					t.Error(err)
					return
				}
				got[k] = p.ID
			})
		}
		calls.Wait()
		for _, id := range got {
			if id != got[0] {
				t.Fatalf("payments %s and %s for one order", id, got[0])
			}
		}
		if w.tied[order.ID] != got[0] {
			t.Errorf("ticketing knows payment %s, want %s", w.tied[order.ID], got[0])
		}
		if n := i.count(t, "SELECT count(*) FROM sandbox_payments"); n != 1 {
			t.Errorf("the provider has %d payments", n)
		}
	})
}

func TestIdempotencyKey(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		i := w.run()
		ctx, order := w.order()
		meta := *rpc.From(ctx)
		meta.Endpoint, meta.IdempotencyKey, meta.BodyHash = "payment.create", "k1", "h1"
		ctx = rpc.WithMeta(ctx, meta)
		p, err := i.createPayment(ctx, &api.NewPayment{OrderID: order.ID})
		if err != nil {
			t.Fatal(err)
		}
		scope, key, hash, _ := rpc.Answer(ctx)
		kept, _, body, found, err := idempotency.In(i.db).Lookup(ctx, scope, key)
		if err != nil || !found || kept != hash || !strings.Contains(string(body), p.ID.String()) || !strings.Contains(string(body), p.CheckoutURL) {
			t.Errorf("stored %q, %v, %v", body, found, err)
		}
		// The same key once more, past the look-up of the server, as when two requests come at once.
		if _, err := i.createPayment(ctx, &api.NewPayment{OrderID: order.ID}); err == nil || !strings.Contains(err.Error(), rpc.ErrDuplicateAnswer.Error()) {
			t.Errorf("got %v, want %v", err, rpc.ErrDuplicateAnswer)
		}
	})
}

// TestCreateCutOff stops an instance between the payment on disk and the provider, and once between the provider and the
// payment on disk. The next request finds the one checkout.
func TestCreateCutOff(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		cut := w.prepare()
		defer cut.Close()
		ctx, order := w.order()
		row, err := cut.begin(ctx, cut.workers[sandbox.Name].provider, &api.NewPayment{OrderID: order.ID})
		if err != nil {
			t.Fatal(err)
		}
		ctx2, order2 := w.order()
		row2, err := cut.begin(ctx2, cut.workers[sandbox.Name].provider, &api.NewPayment{OrderID: order2.ID})
		if err != nil {
			t.Fatal(err)
		}
		remote2, err := cut.createRemote(ctx2, cut.sandbox, row2)
		if err != nil {
			t.Fatal(err)
		}
		_, order3 := w.order()
		row3, err := cut.begin(as(order3.UserID), cut.workers[sandbox.Name].provider, &api.NewPayment{OrderID: order3.ID})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cut.createRemote(ctx, cut.sandbox, row3); err != nil {
			t.Fatal(err)
		}

		i := w.run()
		if p := w.create(ctx, order.ID); p.ID != row.ID || p.CheckoutURL == "" {
			t.Errorf("got %+v, want payment %s", p, row.ID)
		}
		if p := w.create(ctx2, order2.ID); p.ID != row2.ID || p.CheckoutURL != remote2.CheckoutURL {
			t.Errorf("got %+v, want payment %s", p, row2.ID)
		}
		// The third buyer never comes back to us, but pays: the callback, or else the poller, tells us the remote id.
		w.mustDecide(row3.ID, "succeeded")
		w.awaitStatus(row3.ID, api.PaymentSucceeded, 0)
		if n := i.count(t, "SELECT count(*) FROM sandbox_payments"); n != 3 {
			t.Errorf("the provider has %d payments, want 3", n)
		}
	})
}

// TestPollerCompletesCreation leaves a payment without a provider's answer to the poller.
func TestPollerCompletesCreation(t *testing.T) {
	w := newHarness(t, testkit.SQLite(t))
	i := w.run()
	ctx, order := w.order()
	row, err := i.begin(ctx, i.workers[sandbox.Name].provider, &api.NewPayment{OrderID: order.ID})
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(api.PaymentPollAfter.Default())
	testkit.Eventually(t, 10*time.Second, func() error {
		if n := i.count(t, "SELECT count(*) FROM sandbox_payments WHERE reference = ?", row.ID); n != 1 {
			return fmt.Errorf("the provider has %d payments", n)
		}
		return nil
	})
}

func TestLostCallbackIsFound(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		lost := new(capture)
		w.setDoor(lost.door)
		i := w.run()
		ctx, order := w.order()
		p := w.create(ctx, order.ID)
		w.mustDecide(p.ID, "succeeded")
		lost.wait(t, 1)
		if got := w.awaitStatus(p.ID, api.PaymentRequiresAction, 0); got.Revision != p.Revision {
			t.Errorf("moved to %+v without a callback", got)
		}
		w.clock.Advance(api.PaymentPollAfter.Default())
		w.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		if published := w.published(api.PaymentHasSucceeded, 1); len(published) != 1 {
			t.Errorf("told %d times", len(published))
		}
		if n := i.counter("starlight_payment_observations_total", "-", "provider", "sandbox", "source", "poller", "verdict", "moved"); n != 1 {
			t.Errorf("the poller moved %d payments", n)
		}
	})
}

// TestWrongAmount changes what the provider collected: such money is never a success.
func TestWrongAmount(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		i := w.run()
		for _, change := range []string{"amount = amount - 1", "amount = amount + 1", "currency = 'HUF'"} {
			ctx, order := w.order()
			p := w.create(ctx, order.ID)
			err := i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "UPDATE sandbox_payments SET "+change+" WHERE reference = ?", p.ID)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			w.mustDecide(p.ID, "succeeded")
			testkit.Eventually(t, 20*time.Second, func() error {
				row, err := i.store.payment(t.Context(), p.ID)
				if err == nil && row.Status != api.PaymentRefunded {
					err = fault.New(fault.Conflict, "not given back yet: %s", row.Status)
				}
				return err
			})
			if got := w.awaitStatus(p.ID, api.PaymentRefunded, 0); got.FailureReason != "wrong_amount" {
				t.Errorf("%s: %+v", change, got)
			}
		}
		if published := w.published(api.PaymentHasFailed, 3); len(published) != 3 {
			t.Errorf("told of %d failed payments, want 3", len(published))
		}
		i.audit(t)
		if published := w.published(api.PaymentHasSucceeded, 0); len(published) != 0 {
			t.Errorf("told of %+v", published)
		}
	})
}

// TestSenderGoesOn has the receiver refuse and the sender die: the callback arrives all the same.
func TestSenderGoesOn(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		var mu sync.Mutex
		seen := 0
		w.setDoor(func(rw http.ResponseWriter, r *http.Request, body []byte) {
			mu.Lock()
			defer mu.Unlock()
			seen++
			rw.WriteHeader(http.StatusServiceUnavailable)
		})
		i := w.run()
		ctx, order := w.order()
		p := w.create(ctx, order.ID)
		w.mustDecide(p.ID, "succeeded")
		testkit.Eventually(t, 20*time.Second, func() error {
			w.clock.Advance(time.Second)
			mu.Lock()
			defer mu.Unlock()
			if seen < 3 {
				return fault.New(fault.Conflict, "%d attempts", seen)
			}
			return nil
		})
		i.stop()
		w.setDoor(w.forward)
		j := w.run()
		w.awaitStatus(p.ID, api.PaymentSucceeded, 10*time.Second)
		testkit.Eventually(t, 10*time.Second, func() error {
			if n := j.count(t, "SELECT count(*) FROM sandbox_callbacks WHERE delivered_at IS NULL"); n != 0 {
				return fault.New(fault.Conflict, "%d callbacks are not delivered", n)
			}
			return nil
		})
	})
}

// TestStopLeavesNothing stops an instance that has work under way: afterwards none of its goroutines runs.
func TestStopLeavesNothing(t *testing.T) {
	w := newHarness(t, testkit.SQLite(t))
	i := w.run()
	for range 10 {
		ctx, order := w.order()
		w.mustDecide(w.create(ctx, order.ID).ID, "succeeded")
	}
	i.stop()
	testkit.Eventually(t, 10*time.Second, func() error {
		all := make([]byte, 4<<20)
		for g := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
			for _, ours := range []string{"svc/payment.(*", "shared/batch.(*", "shared/stream.(*"} {
				if strings.Contains(g, ours) && !strings.Contains(g, "_test.go") {
					return fault.New(fault.Conflict, "left behind: %s", g)
				}
			}
		}
		return nil
	})
}
