package ticketing

import (
	"context"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

// admit answers at the door. Scans of all gates that arrive together are decided in one transaction.
func (s *Service) admit(ctx context.Context, req *api.Admission) (*api.AdmissionResult, error) {
	offer, err := s.offerAs(ctx, req.EventID, api.RoleDoor)
	if err != nil {
		return nil, err
	}
	shownCode := strings.TrimSpace(req.Code) // scanners add a line end, people a blank
	var check fault.Check
	check.Field(shownCode != "", "code", "must not be empty")
	text.CheckLine(&check, "gate", req.Gate, 0, 80)
	if err := check.Err(); err != nil {
		return nil, err
	}
	now := store.Time(s.now())
	shown := scan{row: scanRow{ID: ids.New[ids.AdmissionKind](now), EventID: req.EventID, Gate: req.Gate,
		ScannedBy: rpc.Caller(ctx).User, At: now}}
	c, genuine := s.readCode(ctx, shownCode)
	switch {
	case !genuine:
		shown.row.Result = api.InvalidCode
	case c.Event != req.EventID:
		shown.row.Result = api.WrongEvent
	case offer.Event.Status == api.EventCancelled:
		shown.row.Result = api.RevokedTicket
	default:
		shown.row.Result = s.whyClosed(&offer.Event)
	}
	if genuine {
		shown.row.TicketID, shown.revision = c.Ticket, c.Revision
	}
	v, err := s.scans.Do(ctx, shown)
	if err != nil {
		return nil, err
	}
	out := &api.AdmissionResult{Result: v.result}
	if v.ticket.ID != "" && v.result != api.WrongEvent {
		t := withoutCode(v.ticket)
		out.Ticket = &t
		out.FirstAdmittedAt, out.FirstGate = t.AdmittedAt, v.gate
		if v.result == api.Admitted {
			out.FirstGate = req.Gate
		}
	}
	return out, nil
}

// readCode checks a code's form and signature and returns what it says. It reports false for everything that this
// system did not sign.
func (s *Service) readCode(ctx context.Context, text string) (code.Payload, bool) {
	c, ok := code.Parse(text)
	return c.Payload, ok && s.keys.Verify(ctx, c.KeyID, c.Body, c.Signature)
}

// decideAdmission is the rule of the door: a genuine code of this event, shown for the first time.
func decideAdmission(t ticketRow, known bool, revision int64) string {
	switch {
	case !known:
		return api.InvalidCode
	case t.Revision != revision || t.Status == api.TicketRevoked:
		return api.RevokedTicket
	case t.Status == api.TicketAdmitted:
		return api.AlreadyAdmitted
	}
	return api.Admitted
}

// whyClosed returns why a ticket is not admitted at this time, or nothing.
func (s *Service) whyClosed(e *api.Event) string {
	now := s.now()
	if open := api.DoorsOpen.Get(s.live); open > 0 && now.Before(e.StartsAt.Add(-open)) {
		return api.NotYetValid
	}
	if now.After(e.EndsAt.Add(api.DoorsClose.Get(s.live))) {
		return api.ExpiredTicket
	}
	return ""
}

func (s *Service) commitScans(ctx context.Context, in []scan) []batch.Result[scanned] {
	out, err := s.db.admit(ctx, in)
	if err != nil {
		return batch.Fail[scanned](len(in), err)
	}
	results := make([]batch.Result[scanned], len(in))
	for i := range out {
		results[i].Out = out[i]
	}
	return results
}

func (s *Service) admissions(ctx context.Context, req *api.EventPage) (*api.List[api.Scan], error) {
	if _, err := s.offerAs(ctx, req.EventID, api.RoleDoor); err != nil {
		return nil, err
	}
	rows, next, err := list[scanRow](ctx, s.db, "at", "event_id", string(req.EventID), req.Page)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Scan]{Items: make([]api.Scan, len(rows)), NextCursor: next}
	for i, r := range rows {
		out.Items[i] = api.Scan{ID: r.ID, TicketID: r.TicketID, Result: r.Result, Gate: r.Gate, By: r.ScannedBy,
			At: r.At.UTC()}
	}
	return out, nil
}
