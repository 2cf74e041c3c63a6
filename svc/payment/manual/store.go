package manual

import (
	"context"
	"database/sql"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// paymentRow is money that a payer has been asked to bring.
type paymentRow struct {
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

// refundRow is money that a manager has to pay out.
type refundRow struct {
	bun.BaseModel `bun:"table:manual_refunds,alias:mr"`

	ID         string `bun:",pk"`
	RequestKey string
	Reference  string
	Amount     int64
	CreatedAt  time.Time
	PaidAt     *time.Time
	PaidBy     ids.User
}

// tables has the tables of the provider.
type tables struct {
	db  *store.DB
	now func() time.Time
}

// create stores a new payment under a fresh reference, or returns the one of that request key.
func (t *tables) create(ctx context.Context, row *paymentRow) (*paymentRow, error) {
	const tries = 5 // of 31^7 references, the chance to hit one of a million is one in 27,000
	for range tries {
		row.Reference = newReference()
		var found []*paymentRow
		err := t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			found = nil
			if _, err := tx.NewInsert().Model(row).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
				return err
			}
			return tx.NewSelect().Model(&found).Where("m.request_key = ?", row.RequestKey).Scan(ctx)
		})
		if err != nil {
			return nil, err
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	return nil, fault.New(fault.Unavailable, "no reference number is free")
}

func (t *tables) byReference(ctx context.Context, reference string) (*paymentRow, error) {
	return t.find(ctx, "m.reference = ?", reference)
}

func (t *tables) byPayment(ctx context.Context, id ids.Payment) (*paymentRow, error) {
	return t.find(ctx, "m.payment_id = ?", id)
}

func (t *tables) find(ctx context.Context, where string, arg any) (*paymentRow, error) {
	row := new(paymentRow)
	if err := t.db.Read().NewSelect().Model(row).Where(where, arg).Scan(ctx); err != nil {
		return nil, store.OrNotFound(err, "no such payment")
	}
	return row, nil
}

// markPaid records that the money is there, and who says so. The first who says so counts. The poller looks at the
// payment soon, if the request is cut off.
func (t *tables) markPaid(ctx context.Context, m *paymentRow, by ids.User) error {
	now := store.Time(t.now())
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model((*paymentRow)(nil)).Set("status = ?", statusPaid).Set("paid_at = ?", now).
			Set("paid_by = ?", by).Where("reference = ?", m.Reference).Where("status <> ?", statusPaid).Exec(ctx)
		if err := note(ctx, tx, res, err, auditlog.Act{At: now, Object: m.PaymentID.String(),
			After: byHand{api.Money{Amount: m.Amount, Currency: m.Currency}, now}}); err != nil {
			return err
		}
		return record.PollSoon(ctx, tx, now, m.PaymentID)
	})
}

// byHand is what the audit log has of money that was moved by hand.
type byHand struct {
	Amount api.Money `json:"amount"`
	At     time.Time `json:"paid_at"`
}

// note writes a line of the audit log if a statement has changed something, and returns its error if it has failed.
func note(ctx context.Context, tx bun.Tx, res sql.Result, err error, act auditlog.Act) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	return auditlog.Add(ctx, tx, "payment", act)
}

// cancel ends a payment that has not been made. Any other stays as it is.
func (t *tables) cancel(ctx context.Context, reference string) error {
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*paymentRow)(nil)).Set("status = ?", statusCancelled).
			Where("reference = ?", reference).Where("status = ?", statusPending).Exec(ctx)
		return err
	})
}

// expire ends payments that were not made in time, and has the poller look at them, which finds that their time is
// over.
func (t *tables) expire(ctx context.Context, limit int) error {
	now := store.Time(t.now())
	overdue := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("m.status = ?", statusPending).Where("m.due_at <= ?", now)
	}
	if any, err := overdue(t.db.Read().NewSelect().Model((*paymentRow)(nil))).Exists(ctx); err != nil || !any {
		return err
	}
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []*paymentRow
		if err := record.LockFree(t.db, overdue(tx.NewSelect().Model(&rows)).Order("m.due_at").Limit(int64(limit))).
			Scan(ctx); err != nil || len(rows) == 0 {
			return err
		}
		references, payments := make([]string, len(rows)), make([]ids.Payment, len(rows))
		for i, r := range rows {
			references[i], payments[i] = r.Reference, r.PaymentID
		}
		_, err := tx.NewUpdate().Model((*paymentRow)(nil)).Set("status = ?", statusExpired).
			Where("reference IN (?)", bun.List(references)).Exec(ctx)
		if err != nil {
			return err
		}
		return record.PollSoon(ctx, tx, now, payments...)
	})
}

