package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// reminderHours are how long before the start of an event people are reminded.
func reminderHours() []int { return []int{24, 2} }

// learnEvent keeps an event as it is after a change, and begins the mailings that the change calls for. What is older than
// what is known changes nothing: the difference between the two was told, or will be, as one. Two instances take turns at
// an event: what one compares with, the other must not be about to change.
func (s *Service) learnEvent(ctx context.Context, tx bun.Tx, e api.Event, gone bool) error {
	if err := s.lockEvent(ctx, tx, e.ID); err != nil {
		return err
	}
	was, known, err := knownEvent(ctx, tx, e.ID)
	if err != nil {
		return err
	}
	if known && was.Revision >= e.Revision && !gone {
		return nil
	}
	now := rowOf(e)
	if gone {
		now.Status = api.EventCancelled
	}
	res, err := tx.NewInsert().Model(&now).On("CONFLICT (id) DO UPDATE").
		Set("revision = excluded.revision, status = excluded.status, name = excluded.name, starts_at = excluded.starts_at, ends_at = excluded.ends_at, timezone = excluded.timezone, place = excluded.place").
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
	if !known || gone || was.Status != api.EventPublished {
		return nil
	}
	moved := !was.StartsAt.Equal(now.StartsAt) || !was.EndsAt.Equal(now.EndsAt) || was.Timezone != now.Timezone || was.Place != now.Place
	switch {
	case now.Status == api.EventCancelled:
		return s.beginMailing(ctx, tx, mailing{cause: "event_cancelled." + e.ID.String(), name: "event_cancelled", event: e.ID,
			facts: facts{Event: factsOf(e), Reason: e.CancelReason}})
	case now.Status == api.EventPublished && moved:
		return s.beginMailing(ctx, tx, mailing{cause: fmt.Sprintf("event_changed.%s.%d", e.ID, e.Revision), name: "event_changed", event: e.ID,
			facts: facts{Event: factsOf(e), Was: was.facts()}})
	}
	return nil
}

// lockEvent holds up other transactions that lock the event until this one ends. On SQLite there is no other.
func (s *Service) lockEvent(ctx context.Context, tx bun.Tx, id ids.Event) error {
	if !s.DB.Postgres() {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", "starlight notification "+id.String())
	return err
}

// schedule sets the reminders of an event by its start, and takes them back when there is nothing to be reminded of. One
// that is right already stays, also when it is due and about to be sent.
func (s *Service) schedule(ctx context.Context, tx bun.Tx, e eventRow) error {
	if e.Status != api.EventPublished {
		_, err := tx.ExecContext(ctx, "DELETE FROM reminders WHERE event_id = ?", e.ID)
		return err
	}
	for _, hours := range reminderHours() {
		due := e.StartsAt.Add(-time.Duration(hours) * time.Hour)
		if _, err := tx.ExecContext(ctx, "DELETE FROM reminders WHERE event_id = ? AND hours = ? AND due_at <> ?", e.ID, hours, due); err != nil {
			return err
		}
		if !due.After(s.Now()) {
			continue
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO reminders (event_id, hours, due_at) VALUES (?, ?, ?) ON CONFLICT (event_id, hours) DO NOTHING", e.ID, hours, due)
		if err != nil {
			return err
		}
	}
	return nil
}

// mailing is a message to everybody who holds a ticket of an event.
type mailing struct {
	cause string
	name  string
	event ids.Event
	facts facts
	by    ids.User
}

// beginMailing writes a mailing down. The same cause again changes nothing.
func (s *Service) beginMailing(ctx context.Context, tx bun.Tx, m mailing) error {
	data, err := json.Marshal(m.facts)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO mailings (cause, name, event_id, facts, by_user, reached, recipients, created_at)
		VALUES (?, ?, ?, ?, ?, '', 0, ?) ON CONFLICT (cause) DO NOTHING`, m.cause, m.name, m.event, string(data), m.by, s.Now())
	store.Announce(ctx)
	return err
}

// learnTickets keeps who holds the tickets of a paid order. A transfer that was heard of first stays.
func learnTickets(ctx context.Context, tx bun.Tx, e api.OrderEvent) error {
	at := e.Order.UpdatedAt
	if e.Order.PaidAt != nil {
		at = *e.Order.PaidAt
	}
	for _, id := range e.Tickets {
		_, err := tx.ExecContext(ctx, `INSERT INTO holders (ticket_id, event_id, order_id, user_id, given_at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (ticket_id) DO UPDATE SET order_id = excluded.order_id`, id, e.Order.EventID, e.Order.ID, e.Order.UserID, at)
		if err != nil {
			return err
		}
	}
	return nil
}

// moveTicket keeps the new owner of a ticket. Of two transfers the one that is later in the stream counts.
func moveTicket(ctx context.Context, tx bun.Tx, e api.TicketEvent, sequence uint64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO holders (ticket_id, event_id, order_id, user_id, given_at, given_seq) VALUES (?, ?, '', ?, ?, ?)
		ON CONFLICT (ticket_id) DO UPDATE SET user_id = excluded.user_id, given_at = excluded.given_at, given_seq = excluded.given_seq
		WHERE holders.given_seq < excluded.given_seq`, e.TicketID, e.EventID, e.OwnerID, e.At, sequence)
	return err
}

// revokeTicket keeps that a ticket is worth nothing any more, also when nobody was heard to hold it yet. A ticket is revoked
// once, so what it was revoked for does not change.
func revokeTicket(ctx context.Context, tx bun.Tx, e api.TicketEvent) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO holders (ticket_id, event_id, order_id, user_id, given_at, revoked_at, cancelled) VALUES (?, ?, '', ?, ?, ?, ?)
		ON CONFLICT (ticket_id) DO UPDATE SET revoked_at = COALESCE(holders.revoked_at, excluded.revoked_at), cancelled = excluded.cancelled`,
		e.TicketID, e.EventID, e.OwnerID, e.At, e.At, e.Cause == api.RevokedByCancellation)
	return err
}

// forHolders reports whether a message of the name concerns a person only as long as there is a ticket. Reminders are
// checked with those who decide: see stillOn.
func forHolders(name string) bool { return name == "event_changed" || name == "announcement" }

// stillOn asks the event service whether the event takes place at that time, and ticketing whether the person may come in,
// at the moment a reminder is sent: what was heard of a refund or a cancellation may be a second old.
func (s *Service) stillOn(ctx context.Context, m messageRow, f facts) (bool, error) {
	if f.Event == nil || !s.Now().Before(f.Event.StartsAt) {
		return false, nil
	}
	offer, err := s.offer(ctx, m.EventID)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil || offer.Event.Status != api.EventPublished || !store.Time(offer.Event.StartsAt).Equal(store.Time(f.Event.StartsAt)) {
		return false, err
	}
	held, err := s.held(ctx, api.HeldTickets{UserID: m.UserID, EventID: m.EventID})
	return len(held) > 0, err
}
