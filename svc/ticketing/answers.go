package ticketing

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
)

// errAnswersDue is why an order cannot be paid, before it is known which answers it lacks.
var errAnswersDue = fault.New(fault.Conflict, "answers are missing")

// asked is what the buyer of an order is asked: its tickets need not be there yet.
func (r orderRow) asked(e *api.Event) questions.Sheet {
	sheet := questions.Sheet{Questions: e.Questions, At: api.AskedAtCheckout}
	for _, item := range r.Items {
		sheet.Order = append(sheet.Order, item.TicketTypeID)
		for range item.Quantity {
			sheet.Tickets = append(sheet.Tickets,
				questions.Ticket{Position: len(sheet.Tickets), Type: item.TicketTypeID, Product: item.IsProduct()})
		}
	}
	return sheet
}

// withAnswers adds what the buyer answers as the order is made. What costs nothing is never paid, so it needs all that
// is required at once; the organizer's own orders need nothing.
func (c *creation) withAnswers(row *orderRow, e *api.Event, in []api.Answer) error {
	sheet := row.asked(e)
	var check, missing fault.Check
	kept := sheet.Check(&check, in, nil, c.free && c.staff == nil)
	if err := check.Err(); err != nil {
		return err
	}
	c.answers = answers.Rows(e, row.ID, kept)
	sheet.Missing(&missing, kept)
	row.AnswersDue = !c.free && missing.Err() != nil
	return nil
}

// missing returns which answers an order lacks that cannot be paid without them. If there are none, because less is
// asked by now, it can be.
func (s *Service) missing(ctx context.Context, id ids.Order) error {
	row, err := s.db.order(ctx, id)
	if err != nil {
		return err
	}
	offer, err := s.offers.Get(ctx, row.EventID)
	if err != nil {
		return err
	}
	return s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if err := s.db.lockOrder(ctx, tx, id); err != nil {
			return err
		}
		given, err := answers.Of(ctx, tx, &offer.Event, id)
		if err != nil {
			return err
		}
		var check fault.Check
		row.asked(&offer.Event).Missing(&check, given)
		if err := check.Err(); err != nil {
			f := *fault.From(err)
			f.Code, f.Detail = fault.Conflict, "the order cannot be paid yet: "+f.Detail
			return &f
		}
		_, err = tx.ExecContext(ctx, "UPDATE orders SET answers_due = FALSE, revision = revision + 1 WHERE id = ?", id)
		return err
	})
}

// answering is what a caller may see and change of the answers about an order, or about one of its tickets.
type answering struct {
	offer *api.Offer
	row   orderRow
	only  ids.Ticket // about this one alone
	now   time.Time

	own   bool // the buyer, or the owner of the ticket
	reads bool // who may read the orders of the event
	edits bool // who may change them
	door  bool // who scans

	pass ids.Pass // of the device that scans; empty: it is a person or a key

	tickets []api.AnsweredTicket
	all     []api.Answer // about the whole order
}

func (s *Service) orderAnswers(ctx context.Context, req *api.OrderRef) (*api.AnswerSheet, error) {
	a, err := s.answering(ctx, req.ID, "")
	if err != nil {
		return nil, err
	}
	if err := s.read(ctx, s.db.Read(), a); err != nil {
		return nil, err
	}
	return a.sheet(), nil
}

func (s *Service) ticketAnswers(ctx context.Context, req *api.TicketRef) (*api.AnswerSheet, error) {
	a, err := s.answering(ctx, "", req.ID)
	if err != nil {
		return nil, err
	}
	if err := s.read(ctx, s.db.Read(), a); err != nil {
		return nil, err
	}
	return a.sheet(), nil
}

// answering finds out what the caller may do about an order or a ticket, before any of it is read.
func (s *Service) answering(ctx context.Context, order ids.Order, ticket ids.Ticket) (*answering, error) {
	a := &answering{only: ticket, now: store.Time(s.now())}
	caller, missing, owner := rpc.Caller(ctx), "there is no such order", ids.User("")
	if ticket != "" {
		t, err := s.db.ticket(ctx, ticket)
		if err != nil {
			return nil, err
		}
		order, owner, missing = t.OrderID, t.OwnerID, "there is no such ticket"
	}
	var err error
	if a.row, err = s.db.order(ctx, order); err != nil {
		return nil, err
	}
	if ticket == "" {
		owner = a.row.UserID
	}
	if a.offer, err = s.offers.Get(ctx, a.row.EventID); err != nil {
		return nil, err
	}
	a.own = caller.Owns(owner)
	a.reads, a.edits = a.offer.Can(caller, api.MayReadOrders), a.offer.Can(caller, api.MayEditOrders)
	a.door = ticket != "" && a.offer.Can(caller, api.MayAdmit)
	if !a.own && !a.reads && !a.door {
		return nil, fault.New(fault.NotFound, "%s", missing)
	}
	return a, nil
}

