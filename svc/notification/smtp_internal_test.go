package notification

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	gomail "github.com/wneessen/go-mail"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// refuser is a SMTP server that answers some commands as it is told: what no well-behaved sink does.
type refuser struct {
	mu      sync.Mutex
	answers map[string]string // by command
	taken   int
	dials   int
	hangUp  bool // after each mail
}

func (r *refuser) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	fmt.Fprint(conn, "220 hello\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		command := strings.ToUpper(strings.Fields(line + " x")[0])
		r.mu.Lock()
		answer, hangUp := r.answers[command], r.hangUp
		r.mu.Unlock()
		switch {
		case answer != "":
		case command == "EHLO":
			answer = "250-here\r\n250 ENHANCEDSTATUSCODES"
		case command == "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			r.mu.Lock()
			r.taken++
			r.mu.Unlock()
			fmt.Fprint(conn, "250 2.0.0 taken\r\n")
			if hangUp {
				return
			}
			continue
		default:
			answer = "250 2.0.0 fine"
		}
		fmt.Fprint(conn, answer+"\r\n")
	}
}

func refusing(t *testing.T) (*refuser, *smtpOffice) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &refuser{answers: map[string]string{}}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.dials++
			r.mu.Unlock()
			go r.serve(conn)
		}
	}()
	t.Cleanup(func() { ln.Close() })
	o, err := parseSMTP("smtp://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.close)
	return r, o
}

func letterTo(t *testing.T) *gomail.Msg {
	t.Helper()
	m := gomail.NewMsg()
	if err := errors.Join(m.From("a@example.org"), m.To("b@example.org")); err != nil {
		t.Fatal(err)
	}
	m.SetBodyString(gomail.TypeTextPlain, "hello")
	return m
}

func TestWhatRefusalsMean(t *testing.T) {
	r, o := refusing(t)
	kind := func(err error) string {
		var gone *noSuchAddress
		var never *undeliverable
		switch {
		case err == nil:
			return "sent"
		case errors.As(err, &gone):
			return "no such address"
		case errors.As(err, &never):
			return "undeliverable"
		}
		return string(fault.From(err).Code)
	}
	for _, c := range []struct{ command, answer, want string }{
		{"RCPT", "550 5.1.1 no such user", "no such address"},
		{"RCPT", "550 who?", "no such address"},
		{"RCPT", "552 5.2.2 mailbox full", "undeliverable"},
		{"RCPT", "554 5.7.1 not from you", "undeliverable"},
		{"RCPT", "451 4.7.1 greylisted", "unavailable"},
		{"MAIL", "421 4.3.2 busy", "unavailable"},
		{"MAIL", "550 5.7.1 not you", "invalid"},
		{"DATA", "554 5.6.0 not that", "invalid"},
		{"DATA", "452 4.3.1 disk full", "unavailable"},
		{"RSET", "500 what?", "sent"}, // after the mail was taken: a second time would be once too often
	} {
		r.mu.Lock()
		r.answers = map[string]string{c.command: c.answer}
		r.mu.Unlock()
		if got := kind(o.send(context.Background(), letterTo(t), "")); got != c.want {
			t.Errorf("%s answered %q means %s, want %s", c.command, c.answer, got, c.want)
		}
	}
}

// Connections are used again, and one that died meanwhile costs nothing but a new one.
func TestConnectionsAreKept(t *testing.T) {
	r, o := refusing(t)
	for range 5 {
		if err := o.send(context.Background(), letterTo(t), ""); err != nil {
			t.Fatal(err)
		}
	}
	if r.dials != 1 || r.taken != 5 {
		t.Errorf("%d mails over %d connections", r.taken, r.dials)
	}
	r.mu.Lock()
	r.hangUp = true
	r.mu.Unlock()
	for range 4 {
		if err := o.send(context.Background(), letterTo(t), ""); err != nil {
			t.Fatal(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken != 9 {
		t.Errorf("%d mails arrived, want 9", r.taken)
	}
}

func TestAddressesOfProviders(t *testing.T) {
	for _, bad := range []string{"", "smtp://", "http://x", "smtp://u:secret@host:port", "smtp://host:99999999"} {
		if _, err := parseSMTP(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	o, err := parseSMTP("smtp://u:p@mail.example.org")
	if err != nil || o.client.TLSPolicy() != gomail.TLSMandatory.String() {
		t.Errorf("outside mail goes with %v, %v", o, err)
	}
	for _, bad := range []string{"", "https://host?from=x", "http://a:secret@host?from=x", "https://a:secret@host"} {
		if _, err := parseSMS(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
