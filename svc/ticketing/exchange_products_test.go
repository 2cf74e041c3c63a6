package ticketing

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// A ticket is exchanged where products are required: those that came with it stay its buyer's, and are not asked for
// again. They are not exchanged themselves.
func TestTicketsWithProductsAreExchanged(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.sells(1000, 500, 700, 700, 300, 200, 4000)
		vip := &o.Event.TicketTypes[6]
		vip.Kind, vip.Per, vip.Required = "", "", false
		o.Event.OrderRules.Exchange = api.ExchangePolicy{SelfService: true, OtherTypes: true}
		b := h.buys(o, 1, 0, 0, 0, 1, 1)
		options := must(h.as(b.buyer), h, api.GetExchange, api.ExchangeQuery{OrderID: b.ID})
		if len(options.Tickets) != 1 || len(options.Offers) != 1 || options.Offers[0].TicketTypeID != vip.ID {
			t.Errorf("what can be exchanged: %+v", options)
		}
		for _, ticket := range b.tickets {
			made, err := h.exchange(b.buyer, b.ID, o, 6, ticket.ID)
			if ticket.Kind == api.KindProduct {
				if !fault.Is(err, fault.Conflict) {
					t.Errorf("an exchange of a product: %v", err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if made.Due != eur(3000) || len(made.Items) != 1 {
				t.Errorf("the exchange: %+v", made.Order)
			}
			h.payDue(b.buyer, &made.Order)
			h.becomes(b.buyer, made.ID, api.OrderPaid)
		}
		left := 0
		for _, ticket := range h.ticketsOf(b.buyer, b.ID) {
			if ticket.Status == api.TicketValid {
				left++
			}
		}
		if left != 2 {
			t.Errorf("%d products are left of two", left)
		}
		h.audit()
	})
}
