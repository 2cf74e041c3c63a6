package phone_test

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/phone"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		number, countries string
		good              bool
	}{
		{"+4915112345678", "DE", true}, {"+4915112345678", "AT, DE", true}, {"+4915112345678", "*", true},
		{"+4915112345678", "", false}, {"+4915112345678", "AT", false},
		{"+12125550123", "US", true},                                                                // there a number may be either
		{"+493012345678", "*", false},                                                               // at home
		{"+4990012345678", "*", false}, {"+449012345678", "*", false}, {"+19005550123", "*", false}, // premium
		{"+448451234567", "*", false},                                                                 // shared cost
		{"+4980012345678", "*", false}, {"+882123456789", "*", false}, {"+8821612345678", "*", false}, // satellite
		{"+999123456789", "*", false}, {"+49", "*", false}, {"", "*", false}, {"015112345678", "*", false},
	} {
		if err := phone.Check(c.number, c.countries); (err == nil) != c.good {
			t.Errorf("%s in %q: %v", c.number, c.countries, err)
		}
	}
	for list, good := range map[string]bool{"": true, "*": true, "DE": true, "DE, AT,CH": true, "de": false, "DE,": false, "XX": false, "DE,*": false} {
		if err := phone.CheckCountries(list); (err == nil) != good {
			t.Errorf("%q: %v", list, err)
		}
	}
}
