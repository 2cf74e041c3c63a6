// Package record has the rows of payments and refunds that the payment service shares with its ledger and with the
// providers that live in its process.
package record

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// Payment is a payment as it is stored.
type Payment struct {
	bun.BaseModel `bun:"table:payments,alias:p"`

	ID            ids.Payment `bun:",pk"`
	EventID       ids.Event
	OrganizerID   ids.Organizer // of the event when the payment was begun; "" is not known yet, see ledger.Assign
	OrderID       ids.Order
	UserID        ids.User
	Provider      string
	Method        string // at a counter: cash or card
	Status        string
	Amount        int64
	Currency      string
	Description   string
	RemoteKey     string
	RemoteID      string `bun:",nullzero"`
	CheckoutURL   string
	FailureReason string
	// why the service ends it at the provider: then that is why it fails, whatever the provider says
	Ending     string
	Flag       string // why a person has to look at it
	Captured   int64
	CapturedIn string `bun:"captured_currency"`
	Refunding  int64
	Refunded   int64
	Revision   int64
	PollAt     time.Time
	CreatedAt  time.Time
	UpdatedAt  time.Time

	Cause stream.Cause `bun:"-"` // of the change that is being written
}

// FlagMismatch flags a payment that collected another amount or currency than was asked for.
const FlagMismatch = "mismatch"

// Money returns what is to be paid.
func (p *Payment) Money() api.Money { return api.Money{Amount: p.Amount, Currency: p.Currency} }

// IsOpen reports whether the payment may still succeed.
func (p *Payment) IsOpen() bool {
	return p.Status == api.PaymentRequiresAction || p.Status == api.PaymentProcessing
}

// Payment returns the row as callers see it.
func (p *Payment) Payment() api.Payment {
	out := api.Payment{
		ID: p.ID, OrderID: p.OrderID, UserID: p.UserID, Status: p.Status, Provider: p.Provider, Amount: p.Money(),
		FailureReason: p.FailureReason, Revision: p.Revision, CreatedAt: p.CreatedAt.UTC(),
		UpdatedAt: p.UpdatedAt.UTC(),
	}
	if p.Refunded > 0 {
		out.Refunded = api.Money{Amount: p.Refunded, Currency: p.CapturedIn}
	}
	if p.Status == api.PaymentRequiresAction {
		out.CheckoutURL = p.CheckoutURL
	}
	return out
}

// PollSoon has the poller look at payments from at on, within the caller's transaction.
func PollSoon(ctx context.Context, tx bun.Tx, at time.Time, payments ...ids.Payment) error {
	at = store.Time(at)
	_, err := tx.NewUpdate().Model((*Payment)(nil)).Set("poll_at = ?", at).Where("id IN (?)", bun.List(payments)).
		Where("poll_at > ?", at).Exec(ctx)
	return err
}
