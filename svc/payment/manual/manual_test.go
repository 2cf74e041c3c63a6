package manual

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment"
	"github.com/starlightsymphony/starlight/svc/payment/checkout"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const manager = ids.User("usr_01kqx0m0q0q0q0q0q0q0q0q0q1")

// newRequest returns the beginning of a payment of 50 EUR.
func newRequest(now time.Time) provider.CreateRequest {
	id := ids.New[ids.PaymentKind](now)
	return provider.CreateRequest{Key: "create " + id.String(), PaymentID: id, OrderID: ids.New[ids.OrderKind](now),
		Amount: api.Money{Amount: 5000, Currency: "EUR"}}
}

func wantFault(t testing.TB, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("got %v, want %s", err, code)
	}
}

// TestRules walks through what the provider promises, without the service around it.
func TestRules(t *testing.T) {
	testkit.DB(t, "payment", payment.Migrations(), func(t *testing.T, db *store.DB) {
		clock, ctx := testkit.NewClock(time.Time{}), t.Context()
		m, err := New(Config{DB: db, Live: settings.Fixed(api.ManualEnabled.Is(true)), Log: testkit.Log(t), Now: clock.Now, PublicURL: "https://tickets.example"})
		if err != nil {
			t.Fatal(err)
		}
		req := newRequest(clock.Now())
		first, err := m.Create(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := m.Create(ctx, req); err != nil || again != first {
			t.Errorf("again: %+v, %v; want %+v", again, err, first)
		}
		other := req
		other.Amount.Amount++
		_, err = m.Create(ctx, other)
		wantFault(t, err, fault.Unprocessable)
		_, err = m.Fetch(ctx, "1111-1111")
		wantFault(t, err, fault.NotFound)
		_, err = m.Cancel(ctx, "1111-1111")
		wantFault(t, err, fault.NotFound)
		_, err = m.ParseCallback(&api.Callback{Body: []byte("{}")})
		wantFault(t, err, fault.NotFound)

		ask := func(key string, amount int64) (provider.Refund, error) {
			return m.Refund(ctx, provider.RefundRequest{Key: key, RemoteID: first.ID, Amount: api.Money{Amount: amount, Currency: "EUR"}})
		}
		_, err = ask("a", 1)
		wantFault(t, err, fault.Conflict) // nothing was paid
		row, err := m.tables.byReference(ctx, first.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.tables.markPaid(ctx, row, manager); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if state, err := m.Cancel(ctx, first.ID); err != nil || state.Status != provider.Succeeded {
				t.Errorf("cancelled after it was paid: %+v, %v", state, err)
			}
		}
		part, err := ask("a", 3000)
		if err != nil || !part.Pending {
			t.Errorf("%+v, %v", part, err)
		}
		if again, err := ask("a", 3000); err != nil || again != part {
			t.Errorf("again: %+v, %v", again, err)
		}
		_, err = ask("a", 2999)
		wantFault(t, err, fault.Unprocessable)
		_, err = ask("b", 2001)
		wantFault(t, err, fault.Conflict)
		if _, err = ask("b", 2000); err != nil {
			t.Error(err)
		}

		second, err := m.Create(ctx, newRequest(clock.Now()))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if state, err := m.Cancel(ctx, second.ID); err != nil || state.Status != provider.Failed || state.Reason != "cancelled" {
				t.Errorf("cancelled: %+v, %v", state, err)
			}
		}
	})
}

func TestPage(t *testing.T) {
	page, err := newPage()
	if err != nil {
		t.Fatal(err)
	}
	row := &paymentRow{Reference: "1234-567J", PaymentID: "pay_01kqx0m0q0q0q0q0q0q0q0q0q0", Amount: 123450, Currency: "EUR", Status: statusPaid}
	blob, err := render(page, row, true, []string{"<script>alert(1)</script>"}, "javascript:alert(1)")
	if err != nil {
		t.Fatal(err)
	}
	text := string(blob.Data)
	if strings.Contains(text, "<script") || strings.Contains(text, "javascript:alert") {
		t.Error("text of an operator became code")
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(text)[1]
	for _, want := range []string{"1234.50 EUR", "1234-567J", "The money is there", "style-src '" + checkout.Source(style) + "'"} {
		if !strings.Contains(html.UnescapeString(text), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
