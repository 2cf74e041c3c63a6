package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// Organizers change an event again and again until it is right. Ticket holders are told once it has been quiet for a
// while, of all that is not as they know it.

// longestGathering is how many quiet times pass at most before holders are told of an event that never comes to rest.
const longestGathering = 6

// gatherChange notes that an event is not any more as its ticket holders know it. The event is locked.
func (s *Service) gatherChange(ctx context.Context, tx bun.Tx, was, now eventRow) error {
	known, err := json.Marshal(was.event())
	if err != nil {
		return err
	}
	quiet := api.ChangeQuiet.Get(s.Live)
	begins := was.StartsAt
	if now.StartsAt.Before(begins) {
		begins = now.StartsAt
	}
	at := s.Now()
	quiet = max(0, min(quiet, begins.Sub(at)/4)) // who is about to leave for it should know in time
	oldest := at.Add(-longestGathering * quiet)
	_, err = tx.ExecContext(ctx, `INSERT INTO changes (event_id, was, since, due_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (event_id) DO UPDATE SET due_at = CASE WHEN changes.since < ? THEN changes.due_at
		ELSE excluded.due_at END`, now.ID, string(known), at, at.Add(quiet), oldest)
	return err
}

// forgetChange notes that ticket holders need not be told of changes any more.
func forgetChange(ctx context.Context, tx bun.Tx, id ids.Event) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM changes WHERE event_id = ?", id)
	return err
}

// sweepChanges starts the mailings about events that have been quiet for long enough. Of two instances one does.
func (s *Service) sweepChanges(ctx context.Context) error {
	const most = 100
	now := s.Now()
	var due []ids.Event
	err := s.DB.Read().NewRaw("SELECT event_id FROM changes WHERE due_at <= ? ORDER BY due_at LIMIT ?", now, most).
		Scan(ctx, &due)
	if err != nil {
		return err
	}
	for _, id := range due {
		err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return s.tellChange(ctx, tx, id, now) })
		if err != nil {
			return err
		}
	}
	return nil
}

// tellChange starts the mailing about an event, unless it is as its ticket holders know it.
func (s *Service) tellChange(ctx context.Context, tx bun.Tx, id ids.Event, now time.Time) error {
	if err := s.lockEvent(ctx, tx, id); err != nil {
		return err
	}
	var known []string
	err := tx.NewRaw("DELETE FROM changes WHERE event_id = ? AND due_at <= ? RETURNING was", id, now).Scan(ctx, &known)
	if err != nil || len(known) == 0 { // changed once more, or told by another instance
		return err
	}
	var was render.Event
	if err := json.Unmarshal([]byte(known[0]), &was); err != nil {
		return err
	}
	row, ok, err := knownEvent(ctx, tx, id)
	if err != nil || !ok || row.Status != api.EventPublished || !render.Moved(was, *row.event()) {
		return err
	}
	return s.startMailing(ctx, tx, mailing{cause: fmt.Sprintf("event_changed.%s.%d", id, row.Revision),
		name: "event_changed", event: id, facts: render.Facts{Event: row.event(), Was: &was}})
}
