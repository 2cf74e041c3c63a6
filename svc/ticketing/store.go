package ticketing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// ticketStore is the service's database: offers and stock here, orders and tickets in files of their own.
type ticketStore struct{ *store.DB }

type tx = bun.Tx

// forUpdate is the clause that keeps rows from changing until the end of the transaction. SQLite needs none: it has one
// writer.
func (db ticketStore) forUpdate() bun.Safe {
	if db.Postgres() {
		return "FOR UPDATE"
	}
	return ""
}

// forShare is forUpdate for rows that others may read so at the same time.
func (db ticketStore) forShare() bun.Safe {
	if db.Postgres() {
		return "FOR SHARE"
	}
	return ""
}

// raiseStock makes room in the fence for the quantities of a revision, without taking any away.
func (db ticketStore) raiseStock(ctx context.Context, event ids.Event, revision int64, lines []inventory.Line) error {
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		for _, l := range lines {
			if _, err := tx.ExecContext(ctx, `
				INSERT INTO stock (ticket_type_id, event_id, capacity, sold, revision) VALUES (?, ?, ?, 0, ?)
				ON CONFLICT (ticket_type_id) DO UPDATE SET capacity = excluded.capacity
				WHERE stock.revision <= excluded.revision AND stock.capacity < excluded.capacity`,
				l.Type, event, l.N, revision); err != nil {
				return err
			}
		}
		return nil
	})
}

