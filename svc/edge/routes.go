package edge

import (
	"bytes"
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/shared/web"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// Token is what a person is given who signs in at a venue.
type Token struct {
	AccessToken string `json:"access_token"` // for the header Authorization: Bearer, at this venue
	TokenType   string `json:"token_type"`   // Bearer
	ExpiresIn   int    `json:"expires_in"`   // seconds
	Name        string `json:"name"`         // of the person
}

// Admission is the answer at a door of the venue: that of the system, and what the venue knows of its own knowledge.
type Admission struct {
	api.AdmissionResult
	// seconds since the list of tickets was known to be that of the system
	ManifestAge int64 `json:"manifest_age"`
	// the code is genuine, and the list does not have the ticket, or has it with an older code
	Unknown bool `json:"unknown,omitempty"`
}

// Exit is the answer to the scan of a person who goes out.
type Exit struct {
	api.ExitResult
	ManifestAge int64 `json:"manifest_age"`
}

// Event is an event as the venue has it.
type Event struct {
	ID          ids.Event `json:"id"`
	Name        string    `json:"name"`
	StartsAt    time.Time `json:"starts_at"`
	EndsAt      time.Time `json:"ends_at"`
	Timezone    string    `json:"timezone"`
	State       string    `json:"state"`  // handing_over, venue or returning, as the system last said
	Admits      bool      `json:"admits"` // this computer decides at its doors
	Policy      string    `json:"policy"`
	Unknown     string    `json:"unknown"` // what is done with a genuine ticket that the list does not have
	ManifestAge int64     `json:"manifest_age"`
}

// scan is one reading of a code, as the list of scans has it.
type scan struct {
	ID       ids.Admission `json:"id"`
	TicketID ids.Ticket    `json:"ticket_id,omitempty"`
	Result   string        `json:"result,omitempty"`
	Kind     string        `json:"kind"`
	Gate     string        `json:"gate,omitempty"`
	By       string        `json:"by"`
	At       time.Time     `json:"at"`
	Unknown  bool          `json:"unknown,omitempty"`
	Holder   string        `json:"holder,omitempty"` // the name on the ticket
	TypeName string        `json:"ticket_type_name,omitempty"`
	CanUndo  bool          `json:"can_undo,omitempty"` // it let somebody in, and the caller may take that back
}

type undoRef struct {
	EventID ids.Event     `json:"-" path:"id"`
	ID      ids.Admission `json:"-" path:"admission_id"`
}

type none struct{}

// mount mounts all routes.
func (h *Server) mount() error {
	h.handle("GET", "/healthz", func(_ *fiber.Ctx, x *exchange) error { return x.text(200, "ok") })
	h.handle("GET", "/readyz", func(_ *fiber.Ctx, x *exchange) error {
		if !h.health.Ready(x) {
			return x.text(503, "not ready")
		}
		return x.text(200, "ready")
	})
	h.handle("GET", "/metrics", func(_ *fiber.Ctx, x *exchange) error {
		var out bytes.Buffer
		if _, err := h.s.cfg.Registry.WriteTo(&out); err != nil {
			return err
		}
		return x.text(200, out.String())
	})
	return cmp.Or(
		route(h, "POST", "/v1/sessions", true, 201, func(x *exchange, req *Login) (any, error) {
			return h.s.signIn(x, req)
		}),
		route(h, api.PairDevice.Method, api.PairDevice.Path, true, 200,
			func(x *exchange, req *api.PairRequest) (any, error) { return h.s.pair(x, req) }),
		route(h, "DELETE", "/v1/sessions/current", false, 204, func(x *exchange, _ *none) (any, error) {
			if x.caller.by == "" {
				return nil, errStranger()
			}
			return nil, h.s.signOut(x, x.caller)
		}),
		route(h, "GET", "/v1/status", true, 200, func(*exchange, *none) (any, error) { return h.s.Status(), nil }),
		route(h, "GET", "/v1/events", false, 200, h.listEvents),
		route(h, "GET", "/v1/events/{id}", false, 200, h.getEvent),
		route(h, "POST", "/v1/events/{id}/admissions", false, 200, h.admit),
		route(h, "GET", "/v1/events/{id}/admissions", false, 200, h.listAdmissions),
		route(h, "DELETE", "/v1/events/{id}/admissions/{admission_id}", false, 200, h.undo),
		route(h, "POST", "/v1/events/{id}/exits", false, 200, h.exit),
		route(h, "GET", "/v1/events/{id}/attendees", false, 200, h.search),
		route(h, "GET", "/v1/events/{id}/leases", false, 200, h.leases),
		route(h, api.GetTicketAnswers.Method, api.GetTicketAnswers.Path, false, 200, h.getAnswers),
		route(h, api.PutTicketAnswers.Method, api.PutTicketAnswers.Path, false, 200, h.putAnswers),
		route(h, "POST", api.CreateSale.Path, false, 201, h.sell),
		route(h, "POST", api.ReverseSale.Path, false, 200, h.reverse),
	)
}

// text answers with a word.
func (x *exchange) text(status int, content string) error {
	web.Text(x.rc, status, content)
	return nil
}

func (h *Server) listEvents(x *exchange, _ *none) (any, error) {
	out := api.List[Event]{Items: []Event{}}
	for _, e := range h.s.doors.Events() {
		if works, _ := x.caller.can(&e, api.MayReadEvent); works {
			_, age, _ := h.s.doors.Event(e.EventID)
			out.Items = append(out.Items, eventOf(&e, age))
		}
	}
	if len(out.Items) == 0 && x.caller.by == "" {
		return nil, errStranger()
	}
	return out, nil
}

func (h *Server) getEvent(x *exchange, req *api.EventRef) (any, error) {
	e, age, _, err := h.s.at(x.caller, req.ID, api.MayAdmit)
	if err != nil {
		return nil, err
	}
	return eventOf(e, age), nil
}

func eventOf(e *disk.Event, age time.Duration) Event {
	out := Event{ID: e.EventID, State: e.State, Admits: e.Holds, Policy: e.Policy, Unknown: e.Event.Unknown,
		ManifestAge: seconds(age)}
	if e.Offer != nil {
		o := e.Offer.Event
		out.Name, out.StartsAt, out.EndsAt, out.Timezone = o.Name, o.StartsAt, o.EndsAt, o.Timezone
	}
	return out
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// shown checks a scan.
func (h *Server) shown(x *exchange, req *api.Admission) (doors.Shown, error) {
	e, _, by, err := h.s.at(x.caller, req.EventID, api.MayAdmit)
	if err != nil {
		return doors.Shown{}, err
	}
	if p := passOf(e, x.caller.token); p != nil && p.Gate != "" { // the device is for that gate
		req.Gate = p.Gate
	}
	var check fault.Check
	check.Field(req.Code != "", "code", "must not be empty")
	text.CheckLine(&check, "gate", req.Gate, 0, 80)
	return doors.Shown{EventID: req.EventID, Code: req.Code, Gate: req.Gate, By: by}, check.Err()
}

func (h *Server) admit(x *exchange, req *api.Admission) (any, error) {
	if h.s.isAtHub(x.caller, req) {
		out, err := h.s.scanAtHub(x, x.caller, req, false)
		if err != nil {
			return nil, err
		}
		return Admission{AdmissionResult: *out}, nil
	}
	shown, err := h.shown(x, req)
	if err != nil {
		return nil, err
	}
	v, err := h.s.doors.Scan(x, shown)
	if err != nil {
		return nil, err
	}
	return Admission{AdmissionResult: resultOf(v), ManifestAge: seconds(v.Manifest), Unknown: v.Unknown}, nil
}

func (h *Server) exit(x *exchange, req *api.Admission) (any, error) {
	if h.s.isAtHub(x.caller, req) {
		out, err := h.s.scanAtHub(x, x.caller, req, true)
		if err != nil {
			return nil, err
		}
		return Exit{ExitResult: api.ExitResult{Result: out.Result}}, nil
	}
	shown, err := h.shown(x, req)
	if err != nil {
		return nil, err
	}
	shown.Exit = true
	v, err := h.s.doors.Scan(x, shown)
	if err != nil {
		return nil, err
	}
	return Exit{ExitResult: api.ExitResult{Result: v.Result}, ManifestAge: seconds(v.Manifest)}, nil
}

// resultOf is a verdict as the system would give it. A ticket that the manifest does not have is left out.
func resultOf(v *doors.Verdict) api.AdmissionResult {
	out := api.AdmissionResult{Result: v.Result}
	if !v.At.IsZero() {
		out.FirstAdmittedAt, out.FirstGate = &v.At, v.Gate
	}
	if v.Ticket == nil || v.Ticket.Type == "" || v.Ticket.Order == "" {
		return out
	}
	out.Ticket, out.Questions, out.Answers = ticketOf(&v.Event, v.Ticket), v.Questions, v.Answers
	switch v.Result {
	case api.Admitted, api.AlreadyAdmitted, api.NoReentry:
		out.Ticket.Status, out.Ticket.AdmittedAt = api.TicketAdmitted, &v.At
	case api.HandedOut, api.AlreadyHandedOut:
		out.Ticket.Status, out.Ticket.AdmittedAt = api.TicketHandedOut, &v.At
	}
	return out
}

func ticketOf(e *api.Event, t *line.Ticket) *api.Ticket {
	out := &api.Ticket{ID: t.ID, Status: t.Status, EventID: e.ID, EventName: e.Name, TicketTypeID: t.Type,
		OrderID: t.Order, Holder: api.Attendee{Name: t.Name}, Revision: t.Revision, AdmittedAt: t.Admitted}
	if kind := e.TicketType(t.Type); kind != nil {
		out.Kind, out.TypeName = kind.Kind, kind.Title()
	}
	return out
}

// admitThere decides on a code that was shown to the system.
func (s *Service) admitThere(ctx context.Context, req *line.Admit) (*api.AdmissionResult, error) {
	if req.Edge != "" && req.Edge != s.cfg.DB.Identity().Folder {
		return nil, fault.New(fault.Precondition, "another computer serves the venue")
	}
	if !req.Until.IsZero() && s.clock.Now().After(req.Until) {
		return nil, fault.New(fault.Timeout, "the scan came too late to be answered: scan it again")
	}
	v, err := s.doors.Scan(ctx, doors.Shown{EventID: req.EventID, Code: req.Code, Gate: req.Gate, By: req.By,
		Exit: req.Exit})
	if err != nil {
		return nil, err
	}
	out := resultOf(v)
	return &out, nil
}

func (h *Server) listAdmissions(x *exchange, req *api.EventPage) (any, error) {
	e, _, _, err := h.s.at(x.caller, req.EventID, api.MayAdmit)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	before, err := strconv.ParseInt(cmp.Or(req.Cursor, "0"), 10, 64)
	check.Field(err == nil && before >= 0, "cursor", "is not one of this list")
	check.Field(req.Limit >= 0 && req.Limit <= mostItems, "limit", "must be 1 to %d", mostItems)
	if err := check.Err(); err != nil {
		return nil, err
	}
	entries, next, err := h.s.doors.Scans(req.EventID, before, cmp.Or(req.Limit, someItems))
	if err != nil {
		return nil, err
	}
	out := api.List[scan]{Items: make([]scan, len(entries))}
	tickets, err := h.s.doors.TicketsOf(req.EventID, entries)
	if err != nil {
		return nil, err
	}
	may, _ := x.caller.can(e, api.MayUndoAdmission)
	undone := map[ids.Ticket]bool{} // by a later scan
	for i, entry := range entries {
		one := scanOf(entry)
		if t, known := tickets[one.TicketID]; known {
			one.Holder, one.TypeName = t.Name, ticketOf(&e.Offer.Event, &t).TypeName
		}
		good := one.Result == api.Admitted || one.Result == api.HandedOut
		one.CanUndo = may && one.Kind == line.ScanEntry && good && !undone[one.TicketID]
		undone[one.TicketID] = undone[one.TicketID] || one.Kind == line.ScanUndo
		out.Items[i] = one
	}
	if next > 0 {
		out.NextCursor = strconv.FormatInt(next, 10)
	}
	return out, nil
}

// The size of a page.
const (
	someItems = 50
	mostItems = 200
)

func scanOf(e line.Entry) scan {
	return scan{ID: e.Scan.ID, TicketID: e.Scan.TicketID, Result: e.Scan.Result, Kind: e.Scan.Kind, Gate: e.Scan.Gate,
		By: e.Scan.By, At: e.At, Unknown: e.Scan.Unknown}
}

func (h *Server) undo(x *exchange, req *undoRef) (any, error) {
	_, _, by, err := h.s.at(x.caller, req.EventID, api.MayUndoAdmission)
	if err != nil {
		return nil, err
	}
	entry, _, err := h.s.doors.Undo(req.EventID, req.ID, by)
	if err != nil {
		return nil, err
	}
	return scanOf(entry), nil
}

func (h *Server) search(x *exchange, req *api.AttendeePage) (any, error) {
	e, _, _, err := h.s.at(x.caller, req.EventID, api.MayAdmit)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	check.Field(req.Limit >= 0 && req.Limit <= mostItems, "limit", "must be 1 to %d", mostItems)
	check.Field(req.Cursor == "", "cursor", "is not for this list: search for more of the name")
	if err := check.Err(); err != nil {
		return nil, err
	}
	found, err := h.s.doors.Search(req.EventID, req.Query, cmp.Or(req.Limit, someItems))
	if err != nil {
		return nil, err
	}
	out := api.List[api.EventAttendee]{Items: make([]api.EventAttendee, len(found))}
	for i := range found {
		t := ticketOf(&e.Offer.Event, &found[i])
		out.Items[i] = api.EventAttendee{Name: t.Holder.Name, TicketTypeID: t.TicketTypeID, TypeName: t.TypeName,
			Status: t.Status, AdmittedAt: t.AdmittedAt, OrderID: t.OrderID, TicketID: t.ID}
	}
	return out, nil
}
