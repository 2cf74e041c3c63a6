package ticketing

import (
	"context"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// codeOf returns the code of a ticket. It is the same at every call, until the key is changed; codes made before stay
// good.
func (s *Service) codeOf(t ticketRow) string {
	kid, key := s.keys.Private()
	return code.Sign(code.Payload{Event: t.EventID, Ticket: t.ID, Revision: t.Revision,
		Product: t.IsProduct()}, kid, key)
}

// ticket returns a ticket as its owner sees it.
func (s *Service) ticket(r ticketRow) api.Ticket {
	t := r.Ticket()
	t.Code = s.codeOf(r)
	return t
}

func (s *Service) tickets(rows []ticketRow) []api.Ticket {
	out := make([]api.Ticket, len(rows))
	for i, r := range rows {
		out[i] = s.ticket(r)
	}
	return out
}

// visibleTicket returns a ticket to its owner, and to those who may read the orders of the event.
func (s *Service) visibleTicket(ctx context.Context, id ids.Ticket) (ticketRow, error) {
	row, err := s.db.ticket(ctx, id)
	if err != nil {
		return ticketRow{}, err
	}
	caller := rpc.Caller(ctx)
	if caller.Owns(row.OwnerID) || caller.Admin() {
		return row, nil
	}
	offer, err := s.offers.Get(ctx, row.EventID)
	if err != nil || !offer.Can(caller, api.MayReadOrders) {
		return ticketRow{}, fault.New(fault.NotFound, "there is no such ticket")
	}
	return row, nil
}

func (s *Service) getTicket(ctx context.Context, req *api.TicketRef) (*api.Ticket, error) {
	row, err := s.visibleTicket(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	t := s.ticket(row)
	if row.OwnerID == rpc.Caller(ctx).User {
		if t.Offer, err = s.offerOf(ctx, row); err != nil {
			return nil, err
		}
	}
	return &t, nil
}

func (s *Service) ticketQR(ctx context.Context, req *api.TicketRef) (*rpc.Blob, error) {
	row, err := s.visibleTicket(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	qr, err := document.NewQR(s.codeOf(row))
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the code could not be drawn")
	}
	return &rpc.Blob{ContentType: "image/png", Data: qr.PNG()}, nil
}

func (s *Service) orderTickets(ctx context.Context, req *api.OrderRef) (*api.List[api.Ticket], error) {
	order, err := s.visibleOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.ticketsOf(ctx, order.ID)
	if err != nil {
		return nil, err
	}
	// A ticket that was given away belongs to somebody else now.
	if caller := rpc.Caller(ctx); order.UserID == caller.User && !caller.Admin() {
		kept := rows[:0]
		for _, r := range rows {
			if r.OwnerID == caller.User {
				kept = append(kept, r)
			}
		}
		rows = kept
	}
	return &api.List[api.Ticket]{Items: s.tickets(rows)}, nil
}

func (s *Service) myTickets(ctx context.Context, req *api.Page) (*api.List[api.Ticket], error) {
	rows, next, err := list[ticketRow](ctx, s.db, "issued_at", "owner_id", string(rpc.Caller(ctx).User), *req)
	if err != nil {
		return nil, err
	}
	return &api.List[api.Ticket]{Items: s.tickets(rows), NextCursor: next}, nil
}

// transferTicket gives a ticket to another account, or offers it to the owner of an address. The revision of a ticket
// that is given moves on, so codes made before are revoked. Who has given a ticket to a person, and says so again
// because no answer came, hears that it is done.
func (s *Service) transferTicket(ctx context.Context, req *api.Transfer) (*api.Ticket, error) {
	var check fault.Check
	check.Field(text.Email(req.Email), "email", "is not an email address")
	text.CheckLine(&check, "name", req.Name, 0, 200)
	if err := check.Err(); err != nil {
		return nil, err
	}
	caller := rpc.Caller(ctx)
	row, err := s.db.ticket(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	missing := fault.New(fault.NotFound, "there is no such ticket")
	// Who has no ticket to give learns nothing of addresses.
	switch {
	case row.OwnerID != caller.User && row.GivenBy != caller.User:
		return nil, missing
	case row.OwnerID == caller.User && row.Status != api.TicketValid:
		return nil, fault.New(fault.Conflict, "the ticket is used or revoked")
	}
	person, err := rpc.Call(ctx, s.client, api.FindUserByEmail, &api.FindUser{Email: req.Email})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if err != nil || !person.EmailVerified {
		if row.OwnerID != caller.User {
			return nil, missing
		}
		return s.offerTicket(ctx, row, req)
	}
	holder := api.Attendee{Name: req.Name, Email: person.Email}
	if holder.Name == "" {
		holder.Name = person.Name
	}
	before := row.OwnerID
	row, ok, err := s.db.transfer(ctx, req.ID, caller.User, person.ID, holder, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	if !ok && before != caller.User {
		return nil, missing
	}
	if !ok {
		return nil, fault.New(fault.Conflict, "the ticket is used or revoked")
	}
	t := s.ticket(row)
	t.Code = "" // it is the new owner's
	return &t, nil
}

// heldTickets returns the tickets that a person can come in with: not revoked, and of an order that nobody is
// refunding. It is asked at the moment a mail goes out, so that no mail speaks of tickets that were given back a second
// before.
func (s *Service) heldTickets(ctx context.Context, req *api.HeldTickets) (*api.List[api.Ticket], error) {
	column, id := "", ""
	given := 0
	for name, v := range map[string]string{"event_id": req.EventID.String(), "order_id": req.OrderID.String(),
		"id": req.TicketID.String()} {
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

// deviceAnswers reads what is asked at the door about a ticket, for a device that the venue service knows, or writes
// what it answers to that.
func (s *Service) deviceAnswers(ctx context.Context, req *line.AnswersAtHub) (*api.AnswerSheet, error) {
	t, err := s.db.ticket(ctx, req.TicketID)
	if err == nil && t.EventID != req.EventID {
		err = fault.New(fault.NotFound, "there is no such ticket")
	}
	if err != nil {
		return nil, err
	}
	a := &answering{only: t.ID, door: true, pass: req.PassID, now: store.Time(s.now())}
	if a.row, err = s.db.order(ctx, t.OrderID); err != nil {
		return nil, err
	}
	if a.offer, err = s.offers.Get(ctx, t.EventID); err != nil {
		return nil, err
	}
	if req.Answers != nil {
		return s.write(ctx, a, atTicket(req.Answers, t.Position))
	}
	if err := s.read(ctx, s.db.Read(), a); err != nil {
		return nil, err
	}
	return a.sheet(), nil
}

// atTicket returns answers as those about a ticket, where they do not say what they are about.
func atTicket(in []api.Answer, position int) []api.Answer {
	in = slices.Clone(in)
	for i := range in {
		if in[i].Position == nil {
			in[i].Position = &position
		}
	}
	return in
}

// markAsked lets a venue learn what is asked about the tickets of an order now, and what was answered.
func markAsked(ctx context.Context, tx tx, e *api.Event, order ids.Order) error {
	if !questions.AsksAtDoor(e.Questions) {
		return nil
	}
	var tickets []ids.Ticket
	err := tx.NewRaw("SELECT id FROM tickets WHERE order_id = ? AND status <> 'revoked' ORDER BY position",
		order).Scan(ctx, &tickets)
	if err != nil {
		return err
	}
	return record.Mark(ctx, tx, e.ID, tickets...)
}
