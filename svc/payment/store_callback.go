package payment

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
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

// receive keeps callbacks, each once. A result tells whether it is new.
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
	var kept []struct{ Provider, EventID string }
	err := b.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		before := kept // by a run that may have committed
		kept = nil
		_, err := tx.NewInsert().Model(&inserts).On("CONFLICT (provider, event_id) DO NOTHING").
			Returning("provider, event_id").Exec(ctx, &kept)
		kept = append(kept, before...)
		return err
	})
	if err != nil {
		return batch.Fail[bool](len(ins), err)
	}
	results := make([]batch.Result[bool], len(ins))
	for _, k := range kept {
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
		if err := claim(b.db, due(tx.NewSelect().Model(&rows)).Order("c.due_at").Limit(int64(limit))).Scan(ctx); err != nil {
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

// observation is a look at a payment at its provider.
type observation struct {
	provider string
	remote   provider.State
	unknown  bool         // the provider does not know the object
	callback *callbackKey // what made us look; nil if it was the poller
}

// confirmation is what an observation came to.
type confirmation struct {
	verdict verdict
	status  string // the payment's, after it
	payment ids.Payment
}

// confirm moves payments by what was seen of them, with the events about it, and finishes the callbacks.
func (b *paymentStore) confirm(ctx context.Context, ins []observation) []batch.Result[confirmation] {
	now := store.Time(b.now())
	var results []batch.Result[confirmation]
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		results = make([]batch.Result[confirmation], len(ins))
		rows, err := b.observed(ctx, tx, ins)
		if err != nil {
			return err
		}
		var moved, adopted []*paymentRow
		for i, in := range ins {
			row := rows[in.remote.PaymentID]
			switch out := &results[i].Out; {
			case in.unknown || row == nil || row.Provider != in.provider:
				out.verdict = verdictUnknown
			case row.RemoteID != "" && row.RemoteID != in.remote.ID:
				out.verdict, out.payment, out.status = verdictForeign, row.ID, row.Status
			default:
				if row.RemoteID == "" && in.remote.ID != "" {
					row.RemoteID = in.remote.ID // the answer to Create was lost, and this is it
					adopted = append(adopted, row)
				}
				out.verdict = row.observe(in.remote)
				if out.verdict != verdictNone {
					moved = append(moved, row)
				}
				out.payment, out.status = row.ID, row.Status
			}
		}
		if err := b.adopt(ctx, tx, adopted, now); err != nil {
			return err
		}
		if err := b.move(ctx, tx, moved, now); err != nil {
			return err
		}
		return b.finish(ctx, tx, ins, results, now)
	})
	if err != nil {
		return batch.Fail[confirmation](len(ins), err)
	}
	return results
}

// observe moves the row by what the provider says.
func (r *paymentRow) observe(remote provider.State) verdict {
	if r.Flag != "" { // what came was not what was asked for, and has been dealt with
		return verdictNone
	}
	next, v := judge(r.Status, r.money(), r.Captured > 0, remote)
	switch {
	case v == verdictNone:
		return v
	case v == verdictMismatch:
		r.Flag, r.FailureReason = string(v), api.FailureWrongAmount
		r.Captured, r.CapturedIn = remote.Amount.Amount, remote.Amount.Currency
	case next == api.PaymentSucceeded:
		r.FailureReason = ""
		r.Captured, r.CapturedIn = r.Amount, r.Currency
	case next == api.PaymentFailed:
		r.FailureReason = cmp.Or(r.Ending, remote.Reason)
	}
	r.Status = next
	return v
}

