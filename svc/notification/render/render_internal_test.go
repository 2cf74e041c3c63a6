package render

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/locale"
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
	for _, tag := range locale.Languages() {
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
	for _, tag := range locale.Languages() {
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
	for _, tag := range locale.Languages() {
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
