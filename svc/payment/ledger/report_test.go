package ledger

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/fault"
)

func TestBadReports(t *testing.T) {
	for name, report := range map[string]string{
		"nothing":              "",
		"no columns":           "a,b,c\n1,2,3\n",
		"no number":            "type,reference,amount,currency\ncharge,pay_1,ten,EUR\n",
		"an exponent":          "reporting_category,gross,currency,payment_metadata[payment_id]\ncharge,1e999999999,eur,pay_1\n",
		"too many decimals":    "reporting_category,gross,currency,payment_metadata[payment_id]\ncharge,1.001,eur,pay_1\n",
		"an unknown currency":  "reporting_category,gross,currency,payment_metadata[payment_id]\ncharge,1.00,???,pay_1\n",
		"a row that is short":  "type,reference,amount,currency\ncharge,pay_1\n",
		"a quote left open":    "type,reference,amount,currency\n\"charge,pay_1,1,EUR\n",
		"more than int64 says": "type,reference,amount,currency\ncharge,pay_1,99999999999999999999,EUR\n",
	} {
		if _, err := readReport(strings.NewReader(report)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := readReport(strings.NewReader("reporting_category,gross,currency,payment_metadata[payment_id]\ncharge,2500,jpy,pay_1\ncharge,1.5,kwd,pay_2\n"))
	if err != nil || got[account{"pay_1", "JPY"}].captured != 2500 || got[account{"pay_2", "KWD"}].captured != 1500 {
		t.Errorf("read %v, %v", got, err)
	}
	for code, want := range map[string]int64{"RSD": 1234500, "COP": 1234500, "IQD": 12345000, "SLE": 1234500, "XCG": 1234500, "VES": 1234500, "MRU": 1234500, "ZWG": 1234500} {
		got, err := readReport(strings.NewReader("reporting_category,gross,currency,payment_metadata[payment_id]\ncharge,12345.00," + strings.ToLower(code) + ",pay_1\n"))
		if err != nil || got[account{"pay_1", code}].captured != want {
			t.Errorf("12345.00 %s is read as %v, %v", code, got, err)
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add("type,reference,amount,currency\ncharge,pay_1,1,EUR\nrefund,pay_1,-1,EUR\n")
	f.Add("reporting_category,gross,currency,payment_metadata[payment_id]\ncharge,50.00,eur,pay_1\n")
	f.Fuzz(func(t *testing.T, report string) {
		if _, err := readReport(strings.NewReader(report)); err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%v", err)
		}
	})
}