// setStock sets the fence to the quantities of a revision, unless it stands at a newer one. Types that are not named
// have none.
func (db ticketStore) setStock(ctx context.Context, event ids.Event, revision int64, k stock) error {
	shares, err := json.Marshal(k.quotas)
	if err != nil {
		return err
	}
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO quotas (event_id, revision, shares) VALUES (?, ?, ?)
			ON CONFLICT (event_id) DO UPDATE SET revision = excluded.revision, shares = excluded.shares
			WHERE quotas.revision <= excluded.revision`, event, revision, string(shares)); err != nil {
			return err
		}
		keep := []string{""} // never empty: "NOT IN ()" is not SQL
		for _, l := range k.lines {
			keep = append(keep, l.Type.String())
			if _, err := tx.ExecContext(ctx,
				"UPDATE stock SET capacity = ?, revision = ? WHERE ticket_type_id = ? AND revision <= ?",
				l.N, revision, l.Type, revision); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx,
			"UPDATE stock SET capacity = sold + leased, revision = ? WHERE event_id = ? AND revision <= ? "+
				"AND ticket_type_id NOT IN (?)",
			revision, event, revision, bun.List(keep))
		return err
	})
}

// errNoStock means that the fence knows nothing of a ticket type.
var errNoStock = errors.New("there is no stock")

// sell moves tickets into the fence. A CHECK violation means that the inventory and the fence disagree.
func sell(ctx context.Context, tx tx, sold map[ids.TicketType]int) error {
	for _, t := range sortedKeys(sold) { // in one order, so that two transactions cannot wait for each other
		res, err := store.Exec(ctx, tx, "UPDATE stock SET sold = sold + ? WHERE ticket_type_id = ?", sold[t], t)
		if err != nil {
			return err
		}
		switch n, err := res.RowsAffected(); {
		case err != nil:
			return err
		case n != 1:
			return fmt.Errorf("ticket type %s: %w", t, errNoStock)
		}
	}
	return nil
}

// offered is what a transaction that sells has to know of an event.
type offered struct {
	cancelled bool
	handed    bool // its doors were handed over once: a venue follows its tickets
}

// offered returns what is known of events. The transaction keeps it so until its end: who cancels the tickets of an
// event afterwards finds those that this transaction issues, and so does who hands its doors over.
func (db ticketStore) offered(ctx context.Context, tx tx, events map[ids.Event]bool) (map[ids.Event]offered, error) {
	var rows []struct {
		EventID   ids.Event
		Cancelled bool
		Handed    bool
	}
	lock := bun.Safe("")
	if db.Postgres() {
		lock = "FOR SHARE OF offers"
	}
	err := store.Select(ctx, tx, &rows, `SELECT offers.event_id, offers.cancelled, doors.event_id IS NOT NULL AS handed
		FROM offers LEFT JOIN doors ON doors.event_id = offers.event_id
		WHERE offers.event_id IN (?) ORDER BY offers.event_id ?`, store.List(sortedKeys(events)), lock)
	out := make(map[ids.Event]offered, len(events))
	for e := range events {
		out[e] = offered{handed: true} // not known: look again
	}
	for _, r := range rows {
		out[r.EventID] = offered{r.Cancelled, r.Handed}
	}
	return out, err
}

// restock takes revoked tickets out of the fence.
func restock(ctx context.Context, tx tx, returned map[ids.TicketType]int) error {
	for _, t := range sortedKeys(returned) {
		if _, err := tx.ExecContext(ctx, "UPDATE stock SET sold = sold - ? WHERE ticket_type_id = ?", returned[t],
			t); err != nil {
			return err
		}
	}
	return nil
}

// list returns a page of the rows that have value in column, newest first. at is the column of their age.
func list[Row keyed](
	ctx context.Context, db ticketStore, at, column, value string, page api.Page,
) (rows []Row, next string, err error) {
	limit, err := store.Limit(page.Limit)
	if err != nil {
		return nil, "", err
	}
	return newest[Row](ctx, db, at, column, value, page.Cursor, limit)
}

// keyed is a row that a cursor can stand for.
type keyed interface{ Key() (time.Time, string) }

// newest is list with a limit that is the caller's own.
func newest[Row keyed](
	ctx context.Context, db ticketStore, at, column, value, cursor string, limit int,
) (rows []Row, next string, err error) {
	return newestOf[Row](ctx, db.Read().NewSelect().Where("? = ?", bun.Ident(column), value), at, cursor, limit)
}

// newestOf returns a page of what a query selects, newest first.
func newestOf[Row keyed](
	ctx context.Context, query *bun.SelectQuery, at, cursor string, limit int,
) (rows []Row, next string, err error) {
	query = query.Model(&rows).OrderExpr("? DESC, id DESC", bun.Ident(at)).Limit(int64(limit) + 1)
	then, after, err := store.DecodeTimeCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	if cursor != "" {
		query = query.Where("(?, id) < (?, ?)", bun.Ident(at), then, after)
	}
	if err := query.Scan(ctx); err != nil {
		return nil, "", store.OrNotFound(err, "there is no such list")
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = cursorAt(rows[limit-1])
	}
	return rows, next, nil
}

// cursorAt returns the cursor of the page that begins after the row.
func cursorAt(row keyed) string {
	then, id := row.Key()
	return store.EncodeTimeCursor(then, id)
}

// setCurrency makes a currency that of the event's orders, unless there are orders in another: an event sells in one
// currency, so that its sums are sums. If that changes anything, agree is called before the commit and can refuse; no
// order is written meanwhile. Like all of a transaction, agree may be called again.
func (db ticketStore) setCurrency(
	ctx context.Context, event ids.Event, currency string, agree func(context.Context) error,
) error {
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		res, err := tx.ExecContext(ctx,
			"INSERT INTO currencies (event_id, currency) VALUES (?, ?) ON CONFLICT (event_id) DO NOTHING", event,
			currency)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 1 {
			return agree(ctx)
		}
		// Who writes orders has the row locked: after this there are no others on their way.
		var before string
		if err := tx.NewRaw("SELECT currency FROM currencies WHERE event_id = ? ?", event, db.forUpdate()).Scan(ctx,
			&before); err != nil || before == currency {
			return err
		}
		var sold bool
		err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM orders WHERE event_id = ? AND currency <> ?)", event,
			currency).Scan(ctx, &sold)
		if err != nil {
			return err
		}
		if sold {
			return fault.New(fault.Conflict,
				"tickets of this event were sold or held in %s: its currency cannot change", before)
		}
		if err := agree(ctx); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE currencies SET currency = ? WHERE event_id = ?", currency, event)
		return err
	})
}

// currencyRow is a row of the table currencies.
type currencyRow struct {
	bun.BaseModel `bun:"table:currencies,alias:currencies"`

	EventID  ids.Event `bun:"event_id,pk"`
	Currency string    `bun:"currency"`
}

// currencies returns in which currency orders of each event of the batch are written, and keeps it so until the end of
// the transaction.
func (db ticketStore) currencies(ctx context.Context, tx tx, in []creation) (map[ids.Event]string, error) {
	first := map[ids.Event]string{}
	for _, c := range in {
		if _, ok := first[c.row.EventID]; !ok {
			first[c.row.EventID] = c.row.Currency
		}
	}
	events := sortedKeys(first) // in one order, so that two transactions cannot wait for each other
	rows := make([]currencyRow, len(events))
	for i, e := range events {
		rows[i] = currencyRow{EventID: e, Currency: first[e]}
	}
	if _, err := store.Insert(ctx, tx, rows, "CONFLICT (event_id) DO NOTHING"); err != nil {
		return nil, err
	}
	rows = nil
	err := store.Select(ctx, tx, &rows,
		"SELECT event_id, currency FROM currencies WHERE event_id IN (?) ORDER BY event_id ?",
		store.List(events), db.forShare())
	for _, r := range rows {
		first[r.EventID] = r.Currency
	}
	return first, err
}

func setOf[T comparable](list []T) map[T]bool {
	set := make(map[T]bool, len(list))
	for _, v := range list {
		set[v] = true
	}
	return set
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func fieldName(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
