// Package stripetest stands in for Stripe in tests.
package stripetest

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

	"github.com/stripe/stripe-go/v85/webhook"
)

// Key is the API key that a Server takes.
const Key = "sk_test_CANARY4eC39HqLyjWDarjtT1zdp7dc"

// Server remembers what stripe-mock does not: it keeps sessions, intents and refunds by the documented rules of
// Stripe, as far as they matter for us, and its idempotency keys. It can break off after the work is done.
type Server struct {
	*httptest.Server
	t   testing.TB
	now func() time.Time

	mu       sync.Mutex
	Objects  map[string]Object // sessions and intents, by id
	Refunds  []Object
	Disputes []Object
	Answers  map[string]Answer // by idempotency key
	requests []string          // "POST /v1/refunds key"
	Cut      int               // of so many POSTs the answer is lost
	Reply    http.HandlerFunc  // instead of everything else, if set
}

// Object is an object of Stripe's API.
type Object = map[string]any

// Answer is what was answered to an idempotency key.
type Answer struct {
	params string
	status int
	body   any
}

// New starts a server that stops with the test.
func New(t testing.TB, now func() time.Time) *Server {
	t.Helper()
	s := &Server{t: t, now: now, Objects: map[string]Object{}, Answers: map[string]Answer{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Reply != nil {
		s.Reply(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+Key {
		Write(w, 401, Refusal("invalid_request_error", "", "Invalid API Key provided: "+r.Header.Get("Authorization")))
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
		Write(w, status, body)
		return
	}
	a, known := s.Answers[key]
	switch {
	case !known || key == "":
		a.params = form.Encode()
		a.status, a.body = s.post(r.URL.Path, form)
		s.Answers[key] = a
	case a.params != form.Encode():
		a = Answer{status: 400, body: Refusal("idempotency_error", "",
			"Keys for idempotent requests can only be used with the same parameters")}
	}
	if s.Cut > 0 {
		s.Cut--
		breakOff(w) // the work is done, and its answer lost
	}
	Write(w, a.status, a.body)
}

func (s *Server) get(u *url.URL) (int, any) {
	if id, ok := strings.CutPrefix(u.Path, "/v1/checkout/sessions/"); ok {
		if session := s.Objects[id]; session != nil {
			return 200, s.expanded(session)
		}
		return missing(id)
	}
	intent := u.Query().Get("payment_intent")
	list := []any{}
	switch u.Path {
	case "/v1/checkout/sessions":
		for _, o := range s.Objects {
			if o["object"] == "checkout.session" && o["payment_intent"] == intent {
				list = append(list, s.expanded(o))
			}
		}
	case "/v1/refunds":
		for _, o := range s.Refunds {
			if o["payment_intent"] == intent {
				list = append(list, o)
			}
		}
	case "/v1/disputes":
		for _, o := range s.Disputes {
			if o["payment_intent"] == intent {
				list = append(list, o)
			}
		}
	}
	return 200, Object{"object": "list", "data": list, "has_more": false, "url": u.Path}
}

// expanded returns a session with its intent, as expand[]=payment_intent asks for.
func (s *Server) expanded(session Object) Object {
	out := Object{}
	for k, v := range session {
		out[k] = v
	}
	if id, ok := session["payment_intent"].(string); ok {
		out["payment_intent"] = s.Objects[id]
	}
	return out
}

func (s *Server) post(path string, form url.Values) (int, any) {
	parts := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
	switch {
	case path == "/v1/checkout/sessions":
		id := fmt.Sprintf("cs_test_%d", len(s.Objects)+1)
		amount, err := strconv.Atoi(form.Get("line_items[0][price_data][unit_amount]"))
		if err != nil {
			return 400, Refusal("invalid_request_error", "parameter_missing", "line_items")
		}
		// "The Epoch time in seconds at which the Checkout Session will expire. It can be anywhere from 30 minutes to
		// 24 hours after Checkout Session creation."
		expires, err := strconv.ParseInt(form.Get("expires_at"), 10, 64)
		if left := time.Unix(expires, 0).Sub(s.now()); err != nil || left < 30*time.Minute || left > 24*time.Hour {
			return 400, Refusal("invalid_request_error", "", "The expires_at timestamp is out of bounds")
		}
		session := Object{"id": id, "object": "checkout.session", "status": "open",
			"payment_status": "unpaid", "payment_intent": nil, "amount_total": amount,
			"currency":            form.Get("line_items[0][price_data][currency]"),
			"client_reference_id": form.Get("client_reference_id"), "url": "https://checkout.stripe.com/c/pay/" + id}
		s.Objects[id] = session
		return 200, session
	case parts[0] == "checkout" && len(parts) == 4 && parts[3] == "expire":
		session := s.Objects[parts[2]]
		if session == nil {
			return missing(parts[2])
		}
		if session["status"] != "open" {
			return 400, Refusal("invalid_request_error", "",
				"Only Checkout Sessions with a status in [\"open\"] can be expired.")
		}
		session["status"] = "expired"
		return 200, session
	case parts[0] == "payment_intents" && len(parts) == 3 && parts[2] == "cancel":
		intent := s.Objects[parts[1]]
		if status := intent["status"]; status == "succeeded" || status == "canceled" || status == "processing" {
			return 400, Refusal("invalid_request_error", "payment_intent_unexpected_state",
				"You cannot cancel this PaymentIntent")
		}
		intent["status"] = "canceled"
		return 200, intent
	case path == "/v1/refunds":
		amount, _ := strconv.Atoi(form.Get("amount"))
		intent := s.Objects[form.Get("payment_intent")]
		if intent == nil {
			return missing(form.Get("payment_intent"))
		}
		left := intent["amount_received"].(int)
		for _, r := range s.Refunds {
			if r["payment_intent"] == intent["id"] && r["status"] != "failed" {
				left -= r["amount"].(int)
			}
		}
		if amount > left {
			return 400, Refusal("invalid_request_error", "charge_already_refunded", "Charge has already been refunded.")
		}
		refund := Object{"id": fmt.Sprintf("re_%d", len(s.Refunds)+1), "object": "refund",
			"status": "succeeded", "amount": amount, "payment_intent": intent["id"],
			"metadata": Object{refundKey: form.Get("metadata[" + refundKey + "]")}}
		s.Refunds = append(s.Refunds, refund)
		return 200, refund
	}
	return 404, Refusal("invalid_request_error", "", "Unrecognized request URL")
}

// breakOff ends a connection within an answer. Without the beginning of one, the HTTP client would ask again by itself.
func breakOff(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "100")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func missing(id string) (int, any) {
	return 404, Refusal("invalid_request_error", "resource_missing", "No such object: "+id)
}

// Refusal returns the body of an error.
func Refusal(kind, code, message string) Object {
	return Object{"error": Object{"type": kind, "code": code, "message": message}}
}

// Write answers with JSON.
func Write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // to a test that may be gone
}

// Act lets something happen at Stripe: the members of the session and of its intent become those given. The intent is
// made with the first act, as by Stripe's checkout.
func (s *Server) Act(sessionID string, session, intent Object) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.Objects[sessionID]
	if kept == nil {
		s.t.Fatalf("no session %s", sessionID)
	}
	id := strings.Replace(sessionID, "cs_", "pi_", 1)
	if s.Objects[id] == nil {
		s.Objects[id] = Object{"id": id, "object": "payment_intent",
			"amount": kept["amount_total"], "amount_received": 0, "currency": kept["currency"],
			"status": "requires_payment_method"}
		kept["payment_intent"] = id
	}
	for k, v := range session {
		kept[k] = v
	}
	for k, v := range intent {
		s.Objects[id][k] = v
	}
}

// Pay lets the payer of a session succeed.
func (s *Server) Pay(sessionID string) {
	s.mu.Lock()
	amount := s.Objects[sessionID]["amount_total"]
	s.mu.Unlock()
	s.Act(sessionID, Object{"status": "complete", "payment_status": "paid"},
		Object{"status": "succeeded", "amount_received": amount})
}

// Made returns the requests of a kind, such as "POST /v1/refunds".
func (s *Server) Made(prefix string) (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasPrefix(r, prefix) {
			list = append(list, r)
		}
	}
	return list
}

// Set changes what the server has.
func (s *Server) Set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// The secrets of the webhook endpoint: while one is changed there are two.
const (
	Secret       = "whsec_the_first"
	SecondSecret = "whsec_the_second"
)

// Sign returns the header Stripe-Signature of a body, as Stripe's own library makes it.
func Sign(secret, body string, at time.Time) string {
	return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body),
		Secret: secret, Timestamp: at}).Header
}

// Event returns the body of an event about an object.
func Event(kind, object string) string {
	return `{"id":"evt_1","object":"event","api_version":"2020-08-27","type":"` + kind +
		`","livemode":false,"data":{"object":` + object + `}}`
}

// refundKey is the member of a refund's metadata that carries our key.
const refundKey = "starlight_key"
