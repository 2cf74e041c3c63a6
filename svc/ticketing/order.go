package ticketing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/codes"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// maxTotal bounds an order's total, in minor units, far below overflow.
const maxTotal = 1e13

// createOrder orders for the caller, or for a guest.
func (s *Service) createOrder(ctx context.Context, req *api.NewOrder) (*api.CreatedOrder, error) {
	user := rpc.Caller(ctx).User
	if user == "" {
		return s.createGuestOrder(ctx, req)
	}
	if err := noGuestFields(req); err != nil {
		return nil, err
	}
	var created creation
	created.scope, created.key, created.hash, created.remember = rpc.Answer(ctx)
	order, err := s.makeOrder(ctx, req, user, created)
	if err != nil {
		return nil, err
	}
	return &api.CreatedOrder{Order: *order}, nil
}

// tryOrder takes the seats, writes the order, and answers when both are on disk. The order of a guest names its buyer
// itself. What is to be created has the idempotency key, and the guest.
func (s *Service) tryOrder(
	ctx context.Context, req *api.NewOrder, user ids.User, created creation,
) (*api.Order, error) {
	offer, err := s.offerAs(ctx, req.EventID, api.MayVisit)
	if err != nil {
		return nil, err
	}
	if created.billing = req.Billing; req.Billing != nil {
		var check fault.Check
		if req.Billing.Check(&check, "billing."); check.Err() != nil {
			return nil, check.Err()
		}
	}
	now := store.Time(s.now())
	var deal codes.Deal
	if created.staff == nil {
		deal, err = s.codes.Deal(ctx, offer, req.PromoCode)
	} else {
		user = api.BoxOfficeBuyer // whom no rule about buyers binds, until the guest has the order
		deal = created.staff.deal
	}
	if err != nil {
		return nil, err
	}
	if created.guest != nil && deal.MaxPerPerson() > 0 { // whoever has no account may name any address
		return nil, fault.New(fault.Conflict, "the promo code has a limit for each person: sign in to use it").About(
			"promo_code", "needs an account")
	}
	var order ids.Order // that the same request has
	if created.remember {
		order = ids.Derive[ids.OrderKind](created.scope, created.key, created.hash)
	}
	var at *stages
	if created.staff == nil {
		at = s.stagesAt(offer, order, now)
	}
	row, lines, err := s.draftWith(req, offer, user, now, deal, at)
	if err != nil {
		return nil, err
	}
	if created.staff != nil {
		created.staff.terms(&row)
	}
	if err := s.chargeBusiness(ctx, &row, offer, req.Billing); err != nil {
		return nil, err
	}
	created.perPerson, created.free = deal.MaxPerPerson(), row.Total == 0
	created.eventName, created.message = offer.Event.Name, stream.NewMessage(ctx, "", nil)
	tag := row.ID.String() // of this call's hold
	if created.remember {
		// The same request has the same order: two that come at once hold its seats once, and one of them writes it.
		row.ID = order
	}
	row.ID = cmp.Or(created.id, row.ID)
	row.Number = numberOf(row.ID, 0)
	if created.guest != nil {
		row.UserID = api.GuestOf(row.ID)
		created.guest.Guest, created.guest.Free = created.guest.Guest.At(row.ID, row.EventID, now), created.free
	}
	if len(offer.Event.Questions) > 0 || len(req.Answers) > 0 {
		if err := created.withAnswers(&row, &offer.Event, req.Answers); err != nil {
			return nil, err
		}
	}
	created.row = row
	if created.staff == nil {
		created.limits, created.most = s.unpaidLimitsOf(row), personLimitsOf(&offer.Event, row)
	} else if created.line, err = staffLine(ctx, row, now); err != nil {
		return nil, err
	}
	if err := s.mayHold(ctx, row, created.limits); err != nil {
		return nil, err
	}
	expires := row.ExpiresAt
	if created.free {
		expires = now.Add(freeHold)
	}
	use := withStages(deal.Use(), offer, row.Items)
	if err := s.holdWith(ctx, row.ref(), offer, row.UserID, lines, expires, tag, use); err != nil {
		if at != nil && (errors.Is(err, inventory.ErrStage) || errors.Is(err, inventory.ErrHas)) {
			return nil, errStageMoved
		}
		// it may be held all the same, or be so soon
		if fault.Is(err, fault.Timeout) && !errors.Is(err, batch.ErrAbandoned) {
			s.releaseHold(ctx, row.ref(), tag)
		}
		return nil, usedUp(err)
	}
	if created.remember {
		if created.answer, err = json.Marshal(row.finished(created.free, now).order()); err != nil {
			return nil, err
		}
	}
	made, err := s.creations.Do(ctx, created)
	if err != nil {
		return nil, s.undoHold(ctx, row.ref(), tag, err)
	}
	switch made.Status {
	case api.OrderPending:
	case api.OrderPaid:
		if err := s.confirm(ctx, made); err != nil {
			s.log.InfoContext(ctx, "free order will be confirmed by its expiry", "order", made.ID, "error", err)
		}
	default: // an order of long ago under the same key, whose answer is not stored any more: it needs no seats
		s.releaseHold(ctx, made.ref(), tag)
	}
	answer := made.order()
	return &answer, nil
}

