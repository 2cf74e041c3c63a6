package doors

import (
	"cmp"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// Asked is what is asked about a ticket at the doors of the venue.
type Asked struct {
	Event     api.Event
	Ticket    line.Ticket
	Position  int            // of the ticket in its order, as far as it is known
	Questions []api.Question // that are asked, as the answers stand
	Answers   []api.Answer
	Shut      error // why no answer is taken now; nil: they are
}

// asking is what is known of a ticket to ask about it.
type asking struct {
	ticket line.Ticket
	sheet  questions.Sheet
	now    []api.Answer // to what may be asked
}

// askingOf reads what is asked about a ticket of an event. It reports false if its list does not have the ticket.
func askingOf(tx *disk.Tx, e *disk.Event, id ids.Ticket) (a asking, there bool, err error) {
	if a.ticket, there, err = tx.Ticket(e.EventID, e.Manifest.Generation, id); err != nil || !there {
		return a, false, err
	}
	event := &e.Offer.Event
	if !questions.AsksAtDoor(event.Questions) {
		return a, true, nil
	}
	asked, err := tx.Asked(e.EventID, e.Manifest.Generation, id)
	if err != nil {
		return a, false, err
	}
	given, own, err := tx.Given(e.EventID, id)
	if err != nil {
		return a, false, err
	}
	if own { // the list is from before
		asked.Answers = given.Answers
	}
	t := questions.Ticket{Position: asked.Position, Type: a.ticket.Type}
	if kind := event.TicketType(t.Type); kind != nil {
		t.Product = kind.IsProduct()
	}
	a.sheet = questions.DoorSheet(event.Questions, asked.Met, t)
	slots := a.sheet.Slots()
	for _, answer := range asked.Answers {
		if slices.ContainsFunc(slots, func(s questions.Slot) bool { return s.ID == answer.QuestionID }) {
			answer.Position = &t.Position
			a.now = append(a.now, answer)
		}
	}
	return a, true, nil
}

// position of the ticket in its order.
func (a *asking) position() int {
	if len(a.sheet.Tickets) == 0 {
		return 0
	}
	return a.sheet.Tickets[0].Position
}

// shown returns what is asked of an event, whose questions have the conditions that they were given.
func (a *asking) shown(e *api.Event) (asked []api.Question, given []api.Answer) {
	asked, given = a.sheet.Shown(a.now)
	for i := range asked {
		if q := e.Question(asked[i].ID); q != nil {
			asked[i] = *q
		}
	}
	return asked, given
}

// EventOf returns the event of a ticket, of those whose lists are here.
func (d *Doors) EventOf(id ids.Ticket) (ids.Event, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for event, e := range d.events {
		if s, there := e.seats[id.Raw()]; there && s.known() {
			return event, true
		}
	}
	return "", false
}

var errNoTicket error = fault.New(fault.NotFound, "there is no such ticket in the list of the venue")

// Asked returns what is asked about a ticket, and what was answered. The fault is NotFound if the list of the event
// does not have the ticket.
func (d *Doors) Asked(id ids.Event, ticket ids.Ticket) (*Asked, error) {
	d.write.Lock() // so that the list and the state of the ticket are of one moment
	defer d.write.Unlock()
	e := d.events[id]
	if e == nil || e.Offer == nil {
		return nil, errNoTicket
	}
	a, err := d.asking(e, ticket)
	if err != nil {
		return nil, err
	}
	return d.sheetOf(e, a), nil
}

// asking reads what is asked about a ticket. The caller has write.
func (d *Doors) asking(e *event, ticket ids.Ticket) (*asking, error) {
	var a asking
	var there bool
	err := d.db.View(func(tx *disk.Tx) (err error) {
		a, there, err = askingOf(tx, &e.Event, ticket)
		return err
	})
	if err != nil || !there {
		return nil, cmp.Or(err, errNoTicket)
	}
	return &a, nil
}

// sheetOf is what a caller is told. The caller has write.
func (d *Doors) sheetOf(e *event, a *asking) *Asked {
	out := &Asked{Event: e.Offer.Event, Ticket: a.ticket, Position: a.position(),
		Shut: cmp.Or(d.writable(), d.holds(e))}
	if e.seats[a.ticket.ID.Raw()].state().status == revoked {
		out.Ticket.Status = api.TicketRevoked
		out.Shut = cmp.Or[error](out.Shut, fault.New(fault.Conflict, "the ticket is revoked"))
	}
	out.Questions, out.Answers = a.shown(&e.Offer.Event)
	return out
}

// Answer replaces what was answered about a ticket at the door, and returns when that is on the disk. The same again
// changes nothing. The faults are those of Scan, NotFound if the list of the event does not have the ticket, Conflict
// if it is revoked, and Invalid for answers that do not fit.
func (d *Doors) Answer(id ids.Event, ticket ids.Ticket, in []api.Answer, by string) (*Asked, error) {
	d.write.Lock()
	defer d.write.Unlock()
	e := d.events[id]
	if err := cmp.Or(d.writable(), d.holds(e)); err != nil {
		return nil, err
	}
	a, err := d.asking(e, ticket)
	if err != nil {
		return nil, err
	}
	if shut := d.sheetOf(e, a).Shut; shut != nil {
		return nil, shut
	}
	in = slices.Clone(in)
	position := a.position()
	for i := range in {
		if in[i].Position == nil {
			in[i].Position = &position
		}
	}
	var check fault.Check
	kept := a.sheet.Check(&check, in, a.now, false)
	if err := check.Err(); err != nil {
		return nil, err
	}
	change := questions.ChangeOf(a.now, kept)
	if a.now = kept; len(change.Answers) == 0 && len(change.Cleared) == 0 {
		return d.sheetOf(e, a), nil
	}
	entry := line.Entry{Number: d.last + 1, EventID: id, Epoch: e.Epoch, At: d.now().UTC().Truncate(time.Millisecond),
		Answers: &line.Answers{TicketID: ticket, Given: unplaced(change.Answers), Cleared: change.Cleared, By: by}}
	err = d.db.Update(func(tx *disk.Tx) error {
		if err := tx.Append(entry); err != nil {
			return err
		}
		return tx.PutGiven(id, ticket, disk.Given{Answers: unplaced(kept), Number: entry.Number})
	})
	if err != nil {
		d.refused(err)
		return nil, d.errBroken()
	}
	d.metrics.answered.Inc()
	d.mu.Lock()
	d.last++
	d.mu.Unlock()
	d.announce()
	return d.sheetOf(e, a), nil
}

// unplaced returns answers without positions.
func unplaced(in []api.Answer) []api.Answer {
	out := slices.Clone(in)
	for i := range out {
		out[i].Position = nil
	}
	return out
}
