package browsing_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// How an event sells, on pages without scripts: what orders may have, taxes, fees, quotas, and all of a ticket type. The
// shop offers what they let one buy, and a buyer writes what to pay.
func TestSellingPages(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	b, stranger := s.Browser(), s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password).Must(t, 200)
	stranger.Send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", systemtest.Password).Must(t, 200)
	mina := s.Login("mina@example.org")
	event := s.Concert(mina, 20, 1500)
	at := "/office/events/" + event.ID.String()
	selling, typ := at+"/selling", at+"/ticket-types/"+event.TicketTypes[0].ID.String()
	b.Get(at).Must(t, 200, selling, typ)
	stranger.Send(selling, "max_per_order", "1").Must(t, 403)
	stranger.Send(typ, "do", "whole", "name", "Mine", "price", "0", "quantity", "1").Must(t, 403)
	b.Get(at+"/ticket-types/nonsense").Must(t, 404)

	// What is wrong is said, and what was written stays.
	wrong := b.Send(selling, "max_per_order", "many", "fee.0.name", "Booking", "fee.0.per", "ticket", "fee.0.value", "x").
		Must(t, 400, "max_per_order", "fee.0.value", `value="many"`, `value="Booking"`)
	if strings.Contains(wrong.Text, "min_per_order:") {
		t.Error("an empty field is called wrong")
	}
	b.Send(selling, "tax.rate", "19", "tax.name", "VAT", "tax.included", "yes", "min_per_order", "2", "max_per_order", "6",
		"max_per_person", "8", "self_service", "yes", "hours_before", "48", "fee_percent", "10", "fee_per_ticket", "1,50",
		"fee.0.name", "Booking", "fee.0.per", "order", "fee.0.value", "2,00", "fee.1.name", "Hall", "fee.1.per", "ticket",
		"fee.1.value", "3 %", "fee.1.included", "yes", "quota.0.name", "Stalls", "quota.0.capacity", "15", "reentry", "none").
		Must(t, 200, `value="Stalls"`, `value="3 %"`, `value="2.00"`, `value="48"`)
	e := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+event.ID.String(), mina, nil)
	rules := api.OrderRules{MinPerOrder: 2, MaxPerOrder: 6, MaxPerPerson: 8, Cancellation: api.CancellationPolicy{SelfService: true,
		MinutesBefore: 48 * 60, FeePercent: 10, FeePerTicket: 150}}
	if e.OrderRules != rules || e.Tax != (api.Tax{Name: "VAT", Rate: "19", Included: true}) || len(e.Fees) != 2 ||
		e.Fees[0].Amount.Amount != 200 || e.Fees[1].Percent != "3" || !e.Fees[1].Included || len(e.Quotas) != 1 || e.Reentry != "none" {
		t.Fatalf("%+v", e)
	}

	// The same form again changes nothing, and a row without a name is gone.
	form := []string{"tax.rate", "19", "tax.name", "VAT", "tax.included", "yes", "max_per_order", "6", "fee.0.name", "Booking", "fee.0.per", "order",
		"fee.0.value", "2.00", "fee.1.name", "", "quota.0.name", "Stalls", "quota.0.id", e.Quotas[0].ID.String(), "quota.0.capacity", "15"}
	b.Send(selling, form...).Must(t, 200)
	now := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+event.ID.String(), mina, nil)
	if len(now.Fees) != 1 || len(now.Quotas) != 1 || now.Quotas[0].ID != e.Quotas[0].ID || now.OrderRules.MinPerOrder != 0 {
		t.Fatalf("%+v", now)
	}

	// All of a ticket type.
	b.Send(typ, "do", "whole", "name", "Seat", "price", "free", "quantity", "20").Must(t, 400, "price", `value="free"`)
	b.Send(typ, "do", "whole", "name", "Seat", "price", "", "quantity", "").Must(t, 400, "price: must be", "quantity: must be")
	b.Send(typ, "do", "whole", "name", "Friends", "price", "15,00", "quantity", "20", "free_price", "yes", "min_per_order", "2",
		"max_per_person", "4", "sales_end", "2020-01-01T12:00", "quota."+e.Quotas[0].ID.String(), "yes").Must(t, 200)
	b.Get(typ).Must(t, 200, `value="2020-01-01T12:00"`, `value="Friends"`, "Draws on Stalls (15 seats)")
	shop := "/events/" + event.ID.String()
	b.Get(shop).Must(t, 200, "No longer on sale")
	b.Send(typ, "do", "whole", "name", "Friends", "price", "15", "quantity", "20", "free_price", "yes", "min_per_order", "2",
		"max_per_person", "4", "quota."+e.Quotas[0].ID.String(), "yes").Must(t, 200)
	if got := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+event.ID.String(), mina, nil).TicketTypes[0]; !got.FreePrice ||
		got.MinPerOrder != 2 || got.MaxPerPerson != 4 || got.SalesEnd != nil || len(got.Quotas) != 1 || got.Tax.Rate != "" {
		t.Fatalf("%+v", got)
	}

	// The shop offers none, two, three or four of them, and asks what to pay.
	p := b.Get(shop).Must(t, 200, "from 15.00 EUR", "At least 2 per order", "At most 4 tickets per person", "An order has at most 6 tickets.",
		"<option>0</option>", "<option>2</option>", "<option>4</option>")
	for _, not := range []string{"<option>1</option>", "<option>5</option>", "<option selected>1</option>"} {
		if strings.Contains(p.Text, not) {
			t.Errorf("the shop offers %s", not)
		}
	}
	id := event.TicketTypes[0].ID.String()
	checkout := b.Get("/checkout?event="+event.ID.String()+"&"+id+"=2").Must(t, 200, `name="price.`+id+`"`, `value="15.00"`)
	pay := []string{"event", event.ID.String(), id, "2", "key", checkout.Field(t, "key"), "price." + id}
	b.Send("/checkout", append(pay, "much")...).Must(t, 400, "price."+id, `value="much"`)
	b.Send("/checkout", append(pay, "12")...).Must(t, 400, "unit_price")
	ordered := b.Send("/checkout", append(pay, "17,50")...).Must(t, 200)
	o := systemtest.Call[api.Order](s, 200, "GET", "/v1"+ordered.At, mina, nil)
	if o.Total.Amount != 2*1750+200 || o.Items[0].Quantity != 2 {
		t.Errorf("%+v", o)
	}

	// The order is found by what people say of it.
	for _, q := range []string{o.Number, "mina@example.org", "min"} {
		b.Get(at+"/orders?q="+q).Must(t, 200, o.Number, "Mina")
	}
	b.Get(at+"/orders?q=%3Cscript%3E").Must(t, 200, "No order has that.", "&lt;script&gt;")

	// Price stages are rows of the type's page. The shop says which is on sale and what comes next; who was shown a
	// price that is over reads the new one, and has ordered nothing.
	b.Send(typ, "do", "whole", "name", "Seat", "price", "25", "quantity", "20", "stage.0.name", "Early bird").
		Must(t, 400, "stage.0.price", `value="Early bird"`)
	staged := []string{"do", "whole", "name", "Seat", "price", "25", "quantity", "20", "stage.0.name", "Early bird",
		"stage.0.price", "20,00", "stage.0.quantity"}
	b.Send(typ, append(staged, "2", "stage.1.name", "Members", "stage.1.price", "22", "stage.1.until",
		"2020-01-01T12:00")...).Must(t, 200)
	b.Get(typ).Must(t, 200, `value="Early bird"`, `value="20.00"`, `value="2020-01-01T12:00"`, "stage.2.name")
	b.Get(shop).Must(t, 200, "Early bird", "20.00 EUR", "2 at this price", "then 25.00 EUR")
	b.Get("/embed/"+event.ID.String()).Must(t, 200, "Early bird", "then 25.00 EUR")
	first := b.Get("/checkout?event="+event.ID.String()+"&"+id+"=2").Must(t, 200, "Early bird", "40.00 EUR",
		`name="shown.`+id+`" value="20.00"`)
	b.Get("/checkout?event="+event.ID.String()+"&"+id+"=3").Must(t, 200, "75.00 EUR")
	buy := []string{"event", event.ID.String(), id, "2", "shown." + id, "20.00", "key"}
	p = b.Send("/checkout", append(buy, first.Field(t, "key"))...).Must(t, 200, "Seat, Early bird")
	if o := systemtest.Call[api.Order](s, 200, "GET", "/v1"+p.At, mina, nil); o.Items[0].Gross() != 4000 {
		t.Errorf("two of the stage cost %+v", o.Items)
	}
	b.Send("/checkout", append(buy, "another key")...).Must(t, 409, "The price has changed", "Nothing has been ordered",
		`name="shown.`+id+`" value="25.00"`)
}
