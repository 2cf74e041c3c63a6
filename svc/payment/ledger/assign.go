package ledger

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// A payment says for whom it was made. Payments from before that, and those of an instance or a venue of an older
// version, do not: they are given to the organizer that has their event by now.
const (
	nobody     = "-" // the organizer of a payment whose event is gone
	assignPage = 500 // payments of one transaction, so that no callback waits for long
)

// Assign gives all payments that do not say for whom they were made to the organizers of their events.
func Assign(ctx context.Context, db *store.DB, client *rpc.Client) error {
	for {
		var events []ids.Event
		err := db.Read().NewRaw("SELECT event_id FROM payments WHERE organizer_id = '' ORDER BY event_id, id LIMIT 1").
			Scan(ctx, &events)
		if err != nil || len(events) == 0 {
			return store.FaultOf(ctx, err)
		}
		organizer := nobody
		offer, err := rpc.Call(ctx, client, api.GetOffer, &api.OfferRequest{EventID: events[0]})
		switch {
		case err == nil:
			organizer = offer.Event.OrganizerID.String()
		case !fault.Is(err, fault.NotFound):
			return err
		}
		if err := assign(ctx, db, events[0], organizer); err != nil {
			return err
		}
	}
}

// assign gives all payments of an event that do not say for whom they were made to an organizer.
func assign(ctx context.Context, db *store.DB, event ids.Event, organizer string) error {
	for {
		var assigned int64
		err := db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
			res, err := tx.ExecContext(ctx, `UPDATE payments SET organizer_id = ? WHERE organizer_id = '' AND id IN (
				SELECT id FROM payments WHERE organizer_id = '' AND event_id = ? ORDER BY id LIMIT ?)`,
				organizer, event, assignPage)
			if err == nil {
				assigned, err = res.RowsAffected()
			}
			return err
		})
		if err != nil || assigned < assignPage {
			return err
		}
	}
}