// remind publishes once of each payment that it is half way to its end. One whose end has come is past that, and so is
// one whose order is paid in another way.
func (t *tables) remind(ctx context.Context, limit int) error {
	now := store.Time(t.now())
	half := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("m.status = ?", statusPending).Where("m.reminded_at IS NULL").Where("m.remind_at <= ?", now).
			Where("m.due_at > ?", now)
	}
	if any, err := half(t.db.Read().NewSelect().Model((*paymentRow)(nil))).Exists(ctx); err != nil || !any {
		return err
	}
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []*paymentRow
		if err := record.LockFree(t.db, half(tx.NewSelect().Model(&rows)).Order("m.remind_at").Limit(int64(limit))).
			Scan(ctx); err != nil || len(rows) == 0 {
			return err
		}
		of := make(map[ids.Payment]*paymentRow, len(rows))
		references, payments := make([]string, len(rows)), make([]ids.Payment, len(rows))
		for i, r := range rows {
			of[r.PaymentID], references[i], payments[i] = r, r.Reference, r.PaymentID
		}
		_, err := tx.NewUpdate().Model((*paymentRow)(nil)).Set("reminded_at = ?", now).
			Where("reference IN (?)", bun.List(references)).Exec(ctx)
		if err != nil {
			return err
		}
		var open []*record.Payment
		err = tx.NewSelect().Model(&open).Where("p.id IN (?)", bun.List(payments)).
			Where("p.status = ?", api.PaymentRequiresAction).
			Where("NOT EXISTS (SELECT 1 FROM payments AS o WHERE o.order_id = p.order_id AND o.status NOT IN (?, ?))",
				api.PaymentRequiresAction, api.PaymentFailed).Order("p.id").Scan(ctx)
		if err != nil || len(open) == 0 {
			return err
		}
		msgs := make([]stream.Message, len(open))
		for i, p := range open {
			m := of[p.ID]
			msgs[i] = stream.Message{Subject: api.PaymentReminderDue.Subject,
				Payload: api.PaymentReminder{Payment: p.Payment(), Reference: m.Reference, DueAt: m.DueAt.UTC()}}
		}
		return stream.AddAll(ctx, tx, msgs...)
	})
}

// refund stores what is to be paid out, or returns what is stored under that request key.
func (t *tables) refund(ctx context.Context, row *refundRow, currency string) (*refundRow, error) {
	stored := new(refundRow)
	err := t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		payment := new(paymentRow)
		if err := record.Lock(t.db, tx.NewSelect().Model(payment).Where("m.reference = ?",
			row.Reference)).Scan(ctx); err != nil {
			return store.OrNotFound(err, "no such payment")
		}
		var list []*refundRow
		if err := tx.NewSelect().Model(&list).Where("mr.reference = ?", row.Reference).Scan(ctx); err != nil {
			return err
		}
		left := payment.Amount
		for _, r := range list {
			if r.RequestKey == row.RequestKey {
				if r.Amount != row.Amount {
					return fault.New(fault.Unprocessable, "the key was used for another refund")
				}
				*stored = *r
				return nil
			}
			left -= r.Amount
		}
		switch {
		case payment.Status != statusPaid:
			return fault.New(fault.Conflict, "a payment that is %s cannot be refunded", payment.Status)
		case payment.Currency != currency || row.Amount <= 0 || row.Amount > left:
			return fault.New(fault.Conflict, "there are %d %s left to refund", left, payment.Currency)
		}
		*stored = *row
		_, err := tx.NewInsert().Model(row).Returning("NULL").Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return stored, nil
}

// markRefunded records that a refund has been paid out and by whom, and has it taken up now.
func (t *tables) markRefunded(ctx context.Context, reference string, refund ids.Refund, by ids.User) error {
	now := store.Time(t.now())
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		due, row := new(refundRow), new(record.Refund)
		if err := tx.NewSelect().Model(row).Where("r.id = ?", refund).Scan(ctx); err != nil {
			return store.OrNotFound(err, "no such refund is to be paid out")
		}
		err := tx.NewSelect().Model(due).Where("mr.request_key = ?", row.Key()).
			Where("mr.reference = ?", reference).Scan(ctx)
		if err != nil {
			return store.OrNotFound(err, "no such refund is to be paid out")
		}
		res, err := tx.NewUpdate().Model((*refundRow)(nil)).Set("paid_at = ?", now).Set("paid_by = ?", by).
			Where("id = ?", due.ID).Where("paid_at IS NULL").Exec(ctx)
		if err := note(ctx, tx, res, err, auditlog.Act{At: now, Object: refund.String(),
			After: byHand{row.Money(), now}}); err != nil {
			return err
		}
		return record.RefundSoon(ctx, tx, now, refund)
	})
}
