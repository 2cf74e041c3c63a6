package edge

import (
	"context"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// getAnswers returns what is asked at the door about a ticket.
func (h *Server) getAnswers(x *exchange, req *api.TicketRef) (any, error) {
	return h.answers(x, req.ID, nil)
}

// putAnswers replaces what was answered to that.
func (h *Server) putAnswers(x *exchange, req *api.TicketAnswers) (any, error) {
	var check fault.Check
	if check.Field(req.Answers != nil, "answers", "is required"); check.Err() != nil {
		return nil, check.Err()
	}
	return h.answers(x, req.ID, req.Answers)
}

// answers reads what is asked about a ticket or, unless in is nil, writes what is answered.
func (h *Server) answers(x *exchange, id ids.Ticket, in []api.Answer) (*api.AnswerSheet, error) {
	event, known := h.s.doors.EventOf(id)
	if !known && strings.HasPrefix(x.caller.secret, line.PassPrefix) {
		return h.s.answerAtHub(x, x.caller, id, in)
	}
	_, _, by, err := h.s.at(x.caller, event, api.MayAdmit)
	if fault.Is(err, fault.NotFound) {
		err = fault.New(fault.NotFound, "there is no such ticket at the doors of the venue")
	}
	if err != nil {
		return nil, err
	}
	var asked *doors.Asked
	if in == nil {
		asked, err = h.s.doors.Asked(event, id)
	} else {
		asked, err = h.s.doors.Answer(event, id, in, by)
	}
	if err != nil {
		return nil, err
	}
	return sheetOf(asked), nil
}

func sheetOf(a *doors.Asked) *api.AnswerSheet {
	t := api.AnsweredTicket{Position: a.Position, TicketID: a.Ticket.ID, TicketTypeID: a.Ticket.Type,
		Name: a.Ticket.Name}
	if kind := a.Event.TicketType(a.Ticket.Type); kind != nil {
		t.Kind, t.TypeName = kind.Kind, kind.Title()
	}
	return &api.AnswerSheet{OrderID: a.Ticket.Order, EventID: a.Event.ID, Tickets: []api.AnsweredTicket{t},
		Questions: append([]api.Question{}, a.Questions...), Answers: append([]api.Answer{}, a.Answers...),
		Open: a.Shut == nil}
}

// answerAtHub has the hub ask about a ticket that the venue does not have: its doors are the hub's.
func (s *Service) answerAtHub(
	ctx context.Context, c caller, id ids.Ticket, in []api.Answer,
) (*api.AnswerSheet, error) {
	session, err := s.overLine("the ticket is not in the list of the venue")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, hubWithin)
	defer cancel()
	out, err := rpc.Call(ctx, s.client, line.AnswerAtHub, &line.DeviceAnswers{Session: session, Secret: c.secret,
		TicketID: id, Answers: in})
	return out, s.refused(err)
}
