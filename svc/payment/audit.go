package payment

import (
	"context"
	"fmt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Captured is money that a provider has collected for us.
type Captured struct {
	ID       ids.Payment
	OrderID  ids.Order
	Amount   api.Money
	Back     bool // it is refunded, or on its way back
	Provider string
}

// Ledger returns all money that was ever collected.
func Ledger(ctx context.Context, db *store.DB) ([]Captured, error) {
	var rows []struct {
		ID       ids.Payment
		OrderID  ids.Order
		Provider string
		Amount   int64
		Currency string
		Back     bool
	}
	err := db.Read().NewRaw(`SELECT id, order_id, provider, amount, currency,
			(status = 'refunded' OR EXISTS (SELECT 1 FROM payment_refunds r WHERE r.payment_id = payments.id)) AS back
		FROM payments WHERE status IN ('succeeded', 'refunded')`).Scan(ctx, &rows)
	out := make([]Captured, len(rows))
	for i, r := range rows {
		out[i] = Captured{ID: r.ID, OrderID: r.OrderID, Provider: r.Provider, Amount: api.Money{Amount: r.Amount, Currency: r.Currency}, Back: r.Back}
	}
	return out, err
}

// AuditSandbox compares our books with those of the sandbox provider: what it says it collected and gave back is what we
// say. It returns how many payments it compared and what differs.
func AuditSandbox(ctx context.Context, db *store.DB) (compared int, broken []string, err error) {
	var rows []struct {
		ID       string
		Amount   int64
		Currency string
		Status   string
		Theirs   int64 // collected, as they say
		Refunded int64
		Money    string // its currency
	}
	err = db.Read().NewRaw(`SELECT p.id, p.amount, p.currency, p.status, s.amount AS theirs, s.refunded, s.currency AS money
		FROM payments p JOIN sandbox_payments s ON s.reference = p.id
		WHERE s.status = 'succeeded' OR p.status IN ('succeeded', 'refunded')`).Scan(ctx, &rows)
	if err != nil {
		return 0, nil, err
	}
	for _, r := range rows {
		switch {
		case r.Status != api.PaymentSucceeded && r.Status != api.PaymentRefunded:
			broken = append(broken, fmt.Sprintf("payment %s is %s and the provider has collected it", r.ID, r.Status))
		case r.Amount != r.Theirs || r.Currency != r.Money:
			broken = append(broken, fmt.Sprintf("payment %s is %d %s and the provider says %d %s", r.ID, r.Amount, r.Currency, r.Theirs, r.Money))
		case (r.Status == api.PaymentRefunded) != (r.Refunded == r.Theirs):
			broken = append(broken, fmt.Sprintf("payment %s is %s and the provider has given back %d of %d", r.ID, r.Status, r.Refunded, r.Theirs))
		}
	}
	return len(rows), broken, nil
}
