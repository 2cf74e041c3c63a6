package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// exchanged is what an audit reads of an order about exchanges.
type exchanged struct {
	ExchangeOf ids.Order
	Exchange   struct {
		Worth   int64 `json:"worth"`
		Credits []struct {
			Payment ids.Payment `json:"payment"`
			Amount  int64       `json:"amount"`
			Back    int64       `json:"back"`
		} `json:"credits"`
	} `bun:"type:text"`
	Credited int64
}

// credits returns what pays the order beside its payment, and what of that goes back or pays a further order.
func (x *exchanged) credits() (all, back int64) {
	for _, c := range x.Exchange.Credits {
		all += c.Amount
		back += c.Back
	}
	return all, back
}

// auditExchanges compares the credits of orders with what the orders were credited whose tickets they replace.
func (r *records) auditExchanges() Finding {
	f := Finding{Check: "exchanges: what pays an order as a credit is what the order was credited whose tickets it " +
		"replaces, and no order pays more than it has"}
	credited := map[ids.Order]int64{}
	for i := range r.orders {
		row := &r.orders[i]
		all, back := row.credits()
		if own := row.Total - all; row.Refunded-back > own || all > row.Total || row.Credited > row.Refunded {
			f.Broken = append(f.Broken, fmt.Sprintf("order %s has %d of its own and %d of credits, and %d of it goes "+
				"back, %d of that as credits, %d to other orders", row.ID, own, all, row.Refunded, back, row.Credited))
		}
		if row.ExchangeOf == "" {
			continue
		}
		f.Compared++
		if all > row.Exchange.Worth {
			f.Broken = append(f.Broken, fmt.Sprintf("order %s has credits of %d for tickets that cost %d", row.ID, all,
				row.Exchange.Worth))
		}
		if row.PaidAt != nil {
			credited[row.ExchangeOf] += all
		}
	}
	for i := range r.orders {
		row := &r.orders[i]
		if n := credited[row.ID]; n != row.Credited {
			f.Broken = append(f.Broken, fmt.Sprintf("order %s has credited %d, and its exchanges have %d", row.ID,
				row.Credited, n))
		}
		delete(credited, row.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(credited)) {
		f.Broken = append(f.Broken, fmt.Sprintf("order %s does not exist, and exchanges have %d of it", id,
			credited[id]))
	}
	return f
}

// Paid is what an order says about the money of one payment.
type Paid struct {
	OrderID   ids.Order
	EventID   ids.Event
	PaymentID ids.Payment
	Credit    bool      // of another order, whose tickets were exchanged
	Kept      api.Money // without what goes back, or pays a further order
}

// Receipts returns which payments have paid orders, whatever became of those afterwards.
func Receipts(ctx context.Context, db *store.DB) ([]Paid, error) {
	var rows []struct {
		ID        ids.Order
		EventID   ids.Event
		PaymentID ids.Payment
		exchanged
		Total    int64
		Refunded int64
		Currency string
	}
	err := db.Read().NewRaw(`SELECT id, event_id, payment_id, exchange_of, exchange, credited, total, refunded, currency
		FROM orders WHERE paid_at IS NOT NULL AND total > 0`).Scan(ctx, &rows)
	var out []Paid
	for _, r := range rows {
		all, back := r.credits()
		if r.Total > all {
			out = append(out, Paid{OrderID: r.ID, EventID: r.EventID, PaymentID: r.PaymentID,
				Kept: api.Money{Amount: r.Total - all - (r.Refunded - back), Currency: r.Currency}})
		}
		for _, c := range r.Exchange.Credits {
			out = append(out, Paid{OrderID: r.ID, EventID: r.EventID, PaymentID: c.Payment, Credit: true,
				Kept: api.Money{Amount: c.Amount - c.Back, Currency: r.Currency}})
		}
	}
	return out, err
}

// Credited returns how much of each event's sales pays orders that tickets were exchanged for, in minor units.
func Credited(ctx context.Context, db *store.DB) (map[ids.Event]int64, error) {
	var rows []struct {
		EventID  ids.Event
		Credited int64
	}
	err := db.Read().NewRaw(`SELECT event_id, SUM(credited) AS credited FROM orders WHERE credited > 0
		GROUP BY event_id`).Scan(ctx, &rows)
	out := map[ids.Event]int64{}
	for _, r := range rows {
		out[r.EventID] = r.Credited
	}
	return out, err
}
