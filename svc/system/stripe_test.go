package system_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/stripe"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// TestStripeOverHTTP buys a ticket at Stripe: the system is given a key, a buyer is sent to the checkout, and a signed
// webhook comes in by the gateway. What Stripe says is told by a few fixed answers; svc/payment has the rest.
func TestStripeOverHTTP(t *testing.T) {
	const secret = "whsec_system"
	var session atomic.Pointer[map[string]any]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			session.Store(&map[string]any{"id": "cs_test_1", "object": "checkout.session", "status": "open", "payment_status": "unpaid",
				"amount_total": 1000, "currency": "eur", "client_reference_id": r.FormValue("client_reference_id"), "url": "https://checkout.stripe.com/c/pay/cs_test_1"})
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(session.Load()); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	cfg := systemtest.Config(t.TempDir())
	cfg.Stripe = stripe.Config{Key: "sk_test_system", WebhookSecrets: secret, URL: server.URL}
	s, _, _ := systemtest.Start(t, cfg)
	organizer := s.Login(systemtest.AdminEmail)
	_, buyer := s.Join("buyer@example.org")
	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(s.Concert(organizer, 5, 1000), 1))
	p := systemtest.Call[api.Payment](s, 201, "POST", "/v1/orders/"+order.ID.String()+"/payments", buyer, api.NewPayment{Provider: "stripe"})
	if p.CheckoutURL != "https://checkout.stripe.com/c/pay/cs_test_1" {
		t.Fatalf("the checkout is at %q", p.CheckoutURL)
	}
	paid := *session.Load()
	paid["status"], paid["payment_status"] = "complete", "paid"
	paid["payment_intent"] = map[string]any{"id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount_received": 1000, "currency": "eur"}
	session.Store(&paid)

	const body = `{"id":"evt_1","object":"event","type":"checkout.session.completed","data":{"object":{"id":"cs_test_1"}}}`
	for _, tt := range []struct {
		secret string
		want   int
	}{{"whsec_other", 401}, {secret, 200}, {secret, 200}} {
		signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: tt.secret, Timestamp: time.Now()})
		testkit.Eventually(t, 30*time.Second, func() error {
			got, err := s.Send("POST", "/v1/payments/callbacks/stripe", "", []byte(body), "Stripe-Signature", signed.Header)
			if err == nil && got.Status != tt.want {
				t.Fatalf("signed with %s: %d %s, want %d", tt.secret, got.Status, got.Body, tt.want)
			}
			return err
		})
	}
	s.Await(buyer, order, api.OrderPaid)
}
