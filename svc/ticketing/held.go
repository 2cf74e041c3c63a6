package ticketing

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// heldTickets returns the tickets that a person can come in with: not revoked, and of an order that nobody is refunding.
// It is asked at the moment a mail goes out, so that no mail speaks of tickets that were given back a second before.
func (s *Service) heldTickets(ctx context.Context, req *api.HeldTickets) (*api.List[api.Ticket], error) {
	column, id := "", ""
	given := 0
	for name, v := range map[string]string{"event_id": req.EventID.String(), "order_id": req.OrderID.String(), "id": req.TicketID.String()} {
		if v != "" {
			column, id = name, v
			given++
		}
	}
	var check fault.Check
	check.Field(req.UserID != "", "user_id", "must be given")
	check.Field(given == 1, "event_id", "or order_id or ticket_id must be given, and only one of them")
	if err := check.Err(); err != nil {
		return nil, err
	}
	rows, err := s.db.held(ctx, req.UserID, column, id)
	if err != nil {
		return nil, err
	}
	return &api.List[api.Ticket]{Items: s.tickets(rows)}, nil
}
