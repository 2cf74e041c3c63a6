package doors

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
)

// scan answers at the door, to a person who comes in, or goes out.
func (s *Doors) scan(ctx context.Context, req *api.Admission, exit bool) (*api.AdmissionResult, error) {
	offer, err := s.offers.As(ctx, req.EventID, api.MayAdmit)
	if err != nil {
		return nil, err
	}
	out, elsewhere, err := s.decided(ctx, req, exit, offer, rpc.Caller(ctx).ID())
	if elsewhere == nil || err != nil {
		return out, err
	}
	return s.admitThere(ctx, elsewhere, line.Admit{EventID: req.EventID, Code: strings.TrimSpace(req.Code),
		Gate: req.Gate, Exit: exit, By: rpc.Caller(ctx).ID()})
}

// deviceScan answers a device that the venue service knows: it may scan. One at a venue asks only when the doors are
// the system's, and one elsewhere also when they are a venue's.
func (s *Doors) deviceScan(ctx context.Context, req *line.AtHub) (*api.AdmissionResult, error) {
	offer, err := s.offers.Get(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	shown := &api.Admission{EventID: req.EventID, Code: req.Code, Gate: req.Gate}
	out, elsewhere, err := s.decided(ctx, shown, req.Exit, offer, req.PassID.String())
	if elsewhere != nil && req.Forward {
		return s.admitThere(ctx, elsewhere, line.Admit{EventID: req.EventID, Code: strings.TrimSpace(req.Code),
			Gate: req.Gate, Exit: req.Exit, By: req.PassID.String()})
	}
	if elsewhere != nil {
		return nil, fault.New(fault.Unavailable, "the doors of this event are a venue's, or on the way").After(noLine)
	}
	return out, err
}

// decided decides on a code, or returns the doors if they are not the system's. Scans of all gates that arrive together
// are decided in one transaction.
func (s *Doors) decided(
	ctx context.Context, req *api.Admission, exit bool, offer *api.Offer, by string,
) (*api.AdmissionResult, *doorRow, error) {
	shownCode := strings.TrimSpace(req.Code) // scanners add a line end, people a blank
	var check fault.Check
	check.Field(shownCode != "", "code", "must not be empty")
	text.CheckLine(&check, "gate", req.Gate, 0, 80)
	if err := check.Err(); err != nil {
		return nil, nil, err
	}
	now := store.Time(s.now())
	shown := scan{exit: exit, letsBackIn: offer.Event.LetsBackIn(), cause: stream.CauseOf(ctx),
		row: scanRow{ID: ids.New[ids.AdmissionKind](now), EventID: req.EventID, Gate: req.Gate, ScannedBy: by, At: now}}
	c, genuine := s.readCode(ctx, shownCode)
	switch {
	case !genuine:
		shown.row.Result = api.InvalidCode
	case c.Event != req.EventID:
		shown.row.Result = api.WrongEvent
	case offer.Event.Status == api.EventCancelled:
		shown.row.Result = api.RevokedTicket
	case !exit:
		shown.row.Result = s.whyClosed(&offer.Event)
	}
	if genuine {
		shown.row.TicketID, shown.revision = c.Ticket, c.Revision
	}
	v, err := s.scans.Do(ctx, shown)
	if err != nil || v.elsewhere != nil {
		return nil, v.elsewhere, err
	}
	out := &api.AdmissionResult{Result: v.result}
	if v.ticket.ID != "" && v.result != api.WrongEvent {
		t := v.ticket.Ticket() // without its code: the door has it, or has an old one
		out.Ticket = &t
		out.FirstAdmittedAt, out.FirstGate = t.AdmittedAt, v.gate
		if exit {
			return out, nil, nil
		}
		if out.Questions, out.Answers, err = answers.AtDoor(ctx, s.db.Read(), &offer.Event, t.OrderID,
			questions.Ticket{Position: v.ticket.Position, Type: t.TicketTypeID,
				Product: v.ticket.IsProduct()}); err != nil {
			s.log.WarnContext(ctx, "what is asked at the door is not known", "ticket", t.ID, "error", err)
		}
	}
	return out, nil, nil
}

// noLine is when a scan may be tried again that a venue has to decide.
const noLine = 5 * time.Second

// admitThere has the venue decide that admits for the event.
func (s *Doors) admitThere(ctx context.Context, d *doorRow, a line.Admit) (*api.AdmissionResult, error) {
	switch d.State {
	case line.DoorsHandingOver:
		return nil, fault.New(fault.Unavailable,
			"the doors are being handed over to the venue, and the system admits no more").After(noLine)
	case line.DoorsReturning:
		return nil, fault.New(fault.Unavailable,
			"the venue is giving the doors back, and the system does not admit yet").After(noLine)
	}
	s.metrics.forwarded.Inc()
	out, err := rpc.Call(ctx, s.client, line.AdmitAt, &line.There{VenueID: d.VenueID, Admit: a})
	if fault.Is(err, fault.Unavailable) {
		return nil, fault.Wrap(err, fault.Unavailable,
			"the venue admits for this event, and there is no line to it: scan with its own devices").After(noLine)
	}
	return out, err
}

// readCode checks a code's form and signature and returns what it says. It reports false for everything that neither
// this system has signed, nor the venue that sold the ticket.
func (s *Doors) readCode(ctx context.Context, text string) (code.Payload, bool) {
	c, ok := code.Parse(text)
	return c.Payload, ok && (s.keys.Verify(ctx, c.KeyID, c.Body, c.Signature) || s.signedBySeller(ctx, c))
}

// signedBySeller reports whether a code is signed by the key of the venue that sold its ticket.
func (s *Doors) signedBySeller(ctx context.Context, c code.Signed) bool {
	var keys []string
	err := s.db.Read().NewRaw(`SELECT venue_keys.public FROM venue_keys
		JOIN venue_sales ON venue_sales.venue_id = venue_keys.venue_id
		JOIN tickets ON tickets.order_id = venue_sales.order_id WHERE venue_keys.id = ? AND tickets.id = ?`, c.KeyID,
		c.Ticket).Scan(ctx, &keys)
	if err != nil || len(keys) == 0 {
		return false
	}
	public, err := base64.StdEncoding.DecodeString(keys[0])
	return err == nil && len(public) == ed25519.PublicKeySize && ed25519.Verify(public, c.Body, c.Signature)
}

// decide is the rule of the door: a genuine code of this event, whose holder is not inside, or goes out.
func (s scan) decide(t record.Ticket, known bool) string {
	if t.IsProduct() {
		return s.handOut(t)
	}
	inside := t.Status == api.TicketAdmitted && !t.Outside
	switch {
	case known && (t.Revision != s.revision || t.Status == api.TicketRevoked):
		return api.RevokedTicket
	case s.exit && !inside:
		return api.NotInside
	case s.exit:
		return api.Exited
	case !known:
		return api.InvalidCode
	case inside:
		return api.AlreadyAdmitted
	case t.Outside && !s.letsBackIn:
		return api.NoReentry
	}
	return api.Admitted
}

// handOut is the rule for a product: whoever has it gets it once, and nobody comes in by it.
func (s scan) handOut(t record.Ticket) string {
	switch {
	case t.Revision != s.revision || t.Status == api.TicketRevoked:
		return api.RevokedTicket
	case s.exit:
		return api.NotInside
	case t.Status == api.TicketHandedOut:
		return api.AlreadyHandedOut
	}
	return api.HandedOut
}

// whyClosed returns why a ticket is not admitted at this time, or nothing.
func (s *Doors) whyClosed(e *api.Event) string {
	now := s.now()
	opens, closes := s.hours(e)
	switch {
	case opens != nil && now.Before(*opens):
		return api.NotYetValid
	case now.After(closes):
		return api.ExpiredTicket
	}
	return ""
}

// hours returns when the doors of an event open, nil for at any time, and when they close.
func (s *Doors) hours(e *api.Event) (opens *time.Time, closes time.Time) {
	if before := api.DoorsOpen.Get(s.live); before > 0 {
		at := e.StartsAt.Add(-before)
		opens = &at
	}
	return opens, e.EndsAt.Add(api.DoorsClose.Get(s.live))
}

func (s *Doors) commitScans(ctx context.Context, in []scan) []batch.Result[scanned] {
	out, err := s.db.admit(store.First(ctx), in)
	if err != nil {
		return batch.Fail[scanned](len(in), err)
	}
	results := make([]batch.Result[scanned], len(in))
	for i := range out {
		results[i].Out = out[i]
	}
	return results
}

func (s *Doors) admissions(ctx context.Context, req *api.EventPage) (*api.List[api.Scan], error) {
	offer, err := s.offers.As(ctx, req.EventID, api.MayAdmit)
	if err != nil {
		return nil, err
	}
	may := offer.Can(rpc.Caller(ctx), api.MayUndoAdmission)
	rows, next, err := s.db.newestScans(ctx, req.EventID, req.Page)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Scan]{Items: make([]api.Scan, len(rows)), NextCursor: next}
	for i, r := range rows {
		out.Items[i] = r.scan()
		out.Items[i].CanUndo = may && letsGo(r.Result) && r.UndoneAt == nil
	}
	return out, nil
}
