package email

import (
	"bytes"
	"mime"
	"net/mail"
	"strings"
	"testing"
)

// composed writes a mail to a person, and reads its header.
func composed(t *testing.T, person, subject string) (raw string, header mail.Header, rcpts []string) {
	t.Helper()
	written := Mail{ID: "x@tickets.example", From: mail.Address{Name: "Starlight", Address: "no-reply@tickets.example"},
		To: mail.Address{Name: person, Address: "ada@example.org"}, Subject: subject, Text: "x", HTML: "x"}
	m, err := written.compose()
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
		raw, header, rcpts := composed(t, text, "Cancelled: "+text)
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
