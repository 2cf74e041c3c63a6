package payment

import (
	"cmp"
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// addRefund records, in the caller's transaction, that money of a payment goes back. The same decision again changes
// nothing. More than was captured is refused by the table.
func (b *paymentStore) addRefund(ctx context.Context, tx bun.Tx, due api.RefundDue) (*record.Refund, error) {
	var payments []*record.Payment
	if err := record.Lock(b.db, tx.NewSelect().Model(&payments).Where("p.id = ?",
		due.PaymentID)).Scan(ctx); err != nil {
		return nil, err
	}
	if len(payments) == 0 {
		return nil, fault.New(fault.NotFound, "no such payment")
	}
	payment := payments[0]
	now := store.Time(b.now())
	row := &record.Refund{
		ID: due.RefundID, PaymentID: payment.ID, OrderID: cmp.Or(due.OrderID, payment.OrderID),
		Amount:   due.Amount.Amount,
		Currency: due.Amount.Currency, Tickets: due.Tickets,
		Reason: due.Reason, Status: api.RefundPending, DueAt: now, CreatedAt: now, UpdatedAt: now,
	}
	if row.Tickets == nil {
		row.Tickets = []ids.Ticket{}
	}
	res, err := tx.NewInsert().Model(row).On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(ctx)
	if err != nil {
		return nil, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		if err == nil {
			err = tx.NewSelect().Model(row).Where("r.id = ?", due.RefundID).Scan(ctx)
		}
		return row, err
	}
	switch {
	case payment.Captured == 0 && payment.IsOpen():
		return nil, fault.New(fault.Unavailable, "the payment has not succeeded yet")
	case payment.CapturedIn != row.Currency || payment.Refunding+row.Amount > payment.Captured:
		return nil, fault.New(fault.Conflict,
			"payment %s has captured %d %s, of which %d goes back already: %d %s is too much", payment.ID,
			payment.Captured, payment.CapturedIn, payment.Refunding, row.Amount, row.Currency)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE payments SET refunding = refunding + ?, updated_at = ? WHERE id = ?",
		row.Amount, now, payment.ID); err != nil {
		return nil, err
	}
	return row, ledger.Enter(ctx, tx, ledger.RefundDue(payment, row, now))
}

// refunds returns those of a payment, oldest first.
func (b *paymentStore) refunds(ctx context.Context, payment ids.Payment) ([]*record.Refund, error) {
	var rows []*record.Refund
	err := b.db.Read().NewSelect().Model(&rows).Where("r.payment_id = ?", payment).
		Order("r.created_at", "r.id").Scan(ctx)
	return rows, err
}

// refundsDue returns the claim to the refunds that are to be made.
func (b *paymentStore) refundsDue() store.Claim[record.Refund] {
	return store.Claim[record.Refund]{DB: b.db, Due: "due_at", Where: "status = '" + api.RefundPending + "'",
		Lease: claimLease, Now: b.now}
}

// pending reports whether a refund is still to be made.
func (b *paymentStore) pending(ctx context.Context, id ids.Refund) (bool, error) {
	return b.db.Read().NewSelect().Model((*record.Refund)(nil)).Where("r.id = ?", id).
		Where("r.status = ?", api.RefundPending).Exists(ctx)
}

// postponeRefund lets a refund be due again at next, or never if the provider refuses it, unless another instance has
// claimed it meanwhile.
func (b *paymentStore) postponeRefund(ctx context.Context, row *record.Refund, next time.Time, forGood bool) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewUpdate().Model(row).Set("due_at = ?", store.Time(next)).Set("attempts = attempts + 1").
			Set("updated_at = ?", store.Time(b.now())).WherePK().Where("status = ?", api.RefundPending).
			Where("due_at = ?", row.DueAt)
		if forGood {
			q = q.Set("status = ?", api.RefundFailed)
		}
		_, err := q.Exec(ctx)
		return err
	})
}

// refundDone records that the provider has given the money back, and publishes it. It reports whether this is new: of
// several workers with the same refund, one publishes.
func (b *paymentStore) refundDone(ctx context.Context, refund *record.Refund, remoteID string) (fresh bool, err error) {
	now := store.Time(b.now())
	err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		fresh = false
		var done []*record.Refund
		_, err := tx.NewUpdate().Model((*record.Refund)(nil)).Set("status = ?", api.RefundSucceeded).
			Set("remote_id = ?", remoteID).
			Set("updated_at = ?", now).Where("id = ?", refund.ID).Where("status = ?", api.RefundPending).
			Returning("*").Exec(ctx, &done)
		if err != nil || len(done) == 0 {
			return err
		}
		var after []*record.Payment
		err = tx.NewRaw(`UPDATE payments SET refunded = refunded + ?, updated_at = ?, revision = revision + 1,
				status = CASE WHEN refunded + ? = captured THEN ? ELSE status END
			WHERE id = ? RETURNING *`, refund.Amount, now, refund.Amount, api.PaymentRefunded, refund.PaymentID).Scan(ctx, &after)
		if err != nil {
			return err
		}
		fresh = true
		payment := after[0]
		if err := ledger.Enter(ctx, tx, ledger.RefundPaid(payment, done[0], now)); err != nil {
			return err
		}
		if err := stream.Add(ctx, tx, api.RefundHasSucceeded.Subject, api.RefundEvent{Refund: done[0].Refund(),
			Payment: payment.Payment()}); err != nil {
			return err
		}
		if payment.Status != api.PaymentRefunded {
			return nil
		}
		return b.publish(ctx, tx, payment)
	})
	return fresh, err
}
