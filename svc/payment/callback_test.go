package payment

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// TestCallbacksInAnyOrder sends each callback of many payments five times, all of them shuffled, to two instances, with
// forged ones among them. Every payment ends as its payer decided, and that is published once.
func TestCallbacksInAnyOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		kept := new(recorder)
		h.setReceiver(kept.receive)
		i := h.run()
		h.run()
		const n = 20
		outcomes := map[ids.Payment]string{}
		for k := range n {
			ctx, order := h.order()
			p := h.create(ctx, order.ID)
			outcomes[p.ID] = []string{"succeeded", "declined"}[k%2]
			h.mustDecide(p.ID, outcomes[p.ID])
		}
		var calls []recorded
		for _, c := range kept.wait(t, n) {
			for range 5 {
				calls = append(calls, c)
			}
			calls = append(calls, recorded{provider.Sign([]byte("a guess"), c.body, h.clock.Now()), c.body})
		}
		rand.Shuffle(len(calls), func(a, b int) { calls[a], calls[b] = calls[b], calls[a] })
		results := make([]error, len(calls))
		err := parallel(t.Context(), 8, slicesIndex(len(calls)), func(_ context.Context, k int) {
			results[k] = h.callback(calls[k].signature, calls[k].body)
		})
		if err != nil {
			t.Fatal(err)
		}
		forged := 0
		for _, err := range results {
			if fault.Is(err, fault.Unauthenticated) {
				forged++
			} else if err != nil {
				t.Error(err)
			}
		}
		if forged != n {
			t.Errorf("%d callbacks were refused, want the %d forged ones", forged, n)
		}
		for id, outcome := range outcomes {
			h.awaitStatus(id, map[string]string{"succeeded": api.PaymentSucceeded, "declined": api.PaymentFailed}[outcome], 0)
		}
		for _, topic := range []api.Topic[api.PaymentEvent]{api.PaymentHasSucceeded, api.PaymentHasFailed} {
			published := map[ids.Payment]int{}
			for _, p := range h.published(topic, n/2) {
				published[p.ID]++
			}
			if len(published) != n/2 {
				t.Errorf("%s of %d payments, want %d", topic.Subject, len(published), n/2)
			}
			for id, times := range published {
				if times != 1 {
					t.Errorf("%s of %s %d times", topic.Subject, id, times)
				}
			}
		}
		if rows := i.count(t, "SELECT count(*) FROM payment_callbacks"); rows != n {
			t.Errorf("%d callbacks are stored, want %d", rows, n)
		}

		// Late ones, after everything is over: refused once they are old, harmless before.
		if err := h.callback(calls[0].signature, calls[0].body); err != nil && !fault.Is(err, fault.Unauthenticated) {
			t.Error(err)
		}
		h.clock.Advance(provider.SignatureTolerance + time.Second)
		for _, c := range kept.wait(t, n) {
			wantFault(t, h.callback(c.signature, c.body), fault.Unauthenticated)
		}
		if rows := i.count(t, "SELECT count(*) FROM payment_callbacks WHERE processed_at IS NULL"); rows != 0 {
			t.Errorf("%d callbacks wait", rows)
		}
	})
}

