package notification

import (
	"bytes"
	"mime"
	"net/mail"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// composed writes a mail to a person about an event, and reads its header.
func composed(t *testing.T, person, event string) (raw string, header mail.Header, rcpts []string) {
	t.Helper()
	texts, err := newCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{texts: texts, host: "tickets.example", from: mail.Address{Name: "Starlight", Address: "no-reply@tickets.example"}}
	f := facts{Event: &eventFacts{Name: event, Timezone: "UTC"}}
	out := &outgoing{row: messageRow{ID: ids.Derive[ids.NotificationKind]("x"), Name: "event_cancelled", Kind: api.AboutChanges}, facts: f,
		to: api.Contact{Name: person, Email: "ada@example.org"}}
	m, err := s.compose(out, texts.view("en", person, f), nil)
	if err != nil {
		t.Fatal(err)
	}
	if rcpts, err = m.GetRecipients(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	read, err := mail.ReadMessage(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	raw, _, _ = strings.Cut(b.String(), "\r\n\r\n")
	return raw, read.Header, rcpts
}

// What looks like an encoded word is text like any other: it is read as it was written, and what it would decode to
// stands in no header.
func TestEncodedWordsAreText(t *testing.T) {
	for _, text := range []string{"Ada", "Zoë =?utf-8?q?x?=", "=?utf-8?q?x?=", "=?utf-8?q?Ada=0d=0aBcc:_eve@example.org?=", "=?us-ascii?b?SGVsbG8=?= and " + strings.Repeat("very ", 30) + "long",
		`"quoted" =?utf-8?q?y?= (x)`, "=?", "a =? b ?= c"} {
		raw, header, rcpts := composed(t, text, text)
		if strings.Contains(strings.ToLower(raw), "=0d=0a") || strings.Contains(raw, "?q?x?=") || strings.Contains(raw, "?q?y?=") || strings.Contains(raw, "SGVsbG8=?=") {
			t.Errorf("%q is in the header as it is:\n%s", text, raw)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject"))
		if want := "Cancelled: " + text; err != nil || subject != want {
			t.Errorf("the subject is read as %q, %v, want %q", subject, err, want)
		}
		to, err := mail.ParseAddress(header.Get("To"))
		if err != nil || to.Name != text || to.Address != "ada@example.org" {
			t.Errorf("the recipient is read as %+v, %v, want %q", to, err, text)
		}
		if len(rcpts) != 1 || !strings.Contains(rcpts[0], "ada@example.org") || header.Get("Bcc") != "" {
			t.Errorf("the mail goes to %v", rcpts)
		}
	}
}
