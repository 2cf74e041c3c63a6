package ticketing

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func (s *Service) myOrders(ctx context.Context, req *api.Page) (*api.List[api.Order], error) {
	return s.orderList(ctx, "user_id", string(rpc.Caller(ctx).User), *req)
}

func (s *Service) eventOrders(ctx context.Context, req *api.EventPage) (*api.List[api.Order], error) {
	if _, err := s.offerAs(ctx, req.EventID, api.MayReadOrders); err != nil {
		return nil, err
	}
	list, err := s.orderList(ctx, "event_id", string(req.EventID), req.Page)
	if err != nil {
		return nil, err
	}
	if err := s.addNotes(ctx, list.Items); err != nil {
		return nil, err
	}
	return list, s.nameBuyers(ctx, list.Items)
}

func (s *Service) orderList(ctx context.Context, column, value string, page api.Page) (*api.List[api.Order], error) {
	rows, next, err := list[orderRow](ctx, s.db, "created_at", column, value, page)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Order]{Items: make([]api.Order, len(rows)), NextCursor: next}
	for i := range rows {
		out.Items[i] = rows[i].order()
	}
	return out, nil
}
