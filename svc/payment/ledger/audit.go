package ledger

import (
	"context"
	"fmt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// Collected is money that a provider has collected for us.
type Collected struct {
	ID      ids.Payment
	OrderID ids.Order
	Kept    api.Money // without what goes back, or is back
}

// Captures returns all money that was ever collected.
func Captures(ctx context.Context, db *store.DB) ([]Collected, error) {
	var rows []*record.Payment
	err := db.Read().NewSelect().Model(&rows).Where("p.captured > 0").Scan(ctx)
	out := make([]Collected, len(rows))
	for i, r := range rows {
		out[i] = Collected{ID: r.ID, OrderID: r.OrderID, Kept: api.Money{Amount: r.Captured - r.Refunding,
			Currency: r.CapturedIn}}
	}
	return out, err
}

// OfOrder is the money of a payment that has paid an order, or a part of it.
type OfOrder struct {
	OrderID   ids.Order
	PaymentID ids.Payment
}

// Back returns what is back of payments for each order, in minor units.
func Back(ctx context.Context, db *store.DB) (map[OfOrder]int64, error) {
	var rows []struct {
		OfOrder
		Amount int64
	}
	err := db.Read().NewRaw(`SELECT order_id, payment_id, SUM(amount) AS amount FROM payment_refunds WHERE status = ?
		GROUP BY order_id, payment_id`, api.RefundSucceeded).Scan(ctx, &rows)
	out := make(map[OfOrder]int64, len(rows))
	for _, r := range rows {
		out[r.OfOrder] = r.Amount
	}
	return out, err
}

// sums is what a set of records says about one payment.
type sums struct{ captured, owed, paid, disputed int64 }

// Audit compares the payments with the ledger and with the refunds, and looks at the trial balance. It returns how
// many payments it compared and what differs.
func Audit(ctx context.Context, db *store.DB) (compared int, broken []string, err error) {
	var payments []*record.Payment
	if err := db.Read().NewSelect().Model(&payments).Scan(ctx); err != nil {
		return 0, nil, err
	}
	entered, err := sumsOf(ctx, db,
		`SELECT payment_id, kind, SUM(amount) AS amount FROM ledger_transfers GROUP BY payment_id, kind`)
	if err != nil {
		return 0, nil, err
	}
	decided, err := sumsOf(ctx, db, `SELECT payment_id, 'refund_owed' AS kind, SUM(amount) AS amount FROM payment_refunds GROUP BY payment_id
		UNION ALL SELECT payment_id, 'refund_paid', SUM(amount) FROM payment_refunds WHERE status = 'succeeded' GROUP BY payment_id
		UNION ALL SELECT payment_id, 'dispute', SUM(amount) FROM payment_disputes WHERE status IN ('open', 'lost') GROUP BY payment_id`)
	if err != nil {
		return 0, nil, err
	}
	for _, p := range payments {
		want := sums{p.Captured, p.Refunding, p.Refunded, decided[p.ID].disputed}
		if got := entered[p.ID]; got != want {
			broken = append(broken, fmt.Sprintf("payment %s is %+v and the ledger says %+v", p.ID, want, got))
		}
		want.captured = 0
		if got := decided[p.ID]; got != want {
			broken = append(broken, fmt.Sprintf("payment %s is %+v and its refunds say %+v", p.ID, want, got))
		}
		if (p.Status == api.PaymentSucceeded || p.Status == api.PaymentRefunded && p.Flag == "") &&
			p.Captured != p.Amount {
			broken = append(broken, fmt.Sprintf("payment %s is %s and has captured %d of %d", p.ID,
				p.Status, p.Captured, p.Amount))
		}
	}
	balances, err := TrialBalance(ctx, db)
	if err != nil {
		return 0, nil, err
	}
	total := map[string]int64{}
	for _, b := range balances {
		total[b.Debit.Currency] += b.Debit.Amount - b.Credit.Amount
		if b.Account == refundsPayable && b.Debit.Amount > b.Credit.Amount {
			broken = append(broken, fmt.Sprintf("more was given back than was owed: %v of %v", b.Debit, b.Credit))
		}
	}
	for currency, sum := range total {
		if sum != 0 {
			broken = append(broken, fmt.Sprintf("debits and credits of %s differ by %d", currency, sum))
		}
	}
	return len(payments), broken, nil
}

func (s *sums) add(kind string, amount int64) {
	switch kind {
	case kindCapture:
		s.captured += amount
	case kindRefundDue:
		s.owed += amount
	case kindRefundPaid:
		s.paid += amount
	case kindRefundFailed:
		s.paid -= amount
	case kindDispute:
		s.disputed += amount
	case kindDisputeWon:
		s.disputed -= amount
	}
}

func sumsOf(ctx context.Context, db *store.DB, query string) (map[ids.Payment]sums, error) {
	var rows []struct {
		PaymentID ids.Payment
		Kind      string
		Amount    int64
	}
	err := db.Read().NewRaw(query).Scan(ctx, &rows)
	out := map[ids.Payment]sums{}
	for _, r := range rows {
		s := out[r.PaymentID]
		s.add(r.Kind, r.Amount)
		out[r.PaymentID] = s
	}
	return out, err
}
