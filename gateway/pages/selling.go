package pages

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

func (s *Site) sellingRoutes() []Route {
	return []Route{
		{"GET", "/office/events/{id}/selling", s.selling, false},
		{"POST", "/office/events/{id}/selling", s.changeSelling, false},
		{"GET", "/office/events/{id}/ticket-types/{type}", s.ticketTypePage, false},
	}
}

// Fees and quotas are rows of a form, of which the last is empty; one whose name is taken away is taken away.
const (
	mostFees   = 10
	mostQuotas = 20
	mostStages = 10
)

// selling shows how an event sells: taxes and fees, what orders may have, and how buyers give tickets back.
func (s *Site) selling(v *visit) error { return s.sellingAgain(v, nil) }

func (s *Site) sellingAgain(v *visit, failed error) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	data := map[string]any{"Event": e, "Form": filled{v, sellingTexts(e)}, "Currency": currencyOf(e),
		"Fees":   prefixes("fee", min(len(e.Fees)+1, mostFees)),
		"Quotas": prefixes("quota", min(len(e.Quotas)+1, mostQuotas))}
	if failed != nil {
		return v.again("selling", failed, data)
	}
	return v.show("selling", data)
}

// prefixes are what the names of the fields of each row begin with.
func prefixes(name string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s.%d.", name, i))
	}
	return all
}

// sellingTexts is what stands in the form of how an event sells.
func sellingTexts(e *api.Event) map[string]string {
	rules, policy := e.OrderRules, e.OrderRules.Cancellation
	t := map[string]string{
		"min_per_order":       numberText(rules.MinPerOrder),
		"max_per_order":       numberText(rules.MaxPerOrder),
		"max_per_person":      numberText(rules.MaxPerPerson),
		"self_service":        tickText(policy.SelfService),
		"hours_before":        numberText(policy.MinutesBefore / 60),
		"answer_hours_before": numberText(rules.AnswerMinutesBefore / 60),
		"fee_percent":         numberText(policy.FeePercent),
		"reentry":             e.Reentry,
		"exchange":            tickText(rules.Exchange.SelfService),
		"exchange_types":      tickText(rules.Exchange.OtherTypes),
		"exchange_dates":      tickText(rules.Exchange.OtherDates),
		"exchange_cheaper":    tickText(rules.Exchange.Cheaper),
		"exchange_hours":      numberText(rules.Exchange.MinutesBefore / 60),
	}
	if policy.FeePerTicket > 0 {
		t["fee_per_ticket"] = api.Money{Amount: policy.FeePerTicket, Currency: currencyOf(e)}.Decimal()
	}
	if fee := rules.Exchange.FeePerTicket; fee > 0 {
		t["exchange_fee"] = api.Money{Amount: fee, Currency: currencyOf(e)}.Decimal()
	}
	taxTexts(t, "tax.", e.Tax)
	for i, q := range e.Quotas {
		p := fmt.Sprintf("quota.%d.", i)
		t[p+"id"], t[p+"name"], t[p+"capacity"] = q.ID.String(), q.Name, fmt.Sprint(q.Capacity)
	}
	like := api.Tax{Name: e.Tax.Name, Included: e.Tax.Included} // a fee with another rate is taxed like the tickets
	for i, f := range e.Fees {
		p := fmt.Sprintf("fee.%d.", i)
		t[p+"name"], t[p+"per"], t[p+"included"] = f.Name, f.Per, tickText(f.Included)
		if t[p+"value"] = f.Percent + " %"; f.Percent == "" {
			t[p+"value"] = f.Amount.Decimal()
		}
		taxTexts(t, p+"tax.", cmp.Or(f.Tax, like))
	}
	taxTexts(t, fmt.Sprintf("fee.%d.tax.", len(e.Fees)), like)
	return t
}