// observed reads, and locks in the order of their ids, the payments that were looked at.
func (b *paymentStore) observed(ctx context.Context, tx bun.Tx, ins []observation) (map[ids.Payment]*paymentRow, error) {
	list := make([]ids.Payment, 0, len(ins))
	for _, in := range ins {
		if in.remote.PaymentID != "" {
			list = append(list, in.remote.PaymentID)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	var rows []*paymentRow
	if err := lock(b.db, tx.NewSelect().Model(&rows).Where("p.id IN (?)", bun.List(list)).Order("p.id")).Scan(ctx); err != nil {
		return nil, err
	}
	index := make(map[ids.Payment]*paymentRow, len(rows))
	for _, r := range rows {
		index[r.ID] = r
	}
	return index, nil
}

// adopt writes down remote ids that were learned by looking.
func (b *paymentStore) adopt(ctx context.Context, tx bun.Tx, rows []*paymentRow, now time.Time) error {
	for _, r := range rows {
		_, err := tx.NewUpdate().Model((*paymentRow)(nil)).Set("remote_id = ?", r.RemoteID).Set("updated_at = ?", now).
			Set("revision = revision + 1").Where("id = ?", r.ID).Where("remote_id IS NULL").Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// move writes new states, one statement for all payments that go the same way, with what the ledger and the outbox say
// of them. The rows are locked; that no money is captured twice stands in the ledger all the same.
func (b *paymentStore) move(ctx context.Context, tx bun.Tx, rows []*paymentRow, now time.Time) error {
	type step struct {
		status, reason, flag string
		captured             bool
	}
	steps := map[step][]ids.Payment{}
	var odd []*paymentRow
	for _, r := range rows {
		s := step{r.Status, r.FailureReason, r.Flag, r.Captured > 0}
		if slices.Contains(steps[s], r.ID) {
			continue
		}
		steps[s] = append(steps[s], r.ID)
		if r.Flag == string(verdictMismatch) {
			odd = append(odd, r)
		}
	}
	var changed []*paymentRow
	for s, list := range steps {
		var after []*paymentRow
		q := tx.NewUpdate().Model((*paymentRow)(nil)).Set("status = ?", s.status).Set("failure_reason = ?", s.reason).
			Set("flag = ?", s.flag).Set("updated_at = ?", now).Set("revision = revision + 1")
		if s.captured && s.flag == "" {
			q = q.Set("captured = amount").Set("captured_currency = currency")
		}
		if _, err := q.Where("id IN (?)", bun.List(list)).Returning("*").Exec(ctx, &after); err != nil {
			return err
		}
		if s.captured && s.flag == "" {
			if err := enterCaptures(ctx, tx, after, accountSales, now); err != nil {
				return err
			}
		}
		changed = append(changed, after...)
	}
	if err := b.refundMismatch(ctx, tx, odd, now); err != nil {
		return err
	}
	return b.publish(ctx, tx, changed...)
}

// refundMismatch writes down money that is not what was asked for, and that it goes back.
func (b *paymentStore) refundMismatch(ctx context.Context, tx bun.Tx, rows []*paymentRow, now time.Time) error {
	for _, r := range rows {
		if r.Captured <= 0 {
			continue // the provider says that it has collected nothing: there is nothing to give back
		}
		_, err := tx.NewUpdate().Model((*paymentRow)(nil)).Set("captured = ?", r.Captured).Set("captured_currency = ?", r.CapturedIn).
			Where("id = ?", r.ID).Exec(ctx)
		if err != nil {
			return err
		}
		if err := enterCaptures(ctx, tx, []*paymentRow{r}, accountSuspense, now); err != nil {
			return err
		}
		_, err = b.addRefund(ctx, tx, api.RefundDue{RefundID: ids.Derive[ids.RefundKind]("wrong amount", r.ID.String()), OrderID: r.OrderID, PaymentID: r.ID,
			Amount: api.Money{Amount: r.Captured, Currency: r.CapturedIn}, Reason: api.RefundWrongAmount})
		if err != nil {
			return err
		}
	}
	return nil
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

// deleteCallbacks deletes the callbacks that were dealt with before olderThan, and those that the sandbox has sent or never
// will.
func (b *paymentStore) deleteCallbacks(ctx context.Context, olderThan time.Time) error {
	at := store.Time(olderThan)
	err := b.deleteSome(ctx, `DELETE FROM payment_callbacks WHERE (provider, event_id) IN
		(SELECT provider, event_id FROM payment_callbacks WHERE processed_at < ? ORDER BY processed_at LIMIT ?)`, at, sweepLimit)
	if err != nil {
		return err
	}
	return b.deleteSome(ctx, `DELETE FROM sandbox_callbacks WHERE id IN
		(SELECT id FROM sandbox_callbacks WHERE delivered_at < ? OR lost AND due_at < ? LIMIT ?)`, at, at, sweepLimit)
}

// deleteSome runs a statement that deletes up to sweepLimit rows until it finds fewer: small transactions keep no writer
// waiting.
func (b *paymentStore) deleteSome(ctx context.Context, query string, args ...any) error {
	for {
		var deleted int64
		err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			res, err := tx.ExecContext(ctx, query, args...)
			if err == nil {
				deleted, err = res.RowsAffected()
			}
			return err
		})
		if err != nil || deleted < sweepLimit {
			return err
		}
	}
}
