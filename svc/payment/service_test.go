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
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		if p.Status != api.PaymentRequiresAction || p.Provider != "sandbox" || p.Amount != order.Total || p.OrderID != order.ID || p.UserID != order.UserID {
			t.Errorf("created %+v", p)
		}
		if want := h.http.URL + "/sandbox/checkout/" + p.ID.String(); p.CheckoutURL != want {
			t.Errorf("checkout at %s, want %s", p.CheckoutURL, want)
		}
		if again := h.create(ctx, order.ID); again.ID != p.ID || again.CheckoutURL != p.CheckoutURL {
			t.Errorf("a second payment was created: %+v", again)
		}
		if h.payments[order.ID] != p.ID {
			t.Errorf("ticketing knows payment %s, want %s", h.payments[order.ID], p.ID)
		}

		page, err := rpc.Call(ctx, h.client, api.GetSandboxCheckout, &api.PaymentRef{ID: p.ID})
		if err != nil || !strings.Contains(string(page.Data), "50.00 EUR") || !strings.Contains(string(page.Data), "2 × Standing") {
			t.Errorf("checkout page: %v\n%s", err, page.Data)
		}

		h.mustDecide(p.ID, "succeeded")
		paid := h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		if paid.CheckoutURL != "" || paid.Revision <= p.Revision {
			t.Errorf("paid %+v", paid)
		}
		if published := h.published(api.PaymentHasSucceeded, 1); len(published) != 1 || published[0] != *paid {
			t.Errorf("published %+v, want one with %+v", published, paid)
		}

		h.mustDecide(p.ID, "succeeded")
		wantFault(t, h.decide(p.ID, "declined"), fault.Conflict)
		_, err = rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID})
		wantFault(t, err, fault.Conflict)

		other, _ := h.order()
		_, err = rpc.Call(other, h.client, api.GetPayment, &api.PaymentRef{ID: p.ID})
		wantFault(t, err, fault.NotFound)
		if n := i.count(t, "SELECT count(*) FROM sandbox_callbacks"); n != 1 {
			t.Errorf("%d callbacks, want 1", n)
		}
	})
}

func TestDecline(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "declined")
		failed := h.awaitStatus(p.ID, api.PaymentFailed, 0)
		if failed.FailureReason != "declined" {
			t.Errorf("failed because of %q", failed.FailureReason)
		}
		if published := h.published(api.PaymentHasFailed, 1); len(published) != 1 || published[0] != *failed {
			t.Errorf("published %+v", published)
		}
		wantFault(t, h.decide(p.ID, "succeeded"), fault.Conflict)

		again := h.create(ctx, order.ID)
		if again.ID == p.ID {
			t.Error("a failed payment was used again")
		}
		h.mustDecide(again.ID, "succeeded")
		h.awaitStatus(again.ID, api.PaymentSucceeded, 0)
	})
}

