package guests

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Limits bound what is ordered without an account, beside what a person may hold. 0 means that there is no such bound.
type Limits struct {
	PerEmail  int // orders of an address in a day
	PerClient int // unpaid orders from a network address at a time
}

// LimitsOf returns the limits as they are set.
func LimitsOf(live *settings.Live) Limits {
	return Limits{PerEmail: api.MaxGuestOrders.Get(live), PerClient: api.MaxGuestsPerAddress.Get(live)}
}

const window = 24 * time.Hour

// Count is what guests have, in the transaction that writes more orders of theirs.
type Count struct {
	now      time.Time
	byEmail  map[string]int // orders of a day
	byClient map[string]int // unpaid orders
	written  map[ids.Order]bool
}

// Has reports whether an order is there already.
func (c *Count) Has(order ids.Order) bool { return c.written[order] }

// Counted counts the orders of guests. On PostgreSQL transactions that count the same address wait for each other;
// SQLite has one writer.
func Counted(ctx context.Context, db *store.DB, tx bun.Tx, guests []Row, now time.Time) (*Count, error) {
	c := &Count{now: now, byEmail: map[string]int{}, byClient: map[string]int{}, written: map[ids.Order]bool{}}
	var emails, clients, locks []string
	var orders []ids.Order
	for _, g := range guests {
		emails, clients = append(emails, g.EmailKey), append(clients, g.Client)
		orders = append(orders, g.OrderID)
		locks = append(locks, "email "+g.EmailKey, "client "+g.Client)
	}
	if db.Postgres() {
		slices.Sort(locks)
		_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('starlight guest ' || id, 0))
			FROM unnest(ARRAY[?]) AS id ORDER BY id`, bun.List(slices.Compact(locks)))
		if err != nil {
			return nil, err
		}
	}
	var written []ids.Order
	err := tx.NewRaw("SELECT order_id FROM guests WHERE order_id IN (?)", bun.List(orders)).Scan(ctx, &written)
	if err != nil {
		return nil, err
	}
	for _, id := range written {
		c.written[id] = true
	}
	var rows []struct {
		Key string
		N   int
	}
	err = tx.NewRaw(`SELECT email_key AS key, COUNT(*) AS n FROM guests WHERE email_key IN (?) AND created_at > ?
		GROUP BY email_key`, bun.List(emails), now.Add(-window)).Scan(ctx, &rows)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		c.byEmail[r.Key] = r.N
	}
	rows = nil
	err = tx.NewRaw(`SELECT g.client AS key, COUNT(*) AS n FROM guests AS g JOIN orders AS o ON o.id = g.order_id
		WHERE g.client IN (?) AND g.created_at > ? AND o.status = 'pending' GROUP BY g.client`, bun.List(clients),
		now.Add(-window)).Scan(ctx, &rows)
	for _, r := range rows {
		c.byClient[r.Key] = r.N
	}
	return c, err
}

// Add counts one more order, or returns why there may not be one more.
func (c *Count) Add(g Row, l Limits, free bool) error {
	if l.PerEmail > 0 && c.byEmail[g.EmailKey] >= l.PerEmail {
		return fault.New(fault.RateLimited, "too many orders of a day have this mail address; sign in, or come back "+
			"tomorrow").After(window)
	}
	if !free && l.PerClient > 0 && g.Client != "" && c.byClient[g.Client] >= l.PerClient {
		return fault.New(fault.RateLimited, "too many orders from your network are not paid yet; sign in, or try "+
			"again").After(time.Minute)
	}
	c.byEmail[g.EmailKey]++
	if !free {
		c.byClient[g.Client]++
	}
	return nil
}
