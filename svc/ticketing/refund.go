package ticketing

import (
	"context"
	"errors"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// decideRefund revokes tickets of a paid order and says how much of its money goes back, for a manager of the event. The
// payment service carries it out.
func (s *Service) decideRefund(ctx context.Context, req *api.RefundOrder) (*api.RefundDue, error) {
	row, err := s.db.order(ctx, req.OrderID)
	if err != nil {
		return nil, err
	}
	if _, err := s.managed(ctx, row.EventID); err != nil {
		return nil, err
	}
	var check fault.Check
	check.Field(plain(req.Reason, 200), "reason", "must be at most 200 characters without control characters")
	check.Field(len(req.Tickets) <= sweepSize, "tickets", "must be at most %d", sweepSize)
	if err := check.Err(); err != nil {
		return nil, err
	}
	if req.Reason == "" {
		req.Reason = "refunded by the organizer"
	}
	due, err := s.db.refund(ctx, req, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	s.metrics.refunds.Inc()
	s.returnSeats(ctx, req.OrderID)
	return &due, nil
}

// returnSeats tells the inventory what orders keep after their tickets were revoked. What fails is found by the sweep:
// SQL remembers it.
func (s *Service) returnSeats(ctx context.Context, orders ...ids.Order) {
	errs := make([]error, len(orders))
	together(orders, func(i int, id ids.Order) { // at the same time, so that they share a batch
		row, lines, err := s.db.keeps(ctx, id)
		if err == nil {
			err = s.inv.Keep(ctx, row.ref(), lines)
		}
		if err == nil {
			err = s.db.settled(ctx, row)
		}
		errs[i] = err
	})
	if err := errors.Join(errs...); err != nil {
		s.log.WarnContext(ctx, "seats will come back later", "error", err)
	}
}

// refundEvent gives back the money of every paid order of a cancelled event, page by page. Interrupted, it goes on where
// it was.
func (s *Service) refundEvent(ctx context.Context, event ids.Event) error {
	const page = 100
	for {
		done, err := s.db.refundEvent(ctx, event, page, store.Time(s.now()))
		if err != nil || len(done) == 0 {
			return err
		}
		s.metrics.refunds.Add(len(done))
		s.returnSeats(ctx, done...)
	}
}

// giveUpFree gives a paid order back that cost nothing.
func (s *Service) giveUpFree(ctx context.Context, id ids.Order) (*api.Order, error) {
	row, err := s.db.giveUpFree(ctx, id, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	s.returnSeats(ctx, id)
	order := row.order()
	return &order, nil
}

// close ends the open payments of orders at their providers, and returns those that nobody can pay any more. Seats are
// not given to others while the money for them may still come.
func (s *Service) close(ctx context.Context, orders []ids.Order) (map[ids.Order]bool, error) {
	resp, err := rpc.Call(ctx, s.client, api.ClosePayments, &api.OrdersToClose{OrderIDs: orders})
	if err != nil {
		return nil, err
	}
	closed := make(map[ids.Order]bool, len(resp.OrderIDs))
	for _, id := range resp.OrderIDs {
		closed[id] = true
	}
	return closed, nil
}
