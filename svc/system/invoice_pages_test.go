package system_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// An organizer switches invoices on, a buyer without an account gives an address, and both have the invoice, and the
// credit note of the refund.
func TestInvoicePages(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.unlimited(admin)
	s.set(admin, "payment.sandbox", "true")
	b := s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password).must(t, 200)
	mina := s.login("mina@example.org")
	event := s.concert(mina, 20, 1500)
	org := "/office/organizers/" + event.OrganizerID.String()
	slug := call[api.Organizer](s, 200, "GET", "/v1/organizers/"+event.OrganizerID.String(), mina, nil).Slug
	form := []string{"name", "Mina", "slug", slug, "invoices", "yes", "invoice_prefix", "MI", "invoice_note", "Small business"}
	b.send(org, form...).must(t, 400, "legal_name")
	b.send(org, append(form, "legal_name", "Mina Day", "address", "Road 1", "country", "DE")...).must(t, 200, `name="invoices" value="yes" checked`, "Small business")
	b.get(org+"/invoices").must(t, 200, "There are no invoices yet")
	b.get(org+"/money").must(t, 200, "Nobody has paid anything yet")

	typ := event.TicketTypes[0].ID.String()
	buyer := s.browser()
	checkout := buyer.get("/checkout?event="+event.ID.String()+"&"+typ+"=2").must(t, 200, "I need an invoice with an address")
	order := []string{"event", event.ID.String(), typ, "2", "key", checkout.field(t, "key"), "name", "Gus", "email", "gus@example.org", "company", "Example AG"}
	buyer.send("/checkout", order...).must(t, 400, "billing.street", `value="Example AG"`)
	held := buyer.send("/checkout", append(order, "street", "Long Road 1", "city", "Kassel", "country", "DE")...).must(t, 200, "Pay 30.00 EUR")
	pay := buyer.send(held.at+"/payments", "key", held.field(t, "key")).must(t, 200, "On to the payment")
	payment := regexp.MustCompile(`pay_[a-z0-9]+`).FindString(pay.text)
	call[any](s, 202, "POST", "/v1/sandbox/payments/"+payment, "", api.SandboxOutcome{Outcome: "succeeded"})
	number := fmt.Sprintf("MI-%d-0000", time.Now().Year())
	var paid page
	testkit.Eventually(t, 10*time.Second, func() error {
		if paid = buyer.get(held.at); !strings.Contains(paid.text, number+"1") {
			return fmt.Errorf("%s", paid.text)
		}
		return nil
	})
	file := regexp.MustCompile(`/orders/ord_[a-z0-9]+/invoices/inv_[a-z0-9]+/invoice.pdf`).FindString(paid.text)
	if got := buyer.get(file); got.status != 200 || got.header.Get("Content-Type") != "application/pdf" || !strings.HasPrefix(got.text, "%PDF") {
		t.Errorf("%s: %d %v", file, got.status, got.header)
	}
	s.browser().get(file).must(t, 200, "Sign in") // which is needed

	call[api.Refund](s, 201, "POST", "/v1/payments/"+payment+"/refunds", mina, map[string]any{"amount": map[string]any{"amount": 500, "currency": "EUR"}})
	list := b.get(org+"/invoices").must(t, 200, number+"1", "credit note for "+number+"1", "−5.00 EUR", "Example AG")
	for _, path := range regexp.MustCompile(org+`/invoices[^"]*\.(csv[^"]*|pdf|xml)`).FindAllString(list.text, -1) {
		if got := b.get(path); got.status != 200 {
			t.Errorf("%s: %d %.300s", path, got.status, got.text)
		}
	}
	b.get(org+"/money").must(t, 200, "Paid by buyers", "30.00 EUR", "sandbox", fmt.Sprintf("Taxes of %d", time.Now().Year()), "0 %", "25.00 EUR")
	b.get(org+"/money?year=soon").must(t, 404)
	if got := b.get(org + "/money.csv"); got.status != 200 || !strings.Contains(got.text, "sandbox,EUR,30.00,5.00") {
		t.Errorf("the file is %d %s", got.status, got.text)
	}
	other := s.browser()
	other.send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", password).must(t, 200)
	other.get(org+"/invoices").must(t, 404)
	other.get(org+"/money").must(t, 404)
	other.get(file).must(t, 404)
}
