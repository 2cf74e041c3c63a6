package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/manual"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// withManual switches the manual provider on, before anything runs.
func (h *harness) withManual() *harness {
	h.t.Helper()
	h.live = settings.Fixed(api.SandboxEnabled.Is(true), api.PaymentPollAfter.Is(api.PaymentPollAfter.Default()), api.ManualEnabled.Is(true),
		api.ManualInstructions.Is("Tent & Stage Ltd | IBAN DE02 1203 0000 0000 2020 51 || <b>Bank</b>"))
	return h
}

// payByHand creates a manual payment of a fresh order.
func (h *harness) payByHand() (context.Context, *api.Payment) {
	h.t.Helper()
	ctx, order := h.order()
	p, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: manual.Name})
	if err != nil {
		h.t.Fatal(err)
	}
	return ctx, p
}

// reference returns what the payer of a payment has to write on the transfer.
func (i *instance) reference(t testing.TB, id ids.Payment) string {
	t.Helper()
	var reference string
	if err := i.db.Read().NewRaw("SELECT reference FROM manual_payments WHERE payment_id = ?", id).Scan(t.Context(), &reference); err != nil {
		t.Fatal(err)
	}
	return reference
}

func (h *harness) markPaid(ctx context.Context, p *api.Payment, amount api.Money) (*api.Payment, error) {
	return rpc.Call(ctx, h.client, api.MarkPaymentPaid, &api.MarkPaid{ID: p.ID, Amount: amount})
}

// TestManualPurchase pays by bank transfer and is paid back.
func TestManualPurchase(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.withManual().run()
		buyer, p := h.payByHand()
		ref := i.reference(t, p.ID)
		due := p.ID.Time().Add(api.ManualTTL.Default())
		if held := h.held[p.OrderID]; held == nil || !held.Equal(due) {
			t.Errorf("the order is to be held until %v, want %v", held, due)
		}
		if want := i.publicURL + "/manual/checkout/" + p.ID.String(); p.CheckoutURL != want {
			t.Errorf("the checkout is at %q, want %q", p.CheckoutURL, want)
		}
		h.clock.Advance(time.Hour) // asking again neither makes another payment nor puts the end off
		again, err := rpc.Call(buyer, h.client, api.CreatePayment, &api.NewPayment{OrderID: p.OrderID, Provider: manual.Name})
		if err != nil || again.ID != p.ID || i.reference(t, p.ID) != ref || !h.held[p.OrderID].Equal(due) {
			t.Errorf("asked again: %+v, %v, held until %v", again, err, h.held[p.OrderID])
		}
		page, err := rpc.Call(t.Context(), h.client, api.GetManualCheckout, &api.PaymentRef{ID: p.ID})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{ref, "50.00 EUR", "IBAN DE02 1203 0000 0000 2020 51", due.UTC().Format("2 January 2006, 15:04 UTC")} {
			if !strings.Contains(string(page.Data), want) {
				t.Errorf("the page lacks %q", want)
			}
		}

		right := api.Money{Amount: 5000, Currency: "EUR"}
		_, err = h.markPaid(as(ids.New[ids.UserKind](h.clock.Now())), p, right)
		wantFault(t, err, fault.NotFound)
		_, err = h.markPaid(as(doorID), p, right)
		wantFault(t, err, fault.NotFound)
		_, err = h.markPaid(buyer, p, right)
		wantFault(t, err, fault.NotFound)
		for _, wrong := range []api.Money{{}, {Amount: 4999, Currency: "EUR"}, {Amount: 5000, Currency: "USD"}} {
			_, err = h.markPaid(as(managerID), p, wrong)
			wantFault(t, err, fault.Invalid)
		}
		typed := strings.ToLower(strings.Replace(ref, "-", " ", 1))
		for who, ctx := range map[string]context.Context{"payer": buyer, "manager": as(managerID), "organizer": as(organizerID), "admin": as(adminID, rpc.RoleAdmin)} {
			got, err := rpc.Call(ctx, h.client, api.GetManualPayment, &api.ManualPaymentRef{Reference: typed})
			if err != nil || got.Payment.ID != p.ID || got.Payment.Status != api.PaymentRequiresAction || got.Reference != ref || !got.DueAt.Equal(due) ||
				got.PaidAt != nil || len(got.Instructions) != 3 {
				t.Errorf("%s: %+v, %v", who, got, err)
			}
		}
		for _, name := range []string{ref, p.ID.String()} {
			_, err = rpc.Call(as(doorID), h.client, api.GetManualPayment, &api.ManualPaymentRef{Reference: name})
			wantFault(t, err, fault.NotFound)
			if got, err := rpc.Call(buyer, h.client, api.GetManualPayment, &api.ManualPaymentRef{Reference: name}); err != nil || got.Payment.ID != p.ID {
				t.Errorf("by %s: %+v, %v", name, got, err)
			}
		}

		for range 3 {
			got, err := h.markPaid(as(managerID), p, right)
			if err != nil || got.Status != api.PaymentSucceeded {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		if published := h.published(api.PaymentHasSucceeded, 1); len(published) != 1 || published[0].ID != p.ID {
			t.Errorf("published %+v", published)
		}
		got, err := rpc.Call(as(managerID), h.client, api.GetManualPayment, &api.ManualPaymentRef{Reference: ref})
		if err != nil || got.PaidAt == nil || got.PaidBy != managerID {
			t.Errorf("afterwards: %+v, %v", got, err)
		}

		// The money goes back when a manager has sent it.
		h.refundAll(i, p.ID)
		var refund ids.Refund
		testkit.Eventually(t, 20*time.Second, func() error {
			if n := i.count(t, "SELECT count(*) FROM manual_refunds WHERE paid_at IS NULL"); n != 1 {
				return fmt.Errorf("%d refunds are to be paid out, want 1", n)
			}
			return i.db.Read().NewRaw("SELECT id FROM payment_refunds WHERE payment_id = ?", p.ID).Scan(t.Context(), &refund)
		})
		ref2 := &api.RefundRef{PaymentID: p.ID, RefundID: refund}
		_, err = rpc.Call(buyer, h.client, api.MarkRefundPaid, ref2)
		wantFault(t, err, fault.NotFound)
		_, err = rpc.Call(as(managerID), h.client, api.MarkRefundPaid, &api.RefundRef{PaymentID: p.ID, RefundID: ids.New[ids.RefundKind](h.clock.Now())})
		wantFault(t, err, fault.NotFound)
		if n := i.count(t, "SELECT count(*) FROM payments WHERE status = 'succeeded'"); n != 1 {
			t.Error("the payment is refunded before it was paid back")
		}
		for range 2 {
			if _, err := rpc.Call(as(managerID), h.client, api.MarkRefundPaid, ref2); err != nil {
				t.Fatal(err)
			}
		}
		h.awaitStatus(p.ID, api.PaymentRefunded, time.Second)
	})
}

