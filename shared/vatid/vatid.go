// Package vatid knows how VAT numbers look, and by which digits a mistyped one is found.
//
// The forms and check digits are those of the member states, as the European Commission describes them for VIES, its
// service that knows which numbers are given out (https://ec.europa.eu/taxation_customs/vies); those of the United
// Kingdom, Switzerland and Norway are their tax authorities'. Where a country gives numbers to people by another scheme
// than to companies, either is good. Whether a number was given out at all, only the authorities know.
package vatid

import (
	"regexp"
	"strings"
)

// Clean returns a VAT number in capitals, without what people write between its parts.
func Clean(s string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "", ".", "", "-", "", "\u00a0", "").Replace(s))
}

// Valid reports whether a text is a VAT number, in capitals and without blanks: two letters, and what its country has
// behind them, with the right check digits. Of countries that are not known it is two letters and at most 18 letters
// and digits.
func Valid(s string) bool {
	if len(s) < 4 || len(s) > 20 {
		return false
	}
	r := ruleOf(s[:2])
	ok, err := regexp.MatchString(`^[A-Z]{2}`+r.form+`$`, s)
	return err == nil && ok && (r.check == nil || r.check(s[2:]))
}

// rule is how the numbers of a country look behind its letters, and which of these are good.
type rule struct {
	form  string
	check func(string) bool // nil: there are no check digits
}

// ruleOf returns the rule of a country.
func ruleOf(country string) rule {
	switch country {
	case "AT":
		return rule{`U\d{8}`, austria}
	case "BE":
		return rule{`[01]\d{9}`, belgium}
	case "BG":
		return rule{`\d{9,10}`, bulgaria}
	case "CH":
		return rule{`E\d{9}(MWST|TVA|IVA)?`, switzerland}
	case "CY":
		return rule{`\d{8}[A-Z]`, cyprus}
	case "CZ":
		return rule{`\d{8,10}`, czechia}
	case "DE":
		return rule{`[1-9]\d{8}`, mod1110}
	case "DK":
		return rule{`[1-9]\d{7}`, sums(11, 2, 7, 6, 5, 4, 3, 2, 1)}
	case "EE":
		return rule{`\d{9}`, sums(10, 3, 7, 1, 3, 7, 1, 3, 7, 1)}
	case "EL":
		return rule{`\d{9}`, greece}
	case "ES":
		return rule{`[A-Z0-9]\d{7}[A-Z0-9]`, spain}
	case "FI":
		return rule{`\d{8}`, sums(11, 7, 9, 10, 5, 8, 4, 2, 1)}
	case "FR":
		return rule{`[A-HJ-NP-Z0-9]{2}\d{9}`, france}
	case "GB", "XI":
		return rule{`(\d{9}|\d{12}|(GD|HA)\d{3})`, britain}
	case "HR":
		return rule{`\d{11}`, mod1110}
	case "HU":
		return rule{`\d{8}`, sums(10, 9, 7, 3, 1, 9, 7, 3, 1)}
	case "IE":
		return rule{`(\d{7}[A-W][A-IW]?|\d[A-Z+*]\d{5}[A-W])`, ireland}
	case "IT":
		return rule{`\d{11}`, luhn}
	case "LT":
		return rule{`(\d{9}|\d{12})`, lithuania}
	case "LU":
		return rule{`\d{8}`, luxembourg}
	case "LV":
		return rule{`\d{11}`, latvia}
	case "MT":
		return rule{`[1-9]\d{7}`, sums(37, 3, 4, 6, 7, 8, 9, 10, 1)}
	case "NL":
		return rule{`[A-Z0-9+*]{9}B\d{2}`, netherlands}
	case "NO":
		return rule{`\d{9}(MVA)?`, norway}
	case "PL":
		return rule{`\d{10}`, sums(11, 6, 5, 7, 2, 3, 4, 5, 6, 7, -1)}
	case "PT":
		return rule{`[1-9]\d{8}`, portugal}
	case "RO":
		return rule{`[1-9]\d{1,9}`, romania}
	case "SE":
		return rule{`\d{10}01`, func(s string) bool { return luhn(s[:10]) }}
	case "SI":
		return rule{`[1-9]\d{7}`, slovenia}
	case "SK":
		return rule{`[1-9]\d[2-47-9]\d{7}`, func(s string) bool { return number(s)%11 == 0 }}
	}
	return rule{form: `[A-Z0-9]{2,18}`}
}
