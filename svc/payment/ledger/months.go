package ledger

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
)

// QueryOfEvent sums the transfers of an event up. The month is that of UTC, as each database writes it.
func QueryOfEvent(db *store.DB) string { return queryBy(db, "event_id") }

// QueryOfOrganizer sums the transfers of all payments up that were made for an organizer.
func QueryOfOrganizer(db *store.DB) string { return queryBy(db, "organizer_id") }

func queryBy(db *store.DB, column string) string {
	month := "substr(l.at, 1, 7)"
	if db.Postgres() {
		month = "to_char(l.at AT TIME ZONE 'UTC', 'YYYY-MM')"
	}
	return `SELECT ` + month + ` AS month, p.provider, p.method, l.currency, l.kind, SUM(l.amount) AS amount
		FROM payments AS p JOIN ledger_transfers AS l ON l.payment_id = p.id WHERE p.` + column + ` = ?
		GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5`
}

// months returns what a query for an id says moved, by month, provider and currency, oldest first.
func months(ctx context.Context, db *store.DB, query, id string) ([]api.MoneyMonth, error) {
	var rows []struct {
		Month, Provider, Method, Currency, Kind string
		Amount                                  int64
	}
	if err := db.Read().NewRaw(query, id).Scan(ctx, &rows); err != nil {
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
