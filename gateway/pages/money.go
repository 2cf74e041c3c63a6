package pages

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/sheet"
)

func (s *Site) moneyRoutes() []Route {
	return []Route{
		{"GET", "/office/events/{id}/money", s.eventMoney, false},
		{"GET", "/office/events/{id}/money.csv", s.eventMoneyFile, false},
		{"GET", "/office/organizers/{org}/money", s.organizerMoney, false},
		{"GET", "/office/organizers/{org}/money.csv", s.organizerMoneyFile, false},
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
	return v.moneyFile(e.ID.String(), months)
}

func (v *visit) moneyFile(of string, months []api.MoneyMonth) error {
	table := sheet.Table{Name: "money-" + of, Header: []string{"month", "provider", "currency", "collected",
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

// organizerMoney shows what came in for all events of an organizer and what went back, and the taxes of a year.
func (s *Site) organizerMoney(v *visit) error {
	m, months, err := v.organizerMoneyHere()
	if err != nil {
		return err
	}
	this := time.Now().Year()
	year, err := strconv.Atoi(cmp.Or(v.query("year"), strconv.Itoa(this)))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such year")
	}
	taxes, err := ask(v, api.ListOrganizerTaxes, &api.InvoiceExport{ID: m.ID, Year: year})
	if err != nil {
		return err
	}
	years := []int{this}
	if len(months) > 0 {
		first, _ := strconv.Atoi(months[0].Month[:4])
		for y := this - 1; y >= first; y-- {
			years = append(years, y)
		}
	}
	slices.Reverse(months) // the newest is what is looked for
	return v.showOrganizer("earnings", m, nil, map[string]any{"Months": months, "Sums": sumUp(months),
		"Taxes": taxes.Items, "Year": year, "Years": years})
}

func (v *visit) organizerMoneyHere() (*api.Membership, []api.MoneyMonth, error) {
	m, err := v.organizerHere()
	if err != nil {
		return nil, nil, err
	}
	list, err := ask(v, api.ListOrganizerMoney, &api.OrganizerRef{ID: m.ID})
	if err != nil {
		return nil, nil, err
	}
	return m, list.Items, nil
}

// organizerMoneyFile is the same for a spreadsheet.
func (s *Site) organizerMoneyFile(v *visit) error {
	m, months, err := v.organizerMoneyHere()
	if err != nil {
		return err
	}
	return v.moneyFile(m.ID.String(), months)
}
