package ticketing

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// setCurrency makes a currency that of the event's orders, unless there are orders in another: an event sells in one
// currency, so that its sums are sums. If that changes anything, agree is called before the commit and can refuse; no order
// is written meanwhile. Like all of a transaction, agree may be called again.
func (db ticketStore) setCurrency(ctx context.Context, event ids.Event, currency string, agree func(context.Context) error) error {
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		res, err := tx.ExecContext(ctx, "INSERT INTO currencies (event_id, currency) VALUES (?, ?) ON CONFLICT (event_id) DO NOTHING", event, currency)
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
		if err := tx.NewRaw("SELECT currency FROM currencies WHERE event_id = ? ?", event, db.forUpdate()).Scan(ctx, &before); err != nil || before == currency {
			return err
		}
		var sold bool
		err = tx.NewRaw("SELECT EXISTS (SELECT 1 FROM orders WHERE event_id = ? AND currency <> ?)", event, currency).Scan(ctx, &sold)
		if err != nil {
			return err
		}
		if sold {
			return fault.New(fault.Conflict, "tickets of this event were sold or held in %s: its currency cannot change", before)
		}
		if err := agree(ctx); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE currencies SET currency = ? WHERE event_id = ?", currency, event)
		return err
	})
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
	values := make([]bun.TupleValues, len(events))
	for i, e := range events {
		values[i] = bun.Tuple([]any{e, first[e]})
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO currencies (event_id, currency) VALUES ? ON CONFLICT (event_id) DO NOTHING", bun.List(values)); err != nil {
		return nil, err
	}
	var rows []struct {
		EventID  ids.Event
		Currency string
	}
	err := tx.NewRaw("SELECT event_id, currency FROM currencies WHERE event_id IN (?) ORDER BY event_id ?", bun.List(events), db.forShare()).Scan(ctx, &rows)
	for _, r := range rows {
		first[r.EventID] = r.Currency
	}
	return first, err
}
