package payment

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// callbackRow is a verified callback. Until DueAt it belongs to the instance that took it up.
type callbackRow struct {
	bun.BaseModel `bun:"table:payment_callbacks,alias:c"`

	Provider    string `bun:",pk"`
	EventID     string `bun:",pk"`
	RemoteID    string
	Type        string
	Body        []byte
	ReceivedAt  time.Time
	DueAt       time.Time
	Attempts    int
	ProcessedAt *time.Time
	Outcome     string
}

// callbackKey names a callback.
type callbackKey struct{ provider, event string }

func (r *callbackRow) key() callbackKey { return callbackKey{r.Provider, r.EventID} }

// receive stores callbacks, each once. A result reports whether it is new.
func (b *paymentStore) receive(ctx context.Context, ins []*callbackRow) []batch.Result[bool] {
	first := make(map[callbackKey]int, len(ins)) // several of one batch may be the same
	for i, r := range slices.Backward(ins) {
		first[r.key()] = i
	}
	inserts := make([]*callbackRow, 0, len(first))
	for _, i := range first {
		inserts = append(inserts, ins[i])
	}
	// In one order everywhere, so that instances with the same callbacks at hand do not wait for each other in a circle.
	slices.SortFunc(inserts, func(a, b *callbackRow) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.EventID, b.EventID))
	})
	var stored []struct{ Provider, EventID string }
	err := b.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		before := stored // by a run that may have committed
		stored = nil
		_, err := tx.NewInsert().Model(&inserts).On("CONFLICT (provider, event_id) DO NOTHING").
			Returning("provider, event_id").Exec(ctx, &stored)
		stored = append(stored, before...)
		return err
	})
	if err != nil {
		return batch.Fail[bool](len(ins), err)
	}
	results := make([]batch.Result[bool], len(ins))
	for _, k := range stored {
		results[first[callbackKey{k.Provider, k.EventID}]].Out = true
	}
	return results
}

// waiting claims callbacks that no instance has, for as long as a lease.
func (b *paymentStore) waiting(ctx context.Context, limit int) ([]*callbackRow, error) {
	now := store.Time(b.now())
	due := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("c.processed_at IS NULL").Where("c.due_at <= ?", now)
	}
	if any, err := due(b.db.Read().NewSelect().Model((*callbackRow)(nil))).Exists(ctx); err != nil || !any {
		return nil, err
	}
	var rows []*callbackRow
	until := store.Time(now.Add(callbackLease))
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows = nil
		if err := record.LockFree(b.db, due(tx.NewSelect().Model(&rows)).Order("c.due_at").Limit(int64(limit))).Scan(ctx); err != nil {
			return err
		}
		for provider, events := range eventsByProvider(rows) {
			_, err := tx.NewUpdate().Model((*callbackRow)(nil)).Set("due_at = ?", until).
				Where("provider = ?", provider).Where("event_id IN (?)", bun.List(events)).Exec(ctx)
			if err != nil {
				return err
			}
		}
		for _, r := range rows {
			r.DueAt = until
		}
		return nil
	})
	return rows, err
}

// renew begins the lease of a callback anew. If the lease is over and another instance has the callback, or is done with
// it, the error is errTaken.
func (b *paymentStore) renew(ctx context.Context, row *callbackRow) error {
	until := store.Time(b.now().Add(callbackLease))
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model((*callbackRow)(nil)).Set("due_at = ?", until).Where("provider = ?", row.Provider).
			Where("event_id = ?", row.EventID).Where("processed_at IS NULL").Where("due_at = ?", row.DueAt).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return cmp.Or(err, errTaken)
		}
		row.DueAt = until
		return nil
	})
}

func eventsByProvider(rows []*callbackRow) map[string][]string {
	by := map[string][]string{}
	for _, r := range rows {
		by[r.Provider] = append(by[r.Provider], r.EventID)
	}
	return by
}

// postpone puts a callback off until next.
func (b *paymentStore) postpone(ctx context.Context, key callbackKey, next time.Time) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*callbackRow)(nil)).Set("due_at = ?", store.Time(next)).Set("attempts = attempts + 1").
			Where("provider = ?", key.provider).Where("event_id = ?", key.event).Where("processed_at IS NULL").Exec(ctx)
		return err
	})
}

// finish marks the callbacks as dealt with.
func (b *paymentStore) finish(ctx context.Context, tx bun.Tx, ins []observation, results []batch.Result[confirmation], now time.Time) error {
	type outcome struct {
		provider string
		verdict  verdict
	}
	events := map[outcome][]string{}
	for i, in := range ins {
		if in.callback != nil {
			o := outcome{in.callback.provider, results[i].Out.verdict}
			events[o] = append(events[o], in.callback.event)
		}
	}
	for o, list := range events {
		_, err := tx.NewUpdate().Model((*callbackRow)(nil)).Set("processed_at = ?", now).Set("outcome = ?", string(o.verdict)).
			Where("provider = ?", o.provider).Where("event_id IN (?)", bun.List(list)).Where("processed_at IS NULL").Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteCallbacks deletes the callbacks that were processed before olderThan.
func (b *paymentStore) deleteCallbacks(ctx context.Context, olderThan time.Time) error {
	return record.DeleteSome(ctx, b.db, `DELETE FROM payment_callbacks WHERE (provider, event_id) IN
		(SELECT provider, event_id FROM payment_callbacks WHERE processed_at < ? ORDER BY processed_at LIMIT ?)`, store.Time(olderThan))
}
