package ticketing

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/offers"
)

// keys returns the keys that the inventory has of an event.
func (h *harness) keys(event *api.Offer) int {
	h.t.Helper()
	s, err := h.nats.JS.Stream(h.t.Context(), inventory.Stream)
	if err != nil {
		h.t.Fatal(err)
	}
	info, err := s.Info(h.t.Context(), jetstream.WithSubjectFilter(
		api.InventoryPrefix+"*."+event.Event.ID.String()+".>"))
	if err != nil {
		h.t.Fatal(err)
	}
	pool, err := s.Info(h.t.Context(), jetstream.WithSubjectFilter(api.InventoryPrefix+"pool."+event.Event.ID.String()))
	if err != nil {
		h.t.Fatal(err)
	}
	return len(info.State.Subjects) + len(pool.State.Subjects)
}

// The inventory keeps nothing of an event that ended long ago. Its orders can still be refunded, and the audit knows.
func TestEventThatIsOverLeavesTheInventory(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		over, other := h.publish(10, 1000), h.publish(10, 1000)
		b, free := h.buy(over, 3), h.buy(over, 1)
		h.buy(other, 2)
		h.change(over.Event.ID, api.EventUpdated.Subject,
			func(o *api.Offer) { o.Event.EndsAt = h.clock.Now().Add(-offers.RetireAfter) })
		testkit.Eventually(t, 15*time.Second, func() error {
			pool, err := s.inv.Pool(t.Context(), over.Event.ID)
			if err == nil && pool.Revision == over.Event.Revision {
				err = errors.New("the change has not come")
			}
			return err
		})
		organizer := h.as(ownerOf(over))
		must(organizer, h, api.DecideRefund, b.refund(nil, b.tickets[0].ID))
		h.sold(over, 3)
		if err := s.retire(t.Context()); err != nil || h.keys(over) == 0 {
			t.Errorf("at its end %d keys are left, %v", h.keys(over), err)
		}
		h.clock.Advance(2 * audit.OnItsWay)
		for range 2 {
			if err := s.retire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if h.keys(over) != 0 || h.keys(other) == 0 {
			t.Errorf("%d keys are left, and %d of an event that is not over", h.keys(over), h.keys(other))
		}
		h.audit()
		must(organizer, h, api.DecideRefund, b.refund(nil, b.tickets[1].ID))
		must(organizer, h, api.DecideRefund, free.refund(nil))
		if due, err := s.db.seatsDue(t.Context(), "", 10); err != nil || len(due) != 0 {
			t.Errorf("seats are due for ever: %v %v", due, err)
		}
		h.audit()
		if got := h.rebuild(over.Event.ID); got.NoRoom != 0 { // an operator may rebuild all the same
			t.Errorf("rebuilt: %+v", got)
		}
		h.audit()
	})
}

// What an earlier edition of the inventory has left is refused, and made anew from SQL by the operators' rebuild.
func TestRebuildOfAnotherEdition(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer := h.publish(5, 1000)
		b := h.buy(offer, 2)
		h.emptyInventory()
		event := offer.Event.ID.String()
		for key, value := range map[string]string{
			"order." + event + "." + b.ID.String(): `{"s":"sold","l":[{"t":"` + offer.Event.TicketTypes[0].ID.String() +
				`","n":2}],"o":"x"}`,
			"pool." + event: `{"r":1,"types":[{"t":"` + offer.Event.TicketTypes[0].ID.String() +
				`","c":5,"h":0,"s":2}]}`,
		} {
			if _, err := h.nats.JS.Publish(t.Context(), api.InventoryPrefix+key, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		ref := inventory.Ref{Event: offer.Event.ID, Order: b.ID}
		if err := s.inv.Confirm(t.Context(), ref); err == nil {
			t.Error("something is decided by what cannot be read")
		}
		if got := h.rebuild(offer.Event.ID); got.Mended != 1 {
			t.Errorf("rebuilt: %+v", got)
		}
		h.audit()
		if err := s.inv.Confirm(t.Context(), ref); err != nil {
			t.Errorf("a paid order is not known: %v", err)
		}
	})
}
