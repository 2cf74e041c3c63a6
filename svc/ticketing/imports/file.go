package imports

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// mostColumns is how many columns are read: a column for each question, and what else a program has written.
const mostColumns = 300

// record is a line of a file that has cells, or why it cannot be read.
type record struct {
	line  int
	cells []string
	wrong string
}

// unreadable is the fault of a file that is none.
func unreadable(format string, args ...any) error {
	var check fault.Check
	check.Field(false, "file", format, args...)
	return check.Err()
}

// decode returns a file as UTF-8. Spreadsheets write UTF-8 with and without a mark, UTF-16 with one, and the code page
// of Windows, which is what is no UTF-8.
func decode(file []byte) (string, error) {
	var text []byte
	var err error
	switch {
	case bytes.HasPrefix(file, []byte{0xef, 0xbb, 0xbf}):
		text = file[3:]
	case bytes.HasPrefix(file, []byte{0xff, 0xfe}), bytes.HasPrefix(file, []byte{0xfe, 0xff}):
		text, err = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Bytes(file)
	case utf8.Valid(file):
		text = file
	default:
		text, err = charmap.Windows1252.NewDecoder().Bytes(file)
	}
	switch {
	case err != nil || !utf8.Valid(text):
		return "", unreadable("is in an encoding that is not known: save it as UTF-8")
	case bytes.IndexByte(text, 0) >= 0:
		return "", unreadable("is no text: save it as CSV, not as a workbook, in UTF-8")
	}
	return string(text), nil
}

// separator returns what parts the cells of the first line: of a comma, a semicolon and a tab what it has most of
// outside quotes. Excel may name it in a line before.
func separator(text string) (sep rune, rest string) {
	first, after, _ := strings.Cut(text, "\n")
	if name, ok := strings.CutPrefix(strings.TrimRight(first, "\r"), "sep="); ok && len(name) == 1 {
		return rune(name[0]), after
	}
	count := map[rune]int{}
	quoted := false
	for _, r := range first {
		if r == '"' {
			quoted = !quoted
		} else if !quoted {
			count[r]++
		}
	}
	sep = ','
	for _, r := range ";\t" {
		if count[r] > count[sep] {
			sep = r
		}
	}
	return sep, text
}

// read returns the titles of a file's columns, and the lines below them. What cannot be read ends it, as a record.
func read(file []byte) (titles []string, records []record, err error) {
	text, err := decode(file)
	if err != nil {
		return nil, nil, err
	}
	sep, rest := separator(text)
	named := strings.Count(text[:len(text)-len(rest)], "\n")
	if strings.ContainsRune("\r\n\"", sep) || sep == utf8.RuneError {
		return nil, nil, unreadable("names a separator that cannot be one")
	}
	r := csv.NewReader(strings.NewReader(rest))
	r.Comma, r.FieldsPerRecord, r.TrimLeadingSpace = sep, -1, sep != '\t'
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var wrong *csv.ParseError
		if errors.As(err, &wrong) && titles != nil {
			records = append(records, record{line: named + wrong.StartLine,
				wrong: "cannot be read: a quotation mark is missing, or stands within a cell. Where one is missing, " +
					"the lines below belong to the same cell"})
			err, cells = nil, nil
		}
		if err != nil {
			return nil, nil, unreadable("cannot be read as CSV: a quotation mark is missing, or stands within a cell")
		}
		line := 0
		if len(cells) > 0 {
			line, _ = r.FieldPos(0)
		}
		for i := range cells {
			cells[i] = plain(cells[i])
		}
		switch {
		case titles == nil && len(cells) > mostColumns:
			return nil, nil, unreadable("has more than %d columns", mostColumns)
		case titles == nil:
			titles = cells
		case slices.ContainsFunc(cells, func(c string) bool { return c != "" }):
			records = append(records, record{line: named + line, cells: cells})
		}
		if len(records) > api.MostImportRows {
			return nil, nil, unreadable("has more than %d rows: part it into several files", api.MostImportRows)
		}
	}
	if len(records) == 0 {
		return nil, nil, unreadable("has no rows below the line with the titles of its columns")
	}
	return titles, records, nil
}

// plain returns what stands in a cell. An apostrophe keeps a spreadsheet from taking it for a formula: it is none of
// the cell, and our own files have it.
func plain(cell string) string {
	cell = strings.TrimSpace(cell)
	if rest, ok := strings.CutPrefix(cell, "'"); ok && rest != "" && strings.ContainsRune("=+-@", rune(rest[0])) {
		return rest
	}
	return cell
}
