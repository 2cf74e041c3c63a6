package payment

import (
	"html"
	"regexp"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

func TestCheckoutPage(t *testing.T) {
	page, err := newCheckoutPage()
	if err != nil {
		t.Fatal(err)
	}
	row := &sandboxPayment{
		Reference: "pay_01kqx0m0q0q0q0q0q0q0q0q0q0", OrderID: "ord_01kqx0m0q0q0q0q0q0q0q0q0q0", Amount: 123450, Currency: "EUR",
		Description: `2 × "><script>alert(1)</script>`, ReturnURL: "javascript:alert(1)", Status: sandboxPending,
	}
	blob, err := page.render(row, true)
	if err != nil {
		t.Fatal(err)
	}
	text := string(blob.Data)
	for _, want := range []string{"1234.50 EUR", row.OrderID.String(), `data-payment="` + row.Reference.String() + `"`, ">Pay<", ">Decline<"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(text, "<script>alert") || strings.Contains(text, "javascript:alert") {
		t.Error("text of an organizer became part of the page's code")
	}
	// The browser hashes exactly what stands between the tags: the policy has to allow that and nothing else.
	policy := html.UnescapeString(regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(text)[1])
	for _, tag := range []string{"script", "style"} {
		body := regexp.MustCompile(`(?s)<`+tag+`>(.*?)</`+tag+`>`).FindAllStringSubmatch(text, -1)
		if len(body) != 1 {
			t.Fatalf("%d <%s> elements, want 1", len(body), tag)
		}
		if want := tag + "-src '" + sourceHash(body[0][1]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %q", policy, want)
		}
	}
	if n := strings.Count(text, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}

	for _, tt := range []struct{ status, says string }{
		{sandboxSucceeded, "is done"}, {sandboxDeclined, "was declined"}, {sandboxPending, "has expired"},
	} {
		row.Status = tt.status
		blob, err := page.render(row, false)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(blob.Data); !strings.Contains(text, tt.says) || strings.Contains(text, "<button") {
			t.Errorf("%s: want a page without buttons that says %q", tt.status, tt.says)
		}
	}
}

func TestFormatMoney(t *testing.T) {
	for want, m := range map[string]api.Money{
		"25.00 EUR":                {Amount: 2500, Currency: "EUR"},
		"0.05 USD":                 {Amount: 5, Currency: "USD"},
		"2500 JPY":                 {Amount: 2500, Currency: "JPY"},
		"2.500 BHD":                {Amount: 2500, Currency: "BHD"},
		"25.00 XXQ":                {Amount: 2500, Currency: "XXQ"},
		"92233720368547758.07 EUR": {Amount: 1<<63 - 1, Currency: "EUR"},
	} {
		if got := formatMoney(m); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
