package demo_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/openapi"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/demo"
)

// withoutExample are the endpoints that need a file, or another ticket type than the last one seen, or what only a mail,
// an authenticator, a provider or a failure brings.
var withoutExample = []string{"user_confirm_reset", "user_confirm_email", "event_delete_member", "user_request_phone_confirmation", "user_confirm_phone", "ticketing_transfer_ticket", "ticketing_withdraw_transfer",
	"ticketing_renew_order_access", "ticketing_end_order_access", "ticketing_update_order", "ticketing_export_order", "ticketing_forget_order", "ticketing_claim_orders",
	"ticketing_accept_ticket_offer", "ticketing_refuse_ticket_offer", "payment_callback_stripe", "payment_callback_sandbox",
	"event_set_image", "event_set_logo", "ticketing_create_exchange", "ticketing_create_staff_exchange", "payment_repeat_refund", "user_login_factor", "user_confirm_factor", "user_renew_recovery_codes",
	"user_start_sign_in", "user_finish_sign_in", "user_start_link", "user_finish_link", "user_delete_identity", "user_provider_logout",
	"user_login_passkey", "user_add_passkey", "user_rename_passkey", "user_delete_passkey", "notification_unsubscribe", "notification_unsubscribe_page", "notification_replay", "notification_drop"}

// reader is a client that sends the examples of the document as the page /docs does: with the ids, tokens and codes
// that it has seen last.
type reader struct {
	t            *testing.T
	base         string
	admin, token string
	ids          map[string]string // by prefix
	seen         map[string]string // refresh_token, code and secret
}

var (
	anyID    = regexp.MustCompile(`\b([a-z]{3})_[0-9a-z]{26}\b`)
	anyToken = regexp.MustCompile(`"(refresh_token|code|secret)":"([^"]*)"`)
	unknown  = regexp.MustCompile(`"(refresh_token|code|secret)":"the [^"]* of the last answer that had one"`)
)

// fill puts what was seen last into an address or a body.
func (r *reader) fill(text string) string {
	text = anyID.ReplaceAllStringFunc(text, func(id string) string {
		if last := r.ids[id[:3]]; last != "" {
			return last
		}
		return id
	})
	return unknown.ReplaceAllStringFunc(text, func(member string) string {
		name := unknown.FindStringSubmatch(member)[1]
		if r.seen[name] == "" {
			return member
		}
		return fmt.Sprintf("%q:%q", name, r.seen[name])
	})
}

func (r *reader) learn(answer string) {
	for _, m := range anyID.FindAllStringSubmatch(answer, -1) {
		r.ids[m[1]] = m[0]
	}
	for _, m := range anyToken.FindAllStringSubmatch(answer, -1) {
		r.seen[m[1]] = m[2]
	}
}

// send sends one request and returns its answer. Of a stream it takes the first event.
func (r *reader) send(d rpc.Descriptor, path, body string) (int, string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, d.Method, r.base+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	switch d.Access {
	case rpc.Admin:
		req.Header.Set("Authorization", "Bearer "+r.admin)
	case rpc.User, rpc.Optional:
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if lines.Text() == "event: snapshot" {
				return resp.StatusCode, ""
			}
		}
		return 0, "a stream without a snapshot"
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// requiredOf returns the members that the body of each operation of the document must have.
func requiredOf(t *testing.T) map[string][]string {
	t.Helper()
	text, err := api.OpenAPI("1")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			RequestBody struct {
				Content map[string]struct {
					Schema struct {
						Ref string `json:"$ref"`
					}
				}
			}
		}
		Components struct {
			Schemas map[string]struct{ Required []string }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, item := range doc.Paths {
		for _, op := range item {
			ref := op.RequestBody.Content["application/json"].Schema.Ref
			all[op.OperationID] = doc.Components.Schemas[ref[strings.LastIndexByte(ref, '/')+1:]].Required
		}
	}
	return all
}

// try sends a call until it is accepted: what it needs, such as a setting or a refund, may be on its way.
func (r *reader) try(d rpc.Descriptor, target, body string) {
	r.t.Helper()
	var answer string
	testkit.Eventually(r.t, 5*time.Second, func() error {
		var status int
		if status, answer = r.send(d, r.fill(target), r.fill(body)); status != d.Success() {
			return fmt.Errorf("%s %s %s: %d %s", d.Method, r.fill(target), r.fill(body), status, answer)
		}
		return nil
	})
	r.learn(answer)
	if token := tokenOf(answer); token != "" {
		r.token = token
	}
}

// paid waits until the last order is.
func (r *reader) paid() {
	r.t.Helper()
	testkit.Eventually(r.t, 10*time.Second, func() error {
		_, answer := r.send(api.GetOrder.Describe(), "/v1/orders/"+r.ids["ord"]+"?wait=5s", "")
		if !strings.Contains(answer, `"status":"paid"`) {
			return fmt.Errorf("the order is %s", answer)
		}
		return nil
	})
}

func tokenOf(answer string) string {
	var tokens api.Tokens
	_ = json.Unmarshal([]byte(answer), &tokens) // most answers are something else
	return tokens.AccessToken
}

// refuse sends the call without each of the members of its body that are required, which is a mistake that is named.
func (r *reader) refuse(d rpc.Descriptor, target, body string, required []string) {
	r.t.Helper()
	for _, name := range required {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(r.fill(body)), &members); err != nil {
			r.t.Fatal(err)
		}
		delete(members, name)
		less, err := json.Marshal(members)
		if err != nil {
			r.t.Fatal(err)
		}
		status, answer := r.send(d, r.fill(target), string(less))
		named := status == http.StatusBadRequest && strings.Contains(answer, name)
		if !named && status != http.StatusUnauthorized { // no token is as good as a wrong one
			r.t.Errorf("%s %s without %s: %d %s", d.Method, target, name, status, answer)
		}
	}
}

// Every example of the document is accepted by a system with the demo, and what it calls required is required.
func TestExamples(t *testing.T) {
	r := &reader{t: t, base: start(t), ids: map[string]string{}, seen: map[string]string{}}
	if out, err := run(t, demo.Config{BaseURL: r.base, AdminEmail: adminEmail,
		AdminPassword: adminPassword}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, answer := r.send(api.CreateSession.Describe(), "/v1/sessions",
		fmt.Sprintf(`{"email":%q,"password":%q}`, adminEmail, adminPassword))
	r.admin = tokenOf(answer)

	required, shown := requiredOf(t), map[string]bool{}
	for _, e := range openapi.Examples() {
		d := e.Endpoint
		id := d.Service + "_" + d.Name
		target, body, err := e.Call()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(id, func(t *testing.T) {
			r.t = t
			if !shown[id] {
				r.refuse(d, target, string(body), required[id])
			}
			r.try(d, target, string(body))
			if id == "payment_sandbox_decide" {
				r.paid()
			}
		})
		shown[id] = true
	}
	for id := range required {
		if shown[id] == slices.Contains(withoutExample, id) {
			t.Errorf("%s has an example: %t", id, shown[id])
		}
	}
}
