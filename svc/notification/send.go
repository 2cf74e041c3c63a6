package notification

import (
	"context"
	"encoding/json"
	"errors"
	"net/mail"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/phone"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
	"github.com/starlightsymphony/starlight/svc/notification/channel/email"
	"github.com/starlightsymphony/starlight/svc/notification/channel/webpush"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// obsolete is the error of a message that its recipient should not get any more.
type obsolete struct{ reason string }

func (o *obsolete) Error() string { return o.reason }

// sendMail writes and sends one mail.
func (s *Service) sendMail(ctx context.Context, out *outgoing) error {
	lang := s.texts.LanguageOf(out.to, out.facts)
	v := s.texts.View(lang, out.to.Name, out.facts)
	if err := s.addSecrets(ctx, out, lang, &v); err != nil {
		return err
	}
	if !out.to.EmailVerified || out.row.Name == "email_confirmation" {
		// The address may be a stranger's: nothing in the mail is what a person wrote to be read there.
		out.to.Name, v.Name = "", ""
		if out.facts.Code == "" {
			v.Reason = ""
		}
	}
	m, err := s.write(ctx, out, v)
	if err != nil {
		return err
	}
	err = s.mails.Send(ctx, m)
	var gone *email.NoSuchAddress
	if !errors.As(err, &gone) {
		return err
	}
	if out.to.ID != "" { // and not an address without an account
		if err := s.blockAddress(ctx, out.to.ID, out.to.Email, gone.Reason); err != nil {
			return err
		}
	}
	return &channel.Undeliverable{Reason: gone.Reason}
}

// addSecrets adds what stands in a mail and nowhere else: tokens, which are made at this moment, and the addresses
// that they are about.
func (s *Service) addSecrets(ctx context.Context, out *outgoing, lang string, v *render.View) error {
	if !out.facts.At.IsZero() {
		v.When = s.texts.Moment(lang, out.facts.At, out.to.Timezone)
	}
	switch name := out.row.Name; {
	case name == "password_reset":
		minted, err := rpc.Call(ctx, s.Client, api.MintResetToken, &api.MintReset{ResetID: out.facts.ResetID})
		if fault.Is(err, fault.NotFound) {
			return &obsolete{"the reset is used or too old"}
		}
		if err != nil {
			return err
		}
		out.to = minted.Contact
		v.Token, v.Until = minted.Token, s.texts.Moment(lang, minted.ExpiresAt, out.to.Timezone)
	case name == "email_change":
		former, err := rpc.Call(ctx, s.Client, api.GetFormerContact,
			&api.MintConfirmation{ConfirmationID: out.facts.ConfirmationID})
		if fault.Is(err, fault.NotFound) {
			return &obsolete{"the change is too old"}
		}
		if err != nil {
			return err
		}
		out.to, v.Address = former.Contact, former.Address
	case name == "ticket_offer":
		minted, err := rpc.Call(ctx, s.Client, api.MintOfferToken, &api.MintOffer{OfferID: out.facts.OfferID})
		if fault.Is(err, fault.NotFound) {
			return &obsolete{"the ticket is not offered any more"}
		}
		if err != nil {
			return err
		}
		out.to = api.Contact{Email: minted.Email, Language: out.to.Language, Timezone: out.to.Timezone}
		v.Token, v.Until = minted.Token, s.texts.Moment(lang, minted.ExpiresAt, out.to.Timezone)
	case out.to.Guest:
		return s.addLink(ctx, out, v)
	case name == "new_device":
		session, err := rpc.Call(ctx, s.Client, api.GetSessionInfo, &api.GetSession{SessionID: out.facts.SessionID})
		if fault.Is(err, fault.NotFound) { // it has ended; that it was there is told all the same
			return nil
		}
		if err != nil {
			return err
		}
		v.Device, v.From = session.Device, session.Address
	case out.facts.ConfirmationID != "":
		minted, err := rpc.Call(ctx, s.Client, api.MintConfirmationToken,
			&api.MintConfirmation{ConfirmationID: out.facts.ConfirmationID})
		if fault.Is(err, fault.NotFound) {
			if name == "welcome" { // which it is without a token, too
				return nil
			}
			return &obsolete{"the address is confirmed, or another one is to be"}
		}
		if err != nil {
			return err
		}
		out.to = minted.Contact
		v.Token, v.Until = minted.Token, s.texts.Moment(lang, minted.ExpiresAt, out.to.Timezone)
	}
	return nil
}

// write writes a mail, when it is its turn.
func (s *Service) write(ctx context.Context, out *outgoing, v render.View) (*email.Mail, error) {
	leave, err := s.throttle.Enter(ctx)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the mail could not be written in time")
	}
	defer leave()
	files, err := s.attachments(ctx, out)
	if err != nil {
		return nil, err
	}
	lang := s.texts.LanguageOf(out.to, out.facts)
	links := render.Links{Action: s.link(out, v.Token)}
	if !render.IsTransactional(out.row.Kind) {
		links.Unsubscribe = s.unsubscribeURL(out.to.ID, out.row.Kind)
	}
	written, err := s.texts.Message(lang, out.row.Name, v, out.facts, links)
	if err != nil {
		return nil, err
	}
	return &email.Mail{
		ID: s.mailID(out.row), From: s.from, To: mail.Address{Name: out.to.Name, Address: out.to.Email},
		Date: out.row.CreatedAt, Language: lang, Subject: written.Subject, Text: written.Text, HTML: written.HTML,
		Unsubscribe: links.Unsubscribe, Attachments: files,
	}, nil
}

