package sandbox

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// decide records what payers did, each with the callback about it. The result is the callback to send, nil
// if the same was decided before.
func (t *tables) decide(ctx context.Context, ins []decision) []batch.Result[*callbackRow] {
	now := store.Time(t.now())
	references := make([]ids.Payment, len(ins))
	for i, d := range ins {
		references[i] = d.reference
	}
	var results []batch.Result[*callbackRow]
	err := t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []*paymentRow
		err := store.Select(ctx, tx, &rows, "SELECT * FROM sandbox_payments WHERE reference IN (?) ORDER BY id ?",
			store.List(references), record.ForUpdate(t.db))
		if err != nil {
			return err
		}
		byReference := make(map[ids.Payment]*paymentRow, len(rows))
		for _, r := range rows {
			byReference[r.Reference] = r
		}
		var callbacks []*callbackRow
		moved := map[*paymentRow]bool{}
		results = make([]batch.Result[*callbackRow], len(ins))
		for i, in := range ins {
			row := byReference[in.reference]
			if row == nil {
				results[i].Err = fault.New(fault.NotFound, "no such payment")
				continue
			}
			changed, err := row.decide(in, now)
			if results[i].Err = err; !changed {
				continue
			}
			moved[row] = true
			if row.Status == statusChallenged {
				continue // no callback follows
			}
			c := in.faults.callback(row, now)
			callbacks = append(callbacks, c)
			if in.faults.prompt() {
				c.DueAt = now.Add(deliveryLease)
				results[i].Out = c
			}
		}
		for row := range moved {
			_, err := store.Exec(ctx, tx, `UPDATE sandbox_payments SET status = ?, reason = ?, captured = ?, capture_at = ?,
				decided_at = ? WHERE id = ?`, row.Status, row.Reason, row.Captured, row.CaptureAt, row.DecidedAt, row.ID)
			if err != nil {
				return err
			}
		}
		return insertCallbacks(ctx, tx, callbacks)
	})
	if err != nil {
		return batch.Fail[*callbackRow](len(ins), err)
	}
	return results
}

func insertCallbacks(ctx context.Context, tx bun.Tx, rows []*callbackRow) error {
	_, err := store.Insert(ctx, tx, rows, "")
	return err
}

// decide moves the payment by what its payer did, and reports whether that changed it.
func (p *paymentRow) decide(d decision, now time.Time) (changed bool, err error) {
	consented := p.Status != statusPending && p.Status != statusDeclined && p.Status != statusCancelled
	switch {
	case p.Status == d.outcome, consented && d.outcome == outcomeSucceeded,
		d.outcome == outcomeAuthenticated && (p.Status == statusProcessing || p.Status == statusSucceeded):
		return false, nil // the same again
	case p.Status != statusPending && p.Status != statusChallenged:
		return false, fault.New(fault.Conflict, "the payment is %s already", p.Status)
	case !p.open(now):
		return false, fault.New(fault.Expired, "the checkout has expired")
	case d.outcome == outcomeDeclined:
		p.Status, p.Reason = statusDeclined, d.reason
		if d.faults.capturesLate {
			at := now.Add(lateCapture)
			p.CaptureAt, p.Captured = &at, p.Amount
		}
	case d.outcome == outcomeAuthenticated && p.Status == statusPending:
		return false, fault.New(fault.Conflict, "there is no challenge")
	case d.outcome == outcomeSucceeded && d.faults.challenge:
		p.Status = statusChallenged
	case d.faults.captureAfter > 0:
		at := now.Add(d.faults.captureAfter)
		p.Status, p.CaptureAt = statusProcessing, &at
	default:
		p.Status = statusSucceeded
	}
	if p.Status == statusSucceeded || p.Status == statusProcessing {
		p.Captured = d.faults.collects(p.Amount)
	}
	p.DecidedAt = &now
	return true, nil
}

// capture takes the money of payments whose time has come.
func (t *tables) capture(ctx context.Context, faults func() faults) error {
	now := store.Time(t.now())
	due := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("p.capture_at <= ?", now)
	}
	if any, err := due(t.db.Read().NewSelect().Model((*paymentRow)(nil))).Exists(ctx); err != nil || !any {
		return err
	}
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []*paymentRow
		if err := record.LockFree(t.db, due(tx.NewSelect().Model(&rows)).Order("p.id").
			Limit(1000)).Scan(ctx); err != nil {
			return err
		}
		var callbacks []*callbackRow
		for _, r := range rows {
			r.Status, r.CaptureAt = statusSucceeded, nil
			if _, err := tx.NewUpdate().Model(r).Column("status", "capture_at").WherePK().Exec(ctx); err != nil {
				return err
			}
			callbacks = append(callbacks, faults().callback(r, now))
		}
		return insertCallbacks(ctx, tx, callbacks)
	})
}

// cancel ends a payment that the payer has not decided on.
func (t *tables) cancel(ctx context.Context, id string, faults faults) error {
	now := store.Time(t.now())
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewUpdate().Model((*paymentRow)(nil)).Set("status = ?", statusCancelled).Set("decided_at = ?", now)
		if faults.capturesLate {
			q = q.Set("capture_at = ?", now.Add(lateCapture)).Set("captured = amount")
		}
		_, err := q.Where("id = ?", id).Where("status IN (?, ?)", statusPending, statusChallenged).Exec(ctx)
		return err
	})
}
