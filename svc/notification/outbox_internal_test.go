package notification

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

func sample() message {
	return message{id: "welcome.usr_1@tickets.example", date: time.Date(2030, 5, 17, 14, 0, 0, 0, time.UTC),
		from: mail.Address{Name: "Starlight", Address: "no-reply@tickets.example"}, to: mail.Address{Name: "Ada", Address: "ada@example.org"},
		subject: "Your tickets", text: "Hello\n"}
}

// parse reads a message back with other code than that which wrote it.
func parse(t *testing.T, raw []byte) (*mail.Message, string) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return m, strings.ReplaceAll(string(text), "\r\n", "\n")
}

func TestRender(t *testing.T) {
	for name, change := range map[string]func(*message){
		"plain": func(*message) {},
		"umlauts": func(m *message) {
			m.to.Name, m.subject, m.text = "Jörg Müller", "Grüße aus Köln", "Grüße = 100 %\n.\nFrom here\n"
		},
		"long":       func(m *message) { m.to.Name = strings.Repeat("🎟", 200); m.text = strings.Repeat("x", 5000) + "\n" },
		"long ascii": func(m *message) { m.subject = strings.Repeat("word ", 60) + "end" },
		"quotes":     func(m *message) { m.to.Name = `Ada "the first" <eve@example.org>, x` },
		"injection": func(m *message) {
			m.to.Name = "Ada\r\nBcc: all@example.org"
			m.subject = "Hi\r\n\r\nhello"
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := sample()
			change(&want)
			raw, err := want.render()
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(string(raw), "\r\n") {
				if len(line) > 78 && name != "injection" || strings.ContainsAny(line, "\r\n") {
					t.Errorf("line of %d: %.100q", len(line), line)
				}
			}
			m, text := parse(t, raw)
			if text != want.text {
				t.Errorf("text %q, want %q", text, want.text)
			}
			if len(m.Header) != 9 {
				t.Errorf("headers %v", m.Header)
			}
			to, err := m.Header.AddressList("To")
			if err != nil || len(to) != 1 || *to[0] != want.to {
				t.Errorf("to %v, %v; want %v", to, err, want.to)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
			if err != nil || subject != want.subject {
				t.Errorf("subject %q, %v; want %q", subject, err, want.subject)
			}
			if date, err := m.Header.Date(); err != nil || !date.Equal(want.date) || m.Header.Get("Message-Id") != "<"+want.id+">" {
				t.Errorf("date %v, %v, id %s", date, err, m.Header.Get("Message-Id"))
			}
		})
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, change := range map[string]func(*message){
		"id with a line":      func(m *message) { m.id = "x\r\nBcc: all@example.org@y" },
		"id with a path":      func(m *message) { m.id = "../../etc/x@y" },
		"no id":               func(m *message) { m.id = "" },
		"address with a line": func(m *message) { m.to.Address = "ada@example.org\r\nBcc: all@example.org" },
	} {
		m := sample()
		change(&m)
		if raw, err := m.render(); !errors.Is(err, errHeader) {
			t.Errorf("%s: %v\n%s", name, err, raw)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("Ada", "Hi", "text")
	f.Add("a\r\nBcc: x@y", "\xff\x00", "\n.\n")
	f.Fuzz(func(t *testing.T, name, subject, text string) {
		m := sample()
		m.to.Name, m.subject, m.text = name, subject, text
		raw, err := m.render()
		if err != nil {
			return
		}
		parsed, _ := parse(t, raw)
		if len(parsed.Header) != 9 {
			t.Fatalf("%d headers in\n%s", len(parsed.Header), raw)
		}
	})
}

func TestDeliverOverwritesItself(t *testing.T) {
	s, err := New(t.Context(), Deps{OutboxDir: filepath.Join(t.TempDir(), "outbox"), PublicURL: "https://tickets.example:8443/"})
	if err != nil {
		t.Fatal(err)
	}
	if s.from.Address != "no-reply@tickets.example" || s.PublicURL != "https://tickets.example:8443" {
		t.Errorf("from %v, links to %s", s.from, s.PublicURL)
	}
	for _, text := range []string{"one\n", "two\n"} {
		m := sample()
		m.text = text
		if err := s.deliver(m); err != nil {
			t.Fatal(err)
		}
	}
	found, err := os.ReadDir(s.OutboxDir)
	if err != nil || len(found) != 1 || found[0].Name() != "20300517T140000.000000Z_welcome.usr_1@tickets.example.eml" {
		t.Fatalf("found %v, %v", found, err)
	}
	info, err := found[0].Info()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	raw, err := os.ReadFile(filepath.Join(s.OutboxDir, found[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	if _, text := parse(t, raw); text != "two\n" {
		t.Errorf("text %q", text)
	}
}

func TestAmount(t *testing.T) {
	for want, m := range map[string]api.Money{"25.00 EUR": {Amount: 2500, Currency: "EUR"}, "0.05 USD": {Amount: 5, Currency: "USD"},
		"2500 JPY": {Amount: 2500, Currency: "JPY"}, "2.500 KWD": {Amount: 2500, Currency: "KWD"}, "-1.20 EUR": {Amount: -120, Currency: "EUR"}} {
		if got := amount(m); got != want {
			t.Errorf("%+v is %s, want %s", m, got, want)
		}
	}
}
