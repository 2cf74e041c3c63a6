package ticketing

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/ticketing/vies"
)

// registry knows the numbers that it has, says no of all others, and of "" nothing.
type registry map[string]bool

func (r registry) Ask(_ context.Context, number, requester string) (vies.Answer, error) {
	if known, ok := r[number]; ok {
		return vies.Answer{Known: known, Reference: "WAPI1 for " + requester, At: time.Now()}, nil
	}
	return vies.Answer{}, errors.New("the member state is away")
}

const (
	austrian = "ATU12345675"
	away     = "DK88146328"
	german   = "DE136695976"
)

// owed has tickets of an event taxed where the buyer is, in their prices, and a fee where the event is.
func owed(o *api.Offer) {
	charge(o)
	invoicing(o)
	o.Event.TicketTypes[0].Tax.ReverseCharge = true
	o.Organizer.Selling.ReverseCharge = api.ReverseConfirmed
}

func business(number, country string) *api.Billing {
	return &api.Billing{Company: "Beispiel GmbH", Street: "Ring 1", Postcode: "1010", City: "Wien", Country: country, VATID: number}
}

// A business of another member state, whose number is known, pays net and owes the tax; nobody else does.
func TestReverseCharge(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.vies = registry{austrian: true, "FR83404833048": false, german: true}
		h.start()
		full, net := eur(3000+3*150+490), eur(2804+3*150+490)
		for name, c := range map[string]struct {
			to      *api.Billing
			change  func(*api.Offer)
			total   api.Money
			outcome string
		}{
			"a business abroad":                 {business(austrian, "AT"), nil, net, api.VATConfirmed},
			"one whose number VIES denies":      {business("FR83404833048", "FR"), nil, full, api.VATUnknown},
			"one whose state is away":           {business(away, "DK"), nil, full, api.VATUnanswered},
			"one at home":                       {business(german, "DE"), nil, full, ""},
			"a number of home, an address away": {business(german, "AT"), nil, full, ""},
			"an address at home":                {business(austrian, "DE"), nil, full, ""},
			"somebody abroad without a number":  {business("", "AT"), nil, full, ""},
			"a business beyond the Union":       {business("CHE107787577MWST", "CH"), nil, full, ""},
			"nobody in particular":              {nil, nil, full, ""},
			"where no tax is owed by buyers": {business(austrian, "AT"), func(o *api.Offer) {
				o.Event.TicketTypes[0].Tax.ReverseCharge = false
			}, full, ""},
			"at an organizer that is off": {business(austrian, "AT"), func(o *api.Offer) {
				o.Organizer.Selling.ReverseCharge = api.ReverseOff
			}, full, ""},
			"at one that asks nobody": {business(away, "DK"), func(o *api.Offer) {
				o.Organizer.Selling.ReverseCharge = api.ReverseFormat
			}, net, api.VATUnchecked},
			"at one that goes by the digits": {business(away, "DK"), func(o *api.Offer) {
				o.Organizer.Selling.VATUnanswered = api.UnansweredAccept
			}, net, api.VATUnanswered},
			"at a seller without a number": {business(austrian, "AT"), func(o *api.Offer) {
				o.Organizer.Selling.Seller.TaxID = "12/345/67890"
			}, full, ""},
		} {
			offer := h.publish(10, 1000)
			if owed(offer); c.change != nil {
				c.change(offer)
			}
			req := order(offer, 3)
			req.Billing = c.to
			o := must(h.as(person()), h, api.CreateOrder, req)
			got := ""
			if o.VATCheck != nil {
				got = o.VATCheck.Outcome
			}
			if o.Total != c.total || got != c.outcome || o.ReverseCharge != (c.total == net) {
				t.Errorf("%s pays %v, reverse charge %v, and its number is %q: want %v and %q", name, o.Total,
					o.ReverseCharge, got, c.total, c.outcome)
			}
			if got == api.VATConfirmed && !strings.HasPrefix(o.VATCheck.Reference, "WAPI1 for DE123456788") {
				t.Errorf("%s: %+v", name, o.VATCheck)
			}
		}
		offer := h.publish(10, 1000)
		owed(offer)
		offer.Organizer.Selling.VATUnanswered = api.UnansweredRefuse
		req := order(offer, 3)
		req.Billing = business(away, "DK")
		_, err := do(h.as(person()), h, api.CreateOrder, req)
		if f := fault.From(err); f.Code != fault.Unavailable || len(f.Fields) != 1 || f.Fields[0].Field != "billing.vat_id" {
			t.Errorf("at one that wants an answer: %v", err)
		}
		h.audit()
	})
}