func (s *Site) changeSelling(v *visit) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	rules := api.OrderRules{MinPerOrder: f.limit("min_per_order"), MaxPerOrder: f.limit("max_per_order"),
		MaxPerPerson: f.limit("max_per_person"), Cancellation: api.CancellationPolicy{
			SelfService: f.ticked("self_service"), MinutesBefore: f.limit("hours_before") * 60,
			FeePercent: f.limit("fee_percent")},
		AnswerMinutesBefore: f.limit("answer_hours_before") * 60}
	if was := e.OrderRules.AnswerMinutesBefore; was/60 == rules.AnswerMinutesBefore/60 {
		rules.AnswerMinutesBefore = was
	}
	if f.text("fee_per_ticket") != "" {
		rules.Cancellation.FeePerTicket = f.amount("fee_per_ticket").Amount
	}
	before := e.OrderRules.Cancellation.MinutesBefore
	if before/60 == rules.Cancellation.MinutesBefore/60 { // hours are shown of it
		rules.Cancellation.MinutesBefore = before
	}
	rules.Exchange = f.exchange(e.OrderRules.Exchange)
	req := &api.PatchEvent{ID: e.ID, OrderRules: codec.To(rules), Tax: f.tax("tax."), Fees: codec.To(f.fees()),
		Quotas: codec.To(f.quotas()), Reentry: codec.To(f.text("reentry"))}
	if err = f.check.Err(); err == nil {
		_, err = ask(v, api.UpdateEvent, req)
	}
	if err != nil {
		return s.sellingAgain(v, err)
	}
	v.redirect("/office/events/" + e.ID.String() + "/selling")
	return nil
}

// exchange reads for what buyers may exchange tickets.
func (f *fields) exchange(was api.ExchangePolicy) api.ExchangePolicy {
	p := api.ExchangePolicy{SelfService: f.ticked("exchange"), OtherTypes: f.ticked("exchange_types"),
		OtherDates: f.ticked("exchange_dates"), Cheaper: f.ticked("exchange_cheaper"),
		MinutesBefore: f.limit("exchange_hours") * 60}
	if was.MinutesBefore/60 == p.MinutesBefore/60 { // hours are shown of it
		p.MinutesBefore = was.MinutesBefore
	}
	if f.text("exchange_fee") != "" {
		p.FeePerTicket = f.amount("exchange_fee").Amount
	}
	return p
}

// fees reads the rows of fees.
func (f *fields) fees() []api.Fee {
	fees := []api.Fee{}
	for _, p := range prefixes("fee", mostFees) {
		if f.text(p+"name") == "" {
			continue
		}
		fee := api.Fee{Name: f.text(p + "name"), Per: f.text(p + "per"), Included: f.ticked(p + "included")}
		if value := f.text(p + "value"); value != "" && value[len(value)-1] == '%' {
			fee.Percent = f.percent(p + "value")
		} else {
			fee.Amount = f.amount(p + "value")
		}
		if tax := f.tax(p + "tax."); tax.Value != nil {
			fee.Tax = *tax.Value
		}
		fees = append(fees, fee)
	}
	return fees
}

func (f *fields) quotas() []api.Quota {
	quotas := []api.Quota{}
	for _, p := range prefixes("quota", mostQuotas) {
		if f.text(p+"name") == "" {
			continue
		}
		quotas = append(quotas, api.Quota{ID: ids.Quota(f.text(p + "id")), Name: f.text(p + "name"),
			Capacity: f.number(p+"capacity", 0)})
	}
	return quotas
}

// stages reads the rows of price stages; before are those that there were.
func (f *fields) stages(e *api.Event, before []api.Stage) []api.Stage {
	stages := []api.Stage{}
	for _, p := range prefixes("stage", mostStages) {
		if f.text(p+"name") == "" {
			continue
		}
		id := ids.Stage(f.text(p + "id"))
		stages = append(stages, api.Stage{ID: id, Name: f.text(p + "name"), Price: f.amount(p + "price"),
			Quantity: f.limit(p + "quantity"), From: f.moment(p + "from").Value, Until: f.moment(p + "until").Value,
			Translations: f.stageIn(e, p, id, before)})
	}
	return stages
}

// includes reads which products tickets come with, and what part of their price each of them is.
func (f *fields) includes(e *api.Event) []api.IncludeProduct {
	list := []api.IncludeProduct{}
	for _, t := range e.TicketTypes {
		name := "with." + t.ID.String()
		n := f.limit(name)
		if !t.IsProduct() || n == 0 {
			continue
		}
		p := api.IncludeProduct{TicketTypeID: t.ID.String(), Quantity: n, Price: api.Money{Currency: f.currency}}
		if f.text(name+".price") != "" {
			p.Price = f.amount(name + ".price")
		}
		list = append(list, p)
	}
	return list
}

