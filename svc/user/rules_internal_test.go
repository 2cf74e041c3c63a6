package user

import (
	"math"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]address{
		"ada@example.org":             {"ada@example.org", "ada@example.org"},
		" Ada.L+x@Mail.Example.ORG\t": {"Ada.L+x@mail.example.org", "ada.l+x@mail.example.org"},
		"root@localhost":              {"root@localhost", "root@localhost"},
		"x@xn--bcher-kva.example":     {"x@xn--bcher-kva.example", "x@xn--bcher-kva.example"},
	} {
		if got, err := parseAddress(in); err != nil || got != want {
			t.Errorf("parseAddress(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "ada", "@example.org", "ada@", "a@b@c", "Ada <ada@example.org>",
		"<ada@example.org>", `"ada b"@example.org`,
		"ada(x)@example.org", "ada@[192.0.2.1]", "ada@example..org", "ada@.org", "ada@-a.org", "ada@example.org.",
		"ada@exa_mple.org",
		"ada@example.org\nx", "ada@example.org\r\nBcc: x@y.z", "a b@example.org", "ädä@example.org", "ada@exämple.org",
		"\u212Aate@example.org",
		"ada@example.org,eve@example.org", strings.Repeat("a", 65) + "@example.org",
		"a@" + strings.Repeat("a.", 130) + "org", "a\x00@example.org",
		".ada@example.org", "ada.@example.org", "ada@" + strings.Repeat("a", 64) + ".org"} {
		if got, err := parseAddress(in); err == nil {
			t.Errorf("parseAddress(%q) = %+v, want an error", in, got)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("ada@example.org")
	f.Add("\"a\"@b")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAddress(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(a.text, "\r\n\t <>,;:\"()[]") || len(a.text) > longestAddress {
			t.Fatalf("parseAddress(%q) = %q", s, a.text)
		}
		if back, err := mail.ParseAddress(a.text); err != nil || back.Address != a.text {
			t.Fatalf("%q does not parse as itself: %v", a.text, err)
		}
		if again, err := parseAddress(a.text); err != nil || again != a {
			t.Fatalf("%q becomes %+v, %v", a.text, again, err)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(store.EncodeCursor("usr_01arz3ndektsv4rrffq69g5fav"))
	f.Add("Jw")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := store.DecodeIDCursor[ids.UserKind](s)
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Fatalf("%q: %v", s, err)
		}
		if err == nil && id != "" && store.EncodeCursor(id.String()) != s {
			t.Fatalf("%q is a cursor for %s", s, id)
		}
	})
}

func TestCheckProfileIsCanonical(t *testing.T) {
	var check fault.Check
	got := checkProfile(&check, api.Profile{Language: "PT-br", Country: "de", City: " Köln ", BirthYear: 1900,
		Timezone: "UTC"}, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	want := api.Profile{Language: "pt-BR", Country: "DE", City: "Köln", BirthYear: 1900, Timezone: "UTC"}
	if err := check.Err(); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, p := range []api.Profile{{Language: "de_DE"}, {Language: "x"}, {Language: "en-" + strings.Repeat("a", 8)},
		{Country: "EU"}, {Country: "276"}, {Country: "ZZ"}, {Country: "SU"},
		{Phone: "+0123456789"}, {Phone: "+49 30 1"}, {Phone: "+1234567890123456"}, {BirthYear: 1899}, {BirthYear: -5},
		{Timezone: "Local"},
		{Timezone: "Europe/Atlantis"}, {Timezone: "/etc/localtime"}, {Timezone: "Europe//Vienna"},
		{Timezone: "Europe/./Vienna"}, {City: "\u200b"}, {City: strings.Repeat("x", 101)}} {
		var check fault.Check
		checkProfile(&check, p, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		if check.Err() == nil {
			t.Errorf("%+v passes", p)
		}
	}
}

func TestLimit(t *testing.T) {
	l := accountLimit()
	for failures, want := range map[int]time.Duration{0: 0, 4: 0, 5: time.Second, 6: 2 * time.Second,
		14: 512 * time.Second,
		15: 15 * time.Minute, 1000: 15 * time.Minute, math.MaxInt32: 15 * time.Minute} {
		if got := l.wait(failures); got != want {
			t.Errorf("after %d failures wait %s, want %s", failures, got, want)
		}
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8::1":          "2001:db8::/64",
		"2001:db8:0:0:ffff::1": "2001:db8::/64", "fe80::1%eth0": "fe80::/64", "": "", "localhost": ""} {
		if got := network(in); got != want {
			t.Errorf("network(%q) = %q, want %q", in, got, want)
		}
	}
}
