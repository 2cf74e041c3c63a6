package notification

import (
	"context"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// reminderHours returns how long before the start of an event people are reminded.
func reminderHours() []int { return []int{24, 2} }

// applyEvent stores an event as it is after a change, and starts the mailings that the change calls for. A revision
// older than the stored one changes nothing. Two instances take turns at an event: what one compares with, the other
// must not be about to change.
func (s *Service) applyEvent(ctx context.Context, tx bun.Tx, e api.Event, deleted bool) error {
	if err := s.lockEvent(ctx, tx, e.ID); err != nil {
		return err
	}
	was, known, err := knownEvent(ctx, tx, e.ID)
	if err != nil {
		return err
	}
	if known && was.Revision >= e.Revision && !deleted {
		return nil
	}
	now := rowOf(e)
	if deleted {
		now.Status = api.EventCancelled
	}
	res, err := tx.NewInsert().Model(&now).On("CONFLICT (id) DO UPDATE").
		Set("revision = excluded.revision, status = excluded.status, name = excluded.name, starts_at = " +
			"excluded.starts_at").
		Set("ends_at = excluded.ends_at, timezone = excluded.timezone, place = excluded.place").
		Set("names = excluded.names, called = excluded.called").
		Where("known_events.revision <= excluded.revision").Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if err := s.schedule(ctx, tx, now); err != nil {
		return err
	}
	if !known || deleted || was.Status != api.EventPublished {
		return nil
	}
	switch {
	case now.Status == api.EventCancelled:
		if err := forgetChange(ctx, tx, e.ID); err != nil {
			return err
		}
		return s.startMailing(ctx, tx, mailing{cause: "event_cancelled." + e.ID.String(), name: "event_cancelled",
			event: e.ID, facts: render.Facts{Event: render.EventOf(e), Reason: e.CancelReason}})
	case now.Status == api.EventPublished && render.Moved(*was.event(), *now.event()):
		return s.gatherChange(ctx, tx, was, now)
	}
	return nil
}

// lockEvent holds up other transactions that lock the event until this one ends.
func (s *Service) lockEvent(ctx context.Context, tx bun.Tx, id ids.Event) error {
	return s.DB.Alone(ctx, tx, "event "+id.String())
}

// schedule sets the reminders of an event by its start, and deletes them when the event is not on sale. One that is
// right already stays, also when it is due and about to be sent.
func (s *Service) schedule(ctx context.Context, tx bun.Tx, e eventRow) error {
	if e.Status != api.EventPublished {
		_, err := tx.ExecContext(ctx, "DELETE FROM reminders WHERE event_id = ?", e.ID)
		return err
	}
	for _, hours := range reminderHours() {
		due := e.StartsAt.Add(-time.Duration(hours) * time.Hour)
		_, err := tx.ExecContext(ctx, "DELETE FROM reminders WHERE event_id = ? AND hours = ? AND due_at <> ?",
			e.ID, hours, due)
		if err != nil {
			return err
		}
		if !due.After(s.Now()) {
			continue
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO reminders (event_id, hours, due_at) VALUES (?, ?, ?)
			ON CONFLICT (event_id, hours) DO NOTHING`, e.ID, hours, due)
		if err != nil {
			return err
		}
	}
	return nil
}

// insertHolders stores who holds the tickets of a paid order. A transfer that was consumed first stays.
func insertHolders(ctx context.Context, tx bun.Tx, e api.OrderEvent) error {
	at := e.Order.UpdatedAt
	if e.Order.PaidAt != nil {
		at = *e.Order.PaidAt
	}
	for _, id := range e.Tickets {
		_, err := store.Exec(ctx, tx, `INSERT INTO holders (ticket_id, event_id, order_id, user_id, given_at, paid)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (ticket_id) DO UPDATE SET order_id = excluded.order_id`,
			id, e.Order.EventID, e.Order.ID, e.Order.UserID, at, e.Order.Total.Amount > 0)
		if err != nil {
			return err
		}
	}
	return nil
}

// changeHolder stores the new owner of a ticket. Of two transfers the one that is later in the stream counts.
func changeHolder(ctx context.Context, tx bun.Tx, e api.TicketEvent, sequence uint64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO holders (ticket_id, event_id, order_id, user_id, given_at, given_seq, paid)
		VALUES (?, ?, '', ?, ?, ?, FALSE) ON CONFLICT (ticket_id) DO UPDATE
		SET user_id = excluded.user_id, paid = FALSE, given_at = excluded.given_at, given_seq = excluded.given_seq
		WHERE holders.given_seq < excluded.given_seq`, e.TicketID, e.EventID, e.OwnerID, e.At, sequence)
	return err
}

// revokeHolder stores that a ticket is not valid any more, also when its holder is not known yet. A ticket is revoked
// once, so the cause does not change.
func revokeHolder(ctx context.Context, tx bun.Tx, e api.TicketEvent) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO holders
		(ticket_id, event_id, order_id, user_id, given_at, revoked_at, cancelled)
		VALUES (?, ?, '', ?, ?, ?, ?) ON CONFLICT (ticket_id) DO UPDATE
		SET revoked_at = COALESCE(holders.revoked_at, excluded.revoked_at), cancelled = excluded.cancelled`,
		e.TicketID, e.EventID, e.OwnerID, e.At, e.At, e.Cause == api.RevokedByCancellation)
	return err
}

// forHolders reports whether a message concerns its recipient only as long as that holds a ticket. Reminders are
// checked with the services that decide: see isStillOn.
func forHolders(name string) bool { return name == "event_changed" || name == "announcement" }

// isStillOn asks the event service whether the event takes place at that time, and ticketing whether the recipient
// holds a ticket, at the moment a reminder is sent: the projection may be a second old.
func (s *Service) isStillOn(ctx context.Context, m messageRow, f render.Facts) (bool, error) {
	if f.Event == nil || !s.Now().Before(f.Event.StartsAt) {
		return false, nil
	}
	offer, err := s.offer(ctx, m.EventID)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	sameTime := err == nil && store.Time(offer.Event.StartsAt).Equal(store.Time(f.Event.StartsAt))
	if !sameTime || offer.Event.Status != api.EventPublished {
		return false, err
	}
	held, err := s.held(ctx, api.HeldTickets{UserID: m.UserID, EventID: m.EventID})
	return len(held) > 0, err
}

func (s *Service) onTicket(ctx context.Context, m stream.Msg) (step, error) {
	var e api.TicketEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	if m.Subject == api.TicketWasRevoked.Subject {
		return step{change: func(ctx context.Context, tx bun.Tx) error { return revokeHolder(ctx, tx, e) }}, nil
	}
	event, err := s.eventAndTypes(ctx, e.EventID)
	if err != nil {
		return step{}, err
	}
	f := render.Facts{Event: event, Ticket: e.TicketID}
	return step{
		notices: []notice{{cause: m.ID, user: e.OwnerID, name: "ticket_received", facts: f}},
		change:  func(ctx context.Context, tx bun.Tx) error { return changeHolder(ctx, tx, e, sequence(m)) },
	}, nil
}

// onOffer mails the token of an offered ticket to the address that it is offered to, and tells its giver how it ended.
// The message belongs to the giver: the address may have no account.
func (s *Service) onOffer(ctx context.Context, m stream.Msg) (step, error) {
	var e api.OfferEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	event, err := s.eventOf(ctx, e.EventID)
	if err != nil {
		return step{}, err
	}
	n := notice{cause: "offer." + e.OfferID.String(), user: e.OwnerID, name: "ticket_offer", hidden: true,
		facts: render.Facts{Event: event, Ticket: e.TicketID, OfferID: e.OfferID}}
	switch e.Outcome {
	case "":
	case api.OfferAccepted:
		n.name, n.hidden = "offer_accepted", false
	case api.OfferRefused:
		n.name, n.hidden = "offer_refused", false
	default: // the giver has taken it back
		return step{}, nil
	}
	n.cause += e.Outcome
	return step{notices: []notice{n}}, nil
}

// sequence returns the position of a domain event in its stream, also when it comes from the dead letters.
func sequence(m stream.Msg) uint64 {
	if original, err := strconv.ParseUint(m.Header.Get(stream.HeaderDeadSequence), 10, 64); err == nil {
		return original
	}
	return m.Sequence
}
