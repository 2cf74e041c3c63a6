package payment

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// is has the sandbox inject faults. Call it before run.
func (h *harness) is(faults ...settings.Override) {
	h.live = settings.Fixed(append([]settings.Override{api.SandboxEnabled.Is(true)}, faults...)...)
}

func (h *harness) close(orders ...ids.Order) []ids.Order {
	h.t.Helper()
	client := rpc.NewClient(h.nats.Conn, rpc.ClientConfig{Name: "ticketing"})
	out, err := rpc.Call(h.t.Context(), client, api.ClosePayments, &api.OrdersToClose{OrderIDs: orders})
	if err != nil {
		h.t.Fatal(err)
	}
	return out.OrderIDs
}

func TestChallenge(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		h.is(api.SandboxChallenge.Is(true))
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		wantFault(t, h.decide(p.ID, "authenticated"), fault.Conflict)
		for range 2 { // said twice, it is one consent
			h.mustDecide(p.ID, "succeeded")
		}
		page, err := rpc.Call(ctx, h.client, api.GetSandboxCheckout, &api.PaymentRef{ID: p.ID})
		if err != nil || !strings.Contains(string(page.Data), "authenticated") {
			t.Errorf("no challenge on the page: %v\n%s", err, page.Data)
		}
		if n := i.count(t, "SELECT count(*) FROM sandbox_callbacks"); n != 0 {
			t.Errorf("%d callbacks before the challenge", n)
		}
		for range 2 {
			h.mustDecide(p.ID, "authenticated")
		}
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)

		ctx, order = h.order()
		p = h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		_, err = rpc.Call(ctx, h.client, api.DecideSandboxPayment, &api.SandboxOutcome{ID: p.ID, Outcome: "declined", Reason: "authentication_failed"})
		if err != nil {
			t.Fatal(err)
		}
		if got := h.awaitStatus(p.ID, api.PaymentFailed, 0); got.FailureReason != "authentication_failed" {
			t.Errorf("failed because of %q", got.FailureReason)
		}
		_, err = rpc.Call(ctx, h.client, api.DecideSandboxPayment, &api.SandboxOutcome{ID: p.ID, Outcome: "declined", Reason: "<script>"})
		wantFault(t, err, fault.Invalid)
		i.audit(t)
	})
}

// A payer has consented and the money comes later: the payment cannot be ended, and is no success yet.
func TestSlowCapture(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		h.is(api.SandboxCaptureDelay.Is(time.Minute))
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		h.awaitStatus(p.ID, api.PaymentProcessing, 0)
		if got := h.close(order.ID); len(got) != 0 {
			t.Errorf("closed while the money is on its way: %v", got)
		}
		_, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID})
		wantFault(t, err, fault.Conflict)
		h.clock.Advance(time.Minute)
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		if got := h.close(order.ID); len(got) != 0 {
			t.Errorf("closed although it is paid: %v", got)
		}
		i.audit(t)
	})
}

// Before the seats of an order go to others, its payments are ended where they are made.
func TestClosePayments(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, open := h.order()
		p := h.create(ctx, open.ID)
		_, untouched := h.order()
		ctx, failed := h.order()
		declined := h.create(ctx, failed.ID)
		h.mustDecide(declined.ID, "declined")
		h.awaitStatus(declined.ID, api.PaymentFailed, 0)
		ctx, again := h.order()
		first := h.create(ctx, again.ID)
		h.mustDecide(first.ID, "succeeded")
		h.awaitStatus(first.ID, api.PaymentSucceeded, 0)

		got := h.close(open.ID, untouched.ID, failed.ID, again.ID)
		if want := []ids.Order{open.ID, untouched.ID, failed.ID}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("closed %v, want %v", got, want)
		}
		if got := h.awaitStatus(p.ID, api.PaymentFailed, 0); got.FailureReason != api.FailureOrderEnded || got.CanTryAgain() {
			t.Errorf("failed because of %q, can be tried again: %t", got.FailureReason, got.CanTryAgain())
		}
		wantFault(t, h.decide(p.ID, "succeeded"), fault.Conflict) // the payer comes too late
		if published := h.published(api.PaymentHasFailed, 2); len(published) != 2 {
			t.Errorf("published %d failures", len(published))
		}
		i.audit(t)
	})
}

