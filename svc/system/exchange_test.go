package system_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The organizer lets buyers exchange tickets; a guest reads what it costs, exchanges, and pays the difference; the old
// code is good for nothing. The organizer exchanges it back, and the rest is with the buyer again. Then the books balance.
func TestExchangePages(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	s, sys, _ := start(t, cfg)
	admin := s.login(adminEmail)
	s.unlimited(admin)
	s.set(admin, "payment.sandbox", "true")
	b := s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password).must(t, 200)
	mina := s.login("mina@example.org")
	event := s.concert(mina, 20, 1500)
	at := "/v1/events/" + event.ID.String()
	event = call[api.Event](s, 201, "POST", at+"/ticket-types", mina, api.NewTicketType{Name: "Balcony",
		Price: api.Money{Amount: 2500, Currency: "EUR"}, Quantity: 5})
	seat, balcony := event.TicketTypes[0].ID.String(), event.TicketTypes[1].ID.String()
	office := "/office/events/" + event.ID.String()
	b.send(office+"/selling", "exchange", "yes", "exchange_types", "yes", "exchange_hours", "24", "exchange_fee", "much").
		must(t, 400, "exchange_fee", `name="exchange" value="yes" checked`)
	b.send(office+"/selling", "exchange", "yes", "exchange_types", "yes", "exchange_hours", "24", "exchange_fee", "1,00").
		must(t, 200, `value="1.00"`, `value="24"`)
	want := api.ExchangePolicy{SelfService: true, OtherTypes: true, MinutesBefore: 24 * 60, FeePerTicket: 100}
	if got := call[api.Event](s, 200, "GET", at, mina, nil).OrderRules.Exchange; got != want {
		t.Fatalf("the policy is %+v", got)
	}

	buyer := s.browser()
	checkout := buyer.get("/checkout?event="+event.ID.String()+"&"+seat+"=2").must(t, 200)
	held := buyer.send("/checkout", "event", event.ID.String(), seat, "2", "key", checkout.field(t, "key"), "name", "Gus",
		"email", "gus@example.org").must(t, 200, "Pay 30.00 EUR")
	pay := func(p page) {
		t.Helper()
		left := buyer.send(p.at+"/payments", "key", p.field(t, "key")).must(t, 200, "On to the payment")
		payment := regexp.MustCompile(`pay_[a-z0-9]+`).FindString(left.text)
		call[any](s, 202, "POST", "/v1/sandbox/payments/"+payment, "", api.SandboxOutcome{Outcome: "succeeded"})
		testkit.Eventually(t, 20*time.Second, func() error {
			if got := buyer.get(p.at); !strings.Contains(got.text, "qr.png") {
				return fmt.Errorf("%.300s", got.text)
			}
			return nil
		})
	}
	pay(held)
	buyer.get(held.at).must(t, 200, held.at+"/exchange")
	s.browser().get(held.at+"/exchange").must(t, 200, "Sign in") // which is needed
	old := call[api.List[api.Ticket]](s, 200, "GET", "/v1"+held.at+"/tickets", mina, nil).Items
	one := old[0].ID.String()
	shown := buyer.get(held.at+"/exchange?"+one+"=yes").must(t, 200, "The chosen tickets count for 15.00 EUR.", "Balcony", "costs 26.00 EUR in all",
		"1.00 EUR of it for the exchange", "Exchange and pay 11.00 EUR")
	form := []string{"key", shown.field(t, "key"), "to", event.ID.String(), one, "yes", "type", balcony}
	buyer.send(held.at+"/exchange", append(form, "shown."+balcony, "25.00")...).must(t, 409, "costs something else now")
	swap := buyer.send(held.at+"/exchange", append(form, "shown."+balcony, "26.00")...).must(t, 200, "Pay 11.00 EUR", "−15.00 EUR")
	b.get(office+held.at+"/exchange").must(t, 200, "waits to be paid", swap.at)
	pay(swap)
	admission := call[api.AdmissionResult](s, 200, "POST", at+"/admissions", mina, map[string]string{"code": old[0].Code})
	if admission.Result != api.TicketRevoked {
		t.Errorf("the old code is %s", admission.Result)
	}

	// by the organizer, without a fee: 25 was paid for what costs 15
	theirs := office + swap.at
	staff := b.get(theirs+"/exchange").must(t, 200, "Seat", "Exchange and get 10.00 EUR back")
	made := call[api.List[api.Ticket]](s, 200, "GET", "/v1"+swap.at+"/tickets", mina, nil).Items
	back := b.send(theirs+"/exchange", "key", staff.field(t, "key"), "to", event.ID.String(), made[0].ID.String(), "yes", "type", seat,
		"shown."+seat, "15.00").must(t, 200, "−15.00 EUR", "0.00 EUR")
	o := call[api.Order](s, 200, "GET", "/v1/orders/"+back.at[strings.LastIndex(back.at, "/")+1:], mina, nil)
	if o.Status != api.OrderPaid || o.Due.Amount != 0 || "/orders/"+o.ExchangeOf.String() != swap.at {
		t.Errorf("%+v", o)
	}
	// and all of it back, by the payments that have it
	left := call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+o.ID.String()+"/tickets", mina, nil).Items
	b.send(office+"/orders/"+o.ID.String()+"/refunds", "payment", o.Credits[0].PaymentID.String(), "key", "the rest",
		left[0].ID.String(), "yes").must(t, 200)
	s.await(mina, o, api.OrderRefunded)
	s.await(mina, api.Order{ID: o.ExchangeOf}, api.OrderRefunded)
	mustAudit(t, cfg, ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds")))
}
