package ticketing

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Sale is what the ledger says of an event: all that was ever paid, refunded or not.
type Sale struct {
	EventID                   ids.Event
	Orders, Tickets, Admitted int64
	Revenue                   int64 // minor units
}

// Sales returns the sums of every event that has sold something.
func Sales(ctx context.Context, db *store.DB) ([]Sale, error) {
	var sales []Sale
	err := db.Read().NewRaw(`SELECT o.event_id, count(*) AS orders, sum(o.total) AS revenue, sum(t.tickets) AS tickets, sum(t.admitted) AS admitted
		FROM orders o JOIN (SELECT order_id, count(*) AS tickets, sum(CASE WHEN admitted_at IS NULL THEN 0 ELSE 1 END) AS admitted FROM tickets GROUP BY order_id) t
		ON t.order_id = o.id WHERE o.paid_at IS NOT NULL GROUP BY o.event_id`).Scan(ctx, &sales)
	return sales, err
}
