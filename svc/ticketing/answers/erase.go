package answers

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Date notes when the answers to questions of an event go that say so themselves, as part of a transaction.
func Date(ctx context.Context, tx bun.Tx, e *api.Event) error {
	if len(e.Questions) == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM answer_dates WHERE event_id = ?", e.ID); err != nil {
		return err
	}
	for _, q := range e.Questions {
		if q.RetentionDays == 0 {
			continue
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO answer_dates (event_id, question_id, erase_at) VALUES (?, ?, ?)
			ON CONFLICT (event_id, question_id) DO UPDATE SET erase_at = excluded.erase_at, erased = FALSE`, e.ID, q.ID,
			store.Time(e.EndsAt.Add(time.Duration(q.RetentionDays)*24*time.Hour))); err != nil {
			return err
		}
	}
	return nil
}

// Again has the answers of an event erased once more, because some came late, as part of a transaction.
func Again(ctx context.Context, tx bun.IDB, event ids.Event) error {
	if _, err := tx.ExecContext(ctx, "UPDATE answer_dates SET erased = FALSE WHERE event_id = ? AND erased",
		event); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE offers SET answers_erased = FALSE WHERE event_id = ? AND answers_erased",
		event)
	return err
}

// ForgetPerson erases what was answered about the orders and tickets of a person. Of a ticket that was given away it is
// its new owner's.
func ForgetPerson(ctx context.Context, tx bun.IDB, user ids.User) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM question_answers
		WHERE order_id IN (SELECT id FROM orders WHERE user_id = ?0)
		AND NOT EXISTS (SELECT 1 FROM tickets AS t WHERE t.order_id = question_answers.order_id
			AND t.position = question_answers.position AND t.owner_id <> ?0)`, user); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM question_answers WHERE (order_id, position) IN
		(SELECT order_id, position FROM tickets WHERE owner_id = ?)`, user); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM refused_answers WHERE ticket_id IN
		(SELECT id FROM tickets WHERE owner_id = ?)`, user)
	return err
}

// ForgetTicket erases what was answered about a ticket: another person comes with it.
func ForgetTicket(ctx context.Context, tx bun.IDB, order ids.Order, position int) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM question_answers WHERE order_id = ? AND position = ?", order,
		position); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM refused_answers WHERE ticket_id IN
		(SELECT id FROM tickets WHERE order_id = ? AND position = ?)`, order, position)
	return err
}

// page is how many rows one transaction erases.
const page = 1000

// Erase erases the answers about an event, but for those to questions that say themselves when. The venue that has its
// doors reads its list anew.
func Erase(ctx context.Context, db *store.DB, event ids.Event, now time.Time) (int, error) {
	if _, err := write(ctx, db, `DELETE FROM refused_answers WHERE event_id = ? AND question_id NOT IN
		(SELECT question_id FROM answer_dates WHERE event_id = ?)`, event, event); err != nil {
		return 0, err
	}
	n, err := erase(ctx, db, `event_id = ? AND question_id NOT IN
		(SELECT question_id FROM answer_dates WHERE event_id = ?)`, event, event)
	if err == nil && n > 0 {
		err = readAnew(ctx, db, event, now)
	}
	return n, err
}

// readAnew begins another generation of the list that a venue has of an event, as the doors do: answers are in it.
func readAnew(ctx context.Context, db *store.DB, event ids.Event, now time.Time) error {
	_, err := write(ctx, db, `UPDATE doors SET generation = CASE WHEN generation >= ?0 THEN generation + 1 ELSE ?0 END
		WHERE event_id = ?1 AND state <> 'hub'`, now.UnixMilli(), event)
	return err
}

// EraseDue erases the answers to questions that say themselves when, as far as that was before a time.
func EraseDue(ctx context.Context, db *store.DB, now time.Time) (n int, err error) {
	for {
		var due []struct {
			EventID    ids.Event
			QuestionID ids.Question
			EraseAt    time.Time
		}
		err := db.Read().NewRaw("SELECT event_id, question_id, erase_at FROM answer_dates WHERE erase_at < ? "+
			"AND NOT erased LIMIT ?", now, page).Scan(ctx, &due)
		if err != nil || len(due) == 0 {
			return n, store.FaultOf(ctx, err)
		}
		for _, d := range due {
			// Marked first: what comes while it is erased takes the mark off again.
			if _, err := write(ctx, db, `UPDATE answer_dates SET erased = TRUE WHERE event_id = ? AND question_id = ?
				AND erase_at = ?`, d.EventID, d.QuestionID, d.EraseAt); err != nil {
				return n, err
			}
			if _, err := write(ctx, db, "DELETE FROM refused_answers WHERE event_id = ? AND question_id = ?", d.EventID,
				d.QuestionID); err != nil {
				return n, err
			}
			some, err := erase(ctx, db, "event_id = ? AND question_id = ?", d.EventID, d.QuestionID)
			if err == nil && some > 0 {
				err = readAnew(ctx, db, d.EventID, now)
			}
			if n += some; err != nil {
				return n, err
			}
		}
	}
}

func erase(ctx context.Context, db *store.DB, where string, args ...any) (n int, err error) {
	for {
		some, err := write(ctx, db, `DELETE FROM question_answers WHERE (order_id, position, question_id, pick) IN
			(SELECT order_id, position, question_id, pick FROM question_answers WHERE `+where+" LIMIT ?)",
			append(args, page)...)
		if n += some; err != nil || some == 0 {
			return n, err
		}
	}
}

func write(ctx context.Context, db *store.DB, query string, args ...any) (n int, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var res sql.Result
		if res, err = tx.ExecContext(ctx, query, args...); err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		n = int(rows)
		return err
	})
	return n, err
}
