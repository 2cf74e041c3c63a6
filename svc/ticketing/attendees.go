package ticketing

import (
	"context"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
)

const (
	lookAt     = 500  // records that are read, and whose people are asked for, at a time
	searchMost = 2000 // tickets that one page of a search looks at
)

// attendees lists who comes to an event, for its managers.
func (s *Service) attendees(ctx context.Context, req *api.AttendeePage) (*api.List[api.EventAttendee], error) {
	offer, err := s.offerAs(ctx, req.EventID, api.MayReadOrders)
	if err != nil {
		return nil, err
	}
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	query := text.Fold(strings.TrimSpace(req.Query))
	for ; ; limit = max(limit/2, 1) { // until the answers of all fit into a message
		items, next, err := s.attending(ctx, &offer.Event, req.Kind, query, req.Cursor, limit, searchMost)
		if err != nil {
			return nil, err
		}
		n, err := api.FitExport(items)
		if err != nil || n == len(items) || limit == 1 {
			return &api.List[api.EventAttendee]{Items: items, NextCursor: next}, err
		}
	}
}

// attending returns up to limit attendees, or people who get products, who match the folded query, after looking at
// about most tickets.
func (s *Service) attending(
	ctx context.Context, event *api.Event, kind, query, cursor string, limit, most int,
) ([]api.EventAttendee, string, error) {
	out, places := []api.EventAttendee{}, []int(nil)
	var check fault.Check
	check.Field(kind == "" || kind == api.KindTicket || kind == api.KindProduct, "kind", "must be ticket or product")
	if err := check.Err(); err != nil {
		return nil, "", err
	}
	if kind == api.KindTicket {
		kind = ""
	}
	size := lookAt
	if query == "" {
		size = min(limit, lookAt)
	}
	for looked := 0; looked < most; looked += size {
		rows, next, err := newestOf[ticketRow](ctx, s.db.Read().NewSelect().Where("event_id = ?", event.ID).
			Where("kind = ?", kind), "issued_at", cursor, size)
		if err != nil {
			return nil, "", err
		}
		owners := make([]ids.User, len(rows))
		for i, r := range rows {
			owners[i] = r.OwnerID
		}
		people, err := s.people(ctx, owners)
		if err != nil {
			return nil, "", err
		}
		for i, r := range rows {
			a := attendeeOf(r, people[r.OwnerID])
			if !matches(a, query) {
				continue
			}
			out, places = append(out, a), append(places, r.Position)
			if len(out) == limit {
				if cursor = next; i < len(rows)-1 {
					cursor = cursorAt(r)
				}
				return out, cursor, s.addAnswers(ctx, event, out, places)
			}
		}
		if cursor = next; next == "" {
			break
		}
	}
	return out, cursor, s.addAnswers(ctx, event, out, places)
}

// addAnswers adds what was answered about the tickets of attendees, by their places in their orders.
func (s *Service) addAnswers(ctx context.Context, event *api.Event, of []api.EventAttendee, places []int) error {
	if len(event.Questions) == 0 {
		return nil
	}
	orders := map[ids.Order]bool{}
	for _, a := range of {
		orders[a.OrderID] = true
	}
	given, err := answers.OfOrders(ctx, s.db.Read(), event, sortedKeys(orders))
	for i := range of {
		for _, a := range given[of[i].OrderID] {
			if questions.PositionOf(a) == places[i] {
				of[i].Answers = append(of[i].Answers, a)
			}
		}
	}
	return err
}

func attendeeOf(r ticketRow, owner api.Contact) api.EventAttendee {
	a := api.EventAttendee{Name: r.HolderName, Email: r.HolderEmail, TicketTypeID: r.TicketTypeID, TypeName: r.TypeName,
		Status:     r.Status,
		AdmittedAt: r.AdmittedAt, OrderID: r.OrderID, TicketID: r.ID}
	if a.Name == "" {
		a.Name = owner.Name
	}
	if a.Email == "" {
		a.Email = owner.Email
	}
	return a
}

func matches(a api.EventAttendee, query string) bool {
	return query == "" || strings.Contains(text.Fold(a.Name), query) || strings.Contains(text.Fold(a.Email), query) ||
		strings.Contains(a.OrderID.String(), query) || strings.Contains(a.TicketID.String(), query)
}

// people returns how to reach at most lookAt people. Those whose account is gone, and guests who are forgotten, are
// left out.
func (s *Service) people(ctx context.Context, who []ids.User) (map[ids.User]api.Contact, error) {
	people := make(map[ids.User]api.Contact, len(who))
	if len(who) == 0 {
		return people, nil
	}
	guests, err := s.guests.Contacts(ctx, sortedKeys(setOf(who)))
	if err != nil {
		return nil, err
	}
	rest := setOf(who)
	for id, c := range guests {
		people[id] = c
		delete(rest, id)
	}
	if len(rest) == 0 {
		return people, nil
	}
	list, err := rpc.Call(ctx, s.client, api.GetContacts, &api.GetContactsOf{IDs: sortedKeys(rest)})
	if err != nil {
		return nil, err
	}
	for _, c := range list.Items {
		people[c.ID] = c
	}
	return people, nil
}

// nameBuyers says whose the orders are, for the organizer.
func (s *Service) nameBuyers(ctx context.Context, orders []api.Order) error {
	buyers := make([]ids.User, len(orders))
	for i, o := range orders {
		buyers[i] = o.UserID
	}
	people, err := s.people(ctx, buyers)
	for i := range orders {
		if c, ok := people[orders[i].UserID]; ok {
			orders[i].Buyer = &api.Attendee{Name: c.Name, Email: c.Email}
		}
	}
	return err
}

// updateTicket says who comes with a ticket of the caller.
func (s *Service) updateTicket(ctx context.Context, req *api.NewHolder) (*api.Ticket, error) {
	var check fault.Check
	req.Holder.Name = text.Clean(req.Holder.Name)
	check.Field(req.Holder != api.Attendee{}, "holder", "must have a name or an email")
	req.Holder.Check(&check, "holder")
	if err := check.Err(); err != nil {
		return nil, err
	}
	caller := rpc.Caller(ctx).User
	row, err := s.db.ticket(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if row.OwnerID != caller {
		return nil, fault.New(fault.NotFound, "there is no such ticket")
	}
	row, ok, err := s.db.setHolder(ctx, req.ID, caller, req.Holder)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.New(fault.Conflict, "the ticket is used, revoked or given away")
	}
	t := s.ticket(row)
	return &t, nil
}
