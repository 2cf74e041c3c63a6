package payment

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
)

// sandboxStore has the tables of the sandbox provider.
type sandboxStore struct {
	db  *store.DB
	now func() time.Time
}

// sandboxPayment is a payment as the sandbox has it.
type sandboxPayment struct {
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

type sandboxRefund struct {
	bun.BaseModel `bun:"table:sandbox_refunds,alias:r"`

	ID         string `bun:",pk"`
	RequestKey string
	PaymentID  string
	Amount     int64
	CreatedAt  time.Time
}

// sandboxCallback is a callback on its way. Until DueAt it belongs to the instance that took it up.
type sandboxCallback struct {
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
func (b *sandboxStore) secret(ctx context.Context) ([]byte, error) {
	fresh := make([]byte, 32)
	rand.Read(fresh) // never fails, by its documentation
	var value []byte
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
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

// create opens payments, or returns those that were opened under the same keys.
func (b *sandboxStore) create(ctx context.Context, rows []*sandboxPayment) []batch.Result[*sandboxPayment] {
	// In one order everywhere, so that instances with the same keys at hand do not wait for each other in a circle.
	inserts := slices.SortedFunc(slices.Values(rows), func(a, b *sandboxPayment) int { return cmp.Compare(a.RequestKey, b.RequestKey) })
	keys := make([]string, len(inserts))
	for i, r := range inserts {
		keys[i] = r.RequestKey
	}
	var found []*sandboxPayment
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		found = nil
		if _, err := tx.NewInsert().Model(&inserts).On("CONFLICT (request_key) DO NOTHING").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		return tx.NewSelect().Model(&found).Where("p.request_key IN (?)", bun.List(keys)).Scan(ctx)
	})
	if err != nil {
		return batch.Fail[*sandboxPayment](len(rows), err)
	}
	return match(rows, found, func(r *sandboxPayment) string { return r.RequestKey },
		func(r *sandboxPayment) string { return r.RequestKey }, fault.New(fault.Internal, "the payment was not kept"))
}

// fetch reads payments by id.
func (b *sandboxStore) fetch(ctx context.Context, wanted []string) []batch.Result[*sandboxPayment] {
	var found []*sandboxPayment
	if err := b.db.Read().NewSelect().Model(&found).Where("p.id IN (?)", bun.List(wanted)).Scan(ctx); err != nil {
		return batch.Fail[*sandboxPayment](len(wanted), store.OrNotFound(err, "no such payment"))
	}
	return match(wanted, found, func(id string) string { return id }, func(r *sandboxPayment) string { return r.ID },
		fault.New(fault.NotFound, "the sandbox does not know this payment"))
}

// match gives each input the row with its key, or the fault.
func match[In, Row any, Key comparable](ins []In, rows []Row, of func(In) Key, by func(Row) Key, missing error) []batch.Result[Row] {
	index := make(map[Key]Row, len(rows))
	for _, r := range rows {
		index[by(r)] = r
	}
	results := make([]batch.Result[Row], len(ins))
	for i, in := range ins {
		row, ok := index[of(in)]
		if !ok {
			results[i].Err = missing
			continue
		}
		results[i].Out = row
	}
	return results
}

// byReference reads one payment by the merchant's id.
func (b *sandboxStore) byReference(ctx context.Context, reference ids.Payment) (*sandboxPayment, error) {
	row := new(sandboxPayment)
	if err := b.db.Read().NewSelect().Model(row).Where("p.reference = ?", reference).Scan(ctx); err != nil {
		return nil, store.OrNotFound(err, "no such payment")
	}
	return row, nil
}

// refund gives money back, once for each key.
func (b *sandboxStore) refund(ctx context.Context, row *sandboxRefund, currency string) (*sandboxRefund, error) {
	kept := new(sandboxRefund)
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The row of the payment is the lock: refunds of one payment come one after another.
		payment := new(sandboxPayment)
		if err := lock(b.db, tx.NewSelect().Model(payment).Where("p.id = ?", row.PaymentID)).Scan(ctx); err != nil {
			return store.OrNotFound(err, "the sandbox does not know this payment")
		}
		*kept = sandboxRefund{}
		err := tx.NewSelect().Model(kept).Where("r.request_key = ?", row.RequestKey).Scan(ctx)
		if err == nil {
			if kept.PaymentID != row.PaymentID || kept.Amount != row.Amount {
				return fault.New(fault.Unprocessable, "the key was used for another refund")
			}
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		switch {
		case payment.Status != sandboxSucceeded:
			return fault.New(fault.Conflict, "the payment has not succeeded")
		case payment.Currency != currency:
			return fault.New(fault.Invalid, "the payment was made in another currency")
		case row.Amount <= 0 || row.Amount > payment.Captured-payment.Refunded:
			return fault.New(fault.Conflict, "there is not so much left to refund")
		}
		*kept = *row
		if _, err := tx.NewInsert().Model(kept).Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*sandboxPayment)(nil)).Set("refunded = refunded + ?", row.Amount).Where("id = ?", row.PaymentID).Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// due claims callbacks that wait, for as long as a lease.
func (b *sandboxStore) due(ctx context.Context, limit int) ([]*sandboxCallback, error) {
	now := store.Time(b.now())
	waiting := func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("c.delivered_at IS NULL").Where("NOT c.lost").Where("c.due_at <= ?", now)
	}
	// Looked at without a lock first: mostly there is nothing, and then no instance has to wait.
	if any, err := waiting(b.db.Read().NewSelect().Model((*sandboxCallback)(nil))).Exists(ctx); err != nil || !any {
		return nil, err
	}
	var rows []*sandboxCallback
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows = nil
		if err := claim(b.db, waiting(tx.NewSelect().Model(&rows)).Order("c.due_at").Limit(int64(limit))).Scan(ctx); err != nil || len(rows) == 0 {
			return err
		}
		list := make([]string, len(rows))
		for i, r := range rows {
			list[i] = r.ID
		}
		_, err := tx.NewUpdate().Model((*sandboxCallback)(nil)).Set("due_at = ?", now.Add(deliveryLease)).Where("id IN (?)", bun.List(list)).Exec(ctx)
		return err
	})
	return rows, err
}

// attempt is the outcome of sending a callback.
type attempt struct {
	id        string
	delivered bool
	next      time.Time // when to try again, if not delivered
}

// recordAttempts writes down what became of callbacks.
func (b *sandboxStore) recordAttempts(ctx context.Context, ins []attempt) []batch.Result[struct{}] {
	now := store.Time(b.now())
	var delivered []string
	for _, a := range ins {
		if a.delivered {
			delivered = append(delivered, a.id)
		}
	}
	err := b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if len(delivered) > 0 {
			_, err := tx.NewUpdate().Model((*sandboxCallback)(nil)).Set("delivered_at = ?", now).Set("attempts = attempts + 1").
				Where("id IN (?)", bun.List(delivered)).Exec(ctx)
			if err != nil {
				return err
			}
		}
		for _, a := range ins {
			if a.delivered {
				continue
			}
			_, err := tx.NewUpdate().Model((*sandboxCallback)(nil)).Set("due_at = ?", store.Time(a.next)).Set("attempts = attempts + 1").
				Where("id = ?", a.id).Exec(ctx)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return batch.Fail[struct{}](len(ins), err)
	}
	return make([]batch.Result[struct{}], len(ins))
}
