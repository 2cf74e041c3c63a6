package ticketing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/products"
)

// registerExchanges binds the endpoints by which tickets are exchanged.
func (s *Service) registerExchanges(srv *rpc.Server) {
	rpc.Handle(srv, api.GetExchange, s.getExchange)
	rpc.Handle(srv, api.CreateExchange, s.createExchange)
	rpc.Handle(srv, api.CreateStaffExchange, s.createStaffExchange)
}

// getExchange says for what tickets of an order can be exchanged.
func (s *Service) getExchange(ctx context.Context, req *api.ExchangeQuery) (*api.ExchangeOptions, error) {
	row, err := s.visibleOrder(ctx, req.OrderID)
	if err != nil {
		return nil, err
	}
	staff := !rpc.Caller(ctx).Owns(row.UserID)
	x, err := s.swappingOf(ctx, row, req.ToEventID, staff)
	if err != nil {
		return nil, err
	}
	p := x.from.Event.OrderRules.Exchange
	out := &api.ExchangeOptions{Tickets: []ids.Ticket{}, Until: x.from.Event.ExchangeUntil(), EventID: x.to.Event.ID,
		OtherDates: p.OtherDates && x.from.Event.SeriesID != "", Credit: row.money(0), Offers: []api.ExchangeOffer{}}
	out.Allowed = x.allowed() == nil && (!staff || x.from.Can(rpc.Caller(ctx), api.MayEditOrders))
	err = store.Select(ctx, s.db.Read(), &out.Pending, `SELECT COALESCE(MAX(id), '') FROM orders WHERE exchange_of = ?
		AND status = ?`, row.ID, api.OrderPending)
	if err != nil || row.Status != api.OrderPaid {
		return out, err
	}
	all, err := s.db.ticketsOf(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	back := returnable(row, all)
	all = slices.DeleteFunc(slices.Clone(back), ticketRow.IsProduct)
	for _, t := range all {
		out.Tickets = append(out.Tickets, t.ID)
	}
	if x.tickets = all; len(req.Tickets) > 0 {
		if x.tickets, err = chosen(all, req.Tickets); err != nil {
			return nil, err
		}
	}
	x.going = products.With(row.Items, x.tickets, back)
	if len(x.tickets) == 0 || !out.Allowed {
		return out, nil
	}
	out.Credit.Amount, _ = worth(row, x.going, api.CancellationPolicy{})
	out.Offers, err = s.exchangeOffers(ctx, x)
	return out, err
}

func (s *Service) createExchange(ctx context.Context, req *api.NewExchange) (*api.CreatedOrder, error) {
	row, _, err := s.ownOrder(ctx, req.OrderID)
	if err != nil {
		return nil, err
	}
	return s.exchange(ctx, row, &req.ExchangeFor, false)
}

func (s *Service) createStaffExchange(ctx context.Context, req *api.StaffExchange) (*api.Order, error) {
	row, err := s.orderToEdit(ctx, req.EventID, req.OrderID)
	if err != nil {
		return nil, err
	}
	made, err := s.exchange(ctx, row, &req.ExchangeFor, true)
	if err != nil {
		return nil, err
	}
	return &made.Order, nil
}

// exchange exchanges tickets of an order.
func (s *Service) exchange(
	ctx context.Context, old orderRow, req *api.ExchangeFor, staff bool,
) (*api.CreatedOrder, error) {
	x, err := s.swappingOf(ctx, old, req.ToEventID, staff)
	if err != nil {
		return nil, err
	}
	made := creation{eventName: x.to.Event.Name, offer: x.to}
	made.scope, made.key, made.hash, made.remember = rpc.Answer(ctx)
	if err := s.asBuyerOf(ctx, x, &made); err != nil {
		return nil, err
	}
	if made.remember {
		made.id = ids.Derive[ids.OrderKind](made.scope, made.key, made.hash)
		if there, err := s.db.order(ctx, made.id); err == nil { // the same request has come before
			return made.exchangeAnswer(there), nil
		} else if !fault.Is(err, fault.NotFound) {
			return nil, err
		}
	}
	if err := x.allowed(); err != nil {
		return nil, err
	}
	var check fault.Check
	t := x.to.Event.TicketType(req.TicketTypeID)
	check.Field(t != nil, "ticket_type_id", "is no ticket type of the event")
	check.Field(len(req.Tickets) > 0, "tickets", "must name at least one ticket")
	if err := check.Err(); err != nil {
		return nil, err
	}
	all, err := s.db.ticketsOf(ctx, old.ID)
	if err != nil {
		return nil, err
	}
	all = returnable(old, all)
	if x.tickets, err = chosen(products.Alone(old.Items, all), req.Tickets); err != nil {
		return nil, err
	}
	x.going = products.With(old.Items, x.tickets, all)
	if err := x.fits(t); err != nil {
		return nil, err
	}
	var row orderRow
	for range manyStages {
		if row, err = s.tryExchange(ctx, x, req, made); !errors.Is(err, errStageMoved) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return made.exchangeAnswer(row), nil
}

func (c *creation) exchangeAnswer(row orderRow) *api.CreatedOrder {
	out := &api.CreatedOrder{Order: row.order()}
	if c.guest != nil && c.staff == nil {
		out.AccessToken = c.guest.Token
		out.Buyer = c.guest.Guest.Buyer()
	}
	return out
}

// asBuyerOf has the new order made for the buyer of the old one. The token of a guest follows from the idempotency key,
// so the answer is not stored.
func (s *Service) asBuyerOf(ctx context.Context, x *swapping, made *creation) error {
	if x.staff {
		made.staff = &byStaff{until: staffUntil(x.to, x.now)}
	}
	if x.old.UserID != api.GuestOf(x.old.ID) {
		return nil
	}
	guest, err := s.guests.Of(ctx, x.old.ID)
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.Conflict, "the buyer of the order was forgotten")
	}
	if err != nil {
		return err
	}
	guest.Changes, guest.Client = 0, ""
	made.guest = &guests.Order{Guest: guest, Token: guests.NewToken()}
	if !x.staff && made.remember {
		made.guest.Token = s.guests.TokenFor(made.scope, made.key, made.hash)
	}
	return nil
}

