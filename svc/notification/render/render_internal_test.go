package render

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
)

var update = flag.Bool("update", false, "write the golden files")

func open(t *testing.T) *Catalogue {
	t.Helper()
	fonts, err := document.NewFonts(document.FontConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(fonts, "Starlight Symphony")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every message in every language, as text and HTML.
func TestGolden(t *testing.T) {
	c := open(t)
	for _, tag := range Languages() {
		for _, tmpl := range Templates() {
			p, err := c.Example(tmpl, tag.String(), "https://tickets.example")
			if err != nil {
				t.Fatal(err)
			}
			if p.Subject == "" || p.Short == "" || strings.Contains(p.Text+p.HTML+p.Subject+p.Short, "<no value>") || strings.Contains(p.HTML, "<music>") {
				t.Errorf("%s in %s: %+v", tmpl.Name, tag, p)
			}
			for ext, got := range map[string]string{".txt": "Subject: " + p.Subject + "\nShort: " + p.Short + "\n\n" + p.Text, ".html": p.HTML} {
				file := filepath.Join("testdata", tag.String(), tmpl.Name+ext)
				if *update {
					if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("%s is not as it was; if that is right, run go test -update\n%s", file, got)
				}
			}
		}
	}
}

// Each language has the same pieces, and a button where the message leads somewhere.
func TestLanguagesAreComplete(t *testing.T) {
	c := open(t)
	for _, tag := range Languages() {
		for _, tmpl := range Templates() {
			for _, part := range []string{"subject", "short", "body"} {
				if c.texts[tag.String()].Lookup(tmpl.Name+"."+part) == nil {
					t.Errorf("%s has no %s.%s", tag, tmpl.Name, part)
				}
			}
			if has := c.texts[tag.String()].Lookup(tmpl.Name+".action") != nil; has != (tmpl.path != "") {
				t.Errorf("%s: %s has a button: %v", tag, tmpl.Name, has)
			}
		}
	}
	for wanted, want := range map[string]string{"": "en", "de-AT": "de", "fr-CA": "fr", "es-419": "es", "ja": "en", "pt-BR": "en", "nonsense!": "en", "gsw": "de"} {
		if got := c.Language(wanted); got != want {
			t.Errorf("%q speaks %s, want %s", wanted, got, want)
		}
	}
}

// Each language has words for every reason that the system gives; what a person wrote stays as it is.
func TestReasonsAreTranslated(t *testing.T) {
	c := open(t)
	for _, tag := range Languages() {
		for _, code := range append(api.FailureReasons(), api.RefundReasons()...) {
			got := c.View(tag.String(), "", Facts{Code: code}).Reason
			if got == "" || strings.Contains(got, "_") {
				t.Errorf("%s in %s is %q", code, tag, got)
			}
		}
		if got := c.View(tag.String(), "", Facts{Code: "try_again_later"}).Reason; got != "" {
			t.Errorf("a code without words is %q", got)
		}
		if got := c.View(tag.String(), "", Facts{Reason: "declined"}).Reason; got != "declined" {
			t.Errorf("what a person wrote is %q", got)
		}
	}
}

// Over a change of the clocks each time has its own zone.
func TestSpan(t *testing.T) {
	for _, c := range []struct{ from, to, zone, en, de string }{
		{"2030-05-17T18:00:00Z", "2030-05-17T21:00:00Z", "Europe/Berlin", "17 May 2030, 20:00–23:00 CEST", "17. Mai 2030, 20:00–23:00 CEST"},
		{"2030-10-27T00:45:00Z", "2030-10-27T01:15:00Z", "Europe/Berlin", "27 October 2030, 02:45 CEST – 02:15 CET", "27. Oktober 2030, 02:45 CEST – 02:15 CET"},
		{"2030-10-26T20:00:00Z", "2030-10-27T02:00:00Z", "Europe/Berlin", "26 October 2030, 22:00 CEST – 27 October 2030, 03:00 CET",
			"26. Oktober 2030, 22:00 CEST – 27. Oktober 2030, 03:00 CET"},
		{"2030-05-17T20:00:00Z", "2030-05-18T01:00:00Z", "Europe/Berlin", "17 May 2030, 22:00 – 18 May 2030, 03:00 CEST", "17. Mai 2030, 22:00 – 18. Mai 2030, 03:00 CEST"},
		{"2030-05-17T20:00:00Z", "2031-05-17T20:00:00Z", "UTC", "17 May 2030, 20:00 – 17 May 2031, 20:00 UTC", "17. Mai 2030, 20:00 – 17. Mai 2031, 20:00 UTC"},
		{"2030-11-03T05:30:00Z", "2030-11-03T06:30:00Z", "America/New_York", "3 November 2030, 01:30 EDT – 01:30 EST", "3. November 2030, 01:30 EDT – 01:30 EST"},
	} {
		at := func(s string) time.Time {
			got, err := time.Parse(time.RFC3339, s)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		var z zones
		if en, de := z.span("en", at(c.from), at(c.to), c.zone), z.span("de", at(c.from), at(c.to), c.zone); en != c.en || de != c.de {
			t.Errorf("%s to %s is %q and %q, want %q and %q", c.from, c.to, en, de, c.en, c.de)
		}
	}
}

func TestAmount(t *testing.T) {
	for want, m := range map[string]api.Money{"25.00 EUR": {Amount: 2500, Currency: "EUR"}, "0.05 USD": {Amount: 5, Currency: "USD"},
		"2,500 JPY": {Amount: 2500, Currency: "JPY"}, "2.500 KWD": {Amount: 2500, Currency: "KWD"}, "-1.20 EUR": {Amount: -120, Currency: "EUR"}} {
		if got := m.In("en"); got != want {
			t.Errorf("%+v is %s, want %s", m, got, want)
		}
	}
	if got := (api.Money{Amount: 2500, Currency: "EUR"}).In("de"); got != "25,00 EUR" {
		t.Errorf("in German %s", got)
	}
}
