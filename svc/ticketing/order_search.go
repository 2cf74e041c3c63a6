package ticketing

import (
	"context"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
)

// mostFound is how many orders a search by the address of a buyer finds.
const mostFound = 100

// searchOrders finds orders of an event, newest first. What names an order, and who bought, are found at any size of
// the event, on the first page; of parts of a name or a code, each page has looked at a bounded number of orders.
func (s *Service) searchOrders(ctx context.Context, req *api.OrderSearch) (*api.List[api.Order], error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	query := strings.TrimSpace(req.Query)
	if req.Cursor == "" {
		rows, err := s.ordersNamed(ctx, req.EventID, query)
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			out := &api.List[api.Order]{Items: ordersOf(rows)}
			return out, s.nameBuyers(ctx, out.Items)
		}
	}
	out := &api.List[api.Order]{Items: []api.Order{}, NextCursor: req.Cursor}
	query = text.Fold(query)
	for looked := 0; looked < searchMost; looked += lookAt {
		rows, next, err := newest[orderRow](ctx, s.db, "created_at", "event_id", string(req.EventID), out.NextCursor,
			lookAt)
		if err != nil {
			return nil, err
		}
		orders := ordersOf(rows)
		if err := s.nameBuyers(ctx, orders); err != nil {
			return nil, err
		}
		for i, o := range orders {
			if !orderMatches(o, rows[i].Attendees, query) {
				continue
			}
			if out.Items = append(out.Items, o); len(out.Items) == limit && (i < len(orders)-1 || next != "") {
				out.NextCursor = cursorAt(rows[i])
				return out, nil
			}
		}
		if out.NextCursor = next; next == "" {
			break
		}
	}
	return out, nil
}

func ordersOf(rows []orderRow) []api.Order {
	out := make([]api.Order, len(rows))
	for i := range rows {
		out[i] = rows[i].order()
	}
	return out
}

// orderMatches reports whether an order has a folded text in what people know of it.
func orderMatches(o api.Order, attendees []api.Attendee, query string) bool {
	has := func(in string) bool { return strings.Contains(text.Fold(in), query) }
	if has(o.Number) || has(o.PromoCode) || o.Buyer != nil && (has(o.Buyer.Name) || has(o.Buyer.Email)) {
		return true
	}
	for _, a := range attendees {
		if has(a.Name) || has(a.Email) {
			return true
		}
	}
	return false
}

const (
	// orderByNumber uses the index of numbers, which has no rows without one.
	orderByNumber = `SELECT * FROM orders WHERE event_id = ? AND number = ? AND number <> ''`
	// ordersOfPeople looks at the orders of people, not at those of an event: see ordersOfBuyers.
	ordersOfPeople = `SELECT * FROM orders WHERE (user_id IN (?) OR id IN (?)) AND event_id || '' = ?
		ORDER BY created_at DESC, id DESC LIMIT ?`
	// ordersOfAddress looks at the guests with an address, whoever owns their orders by now.
	ordersOfAddress = `SELECT order_id FROM guests WHERE email_key = ? AND event_id || '' = ?
		ORDER BY created_at DESC LIMIT ?`
)

// ordersNamed finds the orders that a text names by itself: by their id or number, or by the whole address of who
// bought them.
func (s *Service) ordersNamed(ctx context.Context, event ids.Event, query string) (rows []orderRow, err error) {
	if id, err := ids.Parse[ids.OrderKind](query); err == nil {
		err := store.Select(ctx, s.db.Read(), &rows,
			"SELECT * FROM orders WHERE id = ? AND event_id || '' = ?", id, event)
		return rows, err
	}
	if !text.Email(query) {
		err := store.Select(ctx, s.db.Read(), &rows, orderByNumber, event, strings.ToUpper(query))
		return rows, err
	}
	var orders []ids.Order
	err = store.Select(ctx, s.db.Read(), &orders, ordersOfAddress, guests.EmailKey(query), event, mostFound)
	if err != nil {
		return nil, err
	}
	var users []ids.User
	switch person, err := rpc.Call(ctx, s.client, api.FindUserByEmail, &api.FindUser{Email: query}); {
	case err == nil:
		users = append(users, person.ID)
	case !fault.Is(err, fault.NotFound):
		return nil, err
	case len(orders) == 0:
		return nil, nil
	}
	err = store.Select(ctx, s.db.Read(), &rows, ordersOfPeople, store.List(users), store.List(orders), event,
		mostFound)
	return rows, err
}
