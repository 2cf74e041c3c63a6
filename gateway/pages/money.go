package pages

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/sheet"
)

func (s *Site) moneyRoutes() []Route {
	return []Route{
		{"GET", "/office/events/{id}/money", s.eventMoney, false},
		{"GET", "/office/events/{id}/money.csv", s.eventMoneyFile, false},
	}
}

// moneySum is what became of money in one currency.
type moneySum struct{ Collected, Refunded, Disputed, Owed, Net api.Money }

// sumUp adds months up, by currency.
func sumUp(months []api.MoneyMonth) (sums []moneySum) {
	for _, m := range months {
		code := m.Collected.Currency
		i := slices.IndexFunc(sums, func(s moneySum) bool { return s.Net.Currency == code })
		if i < 0 {
			none := api.Money{Currency: code}
			i, sums = len(sums), append(sums, moneySum{none, none, none, none, none})
		}
		sum := &sums[i]
		sum.Collected.Amount += m.Collected.Amount
		sum.Refunded.Amount += m.Refunded.Amount
		sum.Disputed.Amount += m.Disputed.Amount
		sum.Owed.Amount += m.RefundsOwed.Amount - m.Refunded.Amount
		sum.Net.Amount = sum.Collected.Amount - sum.Refunded.Amount - sum.Disputed.Amount - sum.Owed.Amount
	}
	return sums
}

// eventMoney shows what came in for an event and what went back, month by month.
func (s *Site) eventMoney(v *visit) error {
	e, months, err := v.moneyHere()
	if err != nil {
		return err
	}
	return v.show("money", map[string]any{"Event": e, "Months": months, "Sums": sumUp(months)})
}

func (v *visit) moneyHere() (*api.Event, []api.MoneyMonth, error) {
	e, err := v.eventHere()
	if err != nil {
		return nil, nil, err
	}
	list, err := ask(v, api.ListEventMoney, &api.EventRef{ID: e.ID})
	if err != nil {
		return nil, nil, err
	}
	return e, list.Items, nil
}

// eventMoneyFile is the same for a spreadsheet.
func (s *Site) eventMoneyFile(v *visit) error {
	e, months, err := v.moneyHere()
	if err != nil {
		return err
	}
	table := sheet.Table{Name: "money-" + e.ID.String(), Header: []string{"month", "provider", "currency", "collected",
		"refunds_owed", "refunded", "disputed"}}
	for _, m := range months {
		table.Rows = append(table.Rows, []string{m.Month, m.Provider, m.Collected.Currency, m.Collected.Decimal(),
			m.RefundsOwed.Decimal(), m.Refunded.Decimal(), m.Disputed.Decimal()})
	}
	file, err := sheet.CSV(table)
	if err != nil {
		return err
	}
	v.download(file, "money.csv")
	return nil
}
