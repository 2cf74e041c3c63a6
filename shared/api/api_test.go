package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

// iso4217 is list one of ISO 4217 by the number of decimals, without metals, tests and units of international bodies.
func iso4217() map[int]string {
	return map[int]string{
		0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
		2: `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC
			CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW
			KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK
			PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD
			USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG`,
		3: "BHD IQD JOD KWD LYD OMR TND",
		4: "CLF UYW",
	}
}

func TestMoneyOfEveryCurrency(t *testing.T) {
	want := map[int][3]string{
		0: {"1234500", "1,234,500", "1.234.500"}, 2: {"12345.00", "12,345.00", "12.345,00"},
		3: {"1234.500", "1,234.500", "1.234,500"}, 4: {"123.4500", "123.4500", "123,4500"},
	}
	count := 0
	for decimals, codes := range iso4217() {
		for _, code := range strings.Fields(codes) {
			count++
			m := api.Money{Amount: 1234500, Currency: code}
			got := [3]string{m.Decimal(), strings.TrimSuffix(m.In("en"), " "+code), strings.TrimSuffix(m.In("de"), " "+code)}
			if got != want[decimals] {
				t.Errorf("%s: %q, want %q", code, got, want[decimals])
			}
			if back, err := api.ParseMoney(m.Decimal(), code); err != nil || back != m {
				t.Errorf("%s is read as %+v, %v", m, back, err)
			}
			if _, err := api.ParseMoney("0."+strings.Repeat("0", decimals)+"1", code); err == nil {
				t.Errorf("%s: a part of a minor unit is read", code)
			}
			fund := slices.Contains([]string{"BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW", "XAD"}, code)
			if api.KnownCurrency(code) == fund {
				t.Errorf("%s is money: %t", code, !fund)
			}
		}
	}
	if count != 165 {
		t.Errorf("%d currencies", count)
	}
	for _, code := range []string{"", "DEM", "HRK", "BGN", "SLL", "ANG", "ZWL", "XXX", "XAU", "eur", "EU", "EURO", "UR ", "\nAE"} {
		if api.KnownCurrency(code) {
			t.Errorf("%s is taken for money", code)
		}
	}
	for _, text := range []string{"", "x", "1e3", "1/2", "0x10", "1.2.3", "1_0", "--1", "99999999999999999999"} {
		if m, err := api.ParseMoney(text, "EUR"); err == nil {
			t.Errorf("%q is read as %v", text, m)
		}
	}
}

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