// When the provider's own word of the end comes before our answer, the payment failed all the same because its order did.
func TestReasonOfAnEndIsTheOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, o := h.order()
		p := h.create(ctx, o.ID)
		rows, err := i.store.payable(t.Context(), []ids.Order{o.ID})
		if err != nil || len(rows) != 1 {
			t.Fatal(rows, err)
		}
		if err := i.store.ending(t.Context(), rows, api.FailureOrderEnded); err != nil {
			t.Fatal(err)
		}
		if _, err := i.sandbox.Cancel(t.Context(), rows[0].RemoteID); err != nil {
			t.Fatal(err)
		}
		if err := i.confirm(t.Context(), i.sandbox, rows[0].RemoteID, nil); err != nil { // as for a callback
			t.Fatal(err)
		}
		if got := h.awaitStatus(p.ID, api.PaymentFailed, 0); got.FailureReason != api.FailureOrderEnded {
			t.Errorf("failed because of %q", got.FailureReason)
		}
		if published := h.published(api.PaymentHasFailed, 1); published[0].CanTryAgain() {
			t.Errorf("the payer can try again: %+v", published[0])
		}
	})
}

// Payer and expiry at the same moment: either the order is closed and nothing is collected, or it is paid.
func TestCloseAgainstPay(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		type outcome struct {
			payment ids.Payment
			closed  bool
		}
		outcomes := make([]outcome, 20)
		var race sync.WaitGroup
		for k := range outcomes {
			ctx, order := h.order()
			p := h.create(ctx, order.ID)
			outcomes[k].payment = p.ID
			race.Go(func() { h.decide(p.ID, "succeeded") })
			race.Go(func() { outcomes[k].closed = len(h.close(order.ID)) == 1 })
		}
		race.Wait()
		for _, o := range outcomes {
			if o.closed {
				h.awaitStatus(o.payment, api.PaymentFailed, 0)
				continue
			}
			h.awaitStatus(o.payment, api.PaymentSucceeded, 0)
		}
		i.audit(t)
	})
}

// With every fault injected, each payment still ends as its payer decided, each event is published once, and the records
// agree.
func TestEveryFaultAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		h.is(api.SandboxCallbackDelay.Is(time.Second), api.SandboxShuffle.Is(5*time.Second), api.SandboxCopies.Is(3), api.SandboxLost.Is(30),
			api.SandboxTimeouts.Is(20), api.SandboxCaptureDelay.Is(2*time.Second), api.PaymentPollAfter.Is(5*time.Second))
		i := h.run()
		h.run()
		const n = 40
		paid := make([]*api.Payment, n)
		for k := range paid {
			ctx, order := h.order()
			testkit.Eventually(t, 20*time.Second, func() (err error) { // a client asks again
				paid[k], err = rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID})
				return err
			})
			h.mustDecide(paid[k].ID, []string{"succeeded", "declined"}[k%2])
		}
		for k, p := range paid {
			h.awaitStatus(p.ID, []string{api.PaymentSucceeded, api.PaymentFailed}[k%2], 500*time.Millisecond)
		}
		for k, p := range paid {
			if k%2 == 0 {
				h.due(p)
			}
		}
		for k, p := range paid {
			h.awaitStatus(p.ID, []string{api.PaymentRefunded, api.PaymentFailed}[k%2], 500*time.Millisecond)
		}
		for topic, want := range map[api.Topic[api.PaymentEvent]]int{api.PaymentHasSucceeded: n / 2, api.PaymentHasFailed: n / 2, api.PaymentWasRefunded: n / 2} {
			if published := h.published(topic, want); len(published) != want {
				t.Errorf("%s was published %d times, want %d", topic.Subject, len(published), want)
			}
		}
		i.audit(t)
	})
}

