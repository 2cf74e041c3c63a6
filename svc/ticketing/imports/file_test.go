package imports

import (
	"reflect"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// What spreadsheets write is read, in whichever encoding and with whichever separator.
func TestFilesOfSpreadsheetsAreRead(t *testing.T) {
	const text = "email;name\r\nzoe@example.org;Zoë Müller\r\n\r\n"
	utf16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	big, _ := unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder().String(text)
	latin, _ := charmap.Windows1252.NewEncoder().String(text)
	for name, file := range map[string]string{"UTF-8": text, "a mark": "\ufeff" + text, "UTF-16": utf16, "UTF-16 BE": big,
		"Windows-1252": latin, "commas": strings.ReplaceAll(text, ";", ","), "tabs": strings.ReplaceAll(text, ";", "\t"),
		"named": "sep=;\r\n" + text, "quoted": "\"email\";\"name\"\r\nzoe@example.org;\"Zoë Müller\"\r\n"} {
		titles, records, err := read([]byte(file))
		line := 2
		if name == "named" {
			line = 3
		}
		if err != nil || !reflect.DeepEqual(titles, []string{"email", "name"}) || len(records) != 1 ||
			!reflect.DeepEqual(records[0], record{line: line, cells: []string{"zoe@example.org", "Zoë Müller"}}) {
			t.Errorf("%s: %q, %+v, %v", name, titles, records, err)
		}
	}
}

// What is no such file is refused with a reason, and a line that cannot be read does not hide the others.
func TestWhatIsNoFileIsRefused(t *testing.T) {
	for name, file := range map[string]string{"empty": "", "titles alone": "email,name\n", "workbook": "PK\x03\x04\x00\x00",
		"blank rows": "email\n\n , \n", "odd UTF-16": "\xff\xfea", "quotes": "\"email\nx", "separator": "sep=\"\nemail\nx",
		"many rows": "email\n" + strings.Repeat("a@example.org\n", 100_000),
		"columns":   strings.Repeat("x,", 400) + "\na\n"} {
		if titles, records, err := read([]byte(file)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %d, %d, %v", name, len(titles), len(records), err)
		}
	}
	_, records, err := read([]byte("email,name\na@example.org,A\"B\nb@example.org,\"B\n\nb\"\nc@example.org,C\n"))
	if err != nil || len(records) != 3 || records[0].wrong == "" || records[0].line != 2 || records[1].line != 3 ||
		records[2].line != 6 || records[2].cells[1] != "C" {
		t.Errorf("a line with a quotation mark: %+v, %v", records, err)
	}
}

// Our own files have an apostrophe before what a spreadsheet would compute: it is not part of the cell.
func TestCellsAreWhatTheySay(t *testing.T) {
	for cell, want := range map[string]string{"'=1+1": "=1+1", "'Ndrangheta": "'Ndrangheta", "'": "'", " x ": "x",
		"=HYPERLINK(1)": "=HYPERLINK(1)"} {
		if got := plain(cell); got != want {
			t.Errorf("%q is %q, want %q", cell, got, want)
		}
	}
	for text, want := range map[string]string{"12.50": "12.50", "12,50": "12.50", "1.234,50 €": "1234.50",
		"$1,234.50": "1234.50", "1'234.50": "1234.50", "": ""} {
		if got := decimal(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// Columns are found by what they are called in several languages, by what the caller says, and questions by their
// labels.
func TestColumnsAreFound(t *testing.T) {
	e := &api.Event{TicketTypes: make([]api.TicketType, 2), Questions: []api.Question{{ID: "q", Label: "Größe",
		At: api.AskedAtCheckout}}}
	c, err := columnsOf([]string{"Wer", "E-Mail", "Ticketart", "grösse", "Farbe", ""}, []string{"name:wer"}, e)
	if err != nil || c.at[api.ImportEmail] != 1 || c.at[api.ImportName] != 0 || c.at[api.ImportTicketType] != 2 ||
		c.answers[3] != &e.Questions[0] || !reflect.DeepEqual(c.ignored, []string{"Farbe"}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, said := range [][]string{{"name"}, {"colour:x"}, {"name:Nobody has this"}} {
		if _, err := columnsOf([]string{"email", "ticket"}, said, e); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", said, err)
		}
	}
	if _, err := columnsOf([]string{"a", "b"}, nil, e); !fault.Is(err, fault.Invalid) || len(fault.From(err).Fields) != 2 {
		t.Errorf("a file without columns: %v", err)
	}
}
