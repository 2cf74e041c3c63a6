package ticketing

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func eur(n int64) api.Money { return api.Money{Amount: n, Currency: "EUR"} }

// charge gives an event tax in its prices and fees on top.
func charge(o *api.Offer) {
	o.Event.Tax = api.Tax{Name: "VAT", Rate: "19", Included: true}
	o.Event.TicketTypes[0].Tax = api.Tax{Name: "VAT", Rate: "7", Included: true}
	o.Event.Fees = []api.Fee{{Name: "Service", Per: api.FeePerTicket, Amount: eur(150)},
		{Name: "Postage", Per: api.FeePerOrder, Amount: eur(490)}}
}

// What a buyer pays is tickets and fees with their tax; a ticket that goes back takes its fee and tax along, and in the
// end all of both is back.
func TestChargesArePaidAndGoBack(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 1000)
		charge(offer)
		organizer := h.as(ownerOf(offer))
		b := h.buy(offer, 3)
		if b.Total != eur(3000+3*150+490) || len(b.Fees) != 2 || len(b.Taxes) != 2 {
			t.Fatalf("the order: %+v", b.Order)
		}
		want := []api.TaxTotal{{Name: "VAT", Rate: "19", Net: eur(790), Tax: eur(150), Gross: eur(940)},
			{Name: "VAT", Rate: "7", Net: eur(2804), Tax: eur(196), Gross: eur(3000)}}
		for i := range want {
			if b.Taxes[i] != want[i] {
				t.Errorf("tax is %+v, want %+v", b.Taxes[i], want[i])
			}
		}
		file := string(must(organizer, h, api.GetOrdersCSV, api.EventExport{EventID: offer.Event.ID}).Data)
		if cells := `,35.94,3.46,"19 %: net 7.90, tax 1.50, gross 9.40; 7 %: net 28.04, tax 1.96, gross 30.00"`; !strings.Contains(
			file, ",39.40,0.00,EUR,") || !strings.Contains(file, cells) {
			t.Errorf("the file of orders:\n%s", file)
		}
		var sums [2][3]int64
		back := func(req api.RefundOrder, amount int64) {
			t.Helper()
			due := must(organizer, h, api.DecideRefund, req)
			gross := int64(0)
			for _, s := range due.Taxes {
				gross += s.Gross.Amount
				for i := range want {
					if want[i].Rate == s.Rate {
						sums[i] = [3]int64{
							sums[i][0] + s.Net.Amount,
							sums[i][1] + s.Tax.Amount,
							sums[i][2] + s.Gross.Amount,
						}
					}
				}
			}
			if due.Amount != eur(amount) || gross != amount {
				t.Errorf("%v goes back, of it %+v, want %d", due.Amount, due.Taxes, amount)
			}
		}
		some := eur(333)
		back(b.refund(&some), 333)
		back(b.refund(nil, b.tickets[0].ID), 1150)
		back(b.refund(nil, b.tickets[1].ID), 1150)
		back(b.refund(nil), 3940-333-2*1150)
		for i, w := range want {
			if sums[i] != [3]int64{w.Net.Amount, w.Tax.Amount, w.Gross.Amount} {
				t.Errorf("of %+v all that went back is %v", w, sums[i])
			}
		}
		h.audit()
		var due api.RefundDue
		msgs := h.published(api.OrderRefundDue.Subject)
		if err := json.Unmarshal(msgs[0].Data, &due); err != nil || len(due.Taxes) != 2 {
			t.Errorf("what is told of the refund: %+v, %v", due, err)
		}
	})
}

// The counter charges what the shop does; the till of a venue only what its prices have in them.
func TestChargesAtTheCounter(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 1000)
		charge(offer)
		sale := must(h.as(ownerOf(offer)), h, api.CreateSale, api.NewSale{EventID: offer.Event.ID,
			Items: order(offer, 2).Items, Payment: api.BoxOfficePayment{Method: api.PaidInCash}})
		if sale.Total != eur(2000+300+490) {
			t.Errorf("the sale costs %v", sale.Total)
		}
		_, err := do(h.as(ownerOf(offer)), h, api.CreateLease, api.NewLease{EventID: offer.Event.ID,
			VenueID: h.venue(ownerOf(offer)), TicketTypeID: offer.Event.TicketTypes[0].ID, Quantity: 1})
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("seats for a till with fees on top: %v", err)
		}
		terms := tillTerms(offer)
		if len(terms.Fees) != 0 || !terms.Tax(offer.Event.TicketTypes[0].ID).Included {
			t.Errorf("a till charges %+v", terms)
		}
		if terms.Tax(ids.TicketType("")) != nil {
			t.Error("an unknown type has tax")
		}
		h.audit()
	})
}