// link returns where a message's button leads.
func (s *Service) link(out *outgoing, token string) string {
	if out.token != "" {
		return s.PublicURL + "/orders/" + api.OrderOfGuest(out.to.ID).String() + "?token=" + out.token
	}
	t, _ := s.texts.Template(out.row.Name)
	return t.Link(s.PublicURL, out.facts, token)
}

// mailID is derived from the message, so that a mail which is sent again after a crash has the same Message-ID.
func (s *Service) mailID(row messageRow) string {
	return row.Name + "." + row.ID.String() + "@" + s.host
}

// sendSMS sends one text message.
func (s *Service) sendSMS(ctx context.Context, out *outgoing) error {
	if s.sms == nil {
		return &channel.Undeliverable{Reason: "there is no provider"}
	}
	to, message := out.to.Phone, out.row.Title+"\n"+out.row.Text
	if out.row.Name == "phone_confirmation" {
		minted, err := rpc.Call(ctx, s.Client, api.MintPhoneCode,
			&api.MintPhone{ConfirmationID: out.facts.ConfirmationID})
		if fault.Is(err, fault.NotFound) {
			return &obsolete{"the code is used or too old"}
		}
		if err != nil {
			return err
		}
		lang := s.texts.LanguageOf(minted.Contact, out.facts)
		v := s.texts.View(lang, "", out.facts)
		v.Token = minted.Code
		if _, message, err = s.texts.Headline(lang, out.row.Name, v); err != nil {
			return err
		}
		to = minted.Contact.Phone
	}
	if to == "" {
		return &channel.Undeliverable{Reason: "there is no number"}
	}
	if err := phone.Check(to, api.SMSCountries.Get(s.Live)); err != nil { // it may have changed since
		return &channel.Undeliverable{Reason: err.Error()}
	}
	return putOff(s.sms.Send(ctx, to, message))
}

// pushPayload is what a browser's service worker is given.
type pushPayload struct {
	ID      ids.Notification `json:"id"`
	Kind    string           `json:"kind"`
	Title   string           `json:"title"`
	Text    string           `json:"text"`
	EventID ids.Event        `json:"event_id,omitempty"`
	OrderID ids.Order        `json:"order_id,omitempty"`
	URL     string           `json:"url,omitempty"`
}

// sendPush sends a message to one device.
func (s *Service) sendPush(ctx context.Context, out *outgoing) error {
	const maxTitle = 120 // characters
	var device subscriptionRow
	err := s.DB.Read().NewRaw("SELECT * FROM push_subscriptions WHERE id = ?", out.job.Target).Scan(ctx, &device)
	if err = store.OrNotFound(err, "there is no such subscription"); fault.Is(err, fault.NotFound) {
		return &channel.Undeliverable{Reason: "the device is no longer subscribed"}
	}
	if err != nil {
		return err
	}
	row := out.row
	body, err := json.Marshal(pushPayload{ID: row.ID, Kind: row.Kind, Title: text.Shorten(row.Title, maxTitle),
		Text: row.Text, EventID: row.EventID, OrderID: row.OrderID, URL: s.link(out, "")})
	if err != nil {
		return err
	}
	to := webpush.Subscription{Endpoint: device.Endpoint, P256dh: device.P256dh, Auth: device.Auth,
		Person: device.UserID.String(), Failing: device.Failures > 0}
	err = s.push.Send(ctx, to, webpush.Message{Body: body, Topic: row.ID.String(), TTL: pushTTL(row.Name, out.facts)})
	return s.pushed(ctx, device, err)
}

// pushTTL is how long a push service keeps a message for a device that is off: a reminder is no use after the start.
func pushTTL(name string, f render.Facts) time.Duration {
	if name == "reminder" {
		return time.Duration(f.Hours) * time.Hour
	}
	return 3 * 24 * time.Hour
}