// read reads the tickets that the caller may answer for, and all answers. Within a transaction it locks what it reads.
func (s *Service) read(ctx context.Context, from bun.IDB, a *answering) error {
	known, err := s.db.orders(ctx, from, []ids.Order{a.row.ID})
	if err != nil {
		return err
	}
	a.row = known[a.row.ID]
	lock := bun.Safe("")
	if _, ok := from.(tx); ok {
		lock = s.db.forUpdate()
	}
	var rows []ticketRow
	if err := store.Select(ctx, from, &rows, "SELECT * FROM tickets WHERE order_id = ? ORDER BY position ?", a.row.ID,
		lock); err != nil {
		return err
	}
	a.tickets = []api.AnsweredTicket{}
	if len(rows) == 0 {
		for _, item := range a.row.Items {
			for range item.Quantity {
				t := api.AnsweredTicket{Position: len(a.tickets), TicketTypeID: item.TicketTypeID, Kind: item.Kind,
					TypeName: item.Name}
				if t.Position < len(a.row.Attendees) {
					t.Name = a.row.Attendees[t.Position].Name
				}
				a.tickets = append(a.tickets, t)
			}
		}
	}
	caller := rpc.Caller(ctx)
	for _, t := range rows {
		switch {
		case t.Status == api.TicketRevoked, a.only != "" && t.ID != a.only:
			continue
		case !a.reads && !a.door && t.OwnerID != caller.User: // it was given away
			continue
		}
		a.tickets = append(a.tickets, api.AnsweredTicket{Position: t.Position, TicketID: t.ID,
			TicketTypeID: t.TicketTypeID, Kind: t.Kind, TypeName: t.TypeName, Name: t.HolderName})
	}
	a.all, err = answers.Of(ctx, from, &a.offer.Event, a.row.ID)
	return err
}

// sheet of what the caller sees.
func (a *answering) sheet() *api.AnswerSheet {
	out := &api.AnswerSheet{OrderID: a.row.ID, EventID: a.row.EventID, Tickets: a.tickets,
		Questions: []api.Question{}, Answers: []api.Answer{},
		AnswersDue: a.row.AnswersDue && a.row.Status == api.OrderPending, Open: a.open() == nil}
	if until := a.until(); a.own && !a.edits && a.row.Status == api.OrderPaid {
		out.Until = &until
	}
	shown := a.asking(a.reads)
	may := map[ids.Question]bool{}
	for _, slot := range shown.Slots() {
		may[slot.ID] = true
	}
	for _, given := range a.all {
		at := questions.PositionOf(given)
		here := at == questions.WholeOrder && a.only == "" || slices.ContainsFunc(a.tickets,
			func(t api.AnsweredTicket) bool { return t.Position == at })
		if here && (may[given.QuestionID] || a.reads) {
			out.Answers = append(out.Answers, given)
			may[given.QuestionID] = true
		}
	}
	for _, q := range a.offer.Event.Questions {
		if may[q.ID] {
			out.Questions = append(out.Questions, q)
		}
	}
	return out
}

// asking returns what the caller may answer, or see.
func (a *answering) asking(all bool) questions.Sheet {
	sheet := questions.Sheet{Questions: a.offer.Event.Questions, Known: a.all}
	switch {
	case all || a.own && a.door:
	case a.own:
		sheet.At = api.AskedAtCheckout
	default:
		sheet.At = api.AskedAtDoor
	}
	if a.only == "" {
		sheet.Order = a.row.asked(&a.offer.Event).Order
	}
	for _, t := range a.tickets {
		sheet.Tickets = append(sheet.Tickets, questions.Ticket{Position: t.Position, Type: t.TicketTypeID,
			Product: t.Kind == api.KindProduct})
	}
	return sheet
}

// until is when the buyers of the event can change answers no more.
func (a *answering) until() time.Time {
	e := &a.offer.Event
	return e.StartsAt.Add(-time.Duration(e.OrderRules.AnswerMinutesBefore) * time.Minute).UTC()
}

