package system_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
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
