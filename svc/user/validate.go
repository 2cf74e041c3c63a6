package user

import (
	"regexp"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
)

// The bounds of what people tell about themselves, in characters.
const (
	longestName     = 200
	longestCity     = 100
	longestLanguage = 35 // RFC 5646, 4.4.1
	oldestBirthYear = 1900
)

var phoneRule = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`) // E.164

// judge records what is wrong with a new password of somebody with a name and an address.
func (s *Service) judge(check *fault.Check, field, password, name string, owner address) {
	problem := s.passwords.Check(password, name, owner.key)
	check.Field(problem == "", field, "%s", problem)
}

func checkName(check *fault.Check, name string) string {
	clean := text.Clean(name)
	text.CheckLine(check, "name", clean, 1, longestName)
	return clean
}

// checkProfile returns the profile in its canonical form, and records what is wrong with it.
func checkProfile(check *fault.Check, p api.Profile, now time.Time) api.Profile {
	p.City = text.Clean(p.City)
	text.CheckLine(check, "profile.city", p.City, 0, longestCity)
	check.Field(p.Phone == "" || phoneRule.MatchString(p.Phone), "profile.phone",
		"must be a number of the form +4930123456")
	if p.Language != "" {
		tag, err := language.Parse(p.Language)
		check.Field(err == nil && len(p.Language) <= longestLanguage && !strings.Contains(p.Language, "_"),
			"profile.language", "must be a language tag such as de or pt-BR")
		p.Language = tag.String()
	}
	if p.Country != "" {
		p.Country = strings.ToUpper(p.Country)
		check.Field(knownCountry(p.Country), "profile.country", "must be a country code such as DE")
	}
	check.Field(p.Timezone == "" || text.Zone(p.Timezone), "profile.timezone",
		"must be an IANA time zone such as Europe/Berlin")
	check.Field(p.BirthYear == 0 || p.BirthYear >= oldestBirthYear && p.BirthYear <= now.Year(),
		"profile.birth_year", "must be %d to %d", oldestBirthYear, now.Year())
	return p
}

// notAssigned are the codes that language takes for countries and that ISO 3166-1 reserves or has withdrawn.
const notAssigned = " AC AN CP CQ CS DG EA EZ FQ IC NT PC SU TA UN XK YU "

func knownCountry(code string) bool {
	region, err := language.ParseRegion(code)
	return err == nil && len(code) == 2 && region.IsCountry() && region.Canonicalize() == region &&
		!strings.Contains(notAssigned, code)
}
