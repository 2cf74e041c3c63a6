package stripe

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/provider"

	"github.com/starlightsymphony/starlight/svc/payment/stripe/stripetest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// newTest returns a provider with two webhook secrets that calls url.
func newTest(t testing.TB, url string, now time.Time) *Provider {
	t.Helper()
	cfg := Config{Key: stripetest.Key, WebhookSecrets: stripetest.Secret + ", " + stripetest.SecondSecret, URL: url}
	s, err := New(cfg, func() time.Time { return now }, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func wantFault(t testing.TB, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("got %v, want %s", err, code)
	}
}

// newRequest returns the beginning of a payment of 50 EUR.
func newRequest(now time.Time) provider.CreateRequest {
	id := ids.New[ids.PaymentKind](now)
	return provider.CreateRequest{Key: "create-" + id.String(), PaymentID: id, OrderID: ids.New[ids.OrderKind](now), Amount: api.Money{Amount: 5000, Currency: "EUR"},
		Description: "2 × Standing", ReturnURL: "https://tickets.example/"}
}

// TestStripeStates follows payments through what can happen at Stripe.
func TestStripeStates(t *testing.T) {
	now := time.Now()
	standin := stripetest.New(t, time.Now)
	s := newTest(t, standin.URL, now)
	decline := stripetest.Object{"code": "card_declined", "decline_code": "stolen_card", "message": "Your card was declined.", "type": "card_error"}
	poor := stripetest.Object{"code": "card_declined", "decline_code": "insufficient_funds", "message": "Your card has insufficient funds.", "type": "card_error"}
	for _, tt := range []struct {
		name            string
		session, intent stripetest.Object
		want            provider.Status
		amount          int64
		reason          string
	}{
		{"the payer does not act", stripetest.Object{}, nil, provider.Pending, 5000, ""},
		{"3-D Secure is asked for", stripetest.Object{}, stripetest.Object{"status": "requires_action"}, provider.Pending, 5000, ""},
		{"declined, may try again", stripetest.Object{}, stripetest.Object{"status": "requires_payment_method", "last_payment_error": decline}, provider.Pending, 5000, ""},
		{"paid", stripetest.Object{"status": "complete", "payment_status": "paid"}, stripetest.Object{"status": "succeeded", "amount_received": 5000}, provider.Succeeded, 5000, ""},
		{"paid, the session lags", stripetest.Object{}, stripetest.Object{"status": "succeeded", "amount_received": 5000}, provider.Succeeded, 5000, ""},
		{"paid in part", stripetest.Object{"status": "complete", "payment_status": "paid"}, stripetest.Object{"status": "succeeded", "amount_received": 4000}, provider.Succeeded, 4000, ""},
		{"a debit is under way", stripetest.Object{"status": "complete"}, stripetest.Object{"status": "processing"}, provider.Processing, 5000, ""},
		{"a voucher has to be paid", stripetest.Object{"status": "complete"}, stripetest.Object{"status": "requires_action"}, provider.Processing, 5000, ""},
		{"the debit failed", stripetest.Object{"status": "complete"}, stripetest.Object{"status": "requires_payment_method", "last_payment_error": decline}, provider.Failed, 5000, "declined"},
		{"the debit failed for want of money", stripetest.Object{"status": "complete"}, stripetest.Object{"status": "requires_payment_method", "last_payment_error": poor}, provider.Failed, 5000, "insufficient_funds"},
		{"the debit failed without a word", stripetest.Object{"status": "complete"}, stripetest.Object{"status": "requires_payment_method"}, provider.Failed, 5000, "declined"},
		{"expired", stripetest.Object{"status": "expired"}, nil, provider.Failed, 5000, "expired"},
		{"cancelled", stripetest.Object{"status": "complete"}, stripetest.Object{"status": "canceled"}, provider.Failed, 5000, "cancelled"},
	} {
		req := newRequest(now)
		remote, err := s.Create(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		want := provider.State{ID: remote.ID, PaymentID: req.PaymentID, Status: tt.want, Amount: api.Money{Amount: tt.amount, Currency: "EUR"}, Reason: tt.reason}
		names := []string{remote.ID}
		if tt.intent != nil {
			standin.Act(remote.ID, tt.session, tt.intent)
			names = append(names, strings.Replace(remote.ID, "cs_", "pi_", 1))
		} else {
			standin.Set(func() {
				for k, v := range tt.session {
					standin.Objects[remote.ID][k] = v
				}
			})
		}
		for _, name := range names {
			if got, err := s.Fetch(t.Context(), name); err != nil || got != want {
				t.Errorf("%s: %s is %+v, %v; want %+v", tt.name, name, got, err, want)
			}
		}
	}
	for _, id := range []string{"cs_nothing", "pi_nothing", "", "ch_1", "../v1/refunds"} {
		_, err := s.Fetch(t.Context(), id)
		wantFault(t, err, fault.NotFound)
	}
}

// TestStripeCancel ends payments, some of which the payer is faster with.
func TestStripeCancel(t *testing.T) {
	now := time.Now()
	standin := stripetest.New(t, time.Now)
	s := newTest(t, standin.URL, now)
	for _, tt := range []struct {
		name            string
		session, intent stripetest.Object
		want            provider.Status
	}{
		{"open", nil, nil, provider.Failed},
		{"open, tried before", stripetest.Object{}, stripetest.Object{"status": "requires_payment_method"}, provider.Failed},
		{"paid", stripetest.Object{"status": "complete", "payment_status": "paid"}, stripetest.Object{"status": "succeeded", "amount_received": 5000}, provider.Succeeded},
		{"a voucher out", stripetest.Object{"status": "complete"}, stripetest.Object{"status": "requires_action"}, provider.Failed},
		{"a debit under way", stripetest.Object{"status": "complete"}, stripetest.Object{"status": "processing"}, provider.Processing},
		{"expired", stripetest.Object{"status": "expired"}, stripetest.Object{"status": "canceled"}, provider.Failed},
	} {
		remote, err := s.Create(t.Context(), newRequest(now))
		if err != nil {
			t.Fatal(err)
		}
		if tt.intent != nil {
			standin.Act(remote.ID, tt.session, tt.intent)
		}
		for range 2 { // doing it twice is fine
			if got, err := s.Cancel(t.Context(), remote.ID); err != nil || got.Status != tt.want || got.ID != remote.ID {
				t.Errorf("%s: %+v, %v; want %s", tt.name, got, err, tt.want)
			}
		}
	}
	_, err := s.Cancel(t.Context(), "cs_nothing")
	wantFault(t, err, fault.NotFound)

	// The answer to the cancellation is lost: nothing is known until it is asked for again.
	remote, err := s.Create(t.Context(), newRequest(now))
	if err != nil {
		t.Fatal(err)
	}
	standin.Set(func() { standin.Cut = 1 })
	_, err = s.Cancel(t.Context(), remote.ID)
	wantFault(t, err, fault.Unavailable)
	if got, err := s.Cancel(t.Context(), remote.ID); err != nil || got.Status != provider.Failed {
		t.Errorf("asked again: %+v, %v", got, err)
	}
}

// TestStripeUnknownOutcome loses the answers to a creation and to a refund after the work is done. Asking again gives what
// was made, also when Stripe has forgotten the key of the refund.
func TestStripeUnknownOutcome(t *testing.T) {
	now := time.Now()
	clock := testkit.NewClock(now)
	standin := stripetest.New(t, clock.Now)
	s := newTest(t, standin.URL, now)
	s.now = clock.Now
	req := newRequest(now)
	standin.Set(func() { standin.Cut = 1 })
	_, err := s.Create(t.Context(), req)
	wantFault(t, err, fault.Unavailable)
	first, err := s.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(20 * time.Hour)
	if again, err := s.Create(t.Context(), req); err != nil || again != first {
		t.Errorf("most of a day later: %+v, %v; want %+v", again, err, first)
	}
	clock.Advance(5 * time.Hour) // Stripe has forgotten the key, and makes no second session all the same
	standin.Set(func() { clear(standin.Answers) })
	_, err = s.Create(t.Context(), req)
	wantFault(t, err, fault.Invalid)
	clock.Advance(-25 * time.Hour)
	standin.Set(func() {
		if n := len(standin.Objects); n != 1 {
			t.Errorf("%d sessions were made, want 1", n)
		}
	})
	req = newRequest(now)
	if first, err = s.Create(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	other := req
	other.Amount.Amount++
	_, err = s.Create(t.Context(), other)
	wantFault(t, err, fault.Unprocessable)

	standin.Pay(first.ID)
	refund := provider.RefundRequest{Key: "starlight-refund-1", RemoteID: first.ID, Amount: api.Money{Amount: 2000, Currency: "EUR"}}
	standin.Set(func() { standin.Cut = 1 })
	_, err = s.Refund(t.Context(), refund)
	wantFault(t, err, fault.Unavailable)
	standin.Set(func() { clear(standin.Answers) })
	again, err := s.Refund(t.Context(), refund)
	if err != nil || again != (provider.Refund{ID: "re_1"}) {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	standin.Set(func() { standin.Refunds[0]["status"] = "pending" })
	if again, err = s.Refund(t.Context(), refund); err != nil || again != (provider.Refund{ID: "re_1", Pending: true}) {
		t.Errorf("under way: %+v, %v", again, err)
	}
	standin.Set(func() { standin.Refunds[0]["status"] = "failed" })
	_, err = s.Refund(t.Context(), refund)
	wantFault(t, err, fault.Conflict)
	if n := len(standin.Made("POST /v1/refunds")); n != 1 {
		t.Errorf("%d refunds were asked for, want 1", n)
	}
	refund = provider.RefundRequest{Key: "starlight-refund-2", RemoteID: first.ID, Amount: api.Money{Amount: 5001, Currency: "EUR"}}
	_, err = s.Refund(t.Context(), refund)
	wantFault(t, err, fault.Conflict) // more than is left
	unpaid, err := s.Create(t.Context(), newRequest(now))
	if err != nil {
		t.Fatal(err)
	}
	refund.RemoteID = unpaid.ID
	_, err = s.Refund(t.Context(), refund)
	wantFault(t, err, fault.Conflict)
}

// TestStripeFaults maps every kind of failure, and looks for the key in what is left of it.
func TestStripeFaults(t *testing.T) {
	now := time.Now()
	standin := stripetest.New(t, time.Now)
	s := newTest(t, standin.URL, now)
	remote, err := s.Create(t.Context(), newRequest(now))
	if err != nil {
		t.Fatal(err)
	}
	leak := "you sent Bearer " + stripetest.Key
	for _, tt := range []struct {
		name string
		send http.HandlerFunc
		want fault.Code
	}{
		{"wrong parameter", answering(400, stripetest.Refusal("invalid_request_error", "parameter_invalid_integer", leak)), fault.Invalid},
		{"amount too small", answering(400, stripetest.Refusal("invalid_request_error", "amount_too_small", leak)), fault.Invalid},
		{"key used otherwise", answering(400, stripetest.Refusal("idempotency_error", "", leak)), fault.Unprocessable},
		{"wrong API key", answering(401, stripetest.Refusal("invalid_request_error", "", leak)), fault.Unavailable},
		{"card", answering(402, stripetest.Refusal("card_error", "card_declined", leak)), fault.Invalid},
		{"no permission", answering(403, stripetest.Refusal("invalid_request_error", "", leak)), fault.Unavailable},
		{"missing", answering(404, stripetest.Refusal("invalid_request_error", "resource_missing", leak)), fault.NotFound},
		{"missing in a parameter", answering(400, stripetest.Refusal("invalid_request_error", "resource_missing", leak)), fault.NotFound},
		{"key in use", answering(409, stripetest.Refusal("idempotency_error_", "idempotency_key_in_use", leak)), fault.Unavailable},
		{"too many", answering(429, stripetest.Refusal("invalid_request_error", "rate_limit", leak)), fault.Unavailable},
		{"locked", answering(429, stripetest.Refusal("invalid_request_error", "lock_timeout", leak)), fault.Unavailable},
		{"refunded before", answering(400, stripetest.Refusal("invalid_request_error", "charge_already_refunded", leak)), fault.Conflict},
		{"balance too low", answering(400, stripetest.Refusal("invalid_request_error", "balance_insufficient", leak)), fault.Unavailable},
		{"defect", answering(500, stripetest.Refusal("api_error", "", leak)), fault.Unavailable},
		{"a proxy's page", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(502)
			_, _ = w.Write([]byte("<html>" + r.Header.Get("Authorization")))
		}, fault.Unavailable},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("OK " + leak)) }, fault.Unavailable},
		{"another error", answering(418, stripetest.Object{"message": leak}), fault.Unavailable},
		{"sent elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/"+stripetest.Key, http.StatusTemporaryRedirect)
		}, fault.Unavailable},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, fault.Unavailable},
	} {
		standin.Set(func() { standin.Reply = tt.send })
		_, create := s.Create(t.Context(), newRequest(now))
		_, fetch := s.Fetch(t.Context(), remote.ID)
		_, list := s.Fetch(t.Context(), "pi_1")
		_, cancel := s.Cancel(t.Context(), remote.ID)
		_, refund := s.Refund(t.Context(), provider.RefundRequest{Key: "k", RemoteID: remote.ID, Amount: api.Money{Amount: 1, Currency: "EUR"}})
		for call, err := range map[string]error{"create": create, "fetch": fetch, "list": list, "cancel": cancel, "refund": refund} {
			if !fault.Is(err, tt.want) {
				t.Errorf("%s, %s: got %v, want %s", tt.name, call, err, tt.want)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), stripetest.Key) {
					t.Errorf("%s, %s: the key stands in %q", tt.name, call, e)
				}
			}
		}
	}

	standin.Set(func() { standin.Reply = nil })
	elsewhere := httpServer(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s went elsewhere", r.Method) })
	moved := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
	})
	_, err = newTest(t, moved, now).Fetch(t.Context(), remote.ID)
	wantFault(t, err, fault.Unavailable)

	hang := make(chan struct{})
	defer close(hang)
	slow := httpServer(t, func(http.ResponseWriter, *http.Request) { <-hang })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = newTest(t, slow, now).Fetch(ctx, remote.ID)
	wantFault(t, err, fault.Timeout)
}

