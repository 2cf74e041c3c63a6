package payment

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// manualPayment is money that a payer has been asked to bring.
type manualPayment struct {
	bun.BaseModel `bun:"table:manual_payments,alias:m"`

	Reference  string `bun:",pk"`
	RequestKey string
	PaymentID  ids.Payment
	Amount     int64
	Currency   string
	Status     string
	CreatedAt  time.Time
	RemindAt   time.Time
	RemindedAt *time.Time
	DueAt      time.Time
	PaidAt     *time.Time
	PaidBy     ids.User
}

// manualRefund is money that a manager has to pay out.
type manualRefund struct {
	bun.BaseModel `bun:"table:manual_refunds,alias:mr"`

	ID         string `bun:",pk"`
	RequestKey string
	Reference  string
	Amount     int64
	CreatedAt  time.Time
	PaidAt     *time.Time
	PaidBy     ids.User
}

// manualStore has the tables of the manual provider.
type manualStore struct {
	*paymentStore
}

// create keeps a new payment under a fresh reference, or returns the one of that request key.
func (b *manualStore) create(ctx context.Context, row *manualPayment) (*manualPayment, error) {
	const tries = 5 // of 31^7 references, the chance to hit one of a million is one in 27,000
	for range tries {
		row.Reference = newReference()
		var kept []*manualPayment
		err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			kept = nil
			if _, err := tx.NewInsert().Model(row).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
				return err
			}
			return tx.NewSelect().Model(&kept).Where("m.request_key = ?", row.RequestKey).Scan(ctx)
		})
		if err != nil {
			return nil, err
		}
		if len(kept) == 1 {
			return kept[0], nil
		}
	}
	return nil, fault.New(fault.Unavailable, "no reference number is free")
}

func (b *manualStore) byReference(ctx context.Context, reference string) (*manualPayment, error) {
	return b.find(ctx, "m.reference = ?", reference)
}

func (b *manualStore) byPayment(ctx context.Context, id ids.Payment) (*manualPayment, error) {
	return b.find(ctx, "m.payment_id = ?", id)
}

func (b *manualStore) find(ctx context.Context, where string, arg any) (*manualPayment, error) {
	row := new(manualPayment)
	if err := b.db.Read().NewSelect().Model(row).Where(where, arg).Scan(ctx); err != nil {
		return nil, store.OrNotFound(err, "no such payment")
	}
	return row, nil
}

// markPaid writes down that the money is there, and who says so. The first who says so counts. The poller looks at the
// payment soon, if the request is cut off.
func (b *manualStore) markPaid(ctx context.Context, m *manualPayment, by ids.User) error {
	now := store.Time(b.now())
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*manualPayment)(nil)).Set("status = ?", manualPaid).Set("paid_at = ?", now).
			Set("paid_by = ?", by).Where("reference = ?", m.Reference).Where("status <> ?", manualPaid).Exec(ctx)
		if err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*paymentRow)(nil)).Set("poll_at = ?", now).Where("id = ?", m.PaymentID).Where("poll_at > ?", now).Exec(ctx)
		return err
	})
}

// end moves a payment that has not been made to its end. Any other stays as it is.
func (b *manualStore) end(ctx context.Context, status, reference string) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*manualPayment)(nil)).Set("status = ?", status).
			Where("reference = ?", reference).Where("status = ?", manualPending).Exec(ctx)
		return err
	})
}

// overdue returns the references of payments that were not made in time.
func (b *manualStore) overdue(ctx context.Context, limit int) ([]string, error) {
	var list []string
	err := b.db.Read().NewSelect().Model((*manualPayment)(nil)).Column("m.reference").Where("m.status = ?", manualPending).
		Where("m.due_at <= ?", store.Time(b.now())).Order("m.due_at").Limit(int64(limit)).Scan(ctx, &list)
	return list, err
}