// sandboxCallback returns the body of a callback of the sandbox that a payment has succeeded.
func sandboxCallback(event, remote string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"type":"payment.succeeded","payment":%q,"created":1}`, event, remote)
}

func slicesIndex(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// TestCallbackRefused shows what a forger and a broken provider are answered.
func TestCallbackRefused(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	log := &testkit.Buffer{}
	h.log = slog.New(slog.NewTextHandler(log, nil))
	i := h.run()
	body := []byte(`{"id":"sbe_x","type":"payment.succeeded","payment":"sbp_x","created":1}`)
	wantFault(t, h.callback("", body), fault.Unauthenticated)
	wantFault(t, h.callback(provider.Sign([]byte("wrong"), body, h.clock.Now()), body), fault.Unauthenticated)
	for _, garbage := range []string{"", "no JSON", `{"id":"sbe_x"}`} {
		wantFault(t, h.callback(provider.Sign([]byte(testSandboxSecret), []byte(garbage), h.clock.Now()), []byte(garbage)), fault.Invalid)
	}
	if n := i.count(t, "SELECT count(*) FROM payment_callbacks"); n != 0 {
		t.Errorf("%d callbacks are stored", n)
	}
	if n := i.counter("starlight_payment_callbacks_total", "-", "provider", "sandbox", "result", "refused"); n != 5 {
		t.Errorf("%d counted as refused, want 5", n)
	}
	// Anybody can send them: the log has one line of all that come within a second.
	if n := strings.Count(log.String(), "a callback was refused"); n != 1 {
		t.Errorf("%d lines in the log, want 1", n)
	}
	if n := i.counter("starlight_log_lines_sampled_total", "-", "kind", "callback refused sandbox"); n != 4 {
		t.Errorf("%d lines are counted as left out, want 4", n)
	}
}

// TestUnknownPayment sends signed callbacks about payments that are not ours: they are taken, counted and done with.
func TestUnknownPayment(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		send := func(event, remote string) {
			t.Helper()
			body := sandboxCallback(event, remote)
			if err := h.callback(provider.Sign([]byte(testSandboxSecret), body, h.clock.Now()), body); err != nil {
				t.Fatal(err)
			}
		}
		// One that the provider does not know either, and one that it made for another merchant.
		foreign, err := i.sandbox.Create(t.Context(), provider.CreateRequest{Key: "k", PaymentID: ids.New[ids.PaymentKind](h.clock.Now()),
			OrderID: ids.New[ids.OrderKind](h.clock.Now()), Amount: api.Money{Amount: 1, Currency: "EUR"}})
		if err != nil {
			t.Fatal(err)
		}
		send("sbe_1", "sbp_nothing")
		send("sbe_2", foreign.ID)
		if n := i.count(t, "SELECT count(*) FROM payment_callbacks WHERE outcome = 'unknown' AND processed_at IS NOT NULL"); n != 2 {
			t.Errorf("%d of 2 are processed", n)
		}
		i.awaitCounter(t, 2, "starlight_payment_observations_total", "provider", "sandbox", "source", "callback", "verdict", "unknown")
	})
}

// TestForeignObject lets the provider speak of our payment under another object of its own.
func TestForeignObject(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	i := h.run()
	ctx, order := h.order()
	p := h.create(ctx, order.ID)
	out, err := i.confirmations.Do(t.Context(), observation{provider: "sandbox",
		remote: provider.State{ID: "sbp_other", PaymentID: p.ID, Status: provider.Succeeded, Amount: p.Amount}})
	if err != nil || out.verdict != verdictForeign || out.status != api.PaymentRequiresAction {
		t.Errorf("got %+v, %v", out, err)
	}
}

// callBack sends a callback of giro about a payment to an instance.
func (i *instance) callBack(p *api.Payment) error {
	_, err := i.receiveCallback(context.Background(), &api.Callback{Provider: "giro", Headers: map[string]string{"X-Giro-Signature": "giro"},
		Body: []byte("giro_" + p.ID.String())})
	return err
}

// TestPromptCallback has a provider that answers: when the callback is acknowledged, it is stored and processed. The provider
// is not asked again for a callback that comes again.
func TestPromptCallback(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		g := newGiro(h)
		i := h.prepare() // nothing happens later
		defer i.Close()
		ctx, order := h.order()
		p, err := i.createPayment(ctx, &api.NewPayment{OrderID: order.ID, Provider: "giro"})
		if err != nil {
			t.Fatal(err)
		}
		g.succeed("giro_" + p.ID.String())
		for range 3 {
			if err := i.callBack(p); err != nil {
				t.Fatal(err)
			}
		}
		if n := i.count(t, "SELECT count(*) FROM payments WHERE status = 'succeeded'"); n != 1 {
			t.Error("the payment has not succeeded")
		}
		if n := i.count(t, "SELECT count(*) FROM payment_callbacks WHERE processed_at IS NOT NULL AND outcome = 'moved'"); n != 1 {
			t.Errorf("%d callbacks are processed, want 1", n)
		}
		if n := g.fetches(); n != 1 {
			t.Errorf("the provider was asked %d times", n)
		}
		if _, err := i.receiveCallback(ctx, &api.Callback{Provider: "giro", Headers: map[string]string{"X-Giro-Signature": "giro"}}); err != nil {
			t.Errorf("a callback about nothing: %v", err)
		}
		if n := i.count(t, "SELECT count(*) FROM payment_callbacks"); n != 1 || g.fetches() != 1 {
			t.Errorf("%d callbacks are stored, one of them about nothing", n)
		}
		const name = "starlight_payment_callbacks_total"
		if n := i.counter(name, "-", "provider", "giro", "result", "duplicate"); n != 2 {
			t.Errorf("%d duplicates counted, want 2", n)
		}
	})
}

// TestSlowCallback has a provider that hangs: the callback is stored and acknowledged all the same.
func TestSlowCallback(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	g := newGiro(h)
	i := h.prepare()
	defer i.Close()
	ctx, order := h.order()
	p, err := i.createPayment(ctx, &api.NewPayment{OrderID: order.ID, Provider: "giro"})
	if err != nil {
		t.Fatal(err)
	}
	g.set(func() { g.hangs = true })
	start := time.Now()
	if err := i.callBack(p); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > provider.CallTimeout/2 {
		t.Errorf("acknowledged after %v", took)
	}
	if n := i.count(t, "SELECT count(*) FROM payment_callbacks WHERE processed_at IS NULL AND attempts = 1"); n != 1 {
		t.Errorf("%d callbacks wait, want 1", n)
	}
}

// TestCrashAfterReceipt stops an instance between storing a callback and processing it: the next one finds it.
func TestCrashAfterReceipt(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		g := newGiro(h)
		cut := h.prepare()
		defer cut.Close()
		ctx, order := h.order()
		p, err := cut.createPayment(ctx, &api.NewPayment{OrderID: order.ID, Provider: "giro"})
		if err != nil {
			t.Fatal(err)
		}
		g.set(func() { g.fails = fault.New(fault.Unavailable, "giro is away") })
		if err := cut.callBack(p); err != nil {
			t.Fatal(err)
		}
		g.set(func() { g.fails = nil })
		g.succeed("giro_" + p.ID.String())
		err = cut.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { // the poller would help, and is not needed
			_, err := tx.ExecContext(ctx, "UPDATE payments SET poll_at = ?", h.clock.Now().Add(24*time.Hour))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if rows := cut.take(t, "giro"); len(rows) != 0 {
			t.Errorf("%d callbacks are due at once", len(rows))
		}
		h.clock.Advance(provider.FirstRetry)
		if rows := cut.take(t, "giro"); len(rows) != 1 {
			t.Fatalf("%d callbacks are due, want 1", len(rows))
		}

		i := h.run()
		if got, err := rpc.Call(ctx, h.client, api.GetPayment, &api.PaymentRef{ID: p.ID}); err != nil || got.Status != api.PaymentRequiresAction {
			t.Errorf("before the claim is over: %+v, %v", got, err)
		}
		h.clock.Advance(claimLease)
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		i.awaitCounter(t, 1, "starlight_payment_observations_total", "provider", "giro", "source", "callback", "verdict", "moved")
		if published := h.published(api.PaymentHasSucceeded, 1); len(published) != 1 {
			t.Errorf("published %d times", len(published))
		}
	})
}