// freeHold is how long the seats of a free order are held until it is written and confirmed. Should its instance not
// get to that, the end of the hold makes any other confirm the order, or give the seats back if there is none.
const freeHold = 15 * time.Second

// hold takes the seats, opening the event's pool if this is the first order for it. The tag is the call's, for
// undoHold.
func (s *Service) hold(
	ctx context.Context, ref inventory.Ref, offer *api.Offer, user ids.User, lines []inventory.Line, expires time.Time,
	tag string,
) error {
	return s.holdWith(ctx, ref, offer, user, lines, expires, tag, nil)
}

// holdWith is hold for an order that uses a code.
func (s *Service) holdWith(
	ctx context.Context, ref inventory.Ref, offer *api.Offer, user ids.User, lines []inventory.Line, expires time.Time,
	tag string, use *inventory.Terms,
) error {
	err := s.inv.HoldAs(ctx, ref, user, lines, expires, tag, use)
	switch {
	case errors.Is(err, inventory.ErrClosed): // an instance that filled it in again did not come to its end
		err = s.refill(ctx, ref.Event)
	case errors.Is(err, inventory.ErrNoPool):
		err = nil
	default:
		return err
	}
	if err != nil {
		return err
	}
	if err := s.setQuantities(ctx, ref.Event, offer.Event.Revision, stockOf(offer), ""); err != nil {
		return err
	}
	return s.inv.HoldAs(ctx, ref, user, lines, expires, tag, use)
}

// undoWithin bounds how long the request of a failed order takes to give its seats back.
const undoWithin = 5 * time.Second

