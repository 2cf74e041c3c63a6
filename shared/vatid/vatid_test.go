package vatid

import (
	"strings"
	"testing"
)

// Numbers that are given out, or that the authorities show as examples.
func given() []string {
	return strings.Fields(`ATU13585627 ATU12345675 BE0403019261 BG175074752 BG7523169263 CHE107787577IVA CHE107787577
		CY10259033P CZ25123891 CZ7103192745 CZ640903926 DE136695976 DE123456788 DK13585628 EE100931558 EE100594102
		EL094259216 ES54362315K ESX2482300W ESM1234567L ESJ99216582 ESB58378431 FI20774740 FR40303265045 FR23334175221
		FR83404833048 FR4Z123456782 GB980780684 XI980780684 GBGD001 GBHA500 HR33392005961 HU12892312 IE6433435F
		IE6433435OA IE8D79739I IT00743110157 LT119511515 LT100001919017 LT100004801610 LU15027442 LV40003521600
		LV16117519997 MT11679112 NL004495445B01 NO995525828MVA PL8567346215 PT501964843 RO18547290 SE556188840401
		SI50223054 SK2022749619 US123456789`)
}

// A number that was given out is good, and one with a digit mistyped is not.
func TestCheckDigits(t *testing.T) {
	countries := map[string]bool{}
	for _, id := range given() {
		countries[id[:2]] = true
		if !Valid(id) {
			t.Errorf("%s is refused", id)
			continue
		}
		if ruleOf(id[:2]).check == nil || strings.HasPrefix(id, "GBGD") || strings.HasPrefix(id, "GBHA") {
			continue
		}
		wrong, good := 0, 0
		for i := 2; i < len(id); i++ {
			for d := byte('0'); d <= '9' && id[i] >= '0' && id[i] <= '9'; d++ {
				if typed := id[:i] + string(rune(d)) + id[i+1:]; d != id[i] && Valid(typed) {
					good++
				} else if d != id[i] {
					wrong++
				}
			}
		}
		if good*4 > wrong { // a country with two schemes lets some through
			t.Errorf("%s: %d of %d mistyped numbers are good", id, good, good+wrong)
		}
	}
	for _, country := range strings.Fields("AT BE BG CY CZ DE DK EE EL ES FI FR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK") {
		if !countries[country] || ruleOf(country).check == nil {
			t.Errorf("%s has no number here, or no check", country)
		}
	}
}

// What is no VAT number is none, whatever it is.
func TestWhatIsNoNumber(t *testing.T) {
	for _, id := range []string{"", "DE", "DE1", "DE12345678", "DE1234567890", "DE000000000", "ATU1234567", "136695976", "de136695976",
		"DE136695976 ", "DE13669597٦", "ESI0000000A", "EL\n94259216", "GBGD500", "GBHA499", "CY12000139V", "NL000000000000",
		"XX" + strings.Repeat("1", 19)} {
		if Valid(id) {
			t.Errorf("%q is good", id)
		}
	}
	if got := Clean(" de 136.695-976\u00a0"); got != "DE136695976" {
		t.Errorf("cleaned: %q", got)
	}
}

// Of which member state a number is, and where its owner may be.
func TestUnion(t *testing.T) {
	countries := map[string]bool{}
	for _, id := range given() {
		countries[Country(id)] = true
	}
	for _, c := range members() {
		if !countries[c] {
			t.Errorf("no number is one of %s", c)
		}
	}
	for id, want := range map[string]string{"DE136695976": "DE", "EL094259216": "GR", "GB123456782": "", "XI110305878": "",
		"CHE107787577MWST": "", "DE136695977": "", "US123": "", "GR094259216": "", "": ""} {
		if got := Country(id); got != want {
			t.Errorf("%q is one of %q, want %q", id, got, want)
		}
	}
	for _, c := range []struct {
		id, country string
		want        bool
	}{{"EL094259216", "GR", true}, {"EL094259216", "EL", false}, {"DE136695976", "DE", true}, {"DE136695976", "AT", false},
		{"FR83404833048", "MC", true}, {"FR83404833048", "FR", true}, {"DE136695976", "MC", false}, {"", "", false}} {
		if got := At(c.id, c.country); got != c.want {
			t.Errorf("%s in %s: %v", c.id, c.country, got)
		}
	}
}

// No text makes a check fail in another way.
func FuzzValid(f *testing.F) {
	for _, id := range given() {
		f.Add(id)
	}
	f.Fuzz(func(_ *testing.T, id string) { Valid(Clean(id)) })
}
