package ticketing

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
)

// saleMade is what a sale at a counter has beside its order.
type saleMade struct {
	payment api.BoxOfficePayment
	by      string
	of      ids.Organizer // whose event it is
	venue   ids.Venue     // that sold it by itself
	tickets []ids.Ticket
	line    stream.Message // of the audit log; none for a sale that a venue reports
}

func (m *saleMade) event(row orderRow) api.SaleEvent {
	return api.SaleEvent{Order: row.order(), Payment: m.payment, By: m.by, VenueID: m.venue,
		OrganizerID: m.of}
}

// paymentOf is the payment of an order that was sold at a counter; "" if it cost nothing.
func paymentOf(order ids.Order, total int64) ids.Payment {
	if total == 0 {
		return ""
	}
	return ids.Derive[ids.PaymentKind](api.BoxOffice, order.String())
}

// saleHold is how long the seats of a sale are held until its order is written and confirmed.
const saleHold = time.Minute

// createSale sells from the pool at a counter: an order that is paid as it is written, like a free one, with its money
// in the outbox for the payment service.
func (s *Service) createSale(ctx context.Context, req *api.NewSale) (*api.Sale, error) {
	offer, err := s.offerAs(ctx, req.EventID, api.MaySell)
	if err != nil {
		return nil, err
	}
	now := store.Time(s.now())
	order := &api.NewOrder{EventID: req.EventID, Items: req.Items, Attendees: req.Attendees}
	row, lines, err := s.draftOrder(order, offer, api.BoxOfficeBuyer, now)
	if err != nil {
		return nil, err
	}
	if err := req.Payment.Check(row.Total); err != nil {
		return nil, err
	}
	tag := row.ID.String() // of this call's hold
	made := creation{free: true, offer: offer, eventName: offer.Event.Name, message: stream.NewMessage(ctx, "", nil)}
	if made.scope, made.key, made.hash, made.remember = rpc.Answer(ctx); made.remember {
		row.ID = ids.Derive[ids.OrderKind](made.scope, made.key, made.hash)
	}
	row.Number, row.PaymentID = numberOf(row.ID, 0), paymentOf(row.ID, row.Total)
	sale, tickets := s.draftSale(req, row, now)
	made.row = row
	made.sale = &saleMade{payment: req.Payment, by: rpc.Caller(ctx).ID(), of: offer.Event.OrganizerID,
		tickets: tickets}
	made.sale.line, err = auditlog.NewMessage(ctx, "ticketing", auditlog.Act{At: now, Object: row.ID.String(),
		Event: row.EventID, After: map[string]any{"total": row.money(row.Total), "method": req.Payment.Method,
			"tickets": len(tickets)}})
	if err != nil {
		return nil, err
	}
	if err := s.hold(ctx, row.ref(), offer, row.UserID, lines, now.Add(saleHold), tag); err != nil {
		if fault.Is(err, fault.Timeout) && !errors.Is(err, batch.ErrAbandoned) {
			s.releaseHold(ctx, row.ref(), tag)
		}
		return nil, err
	}
	if made.remember {
		if made.answer, err = json.Marshal(sale); err != nil {
			return nil, err
		}
	}
	written, err := s.creations.Do(ctx, made)
	if err != nil {
		return nil, s.undoHold(ctx, row.ref(), tag, err)
	}
	if err := s.confirm(ctx, written); err != nil {
		s.log.InfoContext(ctx, "a sale will be confirmed by its expiry", "order", written.ID, "error", err)
	}
	return s.saleOf(ctx, written, sale, tickets)
}

// reverseSale takes a sale back: also one of a venue, whose seats are the pool's then.
func (s *Service) reverseSale(ctx context.Context, req *api.ReverseSaleRequest) (*api.SaleReversal, error) {
	row, err := s.db.order(ctx, req.OrderID)
	if err == nil && row.UserID != api.BoxOfficeBuyer {
		err = errNoSale
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.offerAs(ctx, row.EventID, api.MayRefund); err != nil {
		if fault.Is(err, fault.Forbidden) {
			return nil, errNoSale
		}
		return nil, err
	}
	var check fault.Check
	text.CheckLine(&check, "reason", req.Reason, 0, 200)
	if err := check.Err(); err != nil {
		return nil, err
	}
	refund, first, err := s.db.reverseSale(ctx, req, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	if first {
		s.metrics.refunds.Inc()
		s.log.InfoContext(ctx, "a sale was taken back", "order", row.ID, "event", row.EventID, "amount", refund.Amount,
			"currency", refund.Currency, "by", rpc.Caller(ctx).User, "reason", req.Reason)
		s.publishChanges(row.ID)
	}
	s.returnSeats(ctx, row.ID)
	return &api.SaleReversal{OrderID: row.ID, EventID: row.EventID, Refund: row.money(refund.Amount),
		Tickets: refund.Tickets, ReversedAt: refund.CreatedAt.UTC()}, nil
}

var errNoSale = fault.New(fault.NotFound, "there is no such sale")

// saleOf returns the answer to a sale: as it was drafted, unless the order had been written before, with other tickets.
func (s *Service) saleOf(ctx context.Context, row orderRow, draft *api.Sale, tickets []ids.Ticket) (*api.Sale, error) {
	rows, err := s.db.ticketsOf(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	if len(rows) > 0 && rows[0].ID == tickets[0] {
		return draft, nil
	}
	draft.Tickets, draft.SoldAt = draft.Tickets[:0], row.CreatedAt.UTC()
	for _, t := range rows {
		draft.Tickets = append(draft.Tickets, api.SaleTicket{ID: t.ID, Code: s.codeOf(t), TicketTypeID: t.TicketTypeID,
			Holder: api.Attendee{Name: t.HolderName, Email: t.HolderEmail}})
	}
	return draft, nil
}

// draftSale gives a sale its tickets.
func (s *Service) draftSale(req *api.NewSale, row orderRow, now time.Time) (*api.Sale, []ids.Ticket) {
	sale := &api.Sale{OrderID: row.ID, EventID: row.EventID, Total: row.money(row.Total), Payment: req.Payment,
		SoldAt: now}
	var tickets []ids.Ticket
	kid, key := s.keys.Private()
	for _, item := range row.Items {
		for range item.Quantity {
			t := api.SaleTicket{ID: ids.New[ids.TicketKind](now), TicketTypeID: item.TicketTypeID}
			if len(tickets) < len(row.Attendees) {
				t.Holder = row.Attendees[len(tickets)]
			}
			t.Code = code.Sign(code.Payload{Event: row.EventID, Ticket: t.ID, Revision: 1,
				Product: item.IsProduct()}, kid, key)
			sale.Tickets = append(sale.Tickets, t)
			tickets = append(tickets, t.ID)
		}
	}
	return sale, tickets
}
