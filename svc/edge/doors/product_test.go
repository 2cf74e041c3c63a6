package doors_test

import (
	"encoding/json"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// A venue hands a product out once and lets nobody in by it, whether the manifest has it or not; and it sells products
// from its leases, tickets first.
func TestProductsAtTheVenue(t *testing.T) {
	x := newTill(t, 10)
	gift := &x.types[1]
	gift.Kind, gift.Group = api.KindProduct, "Shop"
	next := x.said()
	next.Offer.Event.TicketTypes, next.Offer.Event.Revision = x.types, next.Offer.Event.Revision+1
	next.Leases = append(next.Leases, line.Lease{ID: ids.New[ids.LeaseKind](x.clock.Now()), TicketTypeID: gift.ID,
		Quantity: 3, Target: 3, Revision: 1})
	next.Unknown = line.UnknownAdmit
	x.follow(next)

	unknown := ticket("", 1)
	shown := code.Sign(code.Payload{Event: x.event.EventID, Ticket: unknown.ID, Revision: 1, Product: true}, "k1", x.key)
	x.want(shown, "bar", api.HandedOut)
	if v := x.scan(shown, "bar"); v.Result != api.AlreadyHandedOut || v.Gate != "bar" {
		t.Errorf("%+v", v)
	}
	exit := doors.Shown{EventID: x.event.EventID, Code: shown, Exit: true, By: "pas_x"}
	if v, err := x.d.Scan(t.Context(), exit); err != nil || v.Result != api.NotInside {
		t.Errorf("on the way out: %+v, %v", v, err)
	}

	sale := x.sale(1, "k")
	sale.Items = append([]api.NewOrderItem{{TicketTypeID: gift.ID, Quantity: 2}}, sale.Items...)
	sale.Attendees = []api.Attendee{{Name: "Ada"}}
	sold, err := x.d.Sell(t.Context(), sale)
	if err != nil {
		t.Fatal(err)
	}
	var answer api.Sale
	if err := json.Unmarshal(sold.Answer, &answer); err != nil || len(answer.Tickets) != 3 {
		t.Fatalf("%s, %v", sold.Answer, err)
	}
	for i, s := range answer.Tickets {
		c, _ := code.Parse(s.Code)
		if c.Product != (i > 0) || (s.Holder.Name == "Ada") != (i == 0) {
			t.Errorf("ticket %d is %+v", i, s)
		}
	}
	x.want(answer.Tickets[0].Code, "bar", api.Admitted)
	x.want(answer.Tickets[1].Code, "bar", api.HandedOut)
	x.want(answer.Tickets[1].Code, "bar", api.AlreadyHandedOut)
}