func answering(status int, body any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { stripetest.Write(w, status, body) }
}

func TestStripeConfig(t *testing.T) {
	for _, cfg := range []Config{
		{Key: "sk_live_1", URL: "http://api.stripe.com"}, // in the clear
		{Key: "sk_test_1", URL: "https://user:pass@api.stripe.com"},
		{Key: "sk_test_1", URL: "ftp://api.stripe.com"},
		{Key: "sk_test_1", URL: "api.stripe.com"},
		{Key: "sk_test_1", URL: "https://api.stripe.com?x=1"},
		{Key: "sk_test_1", URL: "http://%zz"},
	} {
		if _, err := New(cfg, time.Now, testkit.Log(t)); err == nil {
			t.Errorf("%s was taken", cfg.URL)
		} else if strings.Contains(err.Error(), "pass") || strings.Contains(err.Error(), cfg.Key) {
			t.Errorf("a secret stands in %q", err)
		}
	}
	for _, cfg := range []Config{{Key: "sk_live_1"}, {Key: "rk_live_1", URL: "https://stripe.example/"}, {Key: "rk_test_1", URL: "http://stripe-mock:12111"}} {
		if _, err := New(cfg, time.Now, testkit.Log(t)); err != nil {
			t.Error(err)
		}
	}
}

// httpServer returns the URL of a server.
func httpServer(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}
