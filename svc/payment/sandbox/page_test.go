package sandbox

import (
	"html"
	"regexp"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/svc/payment/checkout"
)

func TestCheckoutPage(t *testing.T) {
	page, err := newPage()
	if err != nil {
		t.Fatal(err)
	}
	row := &paymentRow{
		Reference: "pay_01kqx0m0q0q0q0q0q0q0q0q0q0", OrderID: "ord_01kqx0m0q0q0q0q0q0q0q0q0q0", Amount: 123450, Currency: "EUR",
		Description: `2 × "><script>alert(1)</script>`, ReturnURL: "javascript:alert(1)", Status: statusPending,
	}
	blob, err := render(page, row, true)
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
		if want := tag + "-src '" + checkout.Source(body[0][1]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %q", policy, want)
		}
	}
	if n := strings.Count(text, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}

	for _, tt := range []struct{ status, says string }{
		{statusSucceeded, "is done"}, {statusDeclined, "was declined"}, {statusPending, "has expired"},
	} {
		row.Status = tt.status
		blob, err := render(page, row, false)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(blob.Data); !strings.Contains(text, tt.says) || strings.Contains(text, "<button") {
			t.Errorf("%s: want a page without buttons that says %q", tt.status, tt.says)
		}
	}
}
