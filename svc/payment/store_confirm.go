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
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// observation is a look at a payment at its provider.
type observation struct {
	provider string
	remote   provider.State
	unknown  bool         // the provider does not know the object
	callback *callbackRow // what made us look, stored with the outcome; nil if it was another
	cause    stream.Cause
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
	err := b.db.Tx(store.First(ctx), func(ctx context.Context, tx bun.Tx) error {
		results = make([]batch.Result[confirmation], len(ins))
		rows, err := b.observed(ctx, tx, ins)
		if err != nil {
			return err
		}
		var moved, adopted []*record.Payment
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
				out.verdict = move(row, in.remote)
				if out.verdict != verdictNone {
					row.Cause = in.cause
					moved = append(moved, row)
				}
				out.payment, out.status = row.ID, row.Status
			}
		}
		if err := b.adopt(ctx, tx, adopted, now); err != nil {
			return err
		}
		if err := b.writeMoves(ctx, tx, moved, now); err != nil {
			return err
		}
		return b.finish(ctx, tx, ins, results, now)
	})
	if err != nil {
		return batch.Fail[confirmation](len(ins), err)
	}
	return results
}

// move changes the row by what the provider says.
func move(r *record.Payment, remote provider.State) verdict {
	if r.Flag != "" { // what came was not what was asked for, and has been dealt with
		return verdictNone
	}
	next, v := judge(r.Status, r.Money(), r.Captured > 0, remote)
	switch {
	case v == verdictNone:
		return v
	case v == verdictMismatch:
		r.Flag, r.FailureReason = record.FlagMismatch, api.FailureWrongAmount
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
func (b *paymentStore) observed(ctx context.Context, tx bun.Tx,
	ins []observation) (map[ids.Payment]*record.Payment, error) {
	list := make([]ids.Payment, 0, len(ins))
	for _, in := range ins {
		if in.remote.PaymentID != "" {
			list = append(list, in.remote.PaymentID)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	var rows []*record.Payment
	err := store.Select(ctx, tx, &rows, "SELECT * FROM payments WHERE id IN (?) ORDER BY id ?", store.List(list),
		record.ForUpdate(b.db))
	if err != nil {
		return nil, err
	}
	index := make(map[ids.Payment]*record.Payment, len(rows))
	for _, r := range rows {
		index[r.ID] = r
	}
	return index, nil
}

// adopt stores remote ids that were learned by looking.
func (b *paymentStore) adopt(ctx context.Context, tx bun.Tx, rows []*record.Payment, now time.Time) error {
	for _, r := range rows {
		_, err := tx.NewUpdate().Model((*record.Payment)(nil)).Set("remote_id = ?", r.RemoteID).
			Set("updated_at = ?", now).
			Set("revision = revision + 1").Where("id = ?", r.ID).Where("remote_id IS NULL").Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeMoves writes new states, one statement for all payments that go the same way, with what the ledger and the
// outbox say of them. The rows are locked; that no money is captured twice stands in the ledger all the same.
func (b *paymentStore) writeMoves(ctx context.Context, tx bun.Tx, rows []*record.Payment, now time.Time) error {
	type step struct {
		status, reason, flag string
		captured             bool
	}
	steps := map[step][]ids.Payment{}
	var mismatched []*record.Payment
	causes := make(map[ids.Payment]stream.Cause, len(rows))
	for _, r := range rows {
		causes[r.ID] = r.Cause
		s := step{r.Status, r.FailureReason, r.Flag, r.Captured > 0}
		if slices.Contains(steps[s], r.ID) {
			continue
		}
		steps[s] = append(steps[s], r.ID)
		if r.Flag == record.FlagMismatch {
			mismatched = append(mismatched, r)
		}
	}
	var changed []*record.Payment
	for s, list := range steps {
		capture := bun.Safe("")
		if s.captured && s.flag == "" {
			capture = ", captured = amount, captured_currency = currency"
		}
		var after []*record.Payment
		err := store.Select(ctx, tx, &after, `UPDATE payments SET status = ?, failure_reason = ?, flag = ?, updated_at = ?,
			revision = revision + 1 ? WHERE id IN (?) RETURNING *`, s.status, s.reason, s.flag, now, capture, store.List(list))
		if err != nil {
			return err
		}
		if capture != "" {
			if err := ledger.Enter(ctx, tx, captures(after, now)...); err != nil {
				return err
			}
		}
		for _, r := range after {
			r.Cause = causes[r.ID]
		}
		changed = append(changed, after...)
	}
	if err := b.refundMismatch(ctx, tx, mismatched, now); err != nil {
		return err
	}
	return b.publish(ctx, tx, changed...)
}

func captures(rows []*record.Payment, at time.Time) []*ledger.Transfer {
	list := make([]*ledger.Transfer, len(rows))
	for i, r := range rows {
		list[i] = ledger.Capture(r, at)
	}
	return list
}

// refundMismatch records money that is not what was asked for, and that it goes back.
func (b *paymentStore) refundMismatch(ctx context.Context, tx bun.Tx, rows []*record.Payment, now time.Time) error {
	for _, r := range rows {
		if r.Captured <= 0 {
			continue // the provider says that it has collected nothing: there is nothing to give back
		}
		_, err := tx.NewUpdate().Model((*record.Payment)(nil)).Set("captured = ?", r.Captured).
			Set("captured_currency = ?", r.CapturedIn).
			Where("id = ?", r.ID).Exec(ctx)
		if err != nil {
			return err
		}
		if err := ledger.Enter(ctx, tx, ledger.Capture(r, now)); err != nil {
			return err
		}
		_, err = b.addRefund(ctx, tx, api.RefundDue{RefundID: ids.Derive[ids.RefundKind]("wrong amount", r.ID.String()),
			OrderID: r.OrderID, PaymentID: r.ID, Amount: api.Money{Amount: r.Captured, Currency: r.CapturedIn},
			Reason: api.RefundWrongAmount})
		if err != nil {
			return err
		}
	}
	return nil
}
