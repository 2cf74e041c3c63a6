package notification

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
)

const (
	dialTimeout = 20 * time.Second // until the server has greeted, and knows us
	smtpTimeout = 60 * time.Second // for a mail: RFC 5321 asks for patience
	byeTimeout  = time.Second      // for a goodbye, which does not matter
	smtpIdle    = 20 * time.Second // after which a connection is not used again: servers hang up on the silent
	perLine     = 200              // mails after which a connection is renewed, as some providers want it
)

// smtpOffice is the post office at the end of a SMTP connection. Connections are kept for the next mail.
type smtpOffice struct {
	client *gomail.Client
	tls    *tls.Config
	idle   chan *smtpLine
}

type smtpLine struct {
	conn *smtp.Client
	raw  net.Conn // below conn: closing it ends whatever waits for the server
	used time.Time
	sent int
}

func (l *smtpLine) close() {
	if l.raw != nil {
		l.raw.Close()
	}
}

// holdKey is the context key of what is given a connection as soon as it is open.
type holdKey struct{}

// parseSMTP reads smtp://user:pass@host:port (STARTTLS) or smtps:// (TLS from the beginning). Without TLS is only allowed
// to the machine itself, or with ?insecure=true.
func parseSMTP(text string) (*smtpOffice, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return nil, errors.New("the SMTP address must have the form smtp://user:password@host:port") // not err: it would show the password
	}
	port, implicit := 587, u.Scheme == "smtps"
	o := &smtpOffice{tls: &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}, idle: make(chan *smtpLine, urgentMails+bulkMails)}
	options := []gomail.Option{gomail.WithTimeout(smtpTimeout), gomail.WithoutNoop(), gomail.WithTLSConfig(o.tls), gomail.WithDialContextFunc(o.dialer(implicit))}
	if implicit {
		port = 465
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic)) // it is there before the first word
	} else if local(u.Hostname()) || u.Query().Get("insecure") == "true" {
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
		options = append(options, gomail.WithSMTPAuth(auth), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	if o.client, err = gomail.NewClient(u.Hostname(), append(options, gomail.WithPort(port))...); err != nil {
		return nil, fmt.Errorf("the SMTP address: %w", err)
	}
	return o, nil
}

// dialer returns what opens connections, with TLS from the beginning if it is implicit.
func (o *smtpOffice) dialer(implicit bool) gomail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if hold, ok := ctx.Value(holdKey{}).(func(net.Conn)); ok {
			hold(conn)
		}
		if !implicit {
			return conn, nil
		}
		secure := tls.Client(conn, o.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	}
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// send hands a mail over. A connection that was kept may be dead: the mail then goes over a new one. When ctx ends, so
// does the connection.
func (o *smtpOffice) send(ctx context.Context, m *gomail.Msg, _ string) error {
	for {
		line, kept, err := o.line(ctx)
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "the mail server cannot be reached")
		}
		over := context.AfterFunc(ctx, line.close)
		err = o.client.SendWithSMTPClient(line.conn, m)
		if !over() && err == nil {
			err = ctx.Err()
		}
		if m.IsDelivered() { // whatever came after it: a second time would be once too often
			o.put(line, err)
			return nil
		}
		var refused *gomail.SendError
		if answered := errors.As(err, &refused) && refused.ErrorCode() > 0; answered {
			o.put(line, nil)
			return judge(refused)
		}
		line.close()
		if !kept || ctx.Err() != nil {
			return fault.Wrap(err, fault.Unavailable, "the mail server did not take the mail")
		}
	}
}

// judge tells what a refusal means: for now, for this address, or for this mail.
func judge(e *gomail.SendError) error {
	code, detail := e.ErrorCode(), e.EnhancedStatusCode()
	switch {
	case e.IsTemp() || code < 500:
		return fault.Wrap(e, fault.Unavailable, "the mail server refuses for now")
	case e.Reason == gomail.ErrSMTPRcptTo && code != 552 && !strings.HasPrefix(detail, "5.7.") && detail != "5.2.2":
		return &noSuchAddress{oneLine(e.Error())}
	case e.Reason == gomail.ErrSMTPRcptTo: // full, or a matter of policy: the address may be good
		return &undeliverable{oneLine(e.Error())}
	}
	return fault.Wrap(e, fault.Invalid, "the mail server refuses the mail for good")
}

// line returns a connection, and whether it was used before.
func (o *smtpOffice) line(ctx context.Context) (line *smtpLine, kept bool, err error) {
	for {
		select {
		case line = <-o.idle:
			if time.Since(line.used) < smtpIdle {
				return line, true, nil
			}
			line.hangUp()
			continue
		default:
		}
		line, err := o.dial(ctx)
		return line, false, err
	}
}

// dial opens a connection and introduces us. A server that accepts and then says nothing is left when ctx ends.
func (o *smtpOffice) dial(ctx context.Context) (*smtpLine, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	line, over := &smtpLine{}, func() bool { return true }
	hold := func(conn net.Conn) {
		line.raw = conn
		over = context.AfterFunc(ctx, line.close)
	}
	var err error
	line.conn, err = o.client.DialToSMTPClientWithContext(context.WithValue(ctx, holdKey{}, hold))
	if !over() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		line.close()
		return nil, err
	}
	return line, nil
}

// put keeps a connection for the next mail, if it is good for one.
func (o *smtpOffice) put(line *smtpLine, err error) {
	line.used = time.Now()
	if line.sent++; err != nil || line.sent >= perLine {
		line.hangUp()
		return
	}
	select {
	case o.idle <- line:
	default:
		line.hangUp()
	}
}

func (l *smtpLine) hangUp() {
	_ = l.conn.UpdateDeadline(byeTimeout)
	if l.conn.Quit() != nil {
		l.close()
	}
}

// close says goodbye on all connections at a time: a server may be silent on each of them.
func (o *smtpOffice) close() {
	var goodbyes sync.WaitGroup
	defer goodbyes.Wait()
	for {
		select {
		case line := <-o.idle:
			goodbyes.Go(line.hangUp)
		default:
			return
		}
	}
}