func TestCreateRefuses(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	h.run()
	ctx, order := h.order()
	call := func(ctx context.Context, order ids.Order, provider string) error {
		_, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order, Provider: provider})
		return err
	}
	wantFault(t, call(ctx, order.ID, "unknown"), fault.Invalid)
	wantFault(t, call(context.Background(), order.ID, ""), fault.Unauthenticated)
	for _, code := range []fault.Code{fault.NotFound, fault.Conflict} {
		h.refuse(fault.New(code, "ticketing refuses"))
		wantFault(t, call(ctx, order.ID, ""), code)
	}
	h.refuse(nil)
	_, free := h.order()
	free.Total.Amount = 0
	wantFault(t, call(as(free.UserID), free.ID, ""), fault.Conflict)

	p := h.create(ctx, order.ID)
	wantFault(t, h.decide(p.ID, ""), fault.Invalid)
	wantFault(t, h.decide(p.ID, "maybe"), fault.Invalid)
	wantFault(t, h.decide(ids.New[ids.PaymentKind](h.clock.Now()), "succeeded"), fault.NotFound)
	_, err := rpc.Call(ctx, h.client, api.GetSandboxCheckout, &api.PaymentRef{ID: ids.New[ids.PaymentKind](h.clock.Now())})
	wantFault(t, err, fault.NotFound)
	_, err = rpc.Call(ctx, h.client, api.ReceiveCallback, &api.Callback{Provider: "unknown", Body: []byte("{}")})
	wantFault(t, err, fault.NotFound)

	// What has become of an order is for its owner: of a paid one, too, a stranger gets what ticketing answers.
	other, mine := h.order()
	h.mustDecide(h.create(other, mine.ID).ID, "succeeded")
	testkit.Eventually(t, 10*time.Second, func() error {
		if err := call(other, mine.ID, ""); !fault.Is(err, fault.Conflict) {
			return fmt.Errorf("a paid order is paid again: %v", err)
		}
		return nil
	})
	h.refuse(fault.New(fault.NotFound, "ticketing refuses"))
	wantFault(t, call(ctx, mine.ID, ""), fault.NotFound)
	h.refuse(nil)

	if err := h.live.Change(api.SandboxEnabled.Is(false)); err != nil {
		t.Fatal(err)
	}
	wantFault(t, call(ctx, order.ID, "sandbox"), fault.Invalid)
	wantFault(t, call(ctx, order.ID, ""), fault.Unavailable)
	wantFault(t, h.decide(p.ID, "succeeded"), fault.NotFound)
	_, err = rpc.Call(ctx, h.client, api.GetSandboxCheckout, &api.PaymentRef{ID: p.ID})
	wantFault(t, err, fault.NotFound)
}

func TestCheckoutExpires(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	h.run()
	ctx, order := h.order()
	p := h.create(ctx, order.ID)
	h.clock.Advance(sandbox.CheckoutTTL)
	wantFault(t, h.decide(p.ID, "succeeded"), fault.Expired)
	if failed := h.awaitStatus(p.ID, api.PaymentFailed, 0); failed.FailureReason != "expired" {
		t.Errorf("failed because of %q", failed.FailureReason)
	}
}

// TestCreateAtOnce lets many requests, on two instances, open a payment of one order: there is one payment, every request gets
// it, and it is the one that ticketing knows.
func TestCreateAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		h.run()
		ctx, order := h.order()
		const n = 24
		got := make([]ids.Payment, n)
		var calls sync.WaitGroup
		for k := range n {
			calls.Go(func() {
				p, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID})
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
		if h.payments[order.ID] != got[0] {
			t.Errorf("ticketing knows payment %s, want %s", h.payments[order.ID], got[0])
		}
		if n := i.count(t, "SELECT count(*) FROM sandbox_payments"); n != 1 {
			t.Errorf("the provider has %d payments", n)
		}
	})
}

func TestIdempotencyKey(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, order := h.order()
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
	onBoth(t, func(t *testing.T, h *harness) {
		cut := h.prepare()
		defer cut.Close()
		ctx, order := h.order()
		row, err := cut.openPayment(ctx, cut.providers[sandbox.Name], &api.NewPayment{OrderID: order.ID})
		if err != nil {
			t.Fatal(err)
		}
		ctx2, order2 := h.order()
		row2, err := cut.openPayment(ctx2, cut.providers[sandbox.Name], &api.NewPayment{OrderID: order2.ID})
		if err != nil {
			t.Fatal(err)
		}
		remote2, err := cut.sandbox.Create(ctx2, cut.createRequest(row2))
		if err != nil {
			t.Fatal(err)
		}
		_, order3 := h.order()
		row3, err := cut.openPayment(as(order3.UserID), cut.providers[sandbox.Name], &api.NewPayment{OrderID: order3.ID})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cut.sandbox.Create(ctx, cut.createRequest(row3)); err != nil {
			t.Fatal(err)
		}

		i := h.run()
		if p := h.create(ctx, order.ID); p.ID != row.ID || p.CheckoutURL == "" {
			t.Errorf("got %+v, want payment %s", p, row.ID)
		}
		if p := h.create(ctx2, order2.ID); p.ID != row2.ID || p.CheckoutURL != remote2.CheckoutURL {
			t.Errorf("got %+v, want payment %s", p, row2.ID)
		}
		// The third buyer never comes back to us, but pays: the callback, or else the poller, brings the remote id.
		h.mustDecide(row3.ID, "succeeded")
		h.awaitStatus(row3.ID, api.PaymentSucceeded, 0)
		if n := i.count(t, "SELECT count(*) FROM sandbox_payments"); n != 3 {
			t.Errorf("the provider has %d payments, want 3", n)
		}
	})
}

