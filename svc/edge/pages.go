package edge

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Page is a page that the server of a venue has beside its own answers. It writes its failures by itself, and returns
// them to be logged.
type Page struct {
	Method, Path string // the path has its names in braces
	Serve        func(rc *fasthttp.RequestCtx, param func(name string) string, requestID string) error
}

// Mount adds pages. Call it before Serve.
func (h *Server) Mount(pages []Page) {
	for _, p := range pages {
		h.handle(p.Method, p.Path, func(c *fiber.Ctx, x *exchange) error {
			err := p.Serve(x.rc, func(name string) string { return c.Params(name) }, rpc.From(x).RequestID)
			if err != nil && fault.From(err).Code == fault.Internal {
				h.s.log.ErrorContext(x, "a page failed", "path", string(x.rc.Path()), "error", err)
			}
			return nil
		})
	}
	h.app.Server().Handler = h.app.Handler()
}

// Ask answers as an endpoint of the system does, for who shows the token of a person or the secret of a pass: what the
// pages of the doors need. The request is that of the endpoint with the subject, and so is the answer. Whatever else is
// asked is NotFound.
func (h *Server) Ask(ctx context.Context, subject, token string, req any) (any, error) {
	x := &exchange{Context: ctx, caller: h.s.identify([]byte(token))}
	switch subject {
	case api.PairDevice.Subject():
		return h.pairHere(ctx, req.(*api.PairRequest))
	case api.AdmitTicket.Subject():
		out, err := h.admit(x, req.(*api.Admission))
		if err != nil {
			return nil, err
		}
		result := out.(Admission).AdmissionResult
		return &result, nil
	case api.ExitTicket.Subject():
		out, err := h.exit(x, req.(*api.Admission))
		if err != nil {
			return nil, err
		}
		result := out.(Exit).ExitResult
		return &result, nil
	case api.ListAdmissions.Subject():
		out, err := h.listAdmissions(x, req.(*api.EventPage))
		if err != nil {
			return nil, err
		}
		return scansOf(out.(api.List[scan])), nil
	case api.UndoAdmission.Subject():
		ref := req.(*api.AdmissionRef)
		out, err := h.undo(x, &undoRef{EventID: ref.EventID, ID: ref.ID})
		if err != nil {
			return nil, err
		}
		return &scansOf(api.List[scan]{Items: []scan{out.(scan)}}).Items[0], nil
	case api.ListAttendees.Subject():
		out, err := h.search(x, req.(*api.AttendeePage))
		if err != nil {
			return nil, err
		}
		list := out.(api.List[api.EventAttendee])
		return &list, nil
	case api.GetTicketAnswers.Subject():
		return h.answers(x, req.(*api.TicketRef).ID, nil)
	case api.PutTicketAnswers.Subject():
		out, err := h.putAnswers(x, req.(*api.TicketAnswers))
		if err != nil {
			return nil, err
		}
		return out, nil
	case api.GetEvent.Subject():
		e, _, _, err := h.s.at(x.caller, req.(*api.EventRef).ID, api.MayAdmit)
		if err != nil {
			return nil, err
		}
		event := e.Offer.Event
		return &event, nil
	case api.ListEvents.Subject():
		return h.eventsOf(x.caller)
	}
	return nil, fault.New(fault.NotFound, "the computer of a venue does not do this")
}

// SignIn lets a person in, as POST /v1/sessions does.
func (h *Server) SignIn(ctx context.Context, req *Login) (*Token, error) { return h.s.signIn(ctx, req) }

// SignOut ends the session of a person, if there is one.
func (h *Server) SignOut(ctx context.Context, token string) error {
	if c := h.s.identify([]byte(token)); c.by != "" {
		return h.s.signOut(ctx, c)
	}
	return nil
}

// scansOf returns a list of scans as the system has them.
func scansOf(list api.List[scan]) *api.List[api.Scan] {
	out := &api.List[api.Scan]{Items: make([]api.Scan, len(list.Items)), NextCursor: list.NextCursor}
	for i, s := range list.Items {
		out.Items[i] = api.Scan{ID: s.ID, TicketID: s.TicketID, Holder: s.Holder, TypeName: s.TypeName,
			Result: s.Result, Gate: s.Gate, By: s.By, At: s.At, Kind: s.Kind, CanUndo: s.CanUndo}
	}
	return out
}

// eventsOf returns the events at whose doors a caller may be.
func (h *Server) eventsOf(c caller) (*api.List[api.Event], error) {
	out := &api.List[api.Event]{Items: []api.Event{}}
	for _, e := range h.s.doors.Events() {
		if works, _ := c.can(&e, api.MayAdmit); works && e.Offer != nil {
			out.Items = append(out.Items, e.Offer.Event)
		}
	}
	if len(out.Items) == 0 && c.by == "" {
		return nil, errStranger()
	}
	return out, nil
}

const (
	knownWithin = 5 * time.Second // a device that was paired is known here, unless its event is not the venue's
	knownEvery  = 50 * time.Millisecond
)

// pairHere pairs a device, and waits until it is known here: the page that follows is for it.
func (h *Server) pairHere(ctx context.Context, req *api.PairRequest) (*api.PairedDevice, error) {
	paired, err := h.s.pair(ctx, req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	look := time.NewTicker(knownEvery)
	defer look.Stop()
	for !h.s.isDevice(h.s.identify([]byte(paired.Secret))) && ctx.Err() == nil {
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
	return paired, nil
}
