package pages

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/sheet"
)

func (s *Site) moneyRoutes() []Route {
	return []Route{
		{"GET", "/office/events/{id}/money", s.eventMoney, false},
		{"GET", "/office/events/{id}/money.csv", s.eventMoneyFile, false},
		{"GET", "/office/organizers/{org}/money", s.organizerMoney, false},
		{"GET", "/office/organizers/{org}/money.csv", s.organizerMoneyFile, false},
		{"GET", "/admin/payouts", s.duePayouts, false},
		{"GET", "/admin/payouts/{org}", s.payouts, false},
		{"POST", "/admin/payouts/{org}", s.changePayouts, false},
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
	balances, paid, err := v.paidOut(m.ID)
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
		"Taxes": taxes.Items, "Year": year, "Years": years, "Balances": balances, "Payouts": paid.Items,
		"Next": paid.NextCursor})
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

// duePayouts shows administrators which organizers are to be paid.
func (s *Site) duePayouts(v *visit) error {
	list, err := ask(v, api.ListDuePayouts, &api.Page{Cursor: v.query("cursor")})
	if err != nil {
		return err
	}
	names := map[ids.Organizer]string{}
	for _, due := range list.Items {
		if names[due.OrganizerID] != "" {
			continue
		}
		o, err := ask(v, api.GetOrganizer, &api.OrganizerRef{ID: due.OrganizerID})
		if fault.Is(err, fault.NotFound) { // it is owed all the same
			o, err = &api.Organizer{Name: due.OrganizerID.String()}, nil
		}
		if err != nil {
			return err
		}
		names[due.OrganizerID] = cmp.Or(o.LegalName, o.Name)
	}
	return v.show("duepayouts", map[string]any{"Due": list.Items, "Next": list.NextCursor, "Names": names})
}

// payouts shows administrators what an organizer is due and was paid.
func (s *Site) payouts(v *visit) error { return s.payoutsAgain(v, nil) }

func (s *Site) payoutsAgain(v *visit, failed error) error {
	o, err := v.payee()
	if err != nil {
		return err
	}
	balances, list, err := v.paidOut(o.ID)
	if err != nil {
		return err
	}
	data := map[string]any{"Organizer": o, "Balances": balances, "Payouts": list.Items, "Next": list.NextCursor,
		"Amount": v.form("amount"), "Currency": v.form("currency"), "Reference": v.form("reference"),
		"Key": rand.Text()}
	if failed != nil {
		return v.again("payouts", failed, data)
	}
	return v.show("payouts", data)
}

// payee returns the organizer of the page's address. Its members read what the page shows in their office.
func (v *visit) payee() (*api.Organizer, error) {
	if !v.isAdmin() {
		return nil, fault.New(fault.Forbidden, "only administrators pay organizers")
	}
	id, err := ids.Parse[ids.OrganizerKind](v.Param("org"))
	if err != nil {
		return nil, fault.New(fault.NotFound, api.NoSuchOrganizer)
	}
	return ask(v, api.GetOrganizer, &api.OrganizerRef{ID: id})
}

// paidOut returns what an organizer is due by currency, and a page of what it was paid.
func (v *visit) paidOut(id ids.Organizer) ([]api.OrganizerBalance, *api.List[api.Payout], error) {
	balances, err := ask(v, api.ListOrganizerBalances, &api.OrganizerRef{ID: id})
	if err != nil {
		return nil, nil, err
	}
	list, err := ask(v, api.ListPayouts, &api.PayoutPage{OrganizerID: id,
		Page: api.Page{Cursor: v.query("cursor")}})
	return balances.Items, list, err
}

// changePayouts records that an organizer was paid, or that money came back.
func (s *Site) changePayouts(v *visit) error {
	o, err := v.payee()
	if err != nil {
		return err
	}
	if sent := v.form("returned"); sent != "" {
		_, err = ask(v, api.ReturnPayout, &api.PayoutRef{ID: ids.Payout(sent)})
	} else {
		f := &fields{visit: v, currency: v.form("currency")}
		req := &api.NewPayout{OrganizerID: o.ID, Amount: f.amount("amount"), Reference: f.text("reference")}
		if err = f.check.Err(); err == nil {
			_, err = askOnce(v, api.CreatePayout, req, v.form("key"))
		}
	}
	if err != nil {
		return s.payoutsAgain(v, err)
	}
	v.redirect("/admin/payouts/" + o.ID.String())
	return nil
}
