package payment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/stripe"
	"github.com/starlightsymphony/starlight/svc/payment/stripe/stripetest"
)

// A refund that fails at Stripe after it had succeeded is noticed and shown, a person makes it again, and the ledger agrees
// with Stripe's report at every step. What a payer reclaims by a bank is noticed and shown too.
func TestWhatHappensAfterwards(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		standin := stripetest.New(t, h.clock.Now)
		h.stripe = standin.URL
		i := h.run()
		p, session := h.payAtStripe()
		intent := strings.Replace(session, "cs_", "pi_", 1)
		standin.Pay(session)
		publish := func(id, kind string) {
			t.Helper()
			if err := h.sendStripeEvent(id, kind, `{"id":"x","payment_intent":"`+intent+`"}`); err != nil {
				t.Fatal(err)
			}
		}
		agrees := func(lines ...string) {
			t.Helper()
			report := "type,reference,amount,currency\ncharge," + p.ID.String() + ",5000,EUR\n" + strings.ReplaceAll(strings.Join(lines, ""), "ID", p.ID.String())
			_, differences, err := ledger.Reconcile(t.Context(), i.db, stripe.Name, strings.NewReader(report))
			if err != nil || len(differences) > 0 {
				t.Errorf("Stripe's report differs: %q, %v", differences, err)
			}
			if _, broken, err := ledger.Audit(t.Context(), i.db); err != nil || len(broken) > 0 {
				t.Errorf("the ledger is broken: %q, %v", broken, err)
			}
		}
		publish("evt_1", "charge.succeeded")
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		h.refundAll(i, p.ID)
		i.RefundNow()
		h.awaitStatus(p.ID, api.PaymentRefunded, 0)
		const back, bounced = "refund,ID,-5000,EUR\n", "refund_failure,ID,5000,EUR\n"
		agrees(back)

		standin.Set(func() {
			standin.Refunds[0]["status"], standin.Refunds[0]["failure_reason"] = "failed", "lost_or_stolen_card"
		})
		publish("evt_2", "refund.failed")
		publish("evt_3", "charge.refund.updated") // the same once more
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		refunds, err := rpc.Call(as(organizerID), h.client, api.ListRefunds, &api.PaymentRef{ID: p.ID})
		if err != nil || len(refunds.Items) != 1 || refunds.Items[0].Status != api.RefundFailed || refunds.Items[0].Failure != "lost_or_stolen_card" {
			t.Fatalf("refunds %+v, %v", refunds, err)
		}
		agrees(back, bounced)

		again := &api.RefundRef{PaymentID: p.ID, RefundID: refunds.Items[0].ID}
		_, err = rpc.Call(as(doorID), h.client, api.RepeatRefund, again)
		wantFault(t, err, fault.NotFound)
		if got, err := rpc.Call(as(organizerID), h.client, api.RepeatRefund, again); err != nil || got.Status != api.RefundPending {
			t.Fatalf("repeated: %+v, %v", got, err)
		}
		h.awaitStatus(p.ID, api.PaymentRefunded, 0)
		_, err = rpc.Call(as(organizerID), h.client, api.RepeatRefund, again)
		wantFault(t, err, fault.Conflict)
		testkit.Eventually(t, 20*time.Second, func() error { // one line, of what was done
			lines := h.audited("payment.repeat_refund")
			if len(lines) != 1 || lines[0].Object == "" || lines[0].By.UserID != organizerID {
				return fmt.Errorf("lines %+v", lines)
			}
			return nil
		})
		publish("evt_4", "charge.refunded") // the failed one is still on Stripe's list, and is the past
		agrees(back, bounced, back)
		if n := len(standin.Made("POST /v1/refunds starlight-refund-")); n != 2 {
			t.Errorf("%d refunds were asked for, want 2", n)
		}

		disputed := stripetest.Object{"id": "dp_1", "object": "dispute", "payment_intent": intent, "amount": 5000, "currency": "eur", "reason": "fraudulent"}
		for k, step := range []struct{ remote, ours string }{
			{"warning_needs_response", api.DisputeInquiry}, {"needs_response", api.DisputeOpen}, {"under_review", api.DisputeOpen}, {"won", api.DisputeWon},
		} {
			standin.Set(func() {
				disputed["status"] = step.remote
				standin.Disputes = []stripetest.Object{disputed}
			})
			publish(fmt.Sprint("evt_d", k), "charge.dispute.updated")
			testkit.Eventually(t, 20*time.Second, func() error {
				list, err := rpc.Call(as(organizerID), h.client, api.ListDisputes, &api.PaymentRef{ID: p.ID})
				if err != nil {
					return err
				}
				if len(list.Items) != 1 || list.Items[0].Status != step.ours || list.Items[0].Amount != p.Amount {
					return fmt.Errorf("disputes %+v, want one that is %s", list.Items, step.ours)
				}
				return nil
			})
			lines := []string{back, bounced, back}
			if taken(step.ours) {
				lines = append(lines, "dispute,ID,-5000,EUR\n")
			}
			agrees(lines...)
		}
		_, err = rpc.Call(as(p.UserID), h.client, api.ListDisputes, &api.PaymentRef{ID: p.ID})
		wantFault(t, err, fault.NotFound)
		if published := h.published(api.Topic[api.PaymentEvent]{Subject: api.RefundHasFailed.Subject}, 1); len(published) != 1 {
			t.Errorf("published %d failed refunds, want 1", len(published))
		}
		if published := h.published(api.Topic[api.PaymentEvent]{Subject: api.PaymentDisputed.Subject}, 3); len(published) != 3 {
			t.Errorf("published %d changes of the dispute, want 3", len(published))
		}
	})
}