func TestCreateRefund(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		half := &api.Money{Amount: 2500, Currency: "EUR"}
		ask := func(ctx context.Context) (*api.Refund, error) {
			return rpc.Call(ctx, h.client, api.CreateRefund, &api.NewRefund{PaymentID: p.ID, Amount: half, Reason: "rain"})
		}
		h.refuse(fault.New(fault.Forbidden, "only the event's managers may do this"))
		_, err := ask(ctx)
		wantFault(t, err, fault.Forbidden)
		_, err = ask(as(ids.New[ids.UserKind](time.Now())))
		wantFault(t, err, fault.NotFound)
		h.refuse(nil)
		refund, err := ask(as(organizerID))
		if err != nil || refund.Amount != *half || refund.Status != api.RefundPending || refund.Reason != "rain" {
			t.Fatalf("refund %+v, %v", refund, err)
		}
		testkit.Eventually(t, 20*time.Second, func() error {
			list, err := rpc.Call(ctx, h.client, api.ListRefunds, &api.PaymentRef{ID: p.ID})
			if err == nil && (len(list.Items) != 1 || list.Items[0].Status != api.RefundSucceeded) {
				err = fmt.Errorf("refunds are %+v", list.Items)
			}
			return err
		})
		if got := h.awaitStatus(p.ID, api.PaymentSucceeded, 0); got.Refunded != *half {
			t.Errorf("half of it is back, and the payment says %v", got.Refunded)
		}
		if _, err := ask(as(organizerID)); err != nil {
			t.Fatal(err)
		}
		if got := h.awaitStatus(p.ID, api.PaymentRefunded, 0); got.Refunded != order.Total {
			t.Errorf("all of it is back, and the payment says %v", got.Refunded)
		}
		_, err = rpc.Call(as(ids.New[ids.UserKind](time.Now())), h.client, api.ListRefunds, &api.PaymentRef{ID: p.ID})
		wantFault(t, err, fault.NotFound)
		i.audit(t)
	})
}

func TestProvidersOfTheEvent(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	h.run()
	ctx, order := h.order()
	for _, tt := range []struct {
		accepted []string
		asked    string
		want     fault.Code
	}{
		{[]string{"sandbox"}, "", ""},
		{[]string{"stripe", "sandbox"}, "", ""},
		{[]string{"stripe", "sandbox"}, "sandbox", ""},
		{[]string{"stripe"}, "sandbox", fault.Invalid},
		{[]string{"stripe"}, "", fault.Unavailable},
	} {
		h.mu.Lock()
		h.accepted = tt.accepted
		h.mu.Unlock()
		_, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: tt.asked})
		if tt.want == "" && err != nil || tt.want != "" && !fault.Is(err, tt.want) {
			t.Errorf("the event takes %v, asked for %q: %v", tt.accepted, tt.asked, err)
		}
	}
}

// stuck is a provider that answers when it is let go, or fails.
type stuck struct {
	provider.Provider
	wait  chan struct{}
	fails error
	asked chan struct{}
}

func (s *stuck) Name() string { return "stuck" }

func (s *stuck) Fetch(ctx context.Context, _ string) (provider.State, error) {
	s.asked <- struct{}{}
	select {
	case <-s.wait:
		return provider.State{}, s.fails
	case <-ctx.Done():
		return provider.State{}, ctx.Err()
	}
}

// A provider that hangs takes as many calls as it may have and no more: a call beyond them fails at once.
func TestGuardBoundsCalls(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	i := h.run()
	s := &stuck{wait: make(chan struct{}), asked: make(chan struct{}, provider.MaxCalls+1)}
	g := provider.NewGuard(s, i.registry, testkit.Log(t))
	var calls sync.WaitGroup
	for range provider.MaxCalls {
		calls.Go(func() {
			if _, err := g.Fetch(t.Context(), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	for range provider.MaxCalls {
		<-s.asked
	}
	_, err := g.Fetch(t.Context(), "x")
	wantFault(t, err, fault.Unavailable)

	ctx, order := h.order() // the other provider is as well as ever
	p := h.create(ctx, order.ID)
	h.mustDecide(p.ID, "succeeded")
	h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
	close(s.wait)
	calls.Wait()
}

// A provider that fails again and again is left alone; one that refuses is not failing.
func TestGuardBreaks(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	i := h.prepare()
	defer i.Close()
	s := &stuck{wait: make(chan struct{}), asked: make(chan struct{}, 1000), fails: fault.New(fault.Conflict, "no")}
	close(s.wait)
	g := provider.NewGuard(s, i.registry, slog.New(slog.DiscardHandler))
	for range 3 * provider.BreakerFailures {
		_, err := g.Fetch(t.Context(), "x")
		wantFault(t, err, fault.Conflict)
	}
	s.fails = fault.New(fault.Unavailable, "away")
	for range 3 * provider.BreakerFailures {
		_, err := g.Fetch(t.Context(), "x")
		wantFault(t, err, fault.Unavailable)
	}
	if got, want := len(s.asked), 4*provider.BreakerFailures; got != want {
		t.Errorf("asked %d times, want %d", got, want)
	}
}