// An order without tax stays one: on its invoice, in what goes back of it, and in files; it is made out to its business.
func TestReverseChargeStays(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.vies = registry{austrian: true}
		h.start()
		offer := h.publish(10, 1000)
		owed(offer)
		organizer, buyer := h.as(ownerOf(offer)), person()
		req := order(offer, 3)
		req.Billing = business(austrian, "AT")
		o := must(h.as(buyer), h, api.CreateOrder, req)
		for name, to := range map[string]*api.Billing{"another number": business("ATU66889218", "AT"),
			"none": business("", "AT"), "another country": business(austrian, "DE")} {
			if _, err := do(h.as(buyer), h, api.PutBilling, api.NewBilling{ID: o.ID, Billing: *to}); !fault.Is(err, fault.Conflict) {
				t.Errorf("%s before it is paid: %v", name, err)
			}
		}
		moved := business(austrian, "AT")
		moved.Street = "Graben 2"
		must(h.as(buyer), h, api.PutBilling, api.NewBilling{ID: o.ID, Billing: *moved})
		b := bought{buyer: buyer, payment: h.pay(buyer, &o.Order)}
		b.Order = h.becomes(buyer, o.ID, api.OrderPaid)
		b.tickets = must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items
		if _, err := do(h.as(buyer), h, api.CreateInvoice, api.NewInvoice{ID: o.ID, Billing: business("", "AT")}); !fault.Is(err,
			fault.Conflict) {
			t.Errorf("another buyer on the invoice: %v", err)
		}
		must(h.as(buyer), h, api.CreateInvoice, api.NewInvoice{ID: o.ID, Billing: business(austrian, "AT")})
		must(organizer, h, api.DecideRefund, b.refund(nil, b.tickets[0].ID))
		some := eur(1000)
		must(organizer, h, api.DecideRefund, b.refund(&some))
		must(organizer, h, api.DecideRefund, b.refund(nil))
		sums := map[api.TaxTotal]int64{}
		list := h.invoicesOf(b)
		for _, doc := range list {
			sign := int64(1)
			if doc.Kind == api.CreditNote {
				sign = -1
			}
			var reversed bool
			for _, s := range doc.Taxes {
				if s.Net.Amount+s.Tax.Amount != s.Gross.Amount || s.ReverseCharge && s.Tax.Amount != 0 {
					t.Errorf("%s has %+v", doc.Number, s)
				}
				reversed = reversed || s.ReverseCharge
				sums[api.TaxTotal{Rate: s.Rate, ReverseCharge: s.ReverseCharge}] += sign * s.Gross.Amount
			}
			if !reversed || doc.Buyer.VATID != austrian {
				t.Errorf("%s %s of %s has %+v", doc.Kind, doc.Number, doc.Buyer.VATID, doc.Taxes)
			}
			file, err := do(organizer, h, api.GetInvoiceXML, api.InvoiceOf{ID: doc.ID})
			if err != nil || !strings.Contains(string(file.Data), "VATEX-EU-AE") {
				t.Errorf("the file of %s: %v", doc.Number, err)
			}
		}
		if len(list) != 6 || len(sums) != 2 || sums[api.TaxTotal{Rate: "0", ReverseCharge: true}] != 0 || sums[api.TaxTotal{Rate: "19"}] != 0 {
			t.Errorf("%d documents come to %v", len(list), sums)
		}
		if name := list[3].Lines[len(list[3].Lines)-1].Name; name != "1 × type 0" {
			t.Errorf("the ticket that went back is called %q", name)
		}
		orders := string(must(organizer, h, api.GetOrdersCSV, api.EventExport{EventID: offer.Event.ID}).Data)
		if !strings.Contains(orders, "reverse charge: net 28.04, tax 0.00, gross 28.04\",yes") {
			t.Errorf("the file of orders:\n%s", orders)
		}
		h.balance()
		h.audit()
	})
}
