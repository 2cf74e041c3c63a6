package ticketing

import (
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
)

// publishChanges wakes the callers who wait for a change of orders, at whichever gateway. Call it after the commit: they
// read the order again. A notification that is lost costs them the rest of their wait, and nothing else.
func (s *Service) publishChanges(orders ...ids.Order) {
	for _, id := range orders {
		if err := live.Publish(s.nats, api.OrderRef{ID: id}.LiveSubject(), "changed", "", nil); err != nil {
			s.log.Debug("a change of an order is not published", "order", id, "error", err)
		}
	}
}
