// Package retention erases what ticketing keeps of people once it need not be kept any more: the names and addresses of
// an event's attendees, what they answered, who scanned at its doors, and old offers of tickets. Orders, tickets, scans
// and all amounts stay, with ids alone.
package retention

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// Every is how often it is looked for what has to go.
const Every = time.Hour

// OffersKept is how long offers of tickets are kept, with the addresses in them.
const OffersKept = 30 * 24 * time.Hour

// page is how many rows one transaction changes, and how many events are looked for at a time.
const page = 500

// Eraser erases. Several may run at the same time: what one has erased, another finds done.
type Eraser struct {
	DB   *store.DB
	Live *settings.Live
	Log  *slog.Logger
	Now  func() time.Time
}

// Erase erases what is due.
func (e Eraser) Erase(ctx context.Context) error {
	now := store.Time(e.Now())
	return errors.Join(e.findEnds(ctx), e.offers(ctx, now.Add(-OffersKept)),
		e.each(ctx, "attendees_erased", now.Add(-api.AttendeeRetention.Get(e.Live)), e.attendees),
		e.each(ctx, "scans_erased", now.Add(-api.ScanRetention.Get(e.Live)), e.scans),
		e.each(ctx, "answers_erased", now.Add(-api.AnswerRetention.Get(e.Live)), e.answers), e.dueAnswers(ctx, now))
}

// Again has the data of an event erased once more, because some came late, as part of a transaction.
func Again(ctx context.Context, tx bun.IDB, event ids.Event) error {
	_, err := tx.ExecContext(ctx, `UPDATE offers SET attendees_erased = FALSE, scans_erased = FALSE
		WHERE event_id = ? AND (attendees_erased OR scans_erased)`, event)
	return err
}

// findEnds reads when events end whose copies are from before that had a column.
func (e Eraser) findEnds(ctx context.Context) error {
	for {
		var rows []struct {
			EventID ids.Event
			Offer   string
		}
		err := e.DB.Read().NewRaw("SELECT event_id, offer FROM offers WHERE ends_at IS NULL AND NOT attendees_erased "+
			"LIMIT ?", page).Scan(ctx, &rows)
		if err != nil || len(rows) == 0 {
			return store.FaultOf(ctx, err)
		}
		for _, row := range rows {
			var offer api.Offer
			if err := json.Unmarshal([]byte(row.Offer), &offer); err != nil {
				return fmt.Errorf("offer of %s: %w", row.EventID, err)
			}
			err := e.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "UPDATE offers SET ends_at = ? WHERE event_id = ? AND ends_at IS NULL",
					store.Time(offer.Event.EndsAt), row.EventID)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
}

// each erases something of all events that ended before a time and have it still. The column says which do not.
func (e Eraser) each(ctx context.Context, done string, before time.Time,
	erase func(context.Context, ids.Event) (int, error)) error {
	column := bun.Ident(done)
	for {
		var events []ids.Event
		err := e.DB.Read().NewRaw("SELECT event_id FROM offers WHERE ends_at < ? AND NOT ? LIMIT ?", before, column,
			page).Scan(ctx, &events)
		if err != nil || len(events) == 0 {
			return store.FaultOf(ctx, err)
		}
		for _, event := range events {
			// Marked first: what comes while it is erased takes the mark off again.
			err := e.mark(ctx, event, column, true)
			if err != nil {
				return err
			}
			n, err := erase(ctx, event)
			if err != nil {
				return errors.Join(err, e.mark(context.WithoutCancel(ctx), event, column, false))
			}
			if n > 0 {
				e.Log.InfoContext(ctx, "personal data of an event was erased", "event", event, "what", done, "rows", n)
			}
		}
	}
}

func (e Eraser) mark(ctx context.Context, event ids.Event, column bun.Ident, done bool) error {
	return e.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE offers SET ? = ? WHERE event_id = ?", column, done, event)
		return err
	})
}