// TestPollerCompletesCreation leaves a payment without a provider's answer to the poller.
func TestPollerCompletesCreation(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	i := h.run()
	ctx, order := h.order()
	row, err := i.openPayment(ctx, i.providers[sandbox.Name], &api.NewPayment{OrderID: order.ID})
	if err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(api.PaymentPollAfter.Default())
	testkit.Eventually(t, 10*time.Second, func() error {
		if n := i.count(t, "SELECT count(*) FROM sandbox_payments WHERE reference = ?", row.ID); n != 1 {
			return fmt.Errorf("the provider has %d payments", n)
		}
		return nil
	})
}

func TestLostCallbackIsFound(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		lost := new(recorder)
		h.setReceiver(lost.receive)
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		lost.wait(t, 1)
		if got := h.awaitStatus(p.ID, api.PaymentRequiresAction, 0); got.Revision != p.Revision {
			t.Errorf("moved to %+v without a callback", got)
		}
		h.clock.Advance(api.PaymentPollAfter.Default())
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		if published := h.published(api.PaymentHasSucceeded, 1); len(published) != 1 {
			t.Errorf("published %d times", len(published))
		}
		i.awaitCounter(t, 1, "starlight_payment_observations_total", "provider", "sandbox", "source", "poller", "verdict", "moved")
	})
}

// TestWrongAmount changes what the provider collected: such money is never a success.
func TestWrongAmount(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		for _, change := range []string{"amount = amount - 1", "amount = amount + 1", "currency = 'HUF'"} {
			ctx, order := h.order()
			p := h.create(ctx, order.ID)
			err := i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "UPDATE sandbox_payments SET "+change+" WHERE reference = ?", p.ID)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			h.mustDecide(p.ID, "succeeded")
			testkit.Eventually(t, 20*time.Second, func() error {
				row, err := i.store.payment(t.Context(), p.ID)
				if err == nil && row.Status != api.PaymentRefunded {
					err = fault.New(fault.Conflict, "not given back yet: %s", row.Status)
				}
				return err
			})
			if got := h.awaitStatus(p.ID, api.PaymentRefunded, 0); got.FailureReason != "wrong_amount" {
				t.Errorf("%s: %+v", change, got)
			}
		}
		if published := h.published(api.PaymentHasFailed, 3); len(published) != 3 {
			t.Errorf("published %d failed payments, want 3", len(published))
		}
		i.audit(t)
		if published := h.published(api.PaymentHasSucceeded, 0); len(published) != 0 {
			t.Errorf("published %+v", published)
		}
	})
}

// TestSenderGoesOn has the receiver refuse and the sender die: the callback arrives all the same.
func TestSenderGoesOn(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		var mu sync.Mutex
		seen := 0
		h.setReceiver(func(rw http.ResponseWriter, r *http.Request, body []byte) {
			mu.Lock()
			defer mu.Unlock()
			seen++
			rw.WriteHeader(http.StatusServiceUnavailable)
		})
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		testkit.Eventually(t, 20*time.Second, func() error {
			h.clock.Advance(time.Second)
			mu.Lock()
			defer mu.Unlock()
			if seen < 3 {
				return fault.New(fault.Conflict, "%d attempts", seen)
			}
			return nil
		})
		i.stop()
		h.setReceiver(h.forward)
		j := h.run()
		h.awaitStatus(p.ID, api.PaymentSucceeded, 10*time.Second)
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
	h := newHarness(t, testkit.SQLite(t))
	i := h.run()
	for range 10 {
		ctx, order := h.order()
		h.mustDecide(h.create(ctx, order.ID).ID, "succeeded")
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
