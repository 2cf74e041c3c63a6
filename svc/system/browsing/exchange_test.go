package browsing_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// The organizer lets buyers exchange tickets; a guest reads what it costs, exchanges, and pays the difference; the old
// code is good for nothing. The organizer exchanges it back, and the rest is with the buyer again. Then the books balance.
func TestExchangePages(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	s.Set(admin, "payment.sandbox", "true")
	b := s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password).Must(t, 200)
	mina := s.Login("mina@example.org")
	event := s.Concert(mina, 20, 1500)
	at := "/v1/events/" + event.ID.String()
	event = systemtest.Call[api.Event](s, 201, "POST", at+"/ticket-types", mina, api.NewTicketType{Name: "Balcony",
		Price: api.Money{Amount: 2500, Currency: "EUR"}, Quantity: 5})
	seat, balcony := event.TicketTypes[0].ID.String(), event.TicketTypes[1].ID.String()
	office := "/office/events/" + event.ID.String()
	b.Send(office+"/selling", "exchange", "yes", "exchange_types", "yes", "exchange_hours", "24", "exchange_fee", "much").
		Must(t, 400, "exchange_fee", `name="exchange" value="yes" checked`)
	b.Send(office+"/selling", "exchange", "yes", "exchange_types", "yes", "exchange_hours", "24", "exchange_fee", "1,00").
		Must(t, 200, `value="1.00"`, `value="24"`)
	want := api.ExchangePolicy{SelfService: true, OtherTypes: true, MinutesBefore: 24 * 60, FeePerTicket: 100}
	if got := systemtest.Call[api.Event](s, 200, "GET", at, mina, nil).OrderRules.Exchange; got != want {
		t.Fatalf("the policy is %+v", got)
	}

	buyer := s.Browser()
	checkout := buyer.Get("/checkout?event="+event.ID.String()+"&"+seat+"=2").Must(t, 200)
	held := buyer.Send("/checkout", "event", event.ID.String(), seat, "2", "key", checkout.Field(t, "key"), "name", "Gus",
		"email", "gus@example.org").Must(t, 200, "Pay 30.00 EUR")
	pay := func(p systemtest.Page) {
		t.Helper()
		left := buyer.Send(p.At+"/payments", "key", p.Field(t, "key")).Must(t, 200, "On to the payment")
		payment := regexp.MustCompile(`pay_[a-z0-9]+`).FindString(left.Text)
		systemtest.Call[any](s, 202, "POST", "/v1/sandbox/payments/"+payment, "", api.SandboxOutcome{Outcome: "succeeded"})
		testkit.Eventually(t, 20*time.Second, func() error {
			if got := buyer.Get(p.At); !strings.Contains(got.Text, "qr.png") {
				return fmt.Errorf("%.300s", got.Text)
			}
			return nil
		})
	}
	pay(held)
	buyer.Get(held.At).Must(t, 200, held.At+"/exchange")
	s.Browser().Get(held.At+"/exchange").Must(t, 200, "Sign in") // which is needed
	old := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1"+held.At+"/tickets", mina, nil).Items
	one := old[0].ID.String()
	shown := buyer.Get(held.At+"/exchange?"+one+"=yes").Must(t, 200, "The chosen tickets count for 15.00 EUR.", "Balcony", "costs 26.00 EUR in all",
		"1.00 EUR of it for the exchange", "Exchange and pay 11.00 EUR")
	form := []string{"key", shown.Field(t, "key"), "to", event.ID.String(), one, "yes", "type", balcony}
	buyer.Send(held.At+"/exchange", append(form, "shown."+balcony, "25.00")...).Must(t, 409, "costs something else now")
	swap := buyer.Send(held.At+"/exchange", append(form, "shown."+balcony, "26.00")...).Must(t, 200, "Pay 11.00 EUR", "−15.00 EUR")
	b.Get(office+held.At+"/exchange").Must(t, 200, "waits to be paid", swap.At)
	pay(swap)
	admission := systemtest.Call[api.AdmissionResult](s, 200, "POST", at+"/admissions", mina, map[string]string{"code": old[0].Code})
	if admission.Result != api.TicketRevoked {
		t.Errorf("the old code is %s", admission.Result)
	}

	// by the organizer, without a fee: 25 was paid for what costs 15
	theirs := office + swap.At
	staff := b.Get(theirs+"/exchange").Must(t, 200, "Seat", "Exchange and get 10.00 EUR back")
	made := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1"+swap.At+"/tickets", mina, nil).Items
	back := b.Send(theirs+"/exchange", "key", staff.Field(t, "key"), "to", event.ID.String(), made[0].ID.String(), "yes", "type", seat,
		"shown."+seat, "15.00").Must(t, 200, "−15.00 EUR", "0.00 EUR")
	o := systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+back.At[strings.LastIndex(back.At, "/")+1:], mina, nil)
	if o.Status != api.OrderPaid || o.Due.Amount != 0 || "/orders/"+o.ExchangeOf.String() != swap.At {
		t.Errorf("%+v", o)
	}
	// and all of it back, by the payments that have it
	left := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+o.ID.String()+"/tickets", mina, nil).Items
	b.Send(office+"/orders/"+o.ID.String()+"/refunds", "payment", o.Credits[0].PaymentID.String(), "key", "the rest",
		left[0].ID.String(), "yes").Must(t, 200)
	s.Await(mina, o, api.OrderRefunded)
	s.Await(mina, api.Order{ID: o.ExchangeOf}, api.OrderRefunded)
	systemtest.MustAudit(t, cfg, systemtest.Ops(t, sys.NATSURL(), filepath.Join(cfg.Data, "creds")))
}
