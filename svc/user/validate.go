package user

import (
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/user/hashing"
)

// The bounds of what people tell about themselves, in characters.
const (
	longestName     = 200
	longestCity     = 100
	longestLanguage = 35 // RFC 5646, 4.4.1
	oldestBirthYear = 1900
)

// The bounds of a password, in characters of its NFC form.
const (
	shortestPassword = 8
	longestPassword  = 256
)

var phoneRule = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`) // E.164

// commonPasswords are the leaders of every published list that are long enough to pass the other rules.
const commonPasswords = ` password password1 password12 password123 password! passw0rd p@ssw0rd p@ssword 12345678 123456789
 1234567890 0123456789 987654321 87654321 11111111 111111111 1111111111 00000000 000000000 88888888 12341234 123123123
 11223344 1q2w3e4r 1q2w3e4r5t 1qaz2wsx qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 q1w2e3r4 asdfghjk asdfghjkl zxcvbnm1
 abcd1234 abcdefgh abc12345 a1234567 aa123456 iloveyou iloveyou1 sunshine princess football baseball superman batman123
 trustno1 letmein1 letmein123 welcome1 welcome123 whatever starwars computer internet michelle jennifer jessica1 liverpool
 dragon123 monkey123 master123 admin123 admin1234 administrator changeme changeme1 test1234 testtest default1 secret123
 qazwsxedc zaq12wsx pokemon1 charlie1 samsung1 starlight `

// checkPassword records what is wrong with a new password of the owner of an address.
func checkPassword(check *fault.Check, field, password string, owner address) {
	p := hashing.Normal(password)
	lower := strings.ToLower(p)
	n := utf8.RuneCountInString(p)
	check.Field(n >= shortestPassword &&
		n <= longestPassword, field, "must have %d to %d characters", shortestPassword, longestPassword)
	check.Field(utf8.ValidString(password), field, "must be text")
	check.Field(owner.key == "" || lower != owner.key, field, "must not be the mail address")
	check.Field(strings.ContainsAny(lower, " \n") ||
		!strings.Contains(spaced(commonPasswords), " "+lower+" "), field, "is one of the most common passwords")
}

// spaced returns a list of words with single spaces between, before and after them.
func spaced(words string) string { return " " + strings.Join(strings.Fields(words), " ") + " " }

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