// remind says once of each payment that is half way to its end that it is. One whose end has come is past that, and so is
// one whose order is paid in another way.
func (b *manualStore) remind(ctx context.Context, limit int) error {
	now := store.Time(b.now())
	half := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("m.status = ?", manualPending).Where("m.reminded_at IS NULL").Where("m.remind_at <= ?", now).Where("m.due_at > ?", now)
	}
	if any, err := half(b.db.Read().NewSelect().Model((*manualPayment)(nil))).Exists(ctx); err != nil || !any {
		return err
	}
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []*manualPayment
		if err := claim(b.db, half(tx.NewSelect().Model(&rows)).Order("m.remind_at").Limit(int64(limit))).Scan(ctx); err != nil || len(rows) == 0 {
			return err
		}
		of := make(map[ids.Payment]*manualPayment, len(rows))
		references, payments := make([]string, len(rows)), make([]ids.Payment, len(rows))
		for i, r := range rows {
			of[r.PaymentID], references[i], payments[i] = r, r.Reference, r.PaymentID
		}
		_, err := tx.NewUpdate().Model((*manualPayment)(nil)).Set("reminded_at = ?", now).Where("reference IN (?)", bun.List(references)).Exec(ctx)
		if err != nil {
			return err
		}
		var open []*paymentRow
		err = tx.NewSelect().Model(&open).Where("p.id IN (?)", bun.List(payments)).Where("p.status = ?", api.PaymentRequiresAction).
			Where("NOT EXISTS (SELECT 1 FROM payments AS o WHERE o.order_id = p.order_id AND o.status NOT IN (?, ?))",
				api.PaymentRequiresAction, api.PaymentFailed).Order("p.id").Scan(ctx)
		if err != nil || len(open) == 0 {
			return err
		}
		msgs := make([]stream.Message, len(open))
		for i, p := range open {
			m := of[p.ID]
			msgs[i] = stream.Message{Subject: api.PaymentReminderDue.Subject,
				Payload: api.PaymentReminder{Payment: p.payment(), Reference: m.Reference, DueAt: m.DueAt.UTC()}}
		}
		return stream.AddAll(ctx, tx, msgs...)
	})
}

// refund keeps what is to be paid out, or returns what is kept under that request key.
func (b *manualStore) refund(ctx context.Context, row *manualRefund, currency string) (*manualRefund, error) {
	kept := new(manualRefund)
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		payment := new(manualPayment)
		if err := lock(b.db, tx.NewSelect().Model(payment).Where("m.reference = ?", row.Reference)).Scan(ctx); err != nil {
			return store.OrNotFound(err, "no such payment")
		}
		var list []*manualRefund
		if err := tx.NewSelect().Model(&list).Where("mr.reference = ?", row.Reference).Scan(ctx); err != nil {
			return err
		}
		left := payment.Amount
		for _, r := range list {
			if r.RequestKey == row.RequestKey {
				if r.Amount != row.Amount {
					return fault.New(fault.Unprocessable, "the key was used for another refund")
				}
				*kept = *r
				return nil
			}
			left -= r.Amount
		}
		switch {
		case payment.Status != manualPaid:
			return fault.New(fault.Conflict, "a payment that is %s cannot be refunded", payment.Status)
		case payment.Currency != currency || row.Amount <= 0 || row.Amount > left:
			return fault.New(fault.Conflict, "there are %d %s left to refund", left, payment.Currency)
		}
		*kept = *row
		_, err := tx.NewInsert().Model(row).Returning("NULL").Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// markRefunded writes down that a refund has been paid out and by whom, and lets our refund be looked at now.
func (b *manualStore) markRefunded(ctx context.Context, reference string, refund ids.Refund, by ids.User) error {
	now := store.Time(b.now())
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		due, row := new(manualRefund), new(refundRow)
		if err := tx.NewSelect().Model(row).Where("r.id = ?", refund).Scan(ctx); err != nil {
			return store.OrNotFound(err, "no such refund is to be paid out")
		}
		err := tx.NewSelect().Model(due).Where("mr.request_key = ?", row.key()).Where("mr.reference = ?", reference).Scan(ctx)
		if err != nil {
			return store.OrNotFound(err, "no such refund is to be paid out")
		}
		_, err = tx.NewUpdate().Model((*manualRefund)(nil)).Set("paid_at = ?", now).Set("paid_by = ?", by).
			Where("id = ?", due.ID).Where("paid_at IS NULL").Exec(ctx)
		if err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*refundRow)(nil)).Set("due_at = ?", now).Where("id = ?", refund).Where("status = ?", api.RefundPending).Exec(ctx)
		return err
	})
}
