package invoices

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// OfOrder returns the documents of an order, oldest first.
func OfOrder(ctx context.Context, db bun.IDB, order ids.Order) ([]Row, error) {
	var rows []Row
	err := db.NewRaw("SELECT * FROM invoices WHERE order_id = ? ORDER BY sequence", order).Scan(ctx, &rows)
	return rows, err
}

// Newest returns what orders have, which the transaction has locked, also of what the batch is about to issue. Orders
// without an invoice are not in it.
func (b *Batch) Newest(ctx context.Context, tx bun.Tx, orders []ids.Order) (map[ids.Order]Issued, error) {
	found := map[ids.Order]Issued{}
	if len(orders) == 0 {
		return found, nil
	}
	var rows []Row
	err := tx.NewRaw("SELECT * FROM invoices WHERE order_id IN (?) ORDER BY order_id, sequence",
		bun.List(orders)).Scan(ctx, &rows)
	for _, r := range b.rows {
		if slices.Contains(orders, r.OrderID) {
			rows = append(rows, r)
		}
	}
	for _, r := range rows {
		of := found[r.OrderID]
		if r.Kind == api.InvoiceIssued {
			of.Row = r
		}
		of.Documents++
		found[r.OrderID] = of
	}
	return found, err
}

// Get returns a document, or a NotFound fault.
func Get(ctx context.Context, db bun.IDB, id ids.Invoice) (Row, error) {
	var row Row
	err := db.NewRaw("SELECT * FROM invoices WHERE id = ?", id).Scan(ctx, &row)
	return row, store.OrNotFound(err, "there is no such invoice")
}

// newestPage is the query for the documents of an organizer before one, by their numbers.
const newestPage = `SELECT * FROM invoices WHERE organizer_id = ? AND (year, number) < (?, ?)
	ORDER BY year DESC, number DESC LIMIT ?`

// yearPage is the query for the documents of an organizer's year after one.
const yearPage = "SELECT * FROM invoices WHERE organizer_id = ? AND year = ? AND number > ? ORDER BY number LIMIT ?"

// Page returns documents of an organizer, newest first: those of a year, or all. next is the cursor of the next page.
func Page(ctx context.Context, db bun.IDB, req *api.InvoicePage) (rows []Row, next string, err error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, "", err
	}
	year, number := 10_000, int64(0)
	if req.Year > 0 {
		year = req.Year + 1
	}
	if key, err := store.DecodeCursor(req.Cursor, 2); err != nil {
		return nil, "", err
	} else if key != nil {
		var bad, worse error
		year, bad = strconv.Atoi(key[0])
		number, worse = strconv.ParseInt(key[1], 10, 64)
		var check fault.Check
		check.Field(bad == nil && worse == nil, "cursor", "is not one that a list returned")
		if err := check.Err(); err != nil {
			return nil, "", err
		}
	}
	if err := db.NewRaw(newestPage, req.ID, year, number, limit+1).Scan(ctx, &rows); err != nil {
		return nil, "", store.FaultOf(ctx, err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = store.EncodeCursor(strconv.Itoa(rows[limit-1].Year), strconv.FormatInt(rows[limit-1].Number, 10))
	}
	if req.Year > 0 {
		for i, r := range rows {
			if r.Year != req.Year {
				return rows[:i], "", nil
			}
		}
	}
	return rows, next, nil
}

// Year returns at most limit documents of an organizer's year after a number, in the order of numbers.
func Year(ctx context.Context, db bun.IDB, id ids.Organizer, year int, after int64, limit int) ([]Row, error) {
	var rows []Row
	err := db.NewRaw(yearPage, id, year, after, limit).Scan(ctx, &rows)
	return rows, store.FaultOf(ctx, err)
}

// SetBilling says whom the invoice of an order is made out to.
func SetBilling(ctx context.Context, tx bun.Tx, order ids.Order, b *api.Billing, now time.Time) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	_, err = store.Exec(ctx, tx, `INSERT INTO billing_addresses (order_id, billing, at) VALUES (?, ?, ?)
		ON CONFLICT (order_id) DO UPDATE SET billing = excluded.billing, at = excluded.at`, order, string(text), now)
	return err
}

// Billing returns whom the invoices of orders are made out to, as far as it was said.
func Billing(ctx context.Context, db bun.IDB, orders []ids.Order) (map[ids.Order]*api.Billing, error) {
	found := map[ids.Order]*api.Billing{}
	if len(orders) == 0 {
		return found, nil
	}
	var rows []struct {
		OrderID ids.Order
		Billing string
	}
	err := store.Select(ctx, db, &rows, "SELECT order_id, billing FROM billing_addresses WHERE order_id IN (?)",
		store.List(orders))
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		b := new(api.Billing)
		if err := json.Unmarshal([]byte(r.Billing), b); err != nil {
			return nil, err
		}
		found[r.OrderID] = b
	}
	return found, nil
}