// Who pays what they want pays no less than the price, and that is what goes back.
func TestBuyersPayWhatTheyWant(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 500)
		give := func(m api.Money) api.NewOrder {
			req := order(offer, 2)
			req.Items[0].UnitPrice = &m
			return req
		}
		if _, err := do(h.as(person()), h, api.CreateOrder, give(eur(800))); !fault.Is(err, fault.Invalid) {
			t.Errorf("another price than that of the ticket: %v", err)
		}
		h.change(offer.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) {
			o.Event.TicketTypes[0].FreePrice = true
		})
		for _, m := range []api.Money{eur(499), eur(-1), eur(1e12 + 1), {Amount: 800, Currency: "USD"}} {
			var err error
			testkit.Eventually(t, 15*time.Second, func() error { // until the change has arrived
				if _, err = do(h.as(person()), h, api.CreateOrder, give(m)); err == nil {
					return nil
				}
				if f := fault.From(err).Fields; len(f) == 0 || f[0].Field == "items[0].unit_price" {
					return err
				}
				return nil
			})
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v is given: %v", m, err)
			}
		}
		if o := must(h.as(person()), h, api.CreateOrder, order(offer, 1)); o.Total != eur(500) {
			t.Errorf("who names no price pays %v", o.Total)
		}
		buyer := person()
		o := must(h.as(buyer), h, api.CreateOrder, give(eur(800)))
		if o.Total != eur(1600) || o.Items[0].UnitPrice != eur(800) {
			t.Fatalf("the order is %+v", o)
		}
		b := bought{buyer: buyer, payment: h.pay(buyer, &o.Order)}
		b.Order = h.becomes(buyer, o.ID, api.OrderPaid)
		b.tickets = must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items
		due := must(h.as(ownerOf(offer)), h, api.DecideRefund, b.refund(nil, b.tickets[0].ID))
		if due.Amount != eur(800) {
			t.Errorf("%v goes back", due.Amount)
		}
		h.audit()
	})
}

// What the organizer gives away has no tax; what it sells to a person by itself has that of the event, and all of it
// goes back with the order.
func TestTaxOfStaffOrders(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 1000)
		charge(offer)
		organizer := h.as(ownerOf(offer))
		staff := api.StaffOrder{EventID: offer.Event.ID, Items: order(offer, 2).Items, Email: "kim@example.org", Name: "Kim"}
		sold := must(organizer, h, api.CreateStaffOrder, staff)
		want := []api.TaxTotal{{Name: "VAT", Rate: "19", Net: eur(664), Tax: eur(126), Gross: eur(790)},
			{Name: "VAT", Rate: "7", Net: eur(1869), Tax: eur(131), Gross: eur(2000)}}
		if sold.Total != eur(2790) || !slices.Equal(sold.Taxes, want) || sold.ReverseCharge {
			t.Errorf("what is sold: %v of %+v", sold.Total, sold.Taxes)
		}
		staff.Complimentary = true
		given := must(organizer, h, api.CreateStaffOrder, staff)
		if given.Total.Amount != 0 || len(given.Taxes) != 0 || len(given.Fees) != 0 || given.Items[0].Tax != nil {
			t.Errorf("what is given away: %+v", given)
		}
		h.audit()
	})
}

// A sale at the counter that is taken back gives back the tax of each rate, all of it.
func TestTaxOfASaleThatIsTakenBack(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 1000)
		charge(offer)
		organizer := h.as(ownerOf(offer))
		sale := must(organizer, h, api.CreateSale, api.NewSale{EventID: offer.Event.ID, Items: order(offer, 2).Items,
			Payment: api.BoxOfficePayment{Method: api.PaidInCash}})
		must(organizer, h, api.ReverseSale, api.ReverseSaleRequest{OrderID: sale.OrderID, Reason: "wrong date"})
		var due api.RefundDue
		var msgs []*jetstream.RawStreamMsg
		testkit.Eventually(t, 15*time.Second, func() error {
			if msgs = h.published(api.OrderRefundDue.Subject); len(msgs) != 1 {
				return fmt.Errorf("%d refunds are told of", len(msgs))
			}
			return nil
		})
		if err := json.Unmarshal(msgs[0].Data, &due); err != nil {
			t.Fatal(err)
		}
		want := []api.TaxTotal{{Name: "VAT", Rate: "19", Net: eur(664), Tax: eur(126), Gross: eur(790)},
			{Name: "VAT", Rate: "7", Net: eur(1869), Tax: eur(131), Gross: eur(2000)}}
		if due.Amount != eur(2790) || !slices.Equal(due.Taxes, want) {
			t.Errorf("%v goes back, of it %+v", due.Amount, due.Taxes)
		}
		h.audit()
	})
}