// undoHold gives back the seats that a call took for an order that it could not write, once SQL says that there is no
// such order. When it cannot be known what becomes of the order, the hold stays until it expires.
func (s *Service) undoHold(ctx context.Context, ref inventory.Ref, tag string, cause error) error {
	if fault.Is(cause, fault.Timeout) && !errors.Is(cause, batch.ErrAbandoned) {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	row, err := s.db.order(ctx, ref.Order)
	if fault.Is(err, fault.NotFound) || err == nil && row.ended() {
		s.releaseHold(ctx, ref, tag)
	}
	return cause
}

// releaseHold gives back the seats that a call took, though its context may have ended.
func (s *Service) releaseHold(ctx context.Context, ref inventory.Ref, tag string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	if err := s.inv.Undo(ctx, ref, tag); err != nil {
		s.log.InfoContext(ctx, "seats without an order stay held until they expire", "order", ref.Order, "error", err)
	}
}

func (s *Service) getOrder(ctx context.Context, req *api.OrderRef) (*api.Order, error) {
	row, err := s.visibleOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	order := row.order()
	if row.Total > 0 {
		one := []api.Order{order}
		if err := s.addBilling(ctx, one); err != nil {
			return nil, err
		}
		order = one[0]
	}
	switch caller := rpc.Caller(ctx); {
	case !caller.Owns(order.UserID): // one who may read the orders of the event
		seen := []api.Order{order}
		if err := s.addNotes(ctx, seen); err != nil {
			return nil, err
		}
		if order = seen[0]; order.UserID != api.GuestOf(order.ID) {
			break
		}
		if guest, err := s.guests.Of(ctx, order.ID); err == nil {
			order.Buyer = guest.Buyer()
		}
	case order.UserID == api.GuestOf(order.ID):
		guest, err := s.guests.Own(ctx, order.ID)
		if err != nil {
			return nil, err
		}
		order.Buyer = guest.Buyer()
	}
	return &order, nil
}

// visibleOrder returns an order to its buyer, and to those who may read the orders of the event.
func (s *Service) visibleOrder(ctx context.Context, id ids.Order) (orderRow, error) {
	missing := fault.New(fault.NotFound, "there is no such order")
	row, err := s.db.order(ctx, id)
	if err != nil {
		return orderRow{}, err
	}
	caller := rpc.Caller(ctx)
	if caller.Owns(row.UserID) || caller.Admin() {
		return row, nil
	}
	offer, err := s.offers.Get(ctx, row.EventID)
	if err != nil || !offer.Can(caller, api.MayReadOrders) {
		return orderRow{}, missing
	}
	return row, nil
}

// cancelOrder gives up an order that is pending, or cost nothing. The inventory decides between it and a payment that
// arrives at the same moment.
func (s *Service) cancelOrder(ctx context.Context, req *api.OrderRef) (*api.Order, error) {
	row, err := s.visibleOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if !rpc.Caller(ctx).Owns(row.UserID) {
		if _, err := s.offerAs(ctx, row.EventID, api.MayRefund); err != nil {
			return nil, err
		}
	}
	switch row.Status {
	case api.OrderCancelled:
		order := row.order()
		return &order, nil
	case api.OrderPending:
	case api.OrderPaid:
		if row.Total == row.Refunded {
			return s.cancelFree(ctx, row.ID)
		}
		return nil, fault.New(fault.Conflict, "the order is paid: only the organizer can refund it")
	default:
		return nil, fault.New(fault.Conflict, "the order is %s", row.Status)
	}
	if row.PaymentID != "" {
		closed, err := s.closePayments(ctx, []ids.Order{row.ID})
		if err != nil {
			return nil, err
		}
		if !closed[row.ID] {
			return nil, fault.New(fault.Conflict, "the order is being paid")
		}
	}
	err = s.inv.Release(ctx, row.ref())
	if errors.Is(err, inventory.ErrSold) {
		return nil, fault.New(fault.Conflict, "the order has just been paid")
	}
	if err != nil {
		return nil, err
	}
	ended, err := s.db.endPending(ctx, []ids.Order{row.ID}, api.OrderCancelled, store.Time(s.now()))
	s.publishChanges(orderIDs(ended)...)
	if err != nil {
		return nil, err
	}
	if len(ended) == 0 {
		return nil, fault.New(fault.Conflict, "the order has just changed")
	}
	order := ended[0].order()
	return &order, nil
}

// beginPayment ties a payment to a pending order of the caller, for the payment service.
func (s *Service) beginPayment(ctx context.Context, req *api.BeginPaymentOf) (*api.Payable, error) {
	user, now := rpc.Caller(ctx).User, store.Time(s.now())
	var expires time.Time
	if req.HoldUntil != nil {
		var err error
		if expires, err = s.holdUntil(ctx, req.OrderID, user, *req.HoldUntil); err != nil {
			return nil, err
		}
	}
	var row orderRow
	begin := func() error {
		return s.writes.Do(ctx, func(ctx context.Context, tx tx) error {
			var err error
			row, err = s.db.beginPayment(ctx, tx, req.OrderID, user, req.PaymentID, expires, now,
				api.MaxManualSeats.Get(s.live))
			return err
		})
	}
	err := begin()
	if errors.Is(err, errAnswersDue) {
		if err = s.missing(ctx, req.OrderID); err == nil {
			err = begin()
		}
	}
	if err != nil {
		return nil, err
	}
	s.publishChanges(row.ID)
	offer, err := s.offers.Get(ctx, row.EventID)
	if err != nil {
		return nil, err
	}
	return &api.Payable{Order: row.order(), Providers: offer.Event.Providers,
		OrganizerID: offer.Event.OrganizerID}, nil
}

// holdUntil lets a pending order of the user keep its seats for longer, until the event begins at most, because its
// payment takes its time. The inventory is told first: should that be all, the order ends by its row, no later than it
// would have.
func (s *Service) holdUntil(ctx context.Context, id ids.Order, user ids.User, until time.Time) (time.Time, error) {
	row, err := s.db.order(ctx, id)
	if err != nil || row.UserID != user || row.Status != api.OrderPending || !s.now().Before(row.ExpiresAt) {
		return row.ExpiresAt, err // who ties the payment says what is wrong
	}
	offer, err := s.offers.Get(ctx, row.EventID)
	if err != nil {
		return time.Time{}, err
	}
	if offer.Event.StartsAt.Before(until) {
		until = offer.Event.StartsAt
	}
	if !until.After(row.ExpiresAt) {
		return row.ExpiresAt, nil
	}
	others, err := unpaidOf(ctx, s.db.Read(), []ids.User{user}, store.Time(s.now()))
	if err != nil {
		return time.Time{}, err
	}
	if err := mayExtend(row, others, api.MaxManualSeats.Get(s.live)); err != nil { // before the inventory is told
		return time.Time{}, err
	}
	until = store.Time(until)
	return until, s.inv.Extend(ctx, row.ref(), until)
}
