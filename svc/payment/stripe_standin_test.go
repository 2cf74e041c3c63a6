package payment

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const testStripeKey = "sk_test_CANARY4eC39HqLyjWDarjtT1zdp7dc"

// newTestStripe returns a provider with two webhook secrets that calls url.
func newTestStripe(t testing.TB, url string, now time.Time) *stripeProvider {
	t.Helper()
	s, err := newStripe(testStripeConfig(url), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func testStripeConfig(url string) StripeConfig {
	return StripeConfig{Key: testStripeKey, WebhookSecrets: testStripeSecret + ", whsec_the_second", URL: url}
}

// stripeStandin remembers what stripe-mock does not: it keeps sessions, intents and refunds by the documented rules of
// Stripe, as far as they matter for us, and its idempotency keys. It can break off after the work is done.
type stripeStandin struct {
	*httptest.Server
	t   testing.TB
	now func() time.Time

	mu       sync.Mutex
	objects  map[string]object // sessions and intents, by id
	refunds  []object
	disputes []object
	answers  map[string]answer // by idempotency key
	requests []string          // "POST /v1/refunds key"
	cut      int               // of so many POSTs the answer is lost
	reply    http.HandlerFunc  // instead of everything else, if set
}

type object = map[string]any

type answer struct {
	params string
	status int
	body   any
}

func newStripeStandin(t testing.TB, now func() time.Time) *stripeStandin {
	t.Helper()
	s := &stripeStandin{t: t, now: now, objects: map[string]object{}, answers: map[string]answer{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *stripeStandin) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reply != nil {
		s.reply(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+testStripeKey {
		write(w, 401, refusal("invalid_request_error", "", "Invalid API Key provided: "+r.Header.Get("Authorization")))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		s.t.Error(err)
	}
	key := r.Header.Get("Idempotency-Key")
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+key))
	if r.Method == http.MethodGet {
		status, body := s.get(r.URL)
		write(w, status, body)
		return
	}
	a, known := s.answers[key]
	switch {
	case !known || key == "":
		a.params = form.Encode()
		a.status, a.body = s.post(r.URL.Path, form)
		s.answers[key] = a
	case a.params != form.Encode():
		a = answer{status: 400, body: refusal("idempotency_error", "", "Keys for idempotent requests can only be used with the same parameters")}
	}
	if s.cut > 0 {
		s.cut--
		breakOff(w) // the work is done, and nobody hears of it
	}
	write(w, a.status, a.body)
}

func (s *stripeStandin) get(u *url.URL) (int, any) {
	if id, ok := strings.CutPrefix(u.Path, "/v1/checkout/sessions/"); ok {
		if session := s.objects[id]; session != nil {
			return 200, s.expanded(session)
		}
		return missing(id)
	}
	intent := u.Query().Get("payment_intent")
	list := []any{}
	switch u.Path {
	case "/v1/checkout/sessions":
		for _, o := range s.objects {
			if o["object"] == "checkout.session" && o["payment_intent"] == intent {
				list = append(list, s.expanded(o))
			}
		}
	case "/v1/refunds":
		for _, o := range s.refunds {
			if o["payment_intent"] == intent {
				list = append(list, o)
			}
		}
	case "/v1/disputes":
		for _, o := range s.disputes {
			if o["payment_intent"] == intent {
				list = append(list, o)
			}
		}
	}
	return 200, object{"object": "list", "data": list, "has_more": false, "url": u.Path}
}

// expanded returns a session with its intent, as expand[]=payment_intent asks for.
func (s *stripeStandin) expanded(session object) object {
	out := object{}
	for k, v := range session {
		out[k] = v
	}
	if id, ok := session["payment_intent"].(string); ok {
		out["payment_intent"] = s.objects[id]
	}
	return out
}

func (s *stripeStandin) post(path string, form url.Values) (int, any) {
	parts := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
	switch {
	case path == "/v1/checkout/sessions":
		id := fmt.Sprintf("cs_test_%d", len(s.objects)+1)
		amount, err := strconv.Atoi(form.Get("line_items[0][price_data][unit_amount]"))
		if err != nil {
			return 400, refusal("invalid_request_error", "parameter_missing", "line_items")
		}
		// "The Epoch time in seconds at which the Checkout Session will expire. It can be anywhere from 30 minutes to 24
		// hours after Checkout Session creation."
		expires, err := strconv.ParseInt(form.Get("expires_at"), 10, 64)
		if left := time.Unix(expires, 0).Sub(s.now()); err != nil || left < 30*time.Minute || left > 24*time.Hour {
			return 400, refusal("invalid_request_error", "", "The expires_at timestamp is out of bounds")
		}
		session := object{"id": id, "object": "checkout.session", "status": "open", "payment_status": "unpaid", "payment_intent": nil,
			"amount_total": amount, "currency": form.Get("line_items[0][price_data][currency]"),
			"client_reference_id": form.Get("client_reference_id"), "url": "https://checkout.stripe.com/c/pay/" + id}
		s.objects[id] = session
		return 200, session
	case parts[0] == "checkout" && len(parts) == 4 && parts[3] == "expire":
		session := s.objects[parts[2]]
		if session == nil {
			return missing(parts[2])
		}
		if session["status"] != "open" {
			return 400, refusal("invalid_request_error", "", "Only Checkout Sessions with a status in [\"open\"] can be expired.")
		}
		session["status"] = "expired"
		return 200, session
	case parts[0] == "payment_intents" && len(parts) == 3 && parts[2] == "cancel":
		intent := s.objects[parts[1]]
		if status := intent["status"]; status == "succeeded" || status == "canceled" || status == "processing" {
			return 400, refusal("invalid_request_error", "payment_intent_unexpected_state", "You cannot cancel this PaymentIntent")
		}
		intent["status"] = "canceled"
		return 200, intent
	case path == "/v1/refunds":
		amount, _ := strconv.Atoi(form.Get("amount"))
		intent := s.objects[form.Get("payment_intent")]
		if intent == nil {
			return missing(form.Get("payment_intent"))
		}
		left := intent["amount_received"].(int)
		for _, r := range s.refunds {
			if r["payment_intent"] == intent["id"] && r["status"] != "failed" {
				left -= r["amount"].(int)
			}
		}
		if amount > left {
			return 400, refusal("invalid_request_error", "charge_already_refunded", "Charge has already been refunded.")
		}
		refund := object{"id": fmt.Sprintf("re_%d", len(s.refunds)+1), "object": "refund", "status": "succeeded", "amount": amount,
			"payment_intent": intent["id"], "metadata": object{refundKey: form.Get("metadata[" + refundKey + "]")}}
		s.refunds = append(s.refunds, refund)
		return 200, refund
	}
	return 404, refusal("invalid_request_error", "", "Unrecognized request URL")
}

// breakOff ends a connection within an answer. Without the beginning of one, the HTTP client would ask again by itself.
func breakOff(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "100")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func missing(id string) (int, any) {
	return 404, refusal("invalid_request_error", "resource_missing", "No such object: "+id)
}

func refusal(kind, code, message string) object {
	return object{"error": object{"type": kind, "code": code, "message": message}}
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // to a test that may be gone
}

// act lets something happen at Stripe: the members of the session and of its intent become those given. The intent is made
// with the first act, as by Stripe's checkout.
func (s *stripeStandin) act(sessionID string, session, intent object) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.objects[sessionID]
	if kept == nil {
		s.t.Fatalf("no session %s", sessionID)
	}
	id := strings.Replace(sessionID, "cs_", "pi_", 1)
	if s.objects[id] == nil {
		s.objects[id] = object{"id": id, "object": "payment_intent", "amount": kept["amount_total"], "amount_received": 0,
			"currency": kept["currency"], "status": "requires_payment_method"}
		kept["payment_intent"] = id
	}
	for k, v := range session {
		kept[k] = v
	}
	for k, v := range intent {
		s.objects[id][k] = v
	}
}

// pay lets the payer of a session succeed.
func (s *stripeStandin) pay(sessionID string) {
	s.mu.Lock()
	amount := s.objects[sessionID]["amount_total"]
	s.mu.Unlock()
	s.act(sessionID, object{"status": "complete", "payment_status": "paid"}, object{"status": "succeeded", "amount_received": amount})
}

// made returns the requests of a kind, such as "POST /v1/refunds".
func (s *stripeStandin) made(prefix string) (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasPrefix(r, prefix) {
			list = append(list, r)
		}
	}
	return list
}

func (s *stripeStandin) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// httpServer returns the URL of a server.
func httpServer(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}
