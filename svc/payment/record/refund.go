package record

import (
	"context"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Refund is money on its way back. Until DueAt it belongs to the instance that took it up.
type Refund struct {
	bun.BaseModel `bun:"table:payment_refunds,alias:r"`

	ID        ids.Refund `bun:",pk"`
	PaymentID ids.Payment
	OrderID   ids.Order
	Amount    int64
	Currency  string
	Tickets   []ids.Ticket `bun:"type:text"`
	Reason    string
	Status    string
	RemoteID  string
	Repeats   int    // how often a person had it made again
	Failure   string // what the provider says of a failed one
	Attempts  int
	DueAt     time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Money returns what goes back.
func (r *Refund) Money() api.Money { return api.Money{Amount: r.Amount, Currency: r.Currency} }

// Refund returns the row as callers see it.
func (r *Refund) Refund() api.Refund {
	return api.Refund{ID: r.ID, PaymentID: r.PaymentID, OrderID: r.OrderID, Status: r.Status,
		Amount: r.Money(), Tickets: r.Tickets, Reason: r.Reason, Failure: r.Failure, CreatedAt: r.CreatedAt.UTC(),
		UpdatedAt: r.UpdatedAt.UTC()}
}

// Entry names the refund in the ledger: each time that it is made again anew.
func (r *Refund) Entry() ids.Refund {
	if r.Repeats == 0 {
		return r.ID
	}
	return r.ID + ids.Refund("/"+strconv.Itoa(r.Repeats))
}

// Key is the idempotency key of the refund at its provider.
func (r *Refund) Key() string { return "starlight-refund-" + r.Entry().String() }

// RefundSoon has a refund that is pending taken up from at on, within the caller's transaction.
func RefundSoon(ctx context.Context, tx bun.Tx, at time.Time, refund ids.Refund) error {
	_, err := tx.NewUpdate().Model((*Refund)(nil)).Set("due_at = ?", store.Time(at)).Where("id = ?", refund).
		Where("status = ?", api.RefundPending).Exec(ctx)
	return err
}
