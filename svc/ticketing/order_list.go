package ticketing

import (
	"context"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func (s *Service) myOrders(ctx context.Context, req *api.Page) (*api.List[api.Order], error) {
	return s.orderList(ctx, "user_id", string(rpc.Caller(ctx).User), *req)
}

func (s *Service) eventOrders(ctx context.Context, req *api.OrderSearch) (*api.List[api.Order], error) {
	if _, err := s.offerAs(ctx, req.EventID, api.MayReadOrders); err != nil {
		return nil, err
	}
	var list *api.List[api.Order]
	var err error
	if strings.TrimSpace(req.Query) != "" {
		list, err = s.searchOrders(ctx, req)
	} else if list, err = s.orderList(ctx, "event_id", string(req.EventID), req.Page); err == nil {
		err = s.nameBuyers(ctx, list.Items)
	}
	if err != nil {
		return nil, err
	}
	return list, s.addNotes(ctx, list.Items)
}

func (s *Service) orderList(ctx context.Context, column, value string, page api.Page) (*api.List[api.Order], error) {
	rows, next, err := list[orderRow](ctx, s.db, "created_at", column, value, page)
	if err != nil {
		return nil, err
	}
	return &api.List[api.Order]{Items: ordersOf(rows), NextCursor: next}, nil
}