// tryExchange takes the seats and writes the new order. Like tryOrder it answers when both are on disk.
func (s *Service) tryExchange(
	ctx context.Context, x *swapping, req *api.ExchangeFor, made creation,
) (orderRow, error) {
	at := s.stagesFor(x, made.id)
	row, lines, err := s.draftExchange(x, req.TicketTypeID, at)
	if err != nil {
		return row, err
	}
	if err := x.tooCheap(row); err != nil {
		return row, err
	}
	if err := dearerThan(row, req.MaxDifference); err != nil {
		return row, err
	}
	tag := row.ID.String()
	row.ID = cmp.Or(made.id, row.ID)
	row.Number = numberOf(row.ID, 0)
	made.free, made.message = row.toPay() == 0, stream.NewMessage(ctx, "", nil)
	made.remember = made.remember && made.guest == nil
	if made.guest != nil {
		guest := *made.guest
		row.UserID = api.GuestOf(row.ID)
		guest.Guest = guest.Guest.At(row.ID, row.EventID, x.now)
		guest.Free = made.free && x.old.Total == 0
		made.guest = &guest
	}
	if x.staff {
		if err := s.staffExchange(ctx, x, &row, &made); err != nil {
			return row, err
		}
	} else {
		made.limits, made.most = s.unpaidLimitsOf(row), personLimitsOf(&x.to.Event, row)
		made.most.without(x)
		if err := s.mayHold(ctx, row, made.limits); err != nil {
			return row, err
		}
	}
	if made.billing, made.answers, err = s.carried(ctx, x, row); err != nil {
		return row, err
	}
	made.row = row
	expires := row.ExpiresAt
	if made.free {
		expires = x.now.Add(freeHold)
	}
	use := withStages(nil, x.to, row.Items)
	if err := s.holdWith(ctx, row.ref(), x.to, row.UserID, lines, expires, tag, use); err != nil {
		if at != nil && (errors.Is(err, inventory.ErrStage) || errors.Is(err, inventory.ErrHas)) {
			return row, errStageMoved
		}
		if fault.Is(err, fault.Timeout) && !errors.Is(err, batch.ErrAbandoned) {
			s.releaseHold(ctx, row.ref(), tag)
		}
		return row, err
	}
	if made.remember {
		if made.answer, err = json.Marshal(row.finished(made.free, x.now).order()); err != nil {
			return row, err
		}
	}
	row, err = s.creations.Do(ctx, made)
	if err != nil {
		return row, s.undoHold(ctx, made.row.ref(), tag, err)
	}
	if row.Status == api.OrderPaid {
		if err := s.confirm(ctx, row); err != nil {
			s.log.InfoContext(ctx, "an exchange will be confirmed by its expiry", "order", row.ID, "error", err)
		}
		s.afterExchange(ctx, row.ExchangeOf)
	}
	return row, nil
}

// staffExchange makes a drafted order one of the organizer's for the buyer. Money that goes back counts as a refund.
func (s *Service) staffExchange(ctx context.Context, x *swapping, row *orderRow, made *creation) error {
	made.staff.terms(row)
	row.Extended = row.toPay() > 0
	back := row.Exchange.Worth - (row.Total - row.toPay())
	if back > 0 {
		if _, err := s.offerAs(ctx, x.old.EventID, api.MayRefund); err != nil {
			return err
		}
		if err := s.mayGiveBack(ctx, row.money(back), x.now); err != nil {
			return err
		}
	}
	var err error
	made.line, err = auditlog.NewMessage(ctx, "ticketing", auditlog.Act{At: x.now, Object: row.ID.String(),
		Event: x.old.EventID, After: map[string]any{"exchange_of": x.old.ID, "tickets": row.Exchange.Tickets,
			"items": row.Items, "total": row.money(row.Total), "due": row.money(row.toPay()),
			"refund": row.money(back)}})
	return err
}

// mayGiveBack counts an amount that a person gives back in the day, and refuses more than goes without a fresh proof.
func (s *Service) mayGiveBack(ctx context.Context, amount api.Money, now time.Time) error {
	most := int64(api.RefundStepUp.Get(s.live))
	if most == 0 || rpc.Caller(ctx).Fresh {
		return nil
	}
	return s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		sum, err := sumOfDay(ctx, tx, amount, now)
		if err == nil && sum > most {
			err = moreThan(ctx, most)
		}
		return err
	})
}

// afterExchange says that an order has lost tickets, and gives their seats back.
func (s *Service) afterExchange(ctx context.Context, old ids.Order) {
	s.publishChanges(old)
	s.returnSeats(ctx, old)
}
