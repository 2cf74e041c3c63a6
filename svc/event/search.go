package event

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/text"
)

// Bounds of a search and of what is searched.
const (
	maxWord       = 64 // characters; longer ones are cut, on both sides alike
	maxQuery      = 200
	maxQueryWords = 12
)

// words cuts text into what can be searched for: folded runs of letters, digits and what belongs to them. Whatever a
// person types, nothing else is left, so no word can be read as part of a query's syntax.
func words(all string) []string {
	cut := strings.FieldsFunc(text.Fold(all), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.Mc, r)
	})
	var parts []string
	for _, w := range cut {
		parts = append(parts, split(w)...)
	}
	return parts
}

// split cuts a word where scripts that write words without blanks begin and end: AKB48劇場 is akb48 and 劇場.
func split(word string) []string {
	var parts []string
	start, run := 0, false
	for i, r := range word {
		if i > start && run != unspaced(r) {
			parts, start = append(parts, clip(word[start:i])), i
		}
		run = unspaced(r)
	}
	return append(parts, clip(word[start:]))
}

// clip cuts a word that is too long. Text without blanks is not cut: only pieces of it are looked for.
func clip(word string) string {
	if utf8.RuneCountInString(word) <= maxWord || isUnspaced(word) {
		return word
	}
	return string([]rune(word)[:maxWord])
}

// unspaced reports whether r belongs to a script whose words stand without blanks between them, or, as in Korean, with
// particles that hang on to them.
func unspaced(r rune) bool {
	return r > unicode.MaxLatin1 && (r == 'ー' ||
		unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo, unicode.Yi,
			unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan))
}

func isUnspaced(word string) bool {
	r, _ := utf8.DecodeRuneInString(word)
	return unspaced(r)
}

// searchVersion counts the ways in which searchText was made. Rows of an older one are written again.
const searchVersion = 2

// searchText is what full-text search looks at, as words with blanks between them. Of text without blanks it has
// every two and three characters that follow each other, and the last one: so each part of it can be found, its
// beginning or not.
func searchText(e *api.Event) string {
	parts := []string{e.Name, e.Description, e.Category, e.Location.Name, e.Location.Address, e.Location.City}
	for _, t := range e.Translations {
		parts = append(parts, t.Name, t.Description)
	}
	seen := map[string]bool{}
	var out []string
	add := func(w string) {
		if !seen[w] { // a word's place and number do not matter: results are ordered by date
			seen[w] = true
			out = append(out, w)
		}
	}
	var run []rune // what blanks or signs stood between may also be looked for without them
	flush := func() {
		for i := range run {
			for n := 2; n <= gram && i+n <= len(run); n++ {
				add(string(run[i : i+n]))
			}
		}
		if len(run) > 0 {
			add(string(run[len(run)-1:]))
		}
		run = run[:0]
	}
	for _, w := range words(strings.Join(parts, " ")) {
		if isUnspaced(w) {
			run = append(run, []rune(w)...)
			continue
		}
		flush()
		add(w)
	}
	flush()
	return strings.Join(out, " ")
}

// gram is the length of the longest piece of text without blanks that is indexed: two would find 東京都 in 東京から京都.
const gram = 3

// term is a word that an event must have, or the beginning of one.
type term struct {
	word   string
	prefix bool
}

// terms returns what an event must have to match a query: its words, the last as the beginning of one.
func terms(query string) []term {
	var all []term
	cut := words(query)
	cut = cut[:min(len(cut), maxQueryWords)]
	for i, w := range cut {
		if !isUnspaced(w) {
			all = append(all, term{w, i == len(cut)-1})
			continue
		}
		run := []rune(w)
		if len(run) <= gram {
			all = append(all, term{w, len(run) == 1}) // every piece begins with each of its characters
			continue
		}
		for at := range len(run) - gram + 1 {
			all = append(all, term{string(run[at : at+gram]), false})
		}
	}
	return all
}

// tsquery writes terms as a query of PostgreSQL.
func tsquery(terms []term) string { return query(terms, "'", " & ", ":*") }

// ftsquery is tsquery for FTS5 of SQLite.
func ftsquery(terms []term) string { return query(terms, `"`, " AND ", "*") }

func query(terms []term, quote, and, prefix string) string {
	all := make([]string, len(terms))
	for i, t := range terms {
		all[i] = quote + t.word + quote
		if t.prefix {
			all[i] += prefix
		}
	}
	return strings.Join(all, and)
}

// reindexSize is how many events one transaction writes again.
const reindexSize = 200

// reindex writes what is searched of events again where it was made in an older way. An event that changes meanwhile is
// written by that change.
func (s *Service) reindex(ctx context.Context) error {
	for {
		n, err := s.store.reindex(ctx)
		if err != nil || n == 0 {
			return err
		}
		s.log.InfoContext(ctx, "events were indexed again", "events", n, "version", searchVersion)
	}
}

// reindex writes some events again and returns how many there were.
func (b eventStore) reindex(ctx context.Context) (n int, err error) {
	err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []row
		err := tx.NewSelect().Model(&rows).ColumnExpr(columns).Where("e.search_version < ?",
			searchVersion).Limit(reindexSize).Scan(ctx)
		if err != nil {
			return err
		}
		n = len(rows)
		for i := range rows {
			w := rowOf(rows[i].record())
			_, err := tx.ExecContext(ctx,
				"UPDATE events SET search_text = ?, city_key = ?, search_version = ? WHERE id = ? AND revision = ?",
				w.SearchText, w.CityKey, searchVersion, w.ID, w.Revision)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}
