package ledger

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// QueryOfEvent sums the transfers of an event up. The month is that of UTC, as each database writes it.
func QueryOfEvent(db *store.DB) string {
	month := "substr(l.at, 1, 7)"
	if db.Postgres() {
		month = "to_char(l.at AT TIME ZONE 'UTC', 'YYYY-MM')"
	}
	return `SELECT ` + month + ` AS month, p.provider, p.method, l.currency, l.kind, SUM(l.amount) AS amount
		FROM payments AS p JOIN ledger_transfers AS l ON l.payment_id = p.id WHERE p.event_id = ?
		GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5`
}

// OfEvent returns what moved of the money of an event by month, provider and currency, oldest first.
func OfEvent(ctx context.Context, db *store.DB, id ids.Event) ([]api.MoneyMonth, error) {
	var rows []struct {
		Month, Provider, Method, Currency, Kind string
		Amount                                  int64
	}
	if err := db.Read().NewRaw(QueryOfEvent(db), id).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	out := []api.MoneyMonth{}
	for _, r := range rows {
		if r.Method != "" {
			r.Provider += ":" + r.Method
		}
		last := len(out) - 1
		if last < 0 || out[last].Month != r.Month || out[last].Provider != r.Provider ||
			out[last].Collected.Currency != r.Currency {
			none := api.Money{Currency: r.Currency}
			out = append(out, api.MoneyMonth{Month: r.Month, Provider: r.Provider, Collected: none, RefundsOwed: none,
				Refunded: none, Disputed: none})
			last++
		}
		switch m := &out[last]; r.Kind {
		case kindCapture:
			m.Collected.Amount += r.Amount
		case kindRefundDue:
			m.RefundsOwed.Amount += r.Amount
		case kindRefundPaid:
			m.Refunded.Amount += r.Amount
		case kindRefundFailed: // it is with the provider again, and still owed
			m.Refunded.Amount -= r.Amount
		case kindDispute:
			m.Disputed.Amount += r.Amount
		case kindDisputeWon:
			m.Disputed.Amount -= r.Amount
		}
	}
	return out, nil
}
