// Package phone decides to which numbers text messages go. One that costs its recipient's operator much, or pays its
// owner, would be a way to take the money of who runs the system.
package phone

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// Everywhere stands for all countries in a list of them.
const Everywhere = "*"

// CheckCountries checks a list of countries, ISO 3166-1 alpha-2 with commas between, or Everywhere.
func CheckCountries(list string) error {
	if list == "" || list == Everywhere {
		return nil
	}
	for country := range strings.SplitSeq(list, ",") {
		if !phonenumbers.GetSupportedRegions()[strings.TrimSpace(country)] {
			return fmt.Errorf("%q is no country such as DE", country)
		}
	}
	return nil
}

// Check returns why no text message goes to a number in E.164, if none does: it must be that of a mobile phone in one
// of the countries.
func Check(number, countries string) error {
	n, err := phonenumbers.Parse(number, "")
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return errors.New("there is no such number")
	}
	switch phonenumbers.GetNumberType(n) {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE: // some countries do not tell them apart
	default:
		return errors.New("the number is not that of a mobile phone")
	}
	allowed := strings.Split(strings.ReplaceAll(countries, " ", ""), ",")
	if countries != Everywhere && !slices.Contains(allowed, phonenumbers.GetRegionCodeForNumber(n)) {
		return errors.New("no text messages go to this country")
	}
	return nil
}
