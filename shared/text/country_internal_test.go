package text

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/language"
)

func TestCountry(t *testing.T) {
	if n := len(strings.Fields(countries)); n != 249 {
		t.Errorf("%d countries, ISO 3166-1 has 249", n)
	}
	for _, code := range strings.Fields(countries) {
		r, err := language.ParseRegion(code)
		if err != nil || !r.IsCountry() || !Country(code) {
			t.Errorf("%s is not a country", code)
		}
	}
	if words := strings.Fields(countries); !slices.IsSorted(words) ||
		len(slices.Compact(words)) != len(strings.Fields(countries)) {
		t.Error("the list is not sorted, or has a code twice")
	}
	for _, code := range []string{"", "D", "de", "XX", "D E", "DEU", " D", "D ", "\nC", "CC "} {
		if Country(code) {
			t.Errorf("%q is a country", code)
		}
	}
}
