package api_test

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

func TestMoney(t *testing.T) {
	for want, m := range map[string]api.Money{
		"25.00 EUR":                {Amount: 2500, Currency: "EUR"},
		"0.05 USD":                 {Amount: 5, Currency: "USD"},
		"2500 JPY":                 {Amount: 2500, Currency: "JPY"},
		"2.500 BHD":                {Amount: 2500, Currency: "BHD"},
		"25.00 XXQ":                {Amount: 2500, Currency: "XXQ"},
		"-0.05 EUR":                {Amount: -5, Currency: "EUR"},
		"92233720368547758.07 EUR": {Amount: 1<<63 - 1, Currency: "EUR"},
	} {
		if got := m.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
