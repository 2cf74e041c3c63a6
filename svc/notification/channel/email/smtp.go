package email

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

var errBadAddress = errors.New("the SMTP address must have the form smtp://user:password@host:port")

const (
	dialTimeout    = 20 * time.Second // until the server has greeted and authenticated us
	sendTimeout    = 60 * time.Second // for a mail: RFC 5321 asks for patience
	quitTimeout    = time.Second      // for a QUIT, which does not matter
	maxIdle        = 20 * time.Second // after which a connection is not used again: servers close silent ones
	mailsPerDial   = 200              // after which a connection is renewed, as some providers want it
	submissionPort = 587
	smtpsPort      = 465
)

// SMTP hands mails to a mail server. Connections are kept for the next mail.
type SMTP struct {
	client *gomail.Client
	tls    *tls.Config
	idle   chan *connection
}

type connection struct {
	smtp *smtp.Client
	raw  net.Conn // below smtp: closing it ends whatever waits for the server
	used time.Time
	sent int
}

func (c *connection) close() {
	if c.raw != nil {
		c.raw.Close()
	}
}

// onDialKey is the context key of a function that is given a connection as soon as it is open.
type onDialKey struct{}

// NewSMTP reads smtp://user:pass@host:port (STARTTLS) or smtps:// (TLS from the beginning). A server without TLS must
// be on this machine, or have ?insecure=true. Up to idle connections are kept.
func NewSMTP(address string, idle int) (*SMTP, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return nil, errBadAddress // not err, which shows the password
	}
	port, implicit := submissionPort, u.Scheme == "smtps"
	config := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	s := &SMTP{tls: config, idle: make(chan *connection, idle)}
	options := []gomail.Option{gomail.WithTimeout(sendTimeout), gomail.WithoutNoop(), gomail.WithTLSConfig(s.tls),
		gomail.WithDialContextFunc(s.dialer(implicit))}
	if implicit {
		port = smtpsPort
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic)) // it is there before the first byte
	} else if channel.IsLocal(u.Hostname()) || u.Query().Get("insecure") == "true" {
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	} else {
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return nil, errors.New("the SMTP address has a bad port")
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		auth := gomail.SMTPAuthAutoDiscover
		if u.Scheme == "smtp" && u.Query().Get("insecure") == "true" {
			auth = gomail.SMTPAuthPlainNoEnc
		}
		options = append(options, gomail.WithSMTPAuth(auth), gomail.WithUsername(u.User.Username()),
			gomail.WithPassword(password))
	}
	if s.client, err = gomail.NewClient(u.Hostname(), append(options, gomail.WithPort(port))...); err != nil {
		return nil, fmt.Errorf("the SMTP address: %w", err)
	}
	return s, nil
}

// dialer returns what opens connections, with TLS from the beginning if it is implicit.
func (s *SMTP) dialer(implicit bool) gomail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if onDial, ok := ctx.Value(onDialKey{}).(func(net.Conn)); ok {
			onDial(conn)
		}
		if !implicit {
			return conn, nil
		}
		secure := tls.Client(conn, s.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	}
}

// Send hands a mail over. A connection that was kept may be dead: the mail then goes over a new one. When ctx ends, so
// does the connection.
func (s *SMTP) Send(ctx context.Context, mail *Mail) error {
	m, err := mail.compose()
	if err != nil {
		return err
	}
	for {
		conn, kept, err := s.connect(ctx)
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "the mail server cannot be reached")
		}
		stop := context.AfterFunc(ctx, conn.close)
		err = s.client.SendWithSMTPClient(conn.smtp, m)
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if m.IsDelivered() { // whatever came after it: a second time would be once too often
			s.put(conn, err)
			return nil
		}
		var refused *gomail.SendError
		if errors.As(err, &refused) && refused.ErrorCode() > 0 {
			s.put(conn, nil)
			return classify(refused)
		}
		conn.close()
		if !kept || ctx.Err() != nil {
			return fault.Wrap(err, fault.Unavailable, "the mail server did not take the mail")
		}
	}
}

// classify says what a refusal means: for now, for this address, or for this mail.
func classify(e *gomail.SendError) error {
	code, detail := e.ErrorCode(), e.EnhancedStatusCode()
	switch {
	case e.IsTemp() || code < 500:
		return fault.Wrap(e, fault.Unavailable, "the mail server refuses for now")
	case e.Reason == gomail.ErrSMTPRcptTo && code != 552 && !strings.HasPrefix(detail, "5.7.") && detail != "5.2.2":
		return &NoSuchAddress{text.OneLine(e.Error())}
	case e.Reason == gomail.ErrSMTPRcptTo: // full, or a matter of policy: the address may be good
		return &channel.Undeliverable{Reason: text.OneLine(e.Error())}
	}
	return fault.Wrap(e, fault.Invalid, "the mail server refuses the mail for good")
}

// connect returns a connection, and whether it was used before.
func (s *SMTP) connect(ctx context.Context) (conn *connection, kept bool, err error) {
	for {
		select {
		case conn = <-s.idle:
			if time.Since(conn.used) < maxIdle {
				return conn, true, nil
			}
			conn.quit()
			continue
		default:
		}
		conn, err := s.dial(ctx)
		return conn, false, err
	}
}

// dial opens a connection and authenticates. A server that accepts and then says nothing is left when ctx ends.
func (s *SMTP) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, stop := &connection{}, func() bool { return true }
	onDial := func(raw net.Conn) {
		conn.raw = raw
		stop = context.AfterFunc(ctx, conn.close)
	}
	var err error
	conn.smtp, err = s.client.DialToSMTPClientWithContext(context.WithValue(ctx, onDialKey{}, onDial))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.close()
		return nil, err
	}
	return conn, nil
}

// put keeps a connection for the next mail, if it is good for one.
func (s *SMTP) put(conn *connection, err error) {
	conn.used = time.Now()
	if conn.sent++; err != nil || conn.sent >= mailsPerDial {
		conn.quit()
		return
	}
	select {
	case s.idle <- conn:
	default:
		conn.quit()
	}
}

func (c *connection) quit() {
	_ = c.smtp.UpdateDeadline(quitTimeout)
	if c.smtp.Quit() != nil {
		c.close()
	}
}

// Close quits all idle connections at the same time: the server may be silent on each of them.
func (s *SMTP) Close() {
	var quitting sync.WaitGroup
	defer quitting.Wait()
	for {
		select {
		case conn := <-s.idle:
			quitting.Go(conn.quit)
		default:
			return
		}
	}
}
