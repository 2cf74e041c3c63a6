package notification

import (
	"cmp"
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// consumed are the domain events that lead to messages, or say whom they concern.
func consumed() []string {
	return []string{
		api.UserRegistered.Subject, api.UserUpdated.Subject, api.UserDeleted.Subject, api.PasswordChanged.Subject,
		api.PasswordResetRequested.Subject, api.EmailConfirmationRequested.Subject,
		api.PhoneConfirmationRequested.Subject, api.PhoneChanged.Subject,
		api.DeviceWasAdded.Subject, api.LoginsHaveFailed.Subject,
		api.FactorWasAdded.Subject, api.FactorWasRemoved.Subject, api.FactorsHaveFailed.Subject,
		api.IdentityWasLinked.Subject, api.IdentityWasUnlinked.Subject,
		api.RecoveryCodeWasUsed.Subject,
		api.EventUpdated.Subject, api.EventWasPublished.Subject, api.EventWasCancelled.Subject,
		api.EventDeleted.Subject,
		api.OrderWasPaid.Subject, api.OrderIsDue.Subject, api.OrderHasExpired.Subject, api.OrderWasCancelled.Subject,
		api.TicketsWereRequested.Subject, api.CancellationWasDeclined.Subject,
		api.TicketTransferred.Subject, api.TicketWasRevoked.Subject,
		api.TicketOffered.Subject, api.TicketOfferEnded.Subject,
		api.GuestHasOrdered.Subject, api.GuestWantsLink.Subject, api.GuestConfirmed.Subject,
		api.GuestForgotten.Subject, api.OrderWasClaimed.Subject,
		api.PaymentHasFailed.Subject, api.RefundHasSucceeded.Subject,
		api.WebhookWasDisabled.Subject,
	}
}

// step is what a domain event leads to: a change of the projection, and messages to some people. Messages to all who
// hold a ticket are mailings, which a change starts.
type step struct {
	change  func(ctx context.Context, tx bun.Tx) error // may be nil
	notices []notice
}

// notice is a message to one person. Cause and person are its identity: the same again is no second message.
type notice struct {
	cause  string
	user   ids.User
	name   string
	facts  render.Facts
	bulk   bool // one of many
	hidden bool // not for the inbox
	bought bool // about what the person has paid for
	code   bool // a text message and nothing else, to a number that it confirms
}

// plan turns a domain event into messages and delivery jobs, in one transaction, which it may share with other events.
// Mails that people wait for are sent by this instance.
func (s *Service) plan(ctx context.Context, m stream.Msg) error {
	st, err := s.stepFor(ctx, m)
	if err != nil {
		return err
	}
	people, err := s.recipientsOf(ctx, st.notices)
	if err != nil {
		return err
	}
	var done posted
	err = s.group.Do(ctx, func(ctx context.Context, tx bun.Tx) error {
		done = posted{}
		first, err := stream.Once(ctx, tx, consumer, m.ID)
		if err != nil || !first {
			return err
		}
		if st.change != nil {
			if err := st.change(ctx, tx); err != nil {
				return err
			}
		}
		done, err = s.post(ctx, tx, st.notices, people)
		return err
	})
	if err != nil {
		return err
	}
	s.publishLive(ctx, done.inbox)
	s.sendSoon(ctx, done.direct)
	return nil
}

// stepFor decides what an event leads to.
func (s *Service) stepFor(ctx context.Context, m stream.Msg) (step, error) {
	switch m.Subject {
	case api.UserRegistered.Subject, api.UserUpdated.Subject, api.UserDeleted.Subject, api.PasswordChanged.Subject,
		api.LoginsHaveFailed.Subject, api.PhoneChanged.Subject:
		return s.onUser(ctx, m)
	case api.PhoneConfirmationRequested.Subject:
		var e api.PhoneEvent
		if err := m.Decode(&e); err != nil {
			return step{}, err
		}
		return step{notices: []notice{{cause: "phone." + e.ConfirmationID, user: e.UserID, name: "phone_confirmation",
			facts: render.Facts{ConfirmationID: e.ConfirmationID}, hidden: true, code: true}}}, nil
	case api.PasswordResetRequested.Subject:
		var e api.ResetEvent
		if err := m.Decode(&e); err != nil {
			return step{}, err
		}
		// The token is made when the mail is sent. The inbox is for people who are signed in and need none.
		return step{notices: []notice{{cause: "reset." + e.ResetID, user: e.UserID, name: "password_reset",
			facts: render.Facts{ResetID: e.ResetID}, hidden: true}}}, nil
	case api.DeviceWasAdded.Subject:
		var e api.SessionEvent
		if err := m.Decode(&e); err != nil {
			return step{}, err
		}
		// The inbox may be in the hands of the one whom the message is about.
		return step{notices: []notice{{cause: "device." + e.SessionID.String(), user: e.UserID, name: "new_device",
			facts: render.Facts{SessionID: e.SessionID, At: e.At}, hidden: true}}}, nil
	case api.FactorWasAdded.Subject, api.FactorWasRemoved.Subject, api.FactorsHaveFailed.Subject,
		api.RecoveryCodeWasUsed.Subject:
		return onFactor(m)
	case api.IdentityWasLinked.Subject, api.IdentityWasUnlinked.Subject:
		return onIdentity(m)
	case api.WebhookWasDisabled.Subject:
		return s.onWebhookDisabled(ctx, m)
	case api.EmailConfirmationRequested.Subject:
		return onConfirmation(m)
	case api.EventUpdated.Subject, api.EventWasPublished.Subject, api.EventWasCancelled.Subject,
		api.EventDeleted.Subject:
		var offer api.Offer
		if err := m.Decode(&offer); err != nil {
			return step{}, err
		}
		deleted := m.Subject == api.EventDeleted.Subject
		return step{change: func(ctx context.Context, tx bun.Tx) error {
			return s.applyEvent(ctx, tx, offer.Event, deleted)
		}}, nil
	case api.OrderWasPaid.Subject, api.OrderIsDue.Subject, api.OrderHasExpired.Subject,
		api.OrderWasCancelled.Subject, api.TicketsWereRequested.Subject:
		return s.onOrder(ctx, m)
	case api.CancellationWasDeclined.Subject:
		return s.onDeclined(ctx, m)
	case api.TicketTransferred.Subject, api.TicketWasRevoked.Subject:
		return s.onTicket(ctx, m)
	case api.TicketOffered.Subject, api.TicketOfferEnded.Subject:
		return s.onOffer(ctx, m)
	case api.PaymentHasFailed.Subject, api.RefundHasSucceeded.Subject:
		return s.onMoney(ctx, m)
	case api.GuestHasOrdered.Subject, api.GuestWantsLink.Subject, api.GuestConfirmed.Subject,
		api.GuestForgotten.Subject, api.OrderWasClaimed.Subject:
		return s.onGuest(ctx, m)
	}
	return step{}, fault.New(fault.Invalid, "no message is defined for %s", m.Subject)
}

func (s *Service) onUser(ctx context.Context, m stream.Msg) (step, error) {
	var e api.UserEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	switch m.Subject {
	case api.UserRegistered.Subject:
		return step{notices: []notice{{cause: "welcome", user: e.UserID, name: "welcome",
			facts: render.Facts{Speaks: e.Language, ConfirmationID: e.ConfirmationID}}}}, nil
	case api.PasswordChanged.Subject:
		return step{notices: []notice{{cause: m.ID, user: e.UserID, name: "password_changed"}}}, nil
	case api.LoginsHaveFailed.Subject:
		return step{notices: []notice{{cause: m.ID, user: e.UserID, name: "logins_failed"}}}, nil
	case api.PhoneChanged.Subject:
		return step{notices: []notice{{cause: m.ID, user: e.UserID, name: "phone_changed"}}}, nil
	case api.UserUpdated.Subject:
		return s.onAccount(ctx, e.UserID)
	}
	return step{change: func(ctx context.Context, tx bun.Tx) error { return deletePerson(ctx, tx, e.UserID) }}, nil
}

// onFactor tells a person of a change or a use of their second factors. The inbox may be in the hands of the one whom
// the message is about.
func onFactor(m stream.Msg) (step, error) {
	var e api.FactorEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	names := map[string]string{api.FactorWasAdded.Subject: "factor_added",
		api.FactorWasRemoved.Subject: "factor_removed", api.FactorsHaveFailed.Subject: "factors_failed",
		api.RecoveryCodeWasUsed.Subject: "recovery_code_used"}
	return step{notices: []notice{{cause: m.ID, user: e.UserID, name: names[m.Subject],
		facts: render.Facts{Left: e.Left, At: e.At}, hidden: true}}}, nil
}

// onIdentity tells a person through which identity provider they can sign in now, or can no more.
func onIdentity(m stream.Msg) (step, error) {
	var e api.IdentityEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	name := "identity_linked"
	if m.Subject == api.IdentityWasUnlinked.Subject {
		name = "identity_unlinked"
	}
	return step{notices: []notice{{cause: m.ID, user: e.UserID, name: name,
		facts: render.Facts{Provider: e.Provider, At: e.At}, hidden: true}}}, nil
}

// onConfirmation mails the token that proves an address there, and tells the address that it is to replace.
func onConfirmation(m stream.Msg) (step, error) {
	var e api.ConfirmationEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	facts := render.Facts{ConfirmationID: e.ConfirmationID}
	st := step{notices: []notice{{cause: "confirmation." + e.ConfirmationID, user: e.UserID,
		name: "email_confirmation", facts: facts, hidden: true}}}
	if e.Change {
		st.notices = append(st.notices, notice{cause: "change." + e.ConfirmationID, user: e.UserID,
			name: "email_change", facts: facts})
	}
	return st, nil
}

func (s *Service) onOrder(ctx context.Context, m stream.Msg) (step, error) {
	var e api.OrderEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	o := e.Order
	event, err := s.eventAndTypes(ctx, o.EventID)
	if err != nil {
		return step{}, err
	}
	if event != nil {
		event.Called = event.Called.Of(&o)
	}
	about := func(name string) []notice {
		f := render.Facts{Event: event, Order: &o}
		return []notice{{cause: orderCause(name, o.ID), user: o.UserID, name: name, facts: f,
			bought: name == "order_paid" && o.Total.Amount > 0}}
	}
	switch m.Subject {
	case api.OrderWasPaid.Subject:
		change := func(ctx context.Context, tx bun.Tx) error { return insertHolders(ctx, tx, e) }
		if e.Quiet {
			return step{change: change}, nil
		}
		return step{notices: about("order_paid"), change: change}, nil
	case api.OrderIsDue.Subject:
		due := o.ToPay()
		to := about("order_due")
		to[0].facts = render.Facts{Event: event, OrderID: o.ID, Amount: &due}
		return step{notices: to}, nil
	case api.OrderHasExpired.Subject:
		return step{notices: about("order_expired")}, nil
	case api.TicketsWereRequested.Subject:
		again := about("order_paid")
		again[0].cause = m.ID // one more message
		return step{notices: again}, nil
	}
	if e.Quiet { // its tickets were exchanged
		return step{}, nil
	}
	return step{notices: about("order_cancelled")}, nil
}

// onDeclined tells a buyer that the tickets stay, and what the organizer has said to that.
func (s *Service) onDeclined(ctx context.Context, m stream.Msg) (step, error) {
	var e api.CancellationEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	event, err := s.eventOf(ctx, e.EventID)
	return step{notices: []notice{{cause: "declined." + e.ID.String(), user: e.UserID, name: "cancellation_declined",
		bought: e.Total.Amount > 0, facts: render.Facts{Event: event, OrderID: e.OrderID, Reason: e.Answer}}}}, err
}

func orderCause(name string, order ids.Order) string { return name + "." + order.String() }

// finalMessages returns the messages of which one says that an order is paid, or never will be.
func finalMessages(order ids.Order, user ids.User) (final []ids.Notification) {
	for _, name := range []string{"order_paid", "order_expired", "order_cancelled"} {
		final = append(final, messageID(orderCause(name, order), user))
	}
	return final
}

// onMoney handles failed payments and refunds. Payments name no event: that is found by the tickets of the order, if it
// has any. A payment that ended with its order has no message of its own.
func (s *Service) onMoney(ctx context.Context, m stream.Msg) (step, error) {
	n := notice{cause: m.ID}
	if m.Subject == api.PaymentHasFailed.Subject {
		var e api.PaymentEvent
		if err := m.Decode(&e); err != nil || e.Payment.FailureReason == api.FailureOrderEnded {
			return step{}, err
		}
		var ended bool
		final := bun.List(finalMessages(e.Payment.OrderID, e.Payment.UserID))
		err := s.DB.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM messages WHERE id IN (?))", final).Scan(ctx, &ended)
		if err != nil || ended {
			return step{}, err
		}
		n.cause, n.user, n.name = "payment_failed."+e.Payment.ID.String(), e.Payment.UserID, "payment_failed"
		n.facts = render.Facts{OrderID: e.Payment.OrderID, Amount: &e.Payment.Amount, Code: e.Payment.FailureReason}
	} else {
		var e api.RefundEvent
		if err := m.Decode(&e); err != nil {
			return step{}, err
		}
		n.cause, n.user, n.name = "order_refunded."+e.Refund.ID.String(), e.Payment.UserID, "order_refunded"
		n.bought = true
		n.facts = render.Facts{OrderID: cmp.Or(e.Refund.OrderID, e.Payment.OrderID), Amount: &e.Refund.Amount,
			Code: e.Refund.Reason}
		if !slices.Contains(api.RefundReasons(), e.Refund.Reason) {
			n.facts.Code, n.facts.Reason = "", e.Refund.Reason
		}
	}
	var id ids.Event
	err := s.DB.Read().NewRaw("SELECT COALESCE(MAX(event_id), '') FROM holders WHERE order_id = ?", n.facts.OrderID).
		Scan(ctx, &id)
	if err != nil {
		return step{}, err
	}
	if n.facts.Event, err = s.eventOf(ctx, id); err != nil {
		return step{}, err
	}
	return step{notices: []notice{n}}, nil
}

