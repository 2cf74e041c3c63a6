package vatid

import "slices"

// members are the member states of the European Union, by ISO 3166-1. As a function it is a list that nobody changes.
func members() []string {
	return []string{"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT",
		"LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"}
}

// Country returns of which member state of the European Union a VAT number is, by ISO 3166-1, and "" for any other
// text: also for a number of Northern Ireland, which is one for goods alone.
func Country(id string) string {
	if !Valid(id) {
		return ""
	}
	country := id[:2]
	if country == "EL" {
		country = "GR"
	} else if country == "GR" {
		return ""
	}
	if !slices.Contains(members(), country) {
		return ""
	}
	return country
}

// At reports whether a business with a VAT number of a member state may have its seat in a country: in that state, or
// in Monaco, which is a part of France for VAT.
func At(id, country string) bool {
	of := Country(id)
	return of != "" && (of == country || of == "FR" && country == "MC")
}
