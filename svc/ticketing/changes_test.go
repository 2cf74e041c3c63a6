package ticketing

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Every change of an order is published once it can be read, whichever instance makes it: who waits for it reads it
// then.
func TestChangesOfOrdersArePublished(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer, buyer := h.publish(10, 1000), person()
		published := make(chan string, 64)
		sub, err := h.conn.Subscribe(live.Subject("ticketing", "*"), func(m *nats.Msg) { published <- m.Subject })
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
		if err := h.conn.Flush(); err != nil {
			t.Fatal(err)
		}
		// until waits for the order to have a status by what is published alone: it reads after each message.
		until := func(id ids.Order, status string) {
			t.Helper()
			limit := time.After(testkit.Within(15 * time.Second))
			for {
				select {
				case subject := <-published:
					if subject != (api.OrderRef{ID: id}).LiveSubject() {
						continue
					}
					if must(h.as(buyer), h, api.GetOrder, api.OrderRef{ID: id}).Status == status {
						return
					}
				case <-limit:
					t.Fatalf("no message led to an order that is %s", status)
				}
			}
		}
		bought := must(h.as(buyer), h, api.CreateOrder, order(offer, 2))
		payment := h.pay(buyer, &bought.Order)
		until(bought.ID, api.OrderPaid)

		given := must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
		must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: given.ID})
		until(given.ID, api.OrderCancelled)

		left := must(h.as(buyer), h, api.CreateOrder, order(offer, 1))
		h.clock.Advance(2 * time.Minute)
		until(left.ID, api.OrderExpired)

		must(h.as(ownerOf(offer)), h, api.DecideRefund,
			api.RefundOrder{RefundID: ids.New[ids.RefundKind](h.clock.Now()), OrderID: bought.ID, PaymentID: payment})
		until(bought.ID, api.OrderRefunding)
		h.announce(api.PaymentWasRefunded.Subject,
			api.PaymentEvent{Payment: api.Payment{ID: payment, OrderID: bought.ID, UserID: buyer}})
		until(bought.ID, api.OrderRefunded)
	})
}
