package browsing_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// An organizer switches invoices on, a buyer without an account gives an address, and both have the invoice, and the
// credit note of the refund.
func TestInvoicePages(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	s.Set(admin, "payment.sandbox", "true")
	b := s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password).Must(t, 200)
	mina := s.Login("mina@example.org")
	event := s.Concert(mina, 20, 1500)
	org := "/office/organizers/" + event.OrganizerID.String()
	slug := systemtest.Call[api.Organizer](s, 200, "GET", "/v1/organizers/"+event.OrganizerID.String(), mina, nil).Slug
	form := []string{"name", "Mina", "slug", slug, "invoices", "yes", "invoice_prefix", "MI", "invoice_note", "Small business"}
	b.Send(org, form...).Must(t, 400, "legal_name")
	b.Send(org, append(form, "legal_name", "Mina Day", "address", "Road 1", "country", "DE")...).Must(t, 200, `name="invoices" value="yes" checked`, "Small business")
	b.Get(org+"/invoices").Must(t, 200, "There are no invoices yet")
	b.Get(org+"/money").Must(t, 200, "Nobody has paid anything yet")

	typ := event.TicketTypes[0].ID.String()
	buyer := s.Browser()
	checkout := buyer.Get("/checkout?event="+event.ID.String()+"&"+typ+"=2").Must(t, 200, "I need an invoice with an address")
	order := []string{"event", event.ID.String(), typ, "2", "key", checkout.Field(t, "key"), "name", "Gus", "email", "gus@example.org", "company", "Example AG"}
	buyer.Send("/checkout", order...).Must(t, 400, "billing.street", `value="Example AG"`)
	held := buyer.Send("/checkout", append(order, "street", "Long Road 1", "city", "Kassel", "country", "DE")...).Must(t, 200, "Pay 30.00 EUR")
	pay := buyer.Send(held.At+"/payments", "key", held.Field(t, "key")).Must(t, 200, "On to the payment")
	payment := regexp.MustCompile(`pay_[a-z0-9]+`).FindString(pay.Text)
	systemtest.Call[any](s, 202, "POST", "/v1/sandbox/payments/"+payment, "", api.SandboxOutcome{Outcome: "succeeded"})
	number := fmt.Sprintf("MI-%d-0000", time.Now().Year())
	var paid systemtest.Page
	testkit.Eventually(t, 10*time.Second, func() error {
		if paid = buyer.Get(held.At); !strings.Contains(paid.Text, number+"1") {
			return fmt.Errorf("%s", paid.Text)
		}
		return nil
	})
	file := regexp.MustCompile(`/orders/ord_[a-z0-9]+/invoices/inv_[a-z0-9]+/invoice.pdf`).FindString(paid.Text)
	if got := buyer.Get(file); got.Status != 200 || got.Header.Get("Content-Type") != "application/pdf" || !strings.HasPrefix(got.Text, "%PDF") {
		t.Errorf("%s: %d %v", file, got.Status, got.Header)
	}
	s.Browser().Get(file).Must(t, 200, "Sign in") // which is needed

	systemtest.Call[api.Refund](s, 201, "POST", "/v1/payments/"+payment+"/refunds", mina, map[string]any{"amount": map[string]any{"amount": 500, "currency": "EUR"}})
	list := b.Get(org+"/invoices").Must(t, 200, number+"1", "credit note for "+number+"1", "−5.00 EUR", "Example AG")
	for _, path := range regexp.MustCompile(org+`/invoices[^"]*\.(csv[^"]*|pdf|xml)`).FindAllString(list.Text, -1) {
		if got := b.Get(path); got.Status != 200 {
			t.Errorf("%s: %d %.300s", path, got.Status, got.Text)
		}
	}
	b.Get(org+"/money").Must(t, 200, "Paid by buyers", "30.00 EUR", "sandbox", fmt.Sprintf("Taxes of %d", time.Now().Year()), "0 %", "25.00 EUR")
	b.Get(org+"/money?year=soon").Must(t, 404)
	if got := b.Get(org + "/money.csv"); got.Status != 200 || !strings.Contains(got.Text, "sandbox,EUR,30.00,5.00") {
		t.Errorf("the file is %d %s", got.Status, got.Text)
	}

	// Who runs the system pays it out, and records that.
	root := s.Browser()
	root.Send("/sign-in", "email", systemtest.AdminEmail, "password", systemtest.Password, "next", "/admin/payouts").Must(t, 200, "Mina Day", "25.00 EUR")
	payouts := "/admin/payouts/" + event.OrganizerID.String()
	key := root.Get(payouts).Must(t, 200, "Mina Day", "30.00 EUR", "5.00 EUR", "25.00 EUR").Field(t, "key")
	sent := []string{"key", key, "currency", "EUR", "reference", "Tickets <b>May</b>", "amount"}
	root.Send(payouts, append(sent, "25.01")...).Must(t, 409, "25.00 EUR is due", `value="25.01"`)
	root.Send(payouts, append(sent, "much")...).Must(t, 400, "amount")
	for range 2 { // once, however often the form is sent
		root.Send(payouts, append(sent, "20.00")...).Must(t, 200, "20.00 EUR", "Tickets &lt;b&gt;May&lt;/b&gt;", "Came back")
	}
	root.Get("/admin/payouts").Must(t, 200, "Mina Day", "5.00 EUR")
	b.Get(org+"/money").Must(t, 200, "Paid out", "20.00 EUR", "Tickets &lt;b&gt;May&lt;/b&gt;").MustNot(t, "came back")
	back := regexp.MustCompile(`pyo_[a-z0-9]+`).FindString(root.Get(payouts).Text)
	root.Send(payouts, "returned", back).Must(t, 200, "Came back on", "25.00 EUR").MustNot(t, `name="returned"`)
	b.Get(org+"/money").Must(t, 200, "Came back on")
	root.Get("/admin/payouts/org_nobody").Must(t, 404)
	b.Get(payouts).Must(t, 403)
	b.Get("/admin/payouts").Must(t, 403)
	b.Send(payouts, append(sent, "1.00")...).Must(t, 403)

	other := s.Browser()
	other.Send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", systemtest.Password).Must(t, 200)
	other.Get(org+"/invoices").Must(t, 404)
	other.Get(org+"/money").Must(t, 404)
	other.Get(file).Must(t, 404)
}
