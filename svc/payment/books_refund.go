package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// The states of a refund.
const (
	refundPending   = "pending"
	refundSucceeded = "succeeded"
	refundFailed    = "failed" // the provider refuses for good: a person has to look at it
)

// refundRow is money on its way back. Until DueAt it belongs to the instance that took it up.
type refundRow struct {
	bun.BaseModel `bun:"table:payment_refunds,alias:r"`

	ID         ids.Refund `bun:",pk"`
	PaymentID  ids.Payment
	RequestKey string
	Amount     int64
	Currency   string
	Reason     string
	Status     string
	RemoteID   string
	Attempts   int
	DueAt      time.Time
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

func (r *refundRow) money() api.Money { return api.Money{Amount: r.Amount, Currency: r.Currency} }

// owe writes down, in the caller's transaction, that a payment is to be given back in full. The same request key again
// changes nothing.
func (b *books) owe(ctx context.Context, tx bun.Tx, payment ids.Payment, requestKey, reason string) error {
	row := new(paymentRow)
	if err := tx.NewSelect().Model(row).Where("p.id = ?", payment).Scan(ctx); err != nil {
		return store.OrNotFound(err, "no such payment")
	}
	now := store.Time(b.now())
	refund := &refundRow{
		ID: ids.New[ids.RefundKind](now), PaymentID: payment, RequestKey: requestKey, Amount: row.Amount, Currency: row.Currency,
		Reason: reason, Status: refundPending, DueAt: now, CreatedAt: now, UpdatedAt: now,
	}
	_, err := tx.NewInsert().Model(refund).On("CONFLICT (request_key) DO NOTHING").Returning("NULL").Exec(ctx)
	return err
}

// owed takes up refunds that nobody is at, for as long as a lease.
func (b *books) owed(ctx context.Context, limit int) ([]*refundRow, error) {
	now := store.Time(b.now())
	due := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("r.status = ?", refundPending).Where("r.due_at <= ?", now)
	}
	if any, err := due(b.db.Read().NewSelect().Model((*refundRow)(nil))).Exists(ctx); err != nil || !any {
		return nil, err
	}
	var rows []*refundRow
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows = nil
		if err := b.take(due(tx.NewSelect().Model(&rows)).Order("r.due_at").Limit(int64(limit))).Scan(ctx); err != nil || len(rows) == 0 {
			return err
		}
		list := make([]ids.Refund, len(rows))
		for i, r := range rows {
			list[i] = r.ID
		}
		_, err := tx.NewUpdate().Model((*refundRow)(nil)).Set("due_at = ?", now.Add(refundLease)).Where("id IN (?)", bun.List(list)).Exec(ctx)
		return err
	})
	return rows, err
}

// pending reports whether a refund is still to be made.
func (b *books) pending(ctx context.Context, id ids.Refund) (bool, error) {
	return b.db.Read().NewSelect().Model((*refundRow)(nil)).Where("r.id = ?", id).Where("r.status = ?", refundPending).Exists(ctx)
}

// putOff lets a refund wait until next, or for ever if the provider refuses it.
func (b *books) putOff(ctx context.Context, id ids.Refund, next time.Time, forGood bool) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewUpdate().Model((*refundRow)(nil)).Set("due_at = ?", store.Time(next)).Set("attempts = attempts + 1").
			Set("updated_at = ?", store.Time(b.now())).Where("id = ?", id).Where("status = ?", refundPending)
		if forGood {
			q = q.Set("status = ?", refundFailed)
		}
		_, err := q.Exec(ctx)
		return err
	})
}

// repaid writes down that the provider has given the money back, and says so in the outbox. It reports whether this was
// news: of several workers with the same refund, one says so.
func (b *books) repaid(ctx context.Context, refund *refundRow, remoteID string) (fresh bool, err error) {
	now := store.Time(b.now())
	err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		fresh = false
		res, err := tx.NewUpdate().Model((*refundRow)(nil)).Set("status = ?", refundSucceeded).Set("remote_id = ?", remoteID).
			Set("updated_at = ?", now).Where("id = ?", refund.ID).Where("status = ?", refundPending).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		var after []*paymentRow
		_, err = tx.NewUpdate().Model((*paymentRow)(nil)).Set("status = ?", api.PaymentRefunded).Set("updated_at = ?", now).
			Set("revision = revision + 1").Where("id = ?", refund.PaymentID).Where("status = ?", api.PaymentSucceeded).
			Returning("*").Exec(ctx, &after)
		if err != nil {
			return err
		}
		if len(after) != 1 {
			return fmt.Errorf("refund %s: payment %s is not one that succeeded", refund.ID, refund.PaymentID)
		}
		fresh = true
		return b.tell(ctx, tx, after[0])
	})
	return fresh, err
}