// attendees erases the names and addresses of those who came to an event.
func (e Eraser) attendees(ctx context.Context, event ids.Event) (n int, err error) {
	steps := []func() (int, error){
		func() (int, error) { return e.tickets(ctx, event) },
		func() (int, error) {
			return e.walk(ctx, event, "orders", "created_at",
				func(ctx context.Context, tx bun.Tx, rows []string) (int, error) {
					if _, err := guests.Erase(ctx, tx, rows); err != nil {
						return 0, err
					}
					if err := Texts(ctx, tx, "?", bun.List(rows)); err != nil {
						return 0, err
					}
					n, err := changed(tx.ExecContext(ctx,
						"UPDATE orders SET attendees = '[]' WHERE id IN (?) AND attendees <> '[]'", bun.List(rows)))
					if err != nil {
						return 0, err
					}
					reasons, err := changed(tx.ExecContext(ctx, // which are texts that people wrote
						"UPDATE refunds SET reason = '' WHERE order_id IN (?) AND reason <> ''", bun.List(rows)))
					return n + reasons, err
				})
		},
		func() (int, error) { return e.sales(ctx, event) },
		func() (int, error) {
			return e.delete(ctx, "DELETE FROM ticket_offers WHERE event_id = ?", event)
		},
	}
	for _, step := range steps {
		some, err := step()
		n += some
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Texts erases what was written about orders: notes of those who work with them, why tickets were given back and what
// was answered, and whom invoices are to be made out to. Those that were issued are kept. The query finds the orders.
func Texts(ctx context.Context, tx bun.IDB, orders string, args ...any) error {
	for _, query := range []string{
		"DELETE FROM order_notes WHERE order_id IN (" + orders + ")",
		"DELETE FROM billing_addresses WHERE order_id IN (" + orders + ")",
		`UPDATE cancellations SET reason = '', answer = '' WHERE (reason <> '' OR answer <> '')
			AND order_id IN (` + orders + ")",
	} {
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}

// tickets takes the names off an event's tickets. A venue that has the event's doors learns of it.
func (e Eraser) tickets(ctx context.Context, event ids.Event) (int, error) {
	return e.walk(ctx, event, "tickets", "issued_at",
		func(ctx context.Context, tx bun.Tx, rows []string) (int, error) {
			var named []ids.Ticket
			err := tx.NewRaw(`UPDATE tickets SET holder_name = '', holder_email = ''
				WHERE id IN (?) AND (holder_name <> '' OR holder_email <> '') RETURNING id`,
				bun.List(rows)).Scan(ctx, &named)
			if err != nil {
				return 0, err
			}
			return len(named), record.Mark(ctx, tx, event, named...)
		})
}

// scans erases who scanned at an event.
func (e Eraser) scans(ctx context.Context, event ids.Event) (int, error) {
	return e.walk(ctx, event, "admissions", "at", func(ctx context.Context, tx bun.Tx, rows []string) (int, error) {
		return changed(tx.ExecContext(ctx,
			"UPDATE admissions SET scanned_by = '' WHERE id IN (?) AND scanned_by <> ''", bun.List(rows)))
	})
}

func (e Eraser) answers(ctx context.Context, event ids.Event) (int, error) {
	return answers.Erase(ctx, e.DB, event, store.Time(e.Now()))
}

func (e Eraser) dueAnswers(ctx context.Context, now time.Time) error {
	n, err := answers.EraseDue(ctx, e.DB, now)
	if n > 0 {
		e.Log.InfoContext(ctx, "answers were erased when their questions said", "rows", n)
	}
	return err
}

// walk calls change with the ids of an event's rows, a page at a time, in the order of the index that the table has.
func (e Eraser) walk(ctx context.Context, event ids.Event, table, at string,
	change func(context.Context, bun.Tx, []string) (int, error)) (n int, err error) {
	last := struct {
		At time.Time
		ID string
	}{}
	for {
		rows := []struct {
			At time.Time
			ID string
		}{}
		err := e.DB.Read().NewRaw(`SELECT ?0 AS at, id FROM ?1 WHERE event_id = ?2 AND (?0, id) > (?3, ?4)
			ORDER BY ?0, id LIMIT ?5`, bun.Ident(at), bun.Ident(table), event, last.At, last.ID, page).Scan(ctx, &rows)
		if err != nil || len(rows) == 0 {
			return n, store.FaultOf(ctx, err)
		}
		last = rows[len(rows)-1]
		list := make([]string, len(rows))
		for i, r := range rows {
			list[i] = r.ID
		}
		some := 0
		err = e.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
			some, err = change(ctx, tx, list)
			return err
		})
		if n += some; err != nil {
			return n, err
		}
	}
}

// sales takes the names out of what venues have said of an event's sales, which is kept as they said it.
func (e Eraser) sales(ctx context.Context, event ids.Event) (n int, err error) {
	after := ids.Order("")
	for {
		var rows []struct {
			OrderID ids.Order
			Sale    string
		}
		err := e.DB.Read().NewRaw("SELECT order_id, sale FROM venue_sales WHERE event_id = ? AND order_id > ? "+
			"ORDER BY order_id LIMIT ?", event, after, page).Scan(ctx, &rows)
		if err != nil || len(rows) == 0 {
			return n, store.FaultOf(ctx, err)
		}
		after = rows[len(rows)-1].OrderID
		err = e.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
			for _, row := range rows {
				var sale line.Sale
				if err := json.Unmarshal([]byte(row.Sale), &sale); err != nil {
					return fmt.Errorf("sale %s: %w", row.OrderID, err)
				}
				sale.Buyer = nil
				for i := range sale.Tickets {
					sale.Tickets[i].Holder = api.Attendee{}
				}
				text, err := json.Marshal(sale)
				if err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, "UPDATE venue_sales SET sale = ? WHERE order_id = ?", string(text),
					row.OrderID); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n += len(rows)
	}
}

// offers deletes offers of tickets that were made before a time, however they ended, and the sums of days until then.
func (e Eraser) offers(ctx context.Context, before time.Time) error {
	_, err := e.delete(ctx, "DELETE FROM ticket_offers WHERE created_at < ?", before)
	_, sums := e.delete(ctx, "DELETE FROM refund_days WHERE day < ?", before)
	return errors.Join(err, sums)
}

func (e Eraser) delete(ctx context.Context, query string, arg any) (n int, err error) {
	err = e.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err = changed(tx.ExecContext(ctx, query, arg))
		return err
	})
	return n, err
}

// changed returns how many rows a statement changed.
func changed(res sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}
