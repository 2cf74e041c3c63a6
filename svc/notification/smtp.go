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
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/starlightsymphony/starlight/shared/fault"
)

const (
	smtpTimeout = 60 * time.Second // for a command; RFC 5321 asks for patience
	smtpIdle    = 20 * time.Second // after which a connection is not used again: servers hang up on the silent
	perLine     = 200              // mails after which a connection is renewed, as some providers want it
)

// smtpOffice is the post office at the end of a SMTP connection. Connections are kept for the next mail.
type smtpOffice struct {
	client *gomail.Client
	idle   chan *smtpLine
}

type smtpLine struct {
	conn *smtp.Client
	used time.Time
	sent int
}

// parseSMTP reads smtp://user:pass@host:port (STARTTLS) or smtps:// (TLS from the beginning). Without TLS is only allowed
// to the machine itself, or with ?insecure=true.
func parseSMTP(text string) (*smtpOffice, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return nil, errors.New("the SMTP address must have the form smtp://user:password@host:port") // not err: it would show the password
	}
	port := 587
	options := []gomail.Option{gomail.WithTimeout(smtpTimeout), gomail.WithoutNoop(), gomail.WithTLSConfig(&tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})}
	if u.Scheme == "smtps" {
		port = 465
		options = append(options, gomail.WithSSL())
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
	client, err := gomail.NewClient(u.Hostname(), append(options, gomail.WithPort(port))...)
	if err != nil {
		return nil, fmt.Errorf("the SMTP address: %w", err)
	}
	return &smtpOffice{client: client, idle: make(chan *smtpLine, urgentMails+bulkMails)}, nil
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// send hands a mail over. A connection that was kept may be dead: the mail then goes over a new one.
func (o *smtpOffice) send(ctx context.Context, m *gomail.Msg, _ string) error {
	for {
		line, kept, err := o.line(ctx)
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "the mail server cannot be reached")
		}
		err = o.client.SendWithSMTPClient(line.conn, m)
		if m.IsDelivered() { // whatever came after it: a second time would be once too often
			o.put(line, err)
			return nil
		}
		var refused *gomail.SendError
		if answered := errors.As(err, &refused) && refused.ErrorCode() > 0; answered {
			o.put(line, nil)
			return judge(refused)
		}
		line.conn.Close()
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
			o.hangUp(line)
			continue
		default:
		}
		conn, err := o.client.DialToSMTPClientWithContext(ctx)
		if err != nil {
			return nil, false, err
		}
		return &smtpLine{conn: conn}, false, nil
	}
}

// put keeps a connection for the next mail, if it is good for one.
func (o *smtpOffice) put(line *smtpLine, err error) {
	line.used = time.Now()
	if line.sent++; err != nil || line.sent >= perLine {
		o.hangUp(line)
		return
	}
	select {
	case o.idle <- line:
	default:
		o.hangUp(line)
	}
}

func (o *smtpOffice) hangUp(line *smtpLine) {
	_ = line.conn.UpdateDeadline(time.Second) // for the goodbye, which does not matter
	if line.conn.Quit() != nil {
		line.conn.Close()
	}
}

func (o *smtpOffice) close() {
	for {
		select {
		case line := <-o.idle:
			o.hangUp(line)
		default:
			return
		}
	}
}