// ticketTypePage shows all that can be said of a ticket type.
func (s *Site) ticketTypePage(v *visit) error { return s.ticketTypeAgain(v, nil) }

func (s *Site) ticketTypeAgain(v *visit, failed error) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(e.TicketTypes, func(t api.TicketType) bool { return t.ID.String() == v.Param("type") })
	if i < 0 {
		return fault.New(fault.NotFound, "there is no such ticket type")
	}
	t := e.TicketTypes[i]
	texts := map[string]string{"name": t.Name, "price": t.Price.Decimal(), "quantity": fmt.Sprint(t.Quantity),
		"min_per_order": numberText(t.MinPerOrder), "max_per_order": numberText(t.MaxPerOrder),
		"max_per_person": numberText(t.MaxPerPerson), "sales_start": momentText(t.SalesStart, f.zone),
		"sales_end": momentText(t.SalesEnd, f.zone), "hidden": tickText(t.Hidden), "free_price": tickText(t.FreePrice)}
	texts["group"], texts["per"], texts["required"] = t.Group, t.Per, tickText(t.Required)
	typeTexts(texts, &t)
	taxTexts(texts, "tax.", t.Tax)
	for _, q := range t.Quotas {
		texts["quota."+q.String()] = "yes"
	}
	for k, st := range t.Stages {
		p := fmt.Sprintf("stage.%d.", k)
		texts[p+"id"], texts[p+"name"], texts[p+"price"] = st.ID.String(), st.Name, st.Price.Decimal()
		texts[p+"quantity"] = numberText(st.Quantity)
		texts[p+"from"], texts[p+"until"] = momentText(st.From, f.zone), momentText(st.Until, f.zone)
	}
	for _, p := range t.Includes {
		texts["with."+p.TicketTypeID.String()] = fmt.Sprint(p.Quantity)
		texts["with."+p.TicketTypeID.String()+".price"] = p.Price.Decimal()
	}
	data := map[string]any{"Event": e, "Type": &t, "Form": filled{v, texts},
		"Stages": prefixes("stage", min(len(t.Stages)+1, mostStages)), "Languages": otherLanguages(e)}
	if failed != nil {
		return v.again("tickettype", failed, data)
	}
	return v.show("tickettype", data)
}

// wholeTicketType reads all of what the page of a ticket type asks.
func (s *Site) wholeTicketType(v *visit, id ids.TicketType) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	t := e.TicketType(id)
	if t == nil {
		return fault.New(fault.NotFound, "there is no such ticket type")
	}
	name, price, quantity := f.text("name"), f.amount("price"), f.number("quantity", 0)
	hidden, free := f.ticked("hidden"), f.ticked("free_price")
	quotas := []string{}
	for _, q := range e.Quotas {
		if f.ticked("quota." + q.ID.String()) {
			quotas = append(quotas, q.ID.String())
		}
	}
	req := &api.PatchTicketType{EventID: e.ID, ID: id, Name: &name, Price: &price, Quantity: &quantity, Hidden: &hidden,
		FreePrice: &free, MaxPerOrder: codec.To(f.limit("max_per_order")),
		MinPerOrder:  codec.To(f.limit("min_per_order")),
		MaxPerPerson: codec.To(f.limit("max_per_person")), SalesStart: f.moment("sales_start"),
		SalesEnd: f.moment("sales_end"), Quotas: codec.To(quotas), Tax: f.tax("tax."),
		Stages: codec.To(f.stages(e, t.Stages)), Translations: codec.To(f.typeIn(e, t))}
	if t.IsProduct() {
		per, required := f.text("per"), f.ticked("required")
		req.Per, req.Required, req.Group = &per, &required, codec.To(f.text("group"))
	} else {
		req.Includes = codec.To(f.includes(e))
	}
	if err = f.check.Err(); err == nil {
		_, err = ask(v, api.UpdateTicketType, req)
	}
	if err != nil {
		return s.ticketTypeAgain(v, err)
	}
	v.redirect("/office/events/" + e.ID.String())
	return nil
}
