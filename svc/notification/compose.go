package notification

import (
	"context"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/currency"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// compose returns the message that an event calls for, or NotFound if there is nobody left to get it. A redelivered
// event gives a message with the same id and date.
func (s *Service) compose(ctx context.Context, m stream.Msg) (message, error) {
	switch m.Subject {
	case api.UserRegistered.Subject:
		return s.welcome(ctx, m)
	case api.PasswordResetRequested.Subject:
		return s.reset(ctx, m)
	case api.OrderWasPaid.Subject:
		return s.tickets(ctx, m)
	}
	return message{}, fault.New(fault.Invalid, "no message is defined for %s", m.Subject)
}

func (s *Service) welcome(ctx context.Context, m stream.Msg) (message, error) {
	var e api.UserEvent
	if err := m.Decode(&e); err != nil {
		return message{}, err
	}
	to, err := s.contact(ctx, e.UserID)
	if err != nil {
		return message{}, err
	}
	return s.message("welcome."+e.UserID.String(), e.At, to, "Welcome to Starlight Symphony",
		fmt.Sprintf("your account is ready. Events to go to are at\n\n  %s/v1/events", s.PublicURL)), nil
}

// reset asks for the token only now: it exists in this message and nowhere else. It is not made part of a link, since
// addresses of pages end up in logs and histories.
func (s *Service) reset(ctx context.Context, m stream.Msg) (message, error) {
	var e api.ResetEvent
	if err := m.Decode(&e); err != nil {
		return message{}, err
	}
	minted, err := rpc.Call(ctx, s.Client, api.MintResetToken, &api.MintReset{ResetID: e.ResetID})
	if err != nil {
		return message{}, err
	}
	return s.message("reset."+e.ResetID, e.At, &minted.Contact, "Set a new password",
		fmt.Sprintf("somebody, probably you, asked for a new password for your account. This is the token for it:\n\n  %s\n\n"+
			"It works once, until %s. If it was not you, there is nothing to do: your password stays as it is.",
			minted.Token, localTime(minted.ExpiresAt, minted.Contact.Timezone))), nil
}

func (s *Service) tickets(ctx context.Context, m stream.Msg) (message, error) {
	var e api.OrderEvent
	if err := m.Decode(&e); err != nil {
		return message{}, err
	}
	to, err := s.contact(ctx, e.Order.UserID)
	if err != nil {
		return message{}, err
	}
	paid := e.Order.UpdatedAt
	if e.Order.PaidAt != nil {
		paid = *e.Order.PaidAt
	}
	var b strings.Builder
	fmt.Fprintf(&b, "your order %s is paid: %s.\n\n", e.Order.ID, amount(e.Order.Total))
	for _, item := range e.Order.Items {
		fmt.Fprintf(&b, "  %d × %s, %s each\n", item.Quantity, oneLine(item.Name), amount(item.UnitPrice))
	}
	b.WriteString("\nYour tickets:\n\n")
	for _, id := range e.Tickets {
		fmt.Fprintf(&b, "  %s\n    %s/v1/tickets/%s/qr.png\n", id, s.PublicURL, id)
	}
	b.WriteString("\nShow the code at the door. Each ticket is admitted once.")
	return s.message("order-paid."+e.Order.ID.String(), paid, to, "Your tickets", b.String()), nil
}

func (s *Service) contact(ctx context.Context, id ids.User) (*api.Contact, error) {
	return rpc.Call(ctx, s.Client, api.GetContact, &api.GetContactOf{ID: id})
}

// message puts a text between a greeting and a signature.
func (s *Service) message(cause string, at time.Time, to *api.Contact, subject, text string) message {
	return message{
		id:      cause + "@" + s.host,
		date:    at.UTC(),
		from:    s.from,
		to:      mail.Address{Name: oneLine(to.Name), Address: to.Email},
		subject: subject,
		text:    fmt.Sprintf("Hello %s,\n\n%s\n\nStarlight Symphony\n", oneLine(to.Name), text),
	}
}

// oneLine takes out what would end a line: names are what people say they are.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// amount writes money with the digits of its currency: 2500 EUR is 25.00 EUR, 2500 JPY is 2500 JPY.
func amount(m api.Money) string {
	digits := 2
	if unit, err := currency.ParseISO(m.Currency); err == nil {
		digits, _ = currency.Standard.Rounding(unit)
	}
	if digits == 0 {
		return fmt.Sprintf("%d %s", m.Amount, m.Currency)
	}
	sign, n := "", uint64(m.Amount)
	if m.Amount < 0 {
		sign, n = "-", -n
	}
	scale := uint64(1)
	for range digits {
		scale *= 10
	}
	return fmt.Sprintf("%s%d.%0*d %s", sign, n/scale, digits, n%scale, m.Currency)
}

// localTime writes a time in the zone of its reader, or in UTC if that is not known.
func localTime(t time.Time, zone string) string {
	loc, err := time.LoadLocation(zone) // "" is UTC
	if err != nil {
		loc = time.UTC
	}
	return t.In(loc).Format("2 January 2006 15:04 MST")
}
