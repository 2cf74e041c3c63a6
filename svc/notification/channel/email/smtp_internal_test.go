package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/mail"
	"strings"
	"testing"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

// connected returns a mail server that answers as a test wants it, and the sender to it.
func connected(t *testing.T) (*testkit.MailServer, *SMTP) {
	t.Helper()
	server := testkit.NewMailServer(t, "127.0.0.1:0")
	o, err := NewSMTP("smtp://"+server.Addr, 24)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return server, o
}

func hello() *Mail {
	return &Mail{ID: "a@example.org", From: mail.Address{Address: "a@example.org"}, To: mail.Address{Address: "b@example.org"}, Text: "hello"}
}

func TestWhatRefusalsMean(t *testing.T) {
	server, o := connected(t)
	kind := func(err error) string {
		var gone *NoSuchAddress
		var never *channel.Undeliverable
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
		server.Answer(c.command, c.answer)
		if got := kind(o.Send(context.Background(), hello())); got != c.want {
			t.Errorf("%s answered %q means %s, want %s", c.command, c.answer, got, c.want)
		}
		server.Answer(c.command, "")
	}
}

// Connections are used again, and one that died meanwhile costs nothing but a new one.
func TestConnectionsAreKept(t *testing.T) {
	server, o := connected(t)
	for range 5 {
		if err := o.Send(context.Background(), hello()); err != nil {
			t.Fatal(err)
		}
	}
	if taken, dials := len(server.Mails()), server.Dials(); dials != 1 || taken != 5 {
		t.Errorf("%d mails over %d connections", taken, dials)
	}
	server.HangUp()
	for range 4 {
		if err := o.Send(context.Background(), hello()); err != nil {
			t.Fatal(err)
		}
	}
	if taken := len(server.Mails()); taken != 9 {
		t.Errorf("%d mails arrived, want 9", taken)
	}
}

func TestAddressesOfServers(t *testing.T) {
	for _, bad := range []string{"", "smtp://", "http://x", "smtp://u:secret@host:port", "smtp://host:99999999"} {
		if _, err := NewSMTP(bad, 1); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	o, err := NewSMTP("smtp://u:p@mail.example.org", 1)
	if err != nil || o.client.TLSPolicy() != gomail.TLSMandatory.String() {
		t.Errorf("outside mail goes with %v, %v", o, err)
	}
}

// A server that says nothing keeps a mail only as long as there is time for it, whatever it was asked last.
func TestSilentServerIsLeft(t *testing.T) {
	for _, command := range []string{"", "EHLO", "MAIL", "DATA", "RSET"} {
		server, o := connected(t)
		if command == "" {
			server.Silence(true)
		} else {
			server.SilenceAfter(command)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- o.Send(ctx, hello()) }()
		testkit.Eventually(t, 10*time.Second, func() error {
			if got := server.LastCommand(); got != command || server.Dials() == 0 {
				return fmt.Errorf("the last command is %q", got)
			}
			return nil
		})
		cancel()
		select {
		case err := <-done:
			if taken := command == "RSET"; (err == nil) != taken || err != nil && !fault.Is(err, fault.Unavailable) {
				t.Errorf("silent after %q: %v", command, err)
			}
		case <-time.After(testkit.Within(10 * time.Second)):
			t.Fatalf("silent after %q: the mail still waits", command)
		}
	}
}

// Idle connections to a silent server do not hold up the end.
func TestCloseIsBounded(t *testing.T) {
	server, o := connected(t)
	var conns []*connection
	for range cap(o.idle) {
		conn, err := o.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		o.put(conn, nil)
	}
	server.Silence(true)
	began := time.Now()
	o.Close()
	if took := time.Since(began); took > 5*quitTimeout {
		t.Errorf("the end took %v", took)
	}
}

// smtps:// is TLS before the first byte, and passwords go over it.
func TestImplicitTLS(t *testing.T) {
	server, _ := connected(t)
	server.Answer("EHLO", "250-here\r\n250-AUTH PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES")
	server.Answer("AUTH", "235 2.7.0 welcome")
	front := httptest.NewUnstartedServer(nil) // for its certificate, which is for example.com
	front.StartTLS()
	defer front.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", front.TLS)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", server.Addr)
			if err != nil {
				conn.Close()
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, back)
			}()
			go func() {
				defer back.Close()
				_, _ = io.Copy(back, conn)
			}()
		}
	}()
	o, err := NewSMTP("smtps://user:secret@"+ln.Addr().String(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.Send(t.Context(), hello()); err == nil {
		t.Error("a certificate of an unknown authority was taken")
	}
	o.tls.RootCAs = x509.NewCertPool()
	o.tls.RootCAs.AddCert(front.Certificate())
	if err := o.Send(t.Context(), hello()); err != nil || len(server.Mails()) != 1 {
		t.Errorf("%d mails, %v", len(server.Mails()), err)
	}
}
