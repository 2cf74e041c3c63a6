package event

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/starlightsymphony/starlight/shared/api"
)

// Bounds of a search and of what is searched.
const (
	maxWord       = 64 // characters; longer ones are cut, on both sides alike
	maxQuery      = 200
	maxQueryWords = 12
)

// fold returns text without case and accents, for comparison: "Zürich" and "ZURICH" are the same.
func fold(text string) string {
	text = cases.Fold().String(norm.NFKD.String(text))
	text = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, text)
	return norm.NFC.String(text)
}

// words cuts text into what can be searched for: folded runs of letters, digits and what belongs to them. Whatever a
// person types, nothing else is left, so no word can be read as part of a query's syntax.
func words(text string) []string {
	all := strings.FieldsFunc(fold(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.Mc, r)
	})
	for i, w := range all {
		if utf8.RuneCountInString(w) > maxWord {
			all[i] = string([]rune(w)[:maxWord])
		}
	}
	return all
}

// searchText is what full-text search looks at, as words with blanks between them.
func searchText(e *api.Event) string {
	parts := []string{e.Name, e.Description, e.Category, e.Location.Name, e.Location.Address, e.Location.City}
	seen := map[string]bool{}
	var out []string
	for _, w := range words(strings.Join(parts, " ")) {
		if !seen[w] { // a word's place and number do not matter: results are ordered by date
			seen[w] = true
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// tsquery writes words as a query of PostgreSQL: all of them, the last one as the beginning of a word.
func tsquery(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + w + "'"
	}
	return strings.Join(quoted, " & ") + ":*"
}

// ftsquery is tsquery for FTS5 of SQLite.
func ftsquery(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = `"` + w + `"`
	}
	return strings.Join(quoted, " AND ") + "*"
}
