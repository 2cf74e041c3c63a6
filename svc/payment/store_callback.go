package payment

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// callbackRow is a verified callback. Until DueAt it belongs to the instance that claimed it.
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

func (k callbackKey) compare(other callbackKey) int {
	return cmp.Or(cmp.Compare(k.provider, other.provider), cmp.Compare(k.event, other.event))
}

// claimLease is how long a callback or refund belongs to the instance that claimed it. It is renewed during the work.
const claimLease = 30 * time.Second

// callbacks returns the claim to the callbacks of a provider that wait.
func (b *paymentStore) callbacks(provider string) store.Claim[callbackRow] {
	return store.Claim[callbackRow]{DB: b.db, Due: "due_at", Lease: claimLease, Now: b.now,
		Where: "processed_at IS NULL AND provider = '" + provider + "'"}
}

// known reports which callbacks are stored.
func (b *paymentStore) known(ctx context.Context, keys []callbackKey) []batch.Result[bool] {
	of := map[string][]string{}
	for _, k := range keys {
		of[k.provider] = append(of[k.provider], k.event)
	}
	stored := make(map[callbackKey]bool)
	for provider, events := range of {
		var there []string
		const query = "SELECT event_id FROM payment_callbacks WHERE provider = ? AND event_id IN (?)"
		err := store.Select(ctx, b.db.Read(), &there, query, provider, store.List(events))
		if err != nil {
			return batch.Fail[bool](len(keys), store.OrNotFound(err, "no such callback"))
		}
		for _, event := range there {
			stored[callbackKey{provider, event}] = true
		}
	}
	results := make([]batch.Result[bool], len(keys))
	for i, k := range keys {
		results[i].Out = stored[k]
	}
	return results
}

// receive stores callbacks that are to be processed later, each once. A result reports whether it is new.
func (b *paymentStore) receive(ctx context.Context, ins []*callbackRow) []batch.Result[bool] {
	ctx = store.First(ctx)
	first := make(map[callbackKey]int, len(ins)) // several of one batch may be the same
	for i, r := range slices.Backward(ins) {
		first[r.key()] = i
	}
	inserts := make([]*callbackRow, 0, len(first))
	for _, i := range first {
		inserts = append(inserts, ins[i])
	}
	sortCallbacks(inserts)
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

// sortCallbacks puts callbacks into one order everywhere, so that instances with the same callbacks at hand do not wait
// for each other in a circle.
func sortCallbacks(rows []*callbackRow) {
	slices.SortFunc(rows, func(a, b *callbackRow) int { return a.key().compare(b.key()) })
}

// postpone lets a callback be due again at next, unless another instance has claimed it meanwhile.
func (b *paymentStore) postpone(ctx context.Context, row *callbackRow, next time.Time) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model(row).Set("due_at = ?", store.Time(next)).Set("attempts = attempts + 1").
			WherePK().Where("processed_at IS NULL").Where("due_at = ?", row.DueAt).Exec(ctx)
		return err
	})
}

// finish stores the callbacks of observations as processed, those that are stored already and those that are not.
func (b *paymentStore) finish(ctx context.Context, tx bun.Tx, ins []observation,
	results []batch.Result[confirmation], now time.Time) error {
	done := map[callbackKey]*callbackRow{} // several of one batch may be the same
	for i, in := range ins {
		if in.callback != nil && done[in.callback.key()] == nil {
			row := *in.callback
			row.ProcessedAt, row.Outcome = &now, string(results[i].Out.verdict)
			done[row.key()] = &row
		}
	}
	if len(done) == 0 {
		return nil
	}
	rows := slices.Collect(maps.Values(done))
	sortCallbacks(rows)
	_, err := store.Insert(ctx, tx, rows, `CONFLICT (provider, event_id) DO UPDATE
		SET processed_at = excluded.processed_at, outcome = excluded.outcome WHERE c.processed_at IS NULL`)
	return err
}

// deleteCallbacks deletes the callbacks that were processed before olderThan.
func (b *paymentStore) deleteCallbacks(ctx context.Context, olderThan time.Time) error {
	return record.DeleteSome(ctx, b.db, `DELETE FROM payment_callbacks WHERE (provider, event_id) IN
		(SELECT provider, event_id FROM payment_callbacks WHERE processed_at < ? ORDER BY processed_at LIMIT ?)`, store.Time(olderThan))
}
