package manual

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// Counter is the provider of what is paid at a box office. Its payments are there when they are stored, under their own
// id as reference, and go back like those of the Provider: by hand, until a manager says so.
type Counter struct{ manual *Provider }

// Counter returns the box office beside the provider.
func (m *Provider) Counter() Counter { return Counter{m} }

// Name implements provider.Provider.
func (c Counter) Name() string { return api.BoxOffice }

// OffReason implements provider.Switched: no payer can choose it.
func (c Counter) OffReason() string { return "payments at a box office are made there" }

// Collected implements provider.Counter.
func (c Counter) Collected(ctx context.Context, tx bun.Tx, p *record.Payment, by string) error {
	row := &paymentRow{Reference: p.RemoteID, RequestKey: p.RemoteKey, PaymentID: p.ID, Amount: p.Amount,
		Currency: p.Currency, Status: statusPaid, CreatedAt: p.CreatedAt, RemindAt: p.CreatedAt, DueAt: p.CreatedAt,
		PaidAt: &p.CreatedAt, PaidBy: ids.User(by)}
	_, err := tx.NewInsert().Model(row).Returning("NULL").Exec(ctx)
	return err
}

// Create implements provider.Provider.
func (c Counter) Create(context.Context, provider.CreateRequest) (provider.Remote, error) {
	return provider.Remote{}, fault.New(fault.Conflict, "%s", c.OffReason())
}

// Fetch implements provider.Provider.
func (c Counter) Fetch(ctx context.Context, remoteID string) (provider.State, error) {
	return c.manual.Fetch(ctx, remoteID)
}

// Refund implements provider.Provider. The money of a sale that was taken back is paid out already.
func (c Counter) Refund(ctx context.Context, req provider.RefundRequest) (provider.Refund, error) {
	return c.manual.refund(ctx, req, req.Reason == api.RefundReversed)
}

// Cancel implements provider.Provider.
func (c Counter) Cancel(ctx context.Context, remoteID string) (provider.State, error) {
	return c.manual.Fetch(ctx, remoteID)
}

// ParseCallback implements provider.Provider.
func (c Counter) ParseCallback(cb *api.Callback) (provider.CallbackEvent, error) {
	return c.manual.ParseCallback(cb)
}
