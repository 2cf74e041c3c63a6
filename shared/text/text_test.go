package text_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
)

func TestLine(t *testing.T) {
	for _, good := range []string{"", "Ada", "Dvořák", "大阪交響楽団", "مهرجان\u200eA", "می\u200cخواهم", "👩\u200d🎤",
		"🏴\U000e0067\U000e0062\U000e007f", "a\u00a0b", "=1+1", " x "} {
		if err := text.Line(good, 0, 20); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"Eve \u202egnp.exe":     "U+202E",
		"a\u2067b":              "U+2067",
		"a\u2028b":              "U+2028",
		"a\u0085b":              "U+0085",
		"ding\a":                "U+0007",
		"\x1b[31mred":           "U+001B",
		"a\tb":                  "U+0009",
		"a\nb":                  "one line",
		"a\rb":                  "one line",
		"\u200b\u200d":          "something to see",
		"\u3164 \u3164":         "something to see",
		"\u2800":                "something to see",
		"\u00ad\ufe0f":          "something to see",
		"\u0301":                "something to see",
		"\xff":                  "UTF-8",
		strings.Repeat("ü", 21): "at most 20 characters",
	} {
		if err := text.Line(bad, 0, 20); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want one about %s", bad, err, want)
		}
	}
	for _, empty := range []string{"", " ", "\u3000"} {
		if err := text.Line(empty, 1, 20); err == nil || err.Error() != "is required" {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestLines(t *testing.T) {
	if err := text.Lines("Doors:\t19:00\r\nStart:\t20:00\n", 1, 100); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"a\u2029b", "a\x1bb", "a\vb", "\n\u2060\n"} {
		if err := text.Lines(bad, 0, 100); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	var c fault.Check
	text.CheckLines(&c, "description", strings.Repeat("é", 101), 0, 100)
	text.CheckLine(&c, "name", "", 1, 100)
	if f := fault.From(c.Err()); len(f.Fields) != 2 || f.Fields[0].Field != "description" ||
		f.Fields[1].Detail != "is required" {
		t.Errorf("recorded %+v", f)
	}
}

func TestClean(t *testing.T) {
	if got := text.Clean(" \t e\u0301t\u00e9\u3000\n"); got != "\u00e9t\u00e9" {
		t.Errorf("got %q", got)
	}
	if got := text.CleanLines(" e\u0301t\u00e9\r\nb\rc "); got != " \u00e9t\u00e9\nb\nc " {
		t.Errorf("got %q", got)
	}
}

func TestZone(t *testing.T) {
	for _, good := range []string{"Europe/Vienna", "UTC", "Etc/GMT+8", "America/Argentina/Buenos_Aires",
		"America/Port-au-Prince", "Asia/Kolkata"} {
		if !text.Zone(good) {
			t.Errorf("%s is not known", good)
		}
	}
	for _, bad := range []string{"", "Local", "Europe//Vienna", "Europe/./Vienna", "Europe/../Europe/Vienna",
		"/Europe/Vienna", "Europe/Vienna/", "Europe",
		"posix/Europe/Vienna", "right/Europe/Vienna", "posixrules", "localtime", "Factory", "Mars/Olympus",
		"Europe\\Vienna", "../../etc/passwd", "Europe/Vienna\x00", "zone.tab"} {
		if text.Zone(bad) {
			t.Errorf("%q is a zone", bad)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("Ada")
	f.Add("a\u202eb")
	f.Fuzz(func(t *testing.T, s string) {
		if text.Line(s, 1, 200) != nil {
			return
		}
		if strings.ContainsAny(s, "\r\n\u2028\u2029\u202e\x00\x1b\a") || !utf8.ValidString(s) {
			t.Errorf("%q passes", s)
		}
		if clean := text.Clean(s); text.Clean(clean) != clean {
			t.Errorf("%q is cleaned twice", s)
		}
	})
}

func TestOneLineAndShorten(t *testing.T) {
	if got := text.OneLine("a\r\nb\u2028c\x00d é"); got != "a  b c d é" {
		t.Errorf("one line is %q", got)
	}
	for _, c := range []struct {
		text string
		n    int
		want string
	}{{"", 3, ""}, {"abc", 3, "abc"}, {"ééé", 3, "ééé"}, {"abcd", 3, "ab…"}, {"a bcd", 3, "a…"}} {
		if got := text.Shorten(c.text, c.n); got != c.want {
			t.Errorf("%q in %d characters is %q, want %q", c.text, c.n, got, c.want)
		}
	}
}
