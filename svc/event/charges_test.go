package event

import (
	"slices"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

func TestEventsDeclareTaxAndFees(t *testing.T) {
	w := start(t)
	req := draftOf("Taxed")
	req.Tax = api.Tax{Name: " VAT ", Rate: "19", Included: true}
	req.TicketTypes[0].Tax = api.Tax{Rate: "8.875"}
	currency := req.TicketTypes[0].Price.Currency
	req.Fees = []api.Fee{{Name: "Service", Per: api.FeePerTicket, Percent: "2.5"}}
	e := must(w, anna, api.CreateEvent, req)
	for _, got := range []*api.Event{e, must(w, anna, api.GetEvent, api.EventRef{ID: e.ID})} {
		if got.Tax.Name != "VAT" || got.TaxOf(&got.TicketTypes[0]).Rate != "8.875" ||
			got.TaxOf(&got.TicketTypes[1]).Rate != "19" || len(got.Fees) != 1 || !got.ChargesOnTop() {
			t.Fatalf("the event is %+v", got)
		}
	}
	got := must(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID,
		Tax: codec.Patch[api.Tax]{Given: true}})
	if got.TaxOf(&got.TicketTypes[0]).Rate != "19" {
		t.Errorf("without its own tax the type has %+v", got.TaxOf(&got.TicketTypes[0]))
	}
	yes := true
	got = must(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID, FreePrice: &yes})
	if !got.TicketTypes[0].FreePrice {
		t.Errorf("the type is %+v", got.TicketTypes[0])
	}
	fees := []api.Fee{{Name: "Postage", Per: api.FeePerOrder, Amount: api.Money{Amount: 490, Currency: currency},
		Included: true}}
	got = must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Fees: codec.To(fees)})
	if !slices.Equal(got.Fees, fees) || got.ChargesOnTop() || got.Revision != e.Revision+3 {
		t.Errorf("with other fees it is %+v", got)
	}

	_, err := call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Tax: codec.To(api.Tax{Rate: "100.001"}),
		Fees: codec.To([]api.Fee{{Per: "day"}, {Name: "A", Per: api.FeePerOrder, Percent: "1.2345",
			Amount: api.Money{Amount: 1, Currency: currency}}, {Name: "B", Per: api.FeePerOrder,
			Amount: api.Money{Amount: 1, Currency: "XXX"}}})})
	wantCode(t, err, fault.Invalid)
	want := []string{
		"fees[0].amount.amount",
		"fees[0].amount.currency",
		"fees[0].name",
		"fees[0].per",
		"fees[1].amount",
		"fees[1].percent",
		"fees[2].amount.currency",
		"tax.rate",
	}
	if got := fields(err); !slices.Equal(got, want) {
		t.Errorf("at fault are %v, want %v", got, want)
	}
}

// The terms on which an organizer sells reach those who sell for it, as its members do.
func TestSellingTermsReachTheOffer(t *testing.T) {
	w := start(t)
	e := w.published("On terms")
	o := must(w, anna, api.GetOrganizer, api.OrganizerRef{ID: e.OrganizerID})
	name, rounding := "Anna", api.RoundPerDocument
	on := true
	if _, err := call(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: o.ID, Name: &name, Invoices: &on}); !fault.Is(err, fault.Invalid) {
		t.Errorf("invoices of nobody: %v", err)
	}
	must(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: o.ID, Name: &name, TaxRounding: &rounding,
		Invoices: &on, InvoicePrefix: codec.To("RE"), LegalName: codec.To("Anna"), Address: codec.To("Road 1"),
		Country: codec.To("DE"), TaxID: codec.To("DE123456788")})
	must(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: o.ID, LegalName: codec.To("Anna GmbH")})
	want := api.Selling{SalesTerms: api.SalesTerms{TaxRounding: rounding, Invoices: true, InvoicePrefix: "RE"},
		Seller: api.Seller{LegalName: "Anna GmbH", Address: "Road 1", Country: "DE", TaxID: "DE123456788"}}
	must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Description: codec.To("again")})
	seller := rpc.NewClient(w.nats.Connect(), rpc.ClientConfig{Name: "ticketing"})
	offer, err := rpc.Call(t.Context(), seller, api.GetOffer, &api.OfferRequest{EventID: e.ID})
	if err != nil {
		t.Fatal(err)
	}
	if offer.Organizer.Selling != want {
		t.Errorf("the offer has %+v, want %+v", offer.Organizer.Selling, want)
	}
	list := must(w, anna, api.ListOrganizers, api.Page{})
	if len(list.Items) != 1 || list.Items[0].TaxRounding != rounding {
		t.Errorf("the list has %+v", list.Items)
	}
}

// What an event asks of its orders is kept, and reaches who sells.
func TestOrderRulesAreKept(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		w.instance()
		req := draftOf("With rules")
		req.OrderRules = api.OrderRules{MaxPerPerson: 4, Cancellation: api.CancellationPolicy{SelfService: true, FeePercent: 10}}
		e := must(w, anna, api.CreateEvent, req)
		if got := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); got.OrderRules != req.OrderRules {
			t.Errorf("the event asks for %+v", got.OrderRules)
		}
		rules := api.OrderRules{MinPerOrder: 2}
		must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, OrderRules: codec.To(rules)})
		if got := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); got.OrderRules != rules {
			t.Errorf("the changed event asks for %+v", got.OrderRules)
		}
	})
}

// Whoever sells without tax to businesses abroad has a VAT number and makes invoices.
func TestReverseChargeNeedsANumber(t *testing.T) {
	w := start(t)
	e := w.published("Reversed")
	name := "Anna"
	change := func(mode, unanswered, taxID string) error {
		_, err := call(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: e.OrganizerID, Name: &name, ReverseCharge: &mode,
			VATUnanswered: &unanswered, TaxID: codec.To(taxID)})
		return err
	}
	err := change(api.ReverseConfirmed, api.UnansweredTax, "12/345/67890")
	if got := fields(err); !slices.Equal(got, []string{"invoices", "tax_id"}) {
		t.Errorf("without number and invoices: %v", got)
	}
	on := true
	must(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: e.OrganizerID, Name: &name, Invoices: &on,
		LegalName: codec.To("Anna"), Address: codec.To("Road 1"), Country: codec.To("DE")})
	if got := fields(change("always", "later", "CHE107787577MWST")); !slices.Equal(got, []string{"reverse_charge", "vat_unanswered"}) {
		t.Errorf("with what there is not: %v", got)
	}
	if got := fields(change(api.ReverseFormat, "", "CHE107787577MWST")); !slices.Equal(got, []string{"tax_id"}) {
		t.Errorf("with a number from elsewhere: %v", got)
	}
	if err := change(api.ReverseConfirmed, api.UnansweredRefuse, "DE 136 695 976"); err != nil {
		t.Fatal(err)
	}
	got := must(w, anna, api.GetOrganizer, api.OrganizerRef{ID: e.OrganizerID})
	if got.ReverseCharge != api.ReverseConfirmed || got.VATUnanswered != api.UnansweredRefuse {
		t.Errorf("the organizer has %+v", got.SalesTerms)
	}
	off := false
	if _, err := call(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: e.OrganizerID, Invoices: &off}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without invoices: %v", err)
	}
}
