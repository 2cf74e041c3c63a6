package notification

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// message is a mail before it is written out.
type message struct {
	id      string // without the angle brackets; derived from the cause, so that a repeated message is known as such
	date    time.Time
	from    mail.Address
	to      mail.Address
	subject string
	text    string // UTF-8, lines end in \n
}

var (
	hostRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)
	idRule   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)
)

// errHeader is the error of a header that would not stay one.
var errHeader = errors.New("notification: a header holds what it must not")

// render returns the message as RFC 5322 text with CRLF line ends.
func (m message) render() ([]byte, error) {
	if !idRule.MatchString(m.id) {
		return nil, fmt.Errorf("%w: Message-ID", errHeader)
	}
	for _, a := range []mail.Address{m.from, m.to} {
		if back, err := mail.ParseAddress(a.String()); err != nil || back.Address != a.Address {
			return nil, fmt.Errorf("%w: an address", errHeader)
		}
	}
	var b bytes.Buffer
	for _, h := range []struct{ name, value string }{
		{"Date", m.date.Format(time.RFC1123Z)},
		{"From", m.from.String()},
		{"To", m.to.String()},
		{"Subject", mime.QEncoding.Encode("utf-8", m.subject)},
		{"Message-ID", "<" + m.id + ">"},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: no out-of-office answers
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		if strings.ContainsFunc(h.value, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, fmt.Errorf("%w: %s", errHeader, h.name)
		}
		b.WriteString(fold(h.name + ": " + h.value))
		b.WriteString("\r\n")
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(strings.ReplaceAll(m.text, "\n", "\r\n"))); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// fold breaks a header at spaces so that its lines have at most 78 characters, where it has spaces.
func fold(header string) string {
	const most = 78
	var out strings.Builder
	length := 0
	for i, word := range strings.Split(header, " ") {
		switch {
		case i == 0:
		case i > 1 && length+1+len(word) > most: // never right after the name
			out.WriteString("\r\n ")
			length = 1
		default:
			out.WriteByte(' ')
			length++
		}
		out.WriteString(word)
		length += len(word)
	}
	return out.String()
}

// file returns the name of the message's file. It is the same whenever the message is written.
func (m message) file() string {
	return m.date.UTC().Format("20060102T150405.000000Z") + "_" + m.id + ".eml"
}

func makeOutbox(dir string) error {
	if dir == "" {
		return errors.New("an outbox folder is needed")
	}
	return os.MkdirAll(dir, 0o700)
}

// deliver writes the message into the outbox folder: all of it or nothing, readable by the owner alone.
func (s *Service) deliver(m message) error {
	raw, err := m.render()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.OutboxDir, ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(s.OutboxDir, m.file())); err != nil {
		return err
	}
	return syncDir(s.OutboxDir)
}

// syncDir makes a rename in the folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
