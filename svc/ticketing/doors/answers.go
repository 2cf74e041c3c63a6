package doors

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// asked returns for each ticket of a page of a manifest what the doors need to ask about it, and nil if its event,
// which may be nil, asks nothing there.
func (db doorStore) asked(ctx context.Context, e *api.Event, rows []record.Ticket) ([]*line.Asked, error) {
	if e == nil || !questions.AsksAtDoor(e.Questions) {
		return nil, nil
	}
	orders := map[ids.Order]bool{}
	for _, r := range rows {
		orders[r.OrderID] = true
	}
	given, err := answers.OfOrders(ctx, db.Read(), e, sortedKeys(orders))
	if err != nil {
		return nil, err
	}
	out := make([]*line.Asked, len(rows))
	for i, r := range rows {
		out[i] = askedOf(e, r, given[r.OrderID])
	}
	return out, nil
}

// sizeOf returns about how many bytes it takes in a message.
func sizeOf(a *line.Asked) int {
	const id = 34 // with its quotes and a comma
	size := 40 + id*len(a.Met)
	for _, given := range a.Answers {
		size += 80 + 2*len(given.Value) + id*len(given.Choices)
	}
	return size
}

// askedOf is what a venue needs to know to ask about a ticket. Of what was answered at checkout nothing is in it.
func askedOf(e *api.Event, r record.Ticket, all []api.Answer) *line.Asked {
	t := ticketOf(r)
	out := &line.Asked{Position: r.Position, Met: questions.MetBefore(e.Questions, all, t)}
	_, out.Answers = doorSheet(e, t, all).Shown(all)
	for i := range out.Answers {
		out.Answers[i].Position = nil
	}
	return out
}

func ticketOf(r record.Ticket) questions.Ticket {
	return questions.Ticket{Position: r.Position, Type: r.TicketTypeID, Product: r.IsProduct()}
}

// doorSheet is what is asked at the door about a ticket.
func doorSheet(e *api.Event, t questions.Ticket, known []api.Answer) questions.Sheet {
	return questions.Sheet{Questions: e.Questions, At: api.AskedAtDoor, Tickets: []questions.Ticket{t}, Known: known}
}

// asksHash stands for what of an event's questions the manifest of its doors is made of.
func asksHash(e *api.Event) (string, error) {
	before := questions.AskBefore(e.Questions)
	if len(before) == 0 {
		return "", nil
	}
	text, err := json.Marshal(before)
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:16]), err
}

// generation returns that of the manifest of an event's doors, which is another one once the event asks another thing.
func (s *Doors) generation(ctx context.Context, row doorRow, e *api.Event, now time.Time) (int64, error) {
	asks, err := asksHash(e)
	if err == nil && asks != row.Asks {
		row, err = s.db.askAnew(ctx, row, asks, now)
	}
	return row.Generation, err
}

// askAnew begins another generation of the manifest of doors if another hash counts now: the venue reads anew what is
// asked about each ticket. It returns the doors as they then are.
func (db doorStore) askAnew(ctx context.Context, row doorRow, asks string, now time.Time) (doorRow, error) {
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		locked, err := db.lockedDoor(ctx, tx, row.EventID)
		if err != nil || locked == nil || locked.Asks == asks {
			return err
		}
		row = *locked
		row.Asks, row.Generation = asks, after(row.Generation, now)
		_, err = tx.ExecContext(ctx, "UPDATE doors SET asks = ?, generation = ? WHERE event_id = ?", row.Asks,
			row.Generation, row.EventID)
		return err
	})
	return row, err
}

// refusedRow is a row of the table refused_answers.
type refusedRow struct {
	bun.BaseModel `bun:"table:refused_answers"`

	ID         string
	VenueID    ids.Venue
	EventID    ids.Event
	TicketID   ids.Ticket
	QuestionID ids.Question
	Answer     string
	Reason     string
	GivenBy    string
	At         time.Time
}

// offersOf returns the events that entries have answers about, as they are now. One that is not known is not in it.
func (s *Doors) offersOf(ctx context.Context, entries []line.Entry) (map[ids.Event]*api.Event, error) {
	out := map[ids.Event]*api.Event{}
	for _, e := range entries {
		if e.Answers == nil || e.EventID == "" || out[e.EventID] != nil {
			continue
		}
		offer, err := s.offers.Get(ctx, e.EventID)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[e.EventID] = &offer.Event
	}
	return out, nil
}

