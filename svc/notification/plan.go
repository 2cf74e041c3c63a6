package notification

import (
	"context"
	"slices"
	"strconv"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// heard are the domain events that lead to messages, or tell whom they concern.
func heard() []string {
	return []string{
		api.UserRegistered.Subject, api.UserDeleted.Subject, api.PasswordChanged.Subject, api.PasswordResetRequested.Subject,
		api.EventUpdated.Subject, api.EventWasPublished.Subject, api.EventWasCancelled.Subject, api.EventDeleted.Subject,
		api.OrderWasPaid.Subject, api.OrderHasExpired.Subject, api.OrderWasCancelled.Subject,
		api.TicketTransferred.Subject, api.TicketWasRevoked.Subject,
		api.PaymentHasFailed.Subject, api.RefundHasSucceeded.Subject,
	}
}

// step is what a domain event leads to: a change of what is known, and messages to some people. Messages to everybody
// who holds a ticket are mailings, which a change begins.
type step struct {
	change  func(ctx context.Context, tx bun.Tx) error // may be nil
	notices []notice
}

// notice is a message to one person. Its cause and the person name it: the same again is no second message.
type notice struct {
	cause  string
	user   ids.User
	name   string
	facts  facts
	bulk   bool // one of many
	hidden bool // not for the inbox
}

// plan turns a domain event into messages and delivery jobs, in one transaction, which it may share with its neighbours.
func (s *Service) plan(ctx context.Context, m stream.Msg) error {
	st, err := s.stepFor(ctx, m)
	if err != nil {
		return err
	}
	people, err := s.contactsOf(ctx, st.notices)
	if err != nil {
		return err
	}
	var told []messageRow
	err = s.group.Do(ctx, func(ctx context.Context, tx bun.Tx) error {
		told = nil
		first, err := stream.Once(ctx, tx, consumer, m.ID)
		if err != nil || !first {
			return err
		}
		if st.change != nil {
			if err := st.change(ctx, tx); err != nil {
				return err
			}
		}
		told, err = s.post(ctx, tx, st.notices, people)
		return err
	})
	if err != nil {
		return err
	}
	s.show(ctx, told)
	return nil
}

// stepFor decides what an event leads to.
func (s *Service) stepFor(ctx context.Context, m stream.Msg) (step, error) {
	switch m.Subject {
	case api.UserRegistered.Subject, api.UserDeleted.Subject, api.PasswordChanged.Subject:
		return s.onUser(m)
	case api.PasswordResetRequested.Subject:
		var e api.ResetEvent
		if err := m.Decode(&e); err != nil {
			return step{}, err
		}
		// What the token is nobody knows before the mail is sent. The inbox is for those who are signed in: they need none.
		return step{notices: []notice{{cause: "reset." + e.ResetID, user: e.UserID, name: "password_reset", facts: facts{ResetID: e.ResetID}, hidden: true}}}, nil
	case api.EventUpdated.Subject, api.EventWasPublished.Subject, api.EventWasCancelled.Subject, api.EventDeleted.Subject:
		var offer api.Offer
		if err := m.Decode(&offer); err != nil {
			return step{}, err
		}
		gone := m.Subject == api.EventDeleted.Subject
		return step{change: func(ctx context.Context, tx bun.Tx) error { return s.learnEvent(ctx, tx, offer.Event, gone) }}, nil
	case api.OrderWasPaid.Subject, api.OrderHasExpired.Subject, api.OrderWasCancelled.Subject:
		return s.onOrder(ctx, m)
	case api.TicketTransferred.Subject, api.TicketWasRevoked.Subject:
		return s.onTicket(ctx, m)
	case api.PaymentHasFailed.Subject, api.RefundHasSucceeded.Subject:
		return s.onMoney(ctx, m)
	}
	return step{}, fault.New(fault.Invalid, "no message is defined for %s", m.Subject)
}

func (s *Service) onUser(m stream.Msg) (step, error) {
	var e api.UserEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	switch m.Subject {
	case api.UserRegistered.Subject:
		return step{notices: []notice{{cause: "welcome", user: e.UserID, name: "welcome", facts: facts{Speaks: e.Language}}}}, nil
	case api.PasswordChanged.Subject:
		return step{notices: []notice{{cause: m.ID, user: e.UserID, name: "password_changed"}}}, nil
	}
	return step{change: func(ctx context.Context, tx bun.Tx) error { return forgetPerson(ctx, tx, e.UserID) }}, nil
}

func (s *Service) onOrder(ctx context.Context, m stream.Msg) (step, error) {
	var e api.OrderEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	o := e.Order
	f, err := s.about(ctx, o.EventID)
	if err != nil {
		return step{}, err
	}
	f.Order = &o
	tell := func(name string) []notice {
		return []notice{{cause: orderCause(name, o.ID), user: o.UserID, name: name, facts: f}}
	}
	switch m.Subject {
	case api.OrderWasPaid.Subject:
		return step{notices: tell("order_paid"), change: func(ctx context.Context, tx bun.Tx) error { return learnTickets(ctx, tx, e) }}, nil
	case api.OrderHasExpired.Subject:
		return step{notices: tell("order_expired")}, nil
	}
	return step{notices: tell("order_cancelled")}, nil
}

func orderCause(name string, order ids.Order) string { return name + "." + order.String() }

// ends returns the messages of which one tells a person that an order is paid, or that it will not be.
func ends(order ids.Order, user ids.User) (told []ids.Notification) {
	for _, name := range []string{"order_paid", "order_expired", "order_cancelled"} {
		told = append(told, messageID(orderCause(name, order), user))
	}
	return told
}

func (s *Service) onTicket(ctx context.Context, m stream.Msg) (step, error) {
	var e api.TicketEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	if m.Subject == api.TicketWasRevoked.Subject {
		return step{change: func(ctx context.Context, tx bun.Tx) error { return revokeTicket(ctx, tx, e) }}, nil
	}
	f, err := s.about(ctx, e.EventID)
	if err != nil {
		return step{}, err
	}
	f.Ticket = e.TicketID
	return step{
		notices: []notice{{cause: m.ID, user: e.OwnerID, name: "ticket_received", facts: f}},
		change:  func(ctx context.Context, tx bun.Tx) error { return moveTicket(ctx, tx, e, sequence(m)) },
	}, nil
}

// sequence returns where a domain event stands in its stream, also when it comes from the dead letters.
func sequence(m stream.Msg) uint64 {
	if was, err := strconv.ParseUint(m.Header.Get(stream.HeaderDeadSequence), 10, 64); err == nil {
		return was
	}
	return m.Sequence
}

// onMoney tells of payments that failed and money that goes back. Payments know no event: the order does, if a message
// or a ticket of it was seen. A payment that ended with its order is no news: the order's end is.
func (s *Service) onMoney(ctx context.Context, m stream.Msg) (step, error) {
	n := notice{cause: m.ID}
	if m.Subject == api.PaymentHasFailed.Subject {
		var e api.PaymentEvent
		if err := m.Decode(&e); err != nil || e.Payment.FailureReason == api.FailureOrderEnded {
			return step{}, err
		}
		var ended bool
		err := s.DB.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM messages WHERE id IN (?))", bun.List(ends(e.Payment.OrderID, e.Payment.UserID))).Scan(ctx, &ended)
		if err != nil || ended {
			return step{}, err
		}
		n.cause, n.user, n.name = "payment_failed."+e.Payment.ID.String(), e.Payment.UserID, "payment_failed"
		n.facts = facts{OrderID: e.Payment.OrderID, Amount: &e.Payment.Amount, Code: e.Payment.FailureReason}
	} else {
		var e api.RefundEvent
		if err := m.Decode(&e); err != nil {
			return step{}, err
		}
		n.cause, n.user, n.name = "order_refunded."+e.Refund.ID.String(), e.Payment.UserID, "order_refunded"
		n.facts = facts{OrderID: e.Payment.OrderID, Amount: &e.Refund.Amount, Code: e.Refund.Reason}
		if !slices.Contains(api.RefundReasons(), e.Refund.Reason) {
			n.facts.Code, n.facts.Reason = "", e.Refund.Reason
		}
	}
	var event ids.Event
	err := s.DB.Read().NewRaw("SELECT COALESCE(MAX(event_id), '') FROM holders WHERE order_id = ?", n.facts.OrderID).Scan(ctx, &event)
	if err != nil {
		return step{}, err
	}
	f, err := s.about(ctx, event)
	if err != nil {
		return step{}, err
	}
	n.facts.Event = f.Event
	return step{notices: []notice{n}}, nil
}

// about returns the facts of an event. One that was not heard of yet, since events come in no certain order, is asked for.
func (s *Service) about(ctx context.Context, id ids.Event) (facts, error) {
	if id == "" {
		return facts{}, nil
	}
	row, known, err := knownEvent(ctx, s.DB.Read(), id)
	if err != nil {
		return facts{}, err
	}
	if known {
		return facts{Event: row.facts()}, nil
	}
	offer, err := s.offer(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return facts{}, nil
	}
	if err != nil {
		return facts{}, err
	}
	return facts{Event: factsOf(offer.Event)}, nil
}

// contactsOf returns how to reach the people of notices.
func (s *Service) contactsOf(ctx context.Context, notices []notice) (map[ids.User]api.Contact, error) {
	if len(notices) != 1 {
		people := set[ids.User]{}
		for _, n := range notices {
			people[n.user] = true
		}
		return s.contacts(ctx, people)
	}
	c, err := s.people.Do(ctx, notices[0].user) // together with those of the events beside this one
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return map[ids.User]api.Contact{c.ID: c}, err
}