// TestManualExpiry lets the time of payments run out under two instances: one reminder each, and an end. Money that comes
// after that is late.
func TestManualExpiry(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.withManual().run()
		h.run()
		_, late := h.payByHand()
		_, paid := h.payByHand()
		if _, err := h.markPaid(as(managerID), paid, paid.Amount); err != nil {
			t.Fatal(err)
		}
		owner, both := h.payByHand() // and then by card: the transfer is not wanted any more
		card := h.create(owner, both.OrderID)
		h.mustDecide(card.ID, "succeeded")
		h.awaitStatus(card.ID, api.PaymentSucceeded, time.Second)
		h.clock.Advance(api.ManualTTL.Default()/2 + time.Second)
		reminders := func() (list []api.PaymentReminder) {
			for _, m := range h.nats.Messages("EVENTS") {
				if m.Subject != api.PaymentReminderDue.Subject {
					continue
				}
				var r api.PaymentReminder
				if err := json.Unmarshal(m.Data, &r); err != nil {
					t.Fatal(err)
				}
				list = append(list, r)
			}
			return list
		}
		testkit.Eventually(t, 20*time.Second, func() error {
			if len(reminders()) == 0 {
				return fmt.Errorf("no payer was reminded")
			}
			return nil
		})
		h.clock.Advance(api.ManualTTL.Default() / 2)
		p := h.awaitStatus(late.ID, api.PaymentFailed, 0)
		if p.FailureReason != "expired" {
			t.Errorf("it failed for %q", p.FailureReason)
		}
		h.awaitStatus(both.ID, api.PaymentFailed, 0)
		if failed := h.published(api.PaymentHasFailed, 2); len(failed) != 2 {
			t.Errorf("published %+v", failed)
		}
		ref := i.reference(t, late.ID)
		if got := reminders(); len(got) != 1 || got[0].Payment.ID != late.ID || got[0].Reference != ref || !got[0].DueAt.Equal(late.ID.Time().Add(api.ManualTTL.Default())) {
			t.Errorf("reminders: %+v", got)
		}
		testkit.Eventually(t, 20*time.Second, func() error {
			if n := i.count(t, "SELECT count(*) FROM manual_payments WHERE status = 'expired'"); n != 2 {
				return fmt.Errorf("%d have expired, want 2", n)
			}
			return nil
		})
		page, err := rpc.Call(t.Context(), h.client, api.GetManualCheckout, &api.PaymentRef{ID: late.ID})
		if err != nil || !strings.Contains(string(page.Data), "Please do not pay") || strings.Contains(string(page.Data), "IBAN") {
			t.Errorf("the page of a closed payment: %s, %v", page.Data, err)
		}

		if got, err := h.markPaid(as(managerID), late, late.Amount); err != nil || got.ID != late.ID {
			t.Errorf("late money: %+v, %v", got, err)
		}
		state, err := i.manual.Fetch(t.Context(), ref)
		if err != nil || state.Status != provider.Succeeded {
			t.Errorf("late money is %+v, %v", state, err)
		}
		h.awaitStatus(late.ID, api.PaymentSucceeded, 0)
	})
}

// TestManualOff has the provider switched off: nothing is created, and what was created goes on.
func TestManualOff(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t)).withManual()
	h.run()
	_, p := h.payByHand()
	if err := h.live.Change(api.ManualEnabled.Is(false)); err != nil {
		t.Fatal(err)
	}
	ctx, order := h.order()
	_, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: manual.Name})
	wantFault(t, err, fault.Invalid)
	if err == nil || !strings.Contains(err.Error(), api.ManualEnabled.Key()) {
		t.Errorf("%v does not name the setting", err)
	}
	if got, err := h.markPaid(as(organizerID), p, p.Amount); err != nil || got.Status != api.PaymentSucceeded {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = rpc.Call(t.Context(), h.client, api.GetManualCheckout, &api.PaymentRef{ID: ids.New[ids.PaymentKind](h.clock.Now())})
	wantFault(t, err, fault.NotFound)
	_, err = rpc.Call(ctx, h.client, api.GetManualPayment, &api.ManualPaymentRef{Reference: "1234-5678"})
	wantFault(t, err, fault.Invalid)

	// A payment at another provider is not marked by hand.
	ctx, order = h.order()
	card := h.create(ctx, order.ID)
	_, err = h.markPaid(as(adminID, rpc.RoleAdmin), card, card.Amount)
	wantFault(t, err, fault.Conflict)
	if h.held[order.ID] != nil {
		t.Error("an order that is paid by card is held for longer")
	}
}
