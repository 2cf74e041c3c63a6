package payment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/stripe/stripetest"

	"github.com/starlightsymphony/starlight/svc/payment/stripe"
)

// payAtStripe creates a payment of a fresh order at Stripe, asking again while there is no answer, and returns the payment with
// the id of its session.
func (h *harness) payAtStripe() (*api.Payment, string) {
	h.t.Helper()
	ctx, order := h.order()
	var p *api.Payment
	testkit.Eventually(h.t, 20*time.Second, func() (err error) {
		p, err = rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: stripe.Name})
		return err
	})
	at := strings.LastIndex(p.CheckoutURL, "/")
	if !strings.HasPrefix(p.CheckoutURL, "https://checkout.stripe.com/c/pay/cs_") {
		h.t.Fatalf("the checkout is at %q", p.CheckoutURL)
	}
	return p, p.CheckoutURL[at+1:]
}

// signedByStripe returns a callback with a body that Stripe has signed.
func signedByStripe(secret, body string, at time.Time) *api.Callback {
	return &api.Callback{Provider: stripe.Name, Headers: map[string]string{stripe.SignatureHeader: stripetest.Sign(secret, body, at)}, Body: []byte(body)}
}

// sendStripeEvent sends a signed event of Stripe.
func (h *harness) sendStripeEvent(id, kind, object string) error {
	body := strings.Replace(stripetest.Event(kind, object), "evt_1", id, 1)
	_, err := rpc.Call(context.Background(), h.client, api.ReceiveCallback, signedByStripe(stripetest.Secret, body, h.clock.Now()))
	return err
}

// TestStripePurchase pays at Stripe: by callbacks that come five times, found by the poller when none comes, after a
// creation whose answer was lost, and given back after a refund whose answer was lost.
func TestStripePurchase(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		standin := stripetest.New(t, h.clock.Now)
		h.stripe = standin.URL
		i := h.run()
		p, session := h.payAtStripe()
		standin.Pay(session)
		for range 5 {
			if err := h.sendStripeEvent("evt_a", "checkout.session.completed", `{"id":"`+session+`"}`); err != nil {
				t.Fatal(err)
			}
		}
		intent := strings.Replace(session, "cs_", "pi_", 1)
		if err := h.sendStripeEvent("evt_b", "payment_intent.succeeded", `{"id":"`+intent+`"}`); err != nil {
			t.Fatal(err)
		}
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)

		// Of this one no callback comes, and the answer to its creation is lost.
		standin.Set(func() { standin.Cut = 1 })
		lost, session2 := h.payAtStripe()
		if n := i.count(t, "SELECT count(*) FROM payments WHERE id = ?", lost.ID); n != 1 || session2 == session {
			t.Errorf("%d payments of %s", n, session2)
		}
		standin.Pay(session2)
		h.awaitStatus(lost.ID, api.PaymentSucceeded, api.PaymentPollAfter.Default())

		if published := h.published(api.PaymentHasSucceeded, 2); len(published) != 2 {
			t.Errorf("published %d successes, want 2", len(published))
		}
		if n := i.count(t, "SELECT count(*) FROM payment_callbacks"); n != 2 {
			t.Errorf("%d callbacks are stored, want 2", n)
		}
		keys := map[string]bool{}
		for _, r := range standin.Made("POST /v1/checkout/sessions starlight-create-") {
			keys[r] = true
		}
		if len(keys) != 2 {
			t.Errorf("sessions were made under %v, want two keys", keys)
		}

		standin.Set(func() { standin.Cut = 1 })
		h.refundAll(i, lost.ID)
		h.awaitStatus(lost.ID, api.PaymentRefunded, time.Second)
		if n := len(standin.Made("POST /v1/refunds starlight-refund-")); n != 1 {
			t.Errorf("%d refunds were asked for, want 1", n)
		}
	})
}

// refundAll makes all of a payment due to go back.
func (h *harness) refundAll(i *instance, id ids.Payment) {
	h.t.Helper()
	err := i.db.Tx(h.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		row, err := i.store.payment(ctx, id)
		if err == nil {
			_, err = i.store.addRefund(ctx, tx, api.RefundDue{RefundID: ids.Derive[ids.RefundKind]("test", id.String()), OrderID: row.OrderID, PaymentID: id,
				Amount: row.Money(), Reason: "a test"})
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestStripeOffWithoutKey has no account: there is no such provider.
func TestStripeOffWithoutKey(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	h.run()
	ctx, order := h.order()
	_, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: stripe.Name})
	wantFault(t, err, fault.Invalid)
	wantFault(t, h.sendStripeEvent("evt_a", "checkout.session.completed", `{"id":"cs_1"}`), fault.NotFound)
}

// TestStripeSecretsStayInside lets every call of Stripe fail with the key in the answer, sends forged callbacks, and looks
// for the secrets in the log, in the stream and in the answers to callers.
func TestStripeSecretsStayInside(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	standin := stripetest.New(t, h.clock.Now)
	h.stripe = standin.URL
	log := new(testkit.Buffer)
	h.log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	i := h.run()
	p, session := h.payAtStripe()
	standin.Pay(session)
	h.awaitStatus(p.ID, api.PaymentSucceeded, api.PaymentPollAfter.Default())
	open, second := h.payAtStripe()

	for _, status := range []int{400, 401, 404, 500} {
		standin.Set(func() {
			standin.Reply = func(rw http.ResponseWriter, r *http.Request) {
				stripetest.Write(rw, status, stripetest.Refusal("invalid_request_error", "", r.Header.Get("Authorization")))
			}
		})
		ctx, order := h.order()
		_, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: stripe.Name})
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%d: the answer is %v", status, err)
		}
		if err := h.sendStripeEvent(fmt.Sprintf("evt_%d", status), "checkout.session.completed", `{"id":"`+second+`"}`); err != nil {
			t.Error(err)
		}
	}
	h.refundAll(i, p.ID)
	forged := signedByStripe("whsec_wrong", stripetest.Event("checkout.session.completed", `{"id":"`+second+`"}`), h.clock.Now())
	_, err := rpc.Call(t.Context(), h.client, api.ReceiveCallback, forged)
	wantFault(t, err, fault.Unauthenticated)
	testkit.Eventually(t, 20*time.Second, func() error {
		h.clock.Advance(time.Second)
		for _, line := range []string{"a provider did not create a payment", "a callback waits", "a callback was refused", "a refund waits", "[key]"} {
			if !strings.Contains(log.String(), line) {
				return errors.New("the log lacks " + line)
			}
		}
		return nil
	})
	standin.Set(func() { standin.Reply = nil })
	standin.Pay(second)
	h.awaitStatus(open.ID, api.PaymentSucceeded, api.PaymentPollAfter.Default())
	h.published(api.PaymentHasSucceeded, 2)
	i.stop()
	var messages strings.Builder
	for _, m := range h.nats.Messages("EVENTS") {
		messages.Write(m.Data)
	}
	for where, text := range map[string]string{"log": log.String(), "stream": messages.String()} {
		for _, secret := range []string{stripetest.Key, "CANARY", stripetest.Secret, stripetest.SecondSecret} {
			if strings.Contains(text, secret) {
				t.Errorf("%q stands in the %s", secret, where)
			}
		}
	}
}