// open returns why the caller can change no answer now, or nil.
func (a *answering) open() error {
	status := a.row.Status
	switch {
	case !a.own && !a.edits && !a.door:
		return fault.New(fault.Forbidden, "this needs the permission %s, which the caller does not have here",
			api.MayEditOrders)
	case status != api.OrderPaid && status != api.OrderPending:
		return fault.New(fault.Conflict, "the order is %s", status)
	case len(a.tickets) == 0:
		return fault.New(fault.Conflict, "there is no ticket to answer for: it was given away, or is revoked")
	case a.edits || a.door:
		return nil
	case status == api.OrderPending && !a.now.Before(a.row.ExpiresAt):
		return fault.New(fault.Conflict, "the order has expired")
	case status == api.OrderPaid && !a.now.Before(a.until()):
		return fault.New(fault.Conflict, "answers could be changed until %s", a.until().Format(time.RFC3339))
	}
	return nil
}

func (s *Service) setOrderAnswers(ctx context.Context, req *api.OrderAnswers) (*api.AnswerSheet, error) {
	return s.setAnswers(ctx, req.ID, "", req.Answers)
}

func (s *Service) setTicketAnswers(ctx context.Context, req *api.TicketAnswers) (*api.AnswerSheet, error) {
	return s.setAnswers(ctx, "", req.ID, req.Answers)
}

// setAnswers replaces what the caller may answer about an order or a ticket.
func (s *Service) setAnswers(
	ctx context.Context, order ids.Order, ticket ids.Ticket, in []api.Answer,
) (*api.AnswerSheet, error) {
	var check fault.Check
	if check.Field(in != nil, "answers", "is required"); check.Err() != nil {
		return nil, check.Err()
	}
	a, err := s.answering(ctx, order, ticket)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, a, in)
}

// write replaces what the caller may answer.
func (s *Service) write(ctx context.Context, a *answering, in []api.Answer) (*api.AnswerSheet, error) {
	changed := false
	var err error
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		changed = false
		if err := s.read(ctx, tx, a); err != nil {
			return err
		}
		if err := a.open(); err != nil {
			return err
		}
		var check fault.Check
		sheet := a.asking(a.edits)
		kept := sheet.Check(&check, in, a.all, a.own && !a.edits && !a.door)
		if err := check.Err(); err != nil {
			return err
		}
		e := &a.offer.Event
		if err := answers.Replace(ctx, tx, a.row.ID, sheet.Slots(), answers.Rows(e, a.row.ID, kept)); err != nil {
			return err
		}
		if a.all, err = answers.Of(ctx, tx, e, a.row.ID); err != nil {
			return err
		}
		if err := markAsked(ctx, tx, e, a.row.ID); err != nil {
			return err
		}
		if changed, err = settle(ctx, tx, a); err != nil {
			return err
		}
		if a.now.After(e.EndsAt) {
			if err := answers.Again(ctx, tx, e.ID); err != nil {
				return err
			}
		}
		if a.own {
			return nil
		}
		act := auditlog.Act{At: a.now, Object: a.row.ID.String(), Event: e.ID,
			After: map[string]any{"answers": len(kept)}}
		if a.pass != "" {
			act.Act = api.AnswerWithPass.Service + "." + api.AnswerWithPass.Name
			act.After = map[string]any{"answers": len(kept), "pass": a.pass}
		}
		return auditlog.Add(ctx, tx, "ticketing", act)
	})
	if err != nil {
		return nil, err
	}
	if changed {
		s.publishChanges(a.row.ID)
	}
	return a.sheet(), nil
}

// settle notes whether a pending order lacks answers now, and reports whether that is a change.
func settle(ctx context.Context, tx tx, a *answering) (bool, error) {
	var missing fault.Check
	a.row.asked(&a.offer.Event).Missing(&missing, a.all)
	due := missing.Err() != nil
	if a.row.Status != api.OrderPending || due == a.row.AnswersDue {
		return false, nil
	}
	a.row.AnswersDue = due
	_, err := tx.ExecContext(ctx,
		"UPDATE orders SET answers_due = ?, revision = revision + 1, updated_at = ? WHERE id = ?", due, a.now, a.row.ID)
	return true, err
}

// answerCounts tells how often what was answered.
func (s *Service) answerCounts(ctx context.Context, req *api.EventRef) (*api.AnswerCounts, error) {
	offer, err := s.offerAs(ctx, req.ID, api.MayReadOrders)
	if err != nil {
		return nil, err
	}
	out := &api.AnswerCounts{EventID: req.ID, Questions: []api.QuestionCount{}}
	if len(offer.Event.Questions) == 0 {
		return out, nil
	}
	counts, err := answers.Counts(ctx, s.db.Read(), req.ID)
	if err != nil {
		return nil, err
	}
	for _, q := range offer.Event.Questions {
		out.Questions = append(out.Questions, answers.CountOf(q, counts))
	}
	return out, nil
}
