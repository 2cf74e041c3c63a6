package stripe

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// TestStripeAmounts compares with the tables and examples of https://docs.stripe.com/currencies and the minor units of
// ISO 4217, list one.
func TestStripeAmounts(t *testing.T) {
	for _, tt := range []struct {
		ours  api.Money
		want  int64
		lower string
	}{
		{api.Money{Amount: 2500, Currency: "EUR"}, 2500, "eur"},
		{api.Money{Amount: 1, Currency: "USD"}, 1, "usd"},
		{api.Money{Amount: 500, Currency: "JPY"}, 500, "jpy"}, // "to charge 500 JPY, provide an amount value of 500"
		{api.Money{Amount: 500, Currency: "KRW"}, 500, "krw"},
		{api.Money{Amount: 500, Currency: "VND"}, 500, "vnd"},
		{api.Money{Amount: 500, Currency: "XPF"}, 500, "xpf"},
		{api.Money{Amount: 45, Currency: "HUF"}, 45, "huf"},     // zero-decimal for payouts only
		{api.Money{Amount: 5, Currency: "ISK"}, 500, "isk"},     // "to charge 5 ISK, provide an amount value of 500"
		{api.Money{Amount: 5, Currency: "UGX"}, 500, "ugx"},     // "to charge 5 UGX, provide an amount value of 500"
		{api.Money{Amount: 500, Currency: "MGA"}, 5, "mga"},     // zero-decimal with Stripe, two decimals with ISO
		{api.Money{Amount: 5120, Currency: "KWD"}, 5120, "kwd"}, // "5.124 KWD ... 5120 or 5130"
		{api.Money{Amount: 10, Currency: "TND"}, 10, "tnd"},
		{api.Money{Amount: 0, Currency: "EUR"}, 0, "eur"},
	} {
		amount, currency, err := toStripe(tt.ours)
		if err != nil || amount != tt.want || currency != tt.lower {
			t.Errorf("%v is %d %s, %v; want %d %s", tt.ours, amount, currency, err, tt.want, tt.lower)
		}
		if back, err := fromStripe(tt.want, tt.lower); err != nil || back != tt.ours {
			t.Errorf("%d %s is %v, %v; want %v", tt.want, tt.lower, back, err, tt.ours)
		}
	}
	for _, m := range []api.Money{
		{Amount: 5124, Currency: "KWD"}, {Amount: 1, Currency: "BHD"}, {Amount: 50, Currency: "MGA"},
		{Amount: 1 << 60, Currency: "ISK"}, {Amount: -1, Currency: "EUR"}, {Amount: 1000, Currency: "IQD"},
		{Amount: 10000, Currency: "CLF"}, {Amount: 1, Currency: ""},
	} {
		_, _, err := toStripe(m)
		wantFault(t, err, fault.Invalid)
	}
	for currency, amount := range map[string]int64{"isk": 550, "ugx": 1, "mga": 1 << 60, "eur": -1, "": 1} {
		_, err := fromStripe(amount, currency)
		wantFault(t, err, fault.Unprocessable)
	}
}

// FuzzStripeAmounts checks that what can be expressed comes back as it was.
func FuzzStripeAmounts(f *testing.F) {
	f.Add(int64(5120), "KWD")
	f.Add(int64(1)<<62, "ISK")
	f.Fuzz(func(t *testing.T, amount int64, currency string) {
		ours := api.Money{Amount: amount, Currency: currency}
		theirs, lower, err := toStripe(ours)
		if err != nil || len(currency) != 3 || currency < "AAA" || currency > "ZZZ" {
			return
		}
		for _, c := range []byte(currency) {
			if c < 'A' || c > 'Z' {
				return
			}
		}
		if back, err := fromStripe(theirs, lower); err != nil || back != ours {
			t.Fatalf("%v is %d %s is %v, %v", ours, theirs, lower, back, err)
		}
	})
}
