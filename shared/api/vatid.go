package api

import (
	"regexp"
	"strings"
)

// vatRule returns how the VAT numbers of a country look behind its two letters, and "" for a country that is not known.
func vatRule(country string) string {
	switch country {
	case "AT":
		return `U\d{8}`
	case "BE":
		return `[01]\d{9}`
	case "BG":
		return `\d{9,10}`
	case "CH":
		return `E\d{9}(MWST|TVA|IVA)?`
	case "CY":
		return `\d{8}[A-Z]`
	case "CZ":
		return `\d{8,10}`
	case "DE", "EE", "EL", "PT":
		return `\d{9}`
	case "DK", "FI", "HU", "LU", "MT", "SI":
		return `\d{8}`
	case "ES":
		return `[A-Z0-9]\d{7}[A-Z0-9]`
	case "FR":
		return `[A-HJ-NP-Z0-9]{2}\d{9}`
	case "GB", "XI":
		return `(\d{9}|\d{12}|(GD|HA)\d{3})`
	case "HR", "IT", "LV":
		return `\d{11}`
	case "IE":
		return `(\d{7}[A-W][A-IW]?|\d[A-Z+*]\d{5}[A-W])`
	case "LT":
		return `(\d{9}|\d{12})`
	case "NL":
		return `[A-Z0-9+*]{10}\d{2}`
	case "NO":
		return `\d{9}(MVA)?`
	case "PL", "SK":
		return `\d{10}`
	case "RO":
		return `\d{2,10}`
	case "SE":
		return `\d{10}01`
	}
	return ""
}

// VATID returns a text as a VAT number, and whether it has the form of one.
func VATID(text string) (string, bool) {
	id := cleanVATID(text)
	return id, IsVATID(id)
}

// cleanVATID returns a VAT number in capitals, without what people write between its parts.
func cleanVATID(s string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "", ".", "", "-", "", "\u00a0", "").Replace(s))
}

// IsVATID reports whether a text has the form of a VAT number, in capitals and without blanks. Of the countries of the
// EU, and some near, it is the form of the country; of others it is two letters and at most 18 letters and digits.
func IsVATID(s string) bool {
	if len(s) < 4 || len(s) > 20 {
		return false
	}
	rule := vatRule(s[:2])
	if rule == "" {
		rule = `[A-Z0-9]{2,18}`
	}
	ok, err := regexp.MatchString(`^[A-Z]{2}`+rule+`$`, s)
	return err == nil && ok
}