// eventOf returns an event, without what its ticket types are called.
func (s *Service) eventOf(ctx context.Context, id ids.Event) (*render.Event, error) {
	e, err := s.eventAndTypes(ctx, id)
	if e != nil {
		e.Called = nil
	}
	return e, err
}

// eventAndTypes returns an event. One that the projection does not have yet, since domain events come in no certain
// order, is asked for; one that does not exist is nil.
func (s *Service) eventAndTypes(ctx context.Context, id ids.Event) (*render.Event, error) {
	if id == "" {
		return nil, nil
	}
	row, known, err := knownEvent(ctx, s.DB.Read(), id)
	if err != nil {
		return nil, err
	}
	if known {
		e := row.event()
		e.Called = row.Called
		return e, nil
	}
	offer, err := s.offer(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := render.EventOf(offer.Event)
	e.Called = offer.Event.Called()
	return e, nil
}

// recipientsOf returns how to reach the people of notices.
func (s *Service) recipientsOf(ctx context.Context, notices []notice) (map[ids.User]api.Contact, error) {
	if len(notices) != 1 {
		people := set[ids.User]{}
		for _, n := range notices {
			people[n.user] = true
		}
		return s.contactsOf(ctx, people)
	}
	c, err := s.contacts.Do(ctx, notices[0].user) // together with those of other events
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return map[ids.User]api.Contact{c.ID: c}, err
}
