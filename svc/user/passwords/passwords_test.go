package passwords_test

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/svc/user/passwords"
)

func judge(stolen *passwords.Filter) passwords.Judge {
	return passwords.Judge{Stolen: stolen, Bits: func() int { return 20 }}
}

func TestStrength(t *testing.T) {
	for password, want := range map[string]string{
		"correct horse": "", "kx8#mQz1": "", "ÄÖÜ straße 9": "", strings.Repeat("unusual words ", 18): "",
		"short": "8 to 256", strings.Repeat("x", 257): "8 to 256", "\xff\xfe\xfd12345": "text",
		"password1": "guess", "P@ssw0rd": "guess", "qwertyuiop": "guess", "zzzzzzzz": "guess", "12345678": "guess",
		"iloveyou2": "guess", "starlight1": "guess", "ada@example.org": "guess", "Lovelace1815": "guess",
		"lovelaceada": "guess", strings.Repeat("a", 256): "guess", "passwordpassword": "guess",
	} {
		got := judge(nil).Check(password, "Ada Lovelace", "ada@example.org")
		if got == "" != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.40q: %q, want %q", password, got, want)
		}
	}
	expected := passwords.Judge{Bits: func() int { return 24 }, Words: func() string { return "Symphoniker, musikverein" }}
	for _, password := range []string{"musikverein7", "Symphoniker1"} {
		if got := expected.Check(password); !strings.Contains(got, "guess") {
			t.Errorf("%s, a word of the house: %q", password, got)
		}
		if got := (passwords.Judge{Bits: expected.Bits}).Check(password); got != "" {
			t.Errorf("%s, elsewhere: %q", password, got)
		}
	}
	if got := (passwords.Judge{Bits: func() int { return 0 }}).Check("password1"); got != "" {
		t.Errorf("without a least strength: %q", got)
	}
}

// Which form a list has does not matter.
func TestStolen(t *testing.T) {
	dir := t.TempDir()
	sum := func(s string) string { return fmt.Sprintf("%X", sha1.Sum([]byte(s))) }
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const often, seldom = "Tr0ub4dor&3 of old", "an ordinary sentence"
	write("ranges/"+sum(often)[:5]+".txt", sum(often)[5:]+":900\r\n")
	write("ranges/"+sum(seldom)[:5], strings.ToLower(sum(seldom)[5:])+":1\n")
	for what, path := range map[string]string{
		"plain":  write("plain.txt", often+"\n\nanother:one\r\n"),
		"hashes": write("hashes.txt", sum(often)+":900\n"+sum(seldom)+":1\n"+sum("none")+"\n"),
		"ranges": filepath.Join(dir, "ranges"),
	} {
		f, n, err := passwords.Make(path, 2)
		if err != nil || n == 0 || n > 2 {
			t.Fatalf("%s: %d %v", what, n, err)
		}
		var file bytes.Buffer
		if err := f.Write(&file); err != nil {
			t.Fatal(err)
		}
		if f, err = passwords.Open(write(what+".filter", file.String())); err != nil {
			t.Fatal(err)
		}
		if got := judge(f).Check(often); !strings.Contains(got, "stolen") {
			t.Errorf("%s: %q", what, got)
		}
		if got := judge(f).Check(seldom); got != "" {
			t.Errorf("%s: one that was seen once: %q", what, got)
		}
	}
	for _, bad := range []string{write("empty", ""), write("other", "something else"), write("cut", "starlight passwords 1\n123")} {
		if _, err := passwords.Open(bad); err == nil {
			t.Errorf("%s is a filter", bad)
		}
	}
	if _, _, err := passwords.Make(write("none", "\n\n"), 1); err == nil {
		t.Error("a filter of nothing")
	}
}

func TestFalsePositives(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "list")
	var list strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&list, "stolen %d\n", i)
	}
	if err := os.WriteFile(path, []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	f, _, err := passwords.Make(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for i := range 200_000 {
		if f.Has(sha1.Sum(fmt.Appendf(nil, "fresh %d", i))) {
			wrong++
		}
	}
	if wrong > 40 { // 13 are expected
		t.Errorf("%d of 200,000 are taken for stolen", wrong)
	}
	for i := range 50_000 {
		if !f.Has(sha1.Sum(fmt.Appendf(nil, "stolen %d", i))) {
			t.Fatalf("%d is not found", i)
		}
	}
}

// The longest password costs no more than one of 32 characters.
func BenchmarkLongest(b *testing.B) {
	password := strings.Repeat("0O1l", 64)
	for b.Loop() {
		judge(nil).Check(password, "Ada Lovelace", "ada@example.org")
	}
}
