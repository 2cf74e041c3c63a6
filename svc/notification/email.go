package notification

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// How many mails are on their way at a time, in one instance: those that somebody waits for, and those to many.
const (
	urgentMails = 8
	bulkMails   = 16
)

// post office: where mails go. It returns an undeliverable for an address that does not exist.
type postOffice interface {
	send(ctx context.Context, m *gomail.Msg, id string) error
	close()
}

// attachment is a file in a mail.
type attachment struct {
	name, contentType string
	data              []byte
}

// sendMail writes and sends one mail.
func (s *Service) sendMail(ctx context.Context, out *outgoing) error {
	lang := s.texts.speech(out.to, out.facts)
	v := s.texts.view(lang, out.to.Name, out.facts)
	if out.row.Name == "password_reset" {
		minted, err := rpc.Call(ctx, s.Client, api.MintResetToken, &api.MintReset{ResetID: out.facts.ResetID})
		if fault.Is(err, fault.NotFound) {
			return &moot{"the reset is used or too old"}
		}
		if err != nil {
			return err
		}
		out.to = minted.Contact
		v.Token, v.Until = minted.Token, s.texts.zones.moment(lang, minted.ExpiresAt, out.to.Timezone)
	}
	msg, err := s.write(ctx, out, v)
	if err != nil {
		return err
	}
	err = s.office.send(ctx, msg, s.messageID(out.row))
	if gone, ok := err.(*noSuchAddress); ok {
		if err := s.switchOff(ctx, out.to.ID, out.to.Email, gone.reason); err != nil {
			return err
		}
		return &undeliverable{gone.reason}
	}
	return err
}

// write writes a mail, when it is its turn.
func (s *Service) write(ctx context.Context, out *outgoing, v view) (*gomail.Msg, error) {
	leave, err := s.throttle.enter(ctx)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the mail could not be written in time")
	}
	defer leave()
	files, err := s.enclose(ctx, out)
	if err != nil {
		return nil, err
	}
	return s.compose(out, v, files)
}

// noSuchAddress is the error of a mail whose address the other side refuses for good.
type noSuchAddress struct{ reason string }

func (n *noSuchAddress) Error() string { return n.reason }

// messageID is derived from the message, so that a mail which is sent again after a crash is known as such.
func (s *Service) messageID(row messageRow) string {
	return row.Name + "." + row.ID.String() + "@" + s.host
}

// mostCodes bounds the tickets in one mail.
const mostCodes = 50

// enclose returns what goes with a mail: tickets to print and their codes for phones, and the event for the calendar.
func (s *Service) enclose(ctx context.Context, out *outgoing) ([]attachment, error) {
	what := api.HeldTickets{UserID: out.to.ID}
	switch out.row.Name {
	case "order_paid":
		what.OrderID = out.facts.Order.ID
	case "ticket_received":
		what.TicketID = out.facts.Ticket
	case "event_changed", "event_cancelled":
		return s.calendar(ctx, out)
	default:
		return nil, nil
	}
	tickets, err := s.held(ctx, what)
	if err != nil {
		return nil, err
	}
	if len(tickets) == 0 {
		return nil, &moot{"the tickets are given back, or given away"}
	}
	tickets = tickets[:min(len(tickets), mostCodes)]
	codes, err := encoded(tickets)
	if err != nil {
		return nil, err
	}
	pages, err := s.ticketPages(printed{lang: s.texts.speech(out.to, out.facts), event: out.facts.Event, order: out.facts.Order, owner: out.to.Name, tickets: tickets, codes: codes,
		made: out.row.CreatedAt})
	if err != nil {
		return nil, err
	}
	files := []attachment{{ticketFile(tickets[0].OrderID), "application/pdf", pages}}
	for i, t := range tickets {
		files = append(files, attachment{fmt.Sprintf("ticket-%d-%s.png", i+1, t.ID), "image/png", codes[i].PNG()})
	}
	event, err := s.calendar(ctx, out)
	return append(files, event...), err
}

// calendar returns the event as a calendar file, if there is one for everybody. That of a cancelled event takes the entry
// back.
func (s *Service) calendar(ctx context.Context, out *outgoing) ([]attachment, error) {
	id := out.row.EventID
	if out.facts.Order != nil {
		id = out.facts.Order.EventID
	}
	file, err := rpc.Call(ctx, s.Client, api.GetCalendarFile, &api.OfferRequest{EventID: id})
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	method := "PUBLISH" // as the file says
	if bytes.Contains(file.Data, []byte("\nMETHOD:CANCEL\r\n")) {
		method = "CANCEL"
	}
	if out.row.Name == "event_cancelled" && method != "CANCEL" {
		return nil, fault.New(fault.Unavailable, "the instance of the event service that was asked has not heard of the cancellation")
	}
	return []attachment{{id.String() + ".ics", "text/calendar; charset=utf-8; method=" + method, file.Data}}, nil
}

// compose puts a mail together. But for the boundaries between its parts, nothing in it depends on when it is sent.
func (s *Service) compose(out *outgoing, v view, files []attachment) (*gomail.Msg, error) {
	lang := s.texts.speech(out.to, out.facts)
	to := links{action: s.texts.letters[out.row.Name].link(s.PublicURL, out.facts)}
	var oneClick string
	if !transactional(out.row.Kind) {
		oneClick = s.unsubscribeURL(out.to.ID, out.row.Kind)
		to.unsubscribe = oneClick
	}
	text, err := s.texts.write(lang, out.row.Name, v, out.facts, to)
	if err != nil {
		return nil, err
	}
	m := gomail.NewMsg(gomail.WithEncoding(gomail.EncodingQP), gomail.WithNoDefaultUserAgent())
	recipient := mail.Address{Name: oneLine(out.to.Name), Address: out.to.Email}
	if back, err := mail.ParseAddress(recipient.String()); err != nil || back.Address != recipient.Address || strings.ContainsAny(recipient.Address, "\r\n") {
		return nil, &noSuchAddress{"it is not an address"}
	}
	m.FromMailAddress(&s.from)
	addressTo(m, &recipient)
	m.Subject(unambiguous(text.subject))
	m.SetMessageIDWithValue(s.messageID(out.row))
	m.SetDateWithValue(out.row.CreatedAt.UTC().Truncate(time.Second))
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	m.SetGenHeader("Content-Language", lang)
	if oneClick != "" {
		m.SetGenHeader("List-Unsubscribe", "<"+oneClick+">")
		m.SetGenHeader("List-Unsubscribe-Post", "List-Unsubscribe=One-Click") // RFC 8058
	}
	m.SetBodyString(gomail.TypeTextPlain, text.text)
	m.AddAlternativeString(gomail.TypeTextHTML, text.html)
	for _, f := range files {
		if err := m.AttachReader(f.name, bytes.NewReader(f.data), gomail.WithFileContentType(gomail.ContentType(f.contentType))); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// addressTo sets the recipient of a mail. A name that looks like an encoded word would be quoted by the library, and read as
// one by many mail programs: then the header is written here, and the address travels in the envelope alone.
func addressTo(m *gomail.Msg, to *mail.Address) {
	encoded := unambiguous(to.Name)
	if encoded == to.Name {
		m.ToMailAddress(to)
		return
	}
	m.BccMailAddress(&mail.Address{Address: to.Address})
	m.SetGenHeader("To", encoded+" <"+to.Address+">")
}

// unambiguous encodes a text for a header, RFC 2047, that would be taken for an encoded word and decoded by its reader. The
// library encodes what is not ASCII, and leaves such a text as it is.
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
