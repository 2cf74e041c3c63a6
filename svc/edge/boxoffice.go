package edge

import (
	"crypto/sha256"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// Lease is a lease as the venue has it: what it has sold counts here at once.
type Lease struct {
	ID           ids.Lease      `json:"id"`
	EventID      ids.Event      `json:"event_id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	State        string         `json:"state"`    // open, closing or closed
	Quantity     int            `json:"quantity"` // seats, sold ones included
	Sold         int            `json:"sold"`
	Left         int            `json:"left"` // that may still be sold, if the doors are the venue's
}

// mostKey is the longest idempotency key, in bytes.
const mostKey = 255

func (h *Server) sell(x *exchange, req *api.NewSale) (any, error) {
	var check fault.Check
	key := string(x.rc.Request.Header.Peek(rpc.IdempotencyKey))
	check.Field(req.EventID != "", "event_id", "must not be empty")
	check.Field(len(key) <= mostKey && codec.Plain(key), rpc.IdempotencyKey, "must be plain text of at most %d bytes",
		mostKey)
	if err := check.Err(); err != nil {
		return nil, err
	}
	_, _, by, err := h.s.at(x.caller, req.EventID, api.MaySell)
	if err != nil {
		return nil, err
	}
	sale := &doors.Sale{NewSale: *req, By: by, Hash: sha256.Sum256(x.rc.PostBody())}
	if key != "" {
		sale.Key = sha256.Sum256([]byte(by + "\n" + key))
	}
	sold, err := h.s.doors.Sell(x, sale)
	if err != nil {
		return nil, err
	}
	if sold.Replayed {
		x.rc.Response.Header.Set(rpc.HeaderReplayed, "true")
	}
	return sold.Answer, nil
}

// reverse takes a sale back: for who has made it, and for the event's managers.
func (h *Server) reverse(x *exchange, req *api.ReverseSaleRequest) (any, error) {
	sale, _, err := h.s.doors.FindSale(req.OrderID)
	if err != nil {
		return nil, err
	}
	e, _, by, err := h.s.at(x.caller, sale.EventID, api.MaySell)
	switch {
	case fault.Is(err, fault.NotFound), err == nil && sale.Number == 0:
		return nil, fault.New(fault.NotFound, "this computer has made no such sale for an event whose doors are the "+
			"venue's: take it back at the system")
	case err != nil:
		return nil, err
	}
	if can, _ := x.caller.can(e, api.MayRefund); !can && by != sale.Sale.By {
		return nil, fault.New(fault.Forbidden, "only who has made a sale, and the event's managers, may take it back")
	}
	var check fault.Check
	text.CheckLine(&check, "reason", req.Reason, 0, 200)
	if err := check.Err(); err != nil {
		return nil, err
	}
	r := &doors.Reversal{Sale: sale, Reason: req.Reason, By: by, IncludeAdmitted: req.IncludeAdmitted}
	done, err := h.s.doors.Reverse(x, r)
	if err != nil {
		return nil, err
	}
	return r.Answer(done), nil
}

func (h *Server) leases(x *exchange, req *api.EventRef) (any, error) {
	if _, _, _, err := h.s.at(x.caller, req.ID, api.MaySell); err != nil {
		return nil, err
	}
	out := api.List[Lease]{Items: []Lease{}}
	for _, l := range h.s.doors.Leases(req.ID) {
		state := api.LeaseOpen
		switch {
		case l.Done:
			state = api.LeaseClosed
		case l.Closing:
			state = api.LeaseClosing
		}
		out.Items = append(out.Items, Lease{ID: l.ID, EventID: req.ID, TicketTypeID: l.TicketTypeID, State: state,
			Quantity: l.Quantity, Sold: l.Sold, Left: l.Left})
	}
	return out, nil
}