// answers applies what a venue was answered about a ticket. What cannot be kept is set aside with its reason: it must
// not stop the journal, and must not be lost.
func (in *ingest) answers(ctx context.Context, tx tx, e line.Entry) error {
	a, event := e.Answers, in.asking[e.EventID]
	if err := answers.Again(ctx, tx, e.EventID); err != nil { // it may come after they were erased
		return err
	}
	var rows []record.Ticket
	err := tx.NewRaw("SELECT * FROM tickets WHERE id = ? AND event_id = ? ?", a.TicketID, e.EventID,
		in.db.forUpdateOf("tickets")).Scan(ctx, &rows)
	if err != nil {
		return err
	}
	switch {
	case event == nil:
		return in.refuse(ctx, tx, e, all(a.Given, "there is no such event"))
	case len(rows) == 0:
		return in.refuse(ctx, tx, e, all(a.Given, "the event has no such ticket"))
	}
	t := rows[0]
	in.changed[e.EventID] = append(in.changed[e.EventID], t.ID) // the venue goes by what is here from then on
	if t.Status == api.TicketRevoked {
		return in.refuse(ctx, tx, e, all(a.Given, "the ticket is revoked"))
	}
	known, err := answers.Of(ctx, tx, event, t.OrderID)
	if err != nil {
		return err
	}
	change := questions.Change{Cleared: a.Cleared}
	for _, given := range a.Given {
		given.Position = &t.Position
		change.Answers = append(change.Answers, given)
	}
	sheet := doorSheet(event, ticketOf(t), known)
	kept, refused := sheet.Merge(known, change)
	if err := answers.Replace(ctx, tx, t.OrderID, sheet.Slots(), answers.Rows(event, t.OrderID, kept)); err != nil {
		return err
	}
	if err := in.refuse(ctx, tx, e, refused); err != nil {
		return err
	}
	return auditlog.Add(ctx, tx, "ticketing", auditlog.Act{At: store.Time(e.At),
		Act: api.PutTicketAnswers.Service + "." + api.PutTicketAnswers.Name, Object: t.OrderID.String(),
		Event: e.EventID, By: authorOf(ctx, a.By),
		After: map[string]any{"answers": len(kept), "venue": in.venue, "by": clean(a.By)}})
}

// authorOf is who has answered at a venue: a person by their account, a device by the venue.
func authorOf(ctx context.Context, by string) *api.AuditAuthor {
	out := &api.AuditAuthor{Service: "venue", RequestID: rpc.From(ctx).RequestID}
	if user, err := ids.Parse[ids.UserKind](by); err == nil {
		out.UserID, out.Service = user, ""
	}
	return out
}

// all returns answers that are refused together.
func all(given []api.Answer, reason string) []questions.Refused {
	var out []questions.Refused
	for _, a := range given {
		out = append(out, questions.Refused{Answer: a, Reason: reason})
	}
	return out
}

// refuse sets answers of an entry aside.
func (in *ingest) refuse(ctx context.Context, tx tx, e line.Entry, refused []questions.Refused) error {
	if len(refused) == 0 {
		return nil
	}
	rows := make([]refusedRow, len(refused))
	for i, r := range refused {
		r.Answer.Position = nil
		r.Value = strings.ReplaceAll(r.Value, "\x00", "")
		r.Value = strings.ToValidUTF8(r.Value[:min(len(r.Value), 4*questions.MaxText)], "")
		text, err := json.Marshal(r.Answer)
		if err != nil {
			return err
		}
		rows[i] = refusedRow{ID: fmt.Sprintf("%s.%s.%d.%d", in.venue, in.edge, e.Number, i), VenueID: in.venue,
			EventID: e.EventID, TicketID: e.Answers.TicketID, QuestionID: r.QuestionID, Answer: string(text),
			Reason: clean(r.Reason), GivenBy: clean(e.Answers.By), At: store.Time(e.At)}
	}
	in.unanswered = append(in.unanswered, rows...)
	_, err := tx.NewInsert().Model(&rows).Returning("NULL").Exec(ctx)
	return err
}

// refusedAnswers lists what venues were answered that is not kept, for those who may read the orders of the event.
func (s *Doors) refusedAnswers(ctx context.Context, req *api.EventPage) (*api.List[api.RefusedAnswer], error) {
	if _, err := s.offers.As(ctx, req.EventID, api.MayReadOrders); err != nil {
		return nil, err
	}
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	then, after, err := store.DecodeTimeCursor(req.Cursor)
	if err != nil {
		return nil, err
	}
	var rows []refusedRow
	query := s.db.Read().NewSelect().Model(&rows).Where("event_id = ?", req.EventID).
		Order("at DESC", "id DESC").Limit(int64(limit) + 1)
	if req.Cursor != "" {
		query = query.Where("(at, id) < (?, ?)", then, after)
	}
	if err := query.Scan(ctx); err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out := &api.List[api.RefusedAnswer]{Items: []api.RefusedAnswer{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.NextCursor = store.EncodeTimeCursor(rows[limit-1].At, rows[limit-1].ID)
	}
	for _, r := range rows {
		one := api.RefusedAnswer{TicketID: r.TicketID, VenueID: r.VenueID, Reason: r.Reason, By: r.GivenBy,
			At: r.At.UTC()}
		if err := json.Unmarshal([]byte(r.Answer), &one.Answer); err != nil {
			return nil, err
		}
		out.Items = append(out.Items, one)
	}
	return out, nil
}
