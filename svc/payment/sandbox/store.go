package sandbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// tables has the sandbox's own tables. The methods that return results are commits of a batch.Group.
type tables struct {
	db  *store.DB
	now func() time.Time
}

// paymentRow is a payment as the sandbox has it.
type paymentRow struct {
	bun.BaseModel `bun:"table:sandbox_payments,alias:p"`

	ID          string `bun:",pk"`
	RequestKey  string
	Reference   ids.Payment
	OrderID     ids.Order
	Amount      int64
	Currency    string
	Description string
	ReturnURL   string
	Status      string
	Reason      string
	Captured    int64
	CaptureAt   *time.Time
	Refunded    int64
	CreatedAt   time.Time
	ExpiresAt   time.Time
	DecidedAt   *time.Time
}

type refundRow struct {
	bun.BaseModel `bun:"table:sandbox_refunds,alias:r"`

	ID         string `bun:",pk"`
	RequestKey string
	PaymentID  string
	Amount     int64
	CreatedAt  time.Time
}

// callbackRow is a callback on its way. Until DueAt it belongs to the instance that claimed it.
type callbackRow struct {
	bun.BaseModel `bun:"table:sandbox_callbacks,alias:c"`

	ID          string `bun:",pk"`
	PaymentID   string
	Type        string
	CreatedAt   time.Time
	Attempts    int
	DueAt       time.Time
	Lost        bool
	Copies      int
	DeliveredAt *time.Time
}

// secret returns the secret of callbacks, which the first instance that asks for it makes.
func (t *tables) secret(ctx context.Context) ([]byte, error) {
	fresh := make([]byte, 32)
	rand.Read(fresh) // never fails, by its documentation
	var value []byte
	err := t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		const insert = "INSERT INTO sandbox_secrets (name, value) VALUES ('callback', ?) ON CONFLICT (name) DO NOTHING"
		if _, err := tx.ExecContext(ctx, insert, fresh); err != nil {
			return err
		}
		return tx.NewRaw("SELECT value FROM sandbox_secrets WHERE name = 'callback'").Scan(ctx, &value)
	})
	if err != nil {
		return nil, fmt.Errorf("the secret of the sandbox: %w", err)
	}
	return value, nil
}

// insertPayments stores payments, but those of request keys that are stored already.
func insertPayments(ctx context.Context, tx bun.Tx, rows []*paymentRow) error {
	// In one order everywhere, so that instances with the same keys at hand do not wait for each other in a circle.
	slices.SortFunc(rows, func(a, b *paymentRow) int { return cmp.Compare(a.RequestKey, b.RequestKey) })
	_, err := store.Insert(ctx, tx, rows, "CONFLICT DO NOTHING")
	return err
}

// byRequest reads payments by their request keys.
func (t *tables) byRequest(ctx context.Context, keys []string) []batch.Result[*paymentRow] {
	return t.find(ctx, "SELECT * FROM sandbox_payments WHERE request_key IN (?)", keys,
		func(r *paymentRow) string { return r.RequestKey })
}

// fetch reads payments by id.
func (t *tables) fetch(ctx context.Context, wanted []string) []batch.Result[*paymentRow] {
	return t.find(ctx, "SELECT * FROM sandbox_payments WHERE id IN (?)", wanted,
		func(r *paymentRow) string { return r.ID })
}

func (t *tables) find(ctx context.Context, query string, keys []string,
	key func(*paymentRow) string) []batch.Result[*paymentRow] {
	var found []*paymentRow
	if err := store.Select(ctx, t.db.Read(), &found, query, store.List(keys)); err != nil {
		return batch.Fail[*paymentRow](len(keys), store.OrNotFound(err, "no such payment"))
	}
	return record.Match(keys, found, func(k string) string { return k }, key,
		fault.New(fault.NotFound, "the sandbox does not know this payment"))
}

// byReference reads one payment by the merchant's id.
func (t *tables) byReference(ctx context.Context, reference ids.Payment) (*paymentRow, error) {
	row := new(paymentRow)
	if err := t.db.Read().NewSelect().Model(row).Where("p.reference = ?", reference).Scan(ctx); err != nil {
		return nil, store.OrNotFound(err, "no such payment")
	}
	return row, nil
}

// refund gives money back, once for each key.
func (t *tables) refund(ctx context.Context, row *refundRow, currency string) (*refundRow, error) {
	stored := new(refundRow)
	err := t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The row of the payment is the lock: refunds of one payment come one after another.
		payment := new(paymentRow)
		if err := record.Lock(t.db, tx.NewSelect().Model(payment).Where("p.id = ?",
			row.PaymentID)).Scan(ctx); err != nil {
			return store.OrNotFound(err, "the sandbox does not know this payment")
		}
		*stored = refundRow{}
		err := tx.NewSelect().Model(stored).Where("r.request_key = ?", row.RequestKey).Scan(ctx)
		if err == nil {
			if stored.PaymentID != row.PaymentID || stored.Amount != row.Amount {
				return fault.New(fault.Unprocessable, "the key was used for another refund")
			}
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		switch {
		case payment.Status != statusSucceeded:
			return fault.New(fault.Conflict, "the payment has not succeeded")
		case payment.Currency != currency:
			return fault.New(fault.Invalid, "the payment was made in another currency")
		case row.Amount <= 0 || row.Amount > payment.Captured-payment.Refunded:
			return fault.New(fault.Conflict, "there is not so much left to refund")
		}
		*stored = *row
		if _, err := tx.NewInsert().Model(stored).Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*paymentRow)(nil)).Set("refunded = refunded + ?", row.Amount).
			Where("id = ?", row.PaymentID).Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return stored, nil
}

// waiting returns the claim to the callbacks that are to be sent.
func (t *tables) waiting() store.Claim[callbackRow] {
	return store.Claim[callbackRow]{DB: t.db, Due: "due_at", Where: "delivered_at IS NULL AND NOT lost",
		Lease: deliveryLease, Now: t.now}
}

// delivered records soon that a callback was acknowledged.
func (t *tables) delivered(c *callbackRow, at time.Time) {
	t.db.TxSoon(func(ctx context.Context, tx bun.Tx) error {
		_, err := store.Exec(ctx, tx, `UPDATE sandbox_callbacks SET delivered_at = ?, attempts = attempts + 1
			WHERE id = ? AND delivered_at IS NULL`, store.Time(at), c.ID)
		return err
	})
}

// postpone soon has a callback sent again at next, unless another instance has claimed it meanwhile.
func (t *tables) postpone(c *callbackRow, next time.Time) {
	t.db.TxSoon(func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model(c).Set("due_at = ?", store.Time(next)).Set("attempts = attempts + 1").
			WherePK().Where("delivered_at IS NULL").Where("due_at = ?", c.DueAt).Exec(ctx)
		return err
	})
}

// deleteCallbacks deletes callbacks that were sent, or were due and never will be, before olderThan.
func (t *tables) deleteCallbacks(ctx context.Context, olderThan time.Time) error {
	at := store.Time(olderThan)
	return record.DeleteSome(ctx, t.db, `DELETE FROM sandbox_callbacks WHERE id IN
		(SELECT id FROM sandbox_callbacks WHERE delivered_at < ? OR lost AND due_at < ? LIMIT ?)`, at, at)
}
