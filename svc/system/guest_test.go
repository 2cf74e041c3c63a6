package system_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// The token of an order is good for that order and for nothing else, at every endpoint there is.
func TestGuestDenyMatrix(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	cfg.Sandbox = true
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	s.Set(admin, api.RateGuests.Key(), "0")
	event := s.Concert(admin, 20, 0)
	guest := func(email string) (api.Order, string) {
		t.Helper()
		req := systemtest.Seats(event, 1)
		req.Email = email
		made := systemtest.Call[api.CreatedOrder](s, 201, "POST", "/v1/orders", "", req)
		return made.Order, made.AccessToken
	}
	mine, token := guest("a@example.org")
	other, theirs := guest("a@example.org")
	ticket := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+other.ID.String()+"/tickets", theirs, nil).Items[0]
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
		got, err := s.Send(d.Method, path, token, body)
		if err != nil {
			t.Fatal(err)
		}
		want := 403
		if d.Guests {
			want = 404
			may++
		}
		if got.Status != want && (!d.Guests || got.Status != 400) { // an id of another kind is not one
			t.Errorf("%s %s: %d %s, want %d", d.Method, path, got.Status, got.Body, want)
		}
		if d.Guests && d.Method == "GET" {
			if bad, err := s.Send("GET", path+"?token="+token, "", nil); err != nil || bad.Status != got.Status {
				t.Errorf("%s by a link: %d, %v, want %d", path, bad.Status, err, got.Status)
			}
		} else if bad, err := s.Send(d.Method, path+"?token="+token, "", body); err != nil || d.Access != rpc.Optional && bad.Status != 401 {
			t.Errorf("%s %s with a token in the address: %d, %v", d.Method, path, bad.Status, err)
		}
	}
	if may < 12 {
		t.Errorf("guests may do %d things", may)
	}
	for _, o := range []struct {
		order api.Order
		token string
	}{{mine, token}, {other, theirs}} {
		if got := systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+o.order.ID.String()+"?token="+o.token, "", nil); got.Revision != o.order.Revision || got.Status != api.OrderPaid {
			t.Errorf("an order is changed: %+v", got)
		}
	}
	if got := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+other.ID.String()+"/tickets", theirs, nil).Items[0]; got.Holder != ticket.Holder || got.Offer != nil {
		t.Errorf("a ticket is changed: %+v", got)
	}
}

// With an order that an account takes over go its payments: the account reads them, and what gives money back goes to
// it; the token of the order opens nothing any more.
func TestClaimedOrderBringsItsPayment(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	cfg.Sandbox = true
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	_, owner := s.Join("owner@example.org")
	event := s.Concert(owner, 20, 1200)
	req := systemtest.Seats(event, 2)
	req.Email = "robin@example.org"
	made := systemtest.Call[api.CreatedOrder](s, 201, "POST", "/v1/orders", "", req)
	s.Pay(made.AccessToken, made.Order)
	payment := "/v1/payments/" + systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+made.ID.String(), made.AccessToken, nil).PaymentID.String()
	if got := systemtest.Call[api.Payment](s, 200, "GET", payment, made.AccessToken, nil); got.OrderID != made.ID || got.Status != api.PaymentSucceeded {
		t.Fatalf("the guest reads %+v", got)
	}
	_, robin := s.Join(req.Email)
	_, mallory := s.Join("mallory@example.org")
	s.Refused("not_found", "GET", payment, robin, nil)
	s.Confirm(cfg, req.Email)
	testkit.Eventually(t, 30*time.Second, func() error {
		systemtest.Call[api.ClaimedOrders](s, 200, "POST", "/v1/me/orders/claims", robin, nil) // if that was not done by itself yet
		got, err := s.Send("GET", payment, robin, nil)
		if err == nil && got.Status != 200 {
			err = fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return err
	})
	s.Refused("unauthenticated", "GET", payment, made.AccessToken, nil)
	s.Refused("not_found", "GET", payment, mallory, nil)
	systemtest.Call[api.Refund](s, 201, "POST", payment+"/refunds", owner, api.NewRefund{})
	testkit.Eventually(t, 30*time.Second, func() error {
		got := systemtest.Call[api.Payment](s, 200, "GET", payment, robin, nil)
		if got.Status != api.PaymentRefunded {
			return fmt.Errorf("the payment is %s", got.Status)
		}
		return nil
	})
	s.Await(robin, made.Order, api.OrderRefunded)
}
