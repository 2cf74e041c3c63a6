package system_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The token of an order is good for that order and for nothing else, at every endpoint there is.
func TestGuestDenyMatrix(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Sandbox = true
	s, _, _ := start(t, cfg)
	admin := s.login(adminEmail)
	s.unlimited(admin)
	s.set(admin, api.RateGuests.Key(), "0")
	event := s.concert(admin, 20, 0)
	guest := func(email string) (api.Order, string) {
		t.Helper()
		req := seats(event, 1)
		req.Email = email
		made := call[api.CreatedOrder](s, 201, "POST", "/v1/orders", "", req)
		return made.Order, made.AccessToken
	}
	mine, token := guest("a@example.org")
	other, theirs := guest("a@example.org")
	ticket := call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+other.ID.String()+"/tickets", theirs, nil).Items[0]
	ids := strings.NewReplacer("/orders/{id}", "/orders/"+other.ID.String(), "/tickets/{id}", "/tickets/"+ticket.ID.String())
	rest := regexp.MustCompile(`\{[a-z_]+\}`)
	may := 0
	for _, d := range api.All() {
		if d.Access == rpc.Internal || d.Access == rpc.Public {
			continue
		}
		path := rest.ReplaceAllString(ids.Replace(d.Path), event.ID.String())
		if d.Guests && d.Live.Is() {
			continue // of the caller's own messages
		}
		var body any
		switch d.Subject() {
		case api.TransferTicket.Subject():
			body = api.Transfer{Email: "b@example.org"}
		case api.UpdateTicket.Subject():
			body = api.NewHolder{Holder: api.Attendee{Name: "Mallory"}}
		case api.UpdateOrder.Subject():
			email := "mallory@example.org"
			body = api.OrderChange{Email: &email}
		case api.CreatePayment.Subject():
			body = api.NewPayment{Provider: "sandbox"}
		}
		got, err := s.send(d.Method, path, token, body)
		if err != nil {
			t.Fatal(err)
		}
		want := 403
		if d.Guests {
			want = 404
			may++
		}
		if got.status != want && (!d.Guests || got.status != 400) { // an id of another kind is not one
			t.Errorf("%s %s: %d %s, want %d", d.Method, path, got.status, got.body, want)
		}
		if d.Guests && d.Method == "GET" {
			if bad, err := s.send("GET", path+"?token="+token, "", nil); err != nil || bad.status != got.status {
				t.Errorf("%s by a link: %d, %v, want %d", path, bad.status, err, got.status)
			}
		} else if bad, err := s.send(d.Method, path+"?token="+token, "", body); err != nil || d.Access != rpc.Optional && bad.status != 401 {
			t.Errorf("%s %s with a token in the address: %d, %v", d.Method, path, bad.status, err)
		}
	}
	if may < 12 {
		t.Errorf("guests may do %d things", may)
	}
	for _, o := range []struct {
		order api.Order
		token string
	}{{mine, token}, {other, theirs}} {
		if got := call[api.Order](s, 200, "GET", "/v1/orders/"+o.order.ID.String()+"?token="+o.token, "", nil); got.Revision != o.order.Revision || got.Status != api.OrderPaid {
			t.Errorf("an order is changed: %+v", got)
		}
	}
	if got := call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+other.ID.String()+"/tickets", theirs, nil).Items[0]; got.Holder != ticket.Holder || got.Offer != nil {
		t.Errorf("a ticket is changed: %+v", got)
	}
}

// With an order that an account takes over go its payments: the account reads them, and what gives money back goes to
// it; the token of the order opens nothing any more.
func TestClaimedOrderBringsItsPayment(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Sandbox = true
	s, _, _ := start(t, cfg)
	admin := s.login(adminEmail)
	s.unlimited(admin)
	_, owner := s.join("owner@example.org")
	event := s.concert(owner, 20, 1200)
	req := seats(event, 2)
	req.Email = "robin@example.org"
	made := call[api.CreatedOrder](s, 201, "POST", "/v1/orders", "", req)
	s.pay(made.AccessToken, made.Order)
	payment := "/v1/payments/" + call[api.Order](s, 200, "GET", "/v1/orders/"+made.ID.String(), made.AccessToken, nil).PaymentID.String()
	if got := call[api.Payment](s, 200, "GET", payment, made.AccessToken, nil); got.OrderID != made.ID || got.Status != api.PaymentSucceeded {
		t.Fatalf("the guest reads %+v", got)
	}
	_, robin := s.join(req.Email)
	_, mallory := s.join("mallory@example.org")
	s.refused("not_found", "GET", payment, robin, nil)
	s.confirmByMail(filepath.Join(cfg.Data, "outbox"), req.Email)
	testkit.Eventually(t, 30*time.Second, func() error {
		call[api.ClaimedOrders](s, 200, "POST", "/v1/me/orders/claims", robin, nil) // if that was not done by itself yet
		got, err := s.send("GET", payment, robin, nil)
		if err == nil && got.status != 200 {
			err = fmt.Errorf("%d %s", got.status, got.body)
		}
		return err
	})
	s.refused("unauthenticated", "GET", payment, made.AccessToken, nil)
	s.refused("not_found", "GET", payment, mallory, nil)
	call[api.Refund](s, 201, "POST", payment+"/refunds", owner, api.NewRefund{})
	testkit.Eventually(t, 30*time.Second, func() error {
		got := call[api.Payment](s, 200, "GET", payment, robin, nil)
		if got.Status != api.PaymentRefunded {
			return fmt.Errorf("the payment is %s", got.Status)
		}
		return nil
	})
	s.await(robin, made.Order, api.OrderRefunded)
}
