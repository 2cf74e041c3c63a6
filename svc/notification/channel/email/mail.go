// Package email sends mails: to a mail server, or into a folder where there is none.
package email

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/mail"
	"strings"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"github.com/starlightsymphony/starlight/shared/text"
)

// Sender hands mails over. An address that does not exist is a *NoSuchAddress.
type Sender interface {
	Send(ctx context.Context, m *Mail) error
	Close()
}

// NoSuchAddress is the error of a mail whose address the other side refuses for good.
type NoSuchAddress struct{ Reason string }

func (n *NoSuchAddress) Error() string { return n.Reason }

// Mail is one mail. But for the boundaries between its parts, nothing in it depends on when it is sent.
type Mail struct {
	ID          string // Message-ID: a mail that is sent again after a crash has the same
	From, To    mail.Address
	Date        time.Time
	Language    string
	Subject     string
	Text, HTML  string
	Unsubscribe string // where one click stops mails of its kind; empty for those that always come
	Attachments []Attachment
}

// Attachment is a file in a mail.
type Attachment struct {
	Name, ContentType string
	Data              []byte
}

// compose puts a mail together.
func (m *Mail) compose() (*gomail.Msg, error) {
	to := mail.Address{Name: text.OneLine(m.To.Name), Address: m.To.Address}
	back, err := mail.ParseAddress(to.String())
	if err != nil || back.Address != to.Address || strings.ContainsAny(to.Address, "\r\n") {
		return nil, &NoSuchAddress{"it is not an address"}
	}
	msg := gomail.NewMsg(gomail.WithEncoding(gomail.EncodingQP), gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&m.From)
	setRecipient(msg, &to)
	msg.Subject(unambiguous(m.Subject))
	msg.SetMessageIDWithValue(m.ID)
	msg.SetDateWithValue(m.Date.UTC().Truncate(time.Second))
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	msg.SetGenHeader("Content-Language", m.Language)
	if m.Unsubscribe != "" {
		msg.SetGenHeader("List-Unsubscribe", "<"+m.Unsubscribe+">")
		msg.SetGenHeader("List-Unsubscribe-Post", "List-Unsubscribe=One-Click") // RFC 8058
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	for _, a := range m.Attachments {
		contentType := gomail.WithFileContentType(gomail.ContentType(a.ContentType))
		if err := msg.AttachReader(a.Name, bytes.NewReader(a.Data), contentType); err != nil {
			return nil, err
		}
	}
	return msg, nil
}

// setRecipient sets the recipient of a mail. A name that looks like an encoded word would be quoted by the library, and
// read as one by many mail programs: then the header is written here, and the address travels in the envelope alone.
func setRecipient(m *gomail.Msg, to *mail.Address) {
	encoded := unambiguous(to.Name)
	if encoded == to.Name {
		m.ToMailAddress(to)
		return
	}
	m.BccMailAddress(&mail.Address{Address: to.Address})
	m.SetGenHeader("To", encoded+" <"+to.Address+">")
}

// unambiguous encodes a text for a header, RFC 2047, that would be taken for an encoded word and decoded by its reader.
// The library encodes what is not ASCII, and leaves such a text as it is.
func unambiguous(s string) string {
	if !strings.Contains(s, "=?") || strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) {
		return s
	}
	const most = 42 // bytes in one word, which has at most 75 characters
	var words []string
	for ; s != ""; s = s[min(most, len(s)):] {
		words = append(words, "=?UTF-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:min(most, len(s))]))+"?=")
	}
	return strings.Join(words, " ") // blanks between encoded words are not part of the text
}
