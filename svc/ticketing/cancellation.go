package ticketing

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/products"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
)

// registerCancellations binds the endpoints by which buyers give tickets back.
func (s *Service) registerCancellations(srv *rpc.Server) {
	rpc.Handle(srv, api.GetCancellation, s.getCancellation)
	rpc.Handle(srv, api.CreateCancellation, s.createCancellation)
	rpc.Handle(srv, api.ListCancellations, s.cancellations)
	rpc.Handle(srv, api.DecideCancellation, s.decideCancellation)
}

// cancellationRow is a row of the table cancellations.
type cancellationRow struct {
	bun.BaseModel `bun:"table:cancellations,alias:cancellations"`

	ID        ids.Cancellation `bun:"id,pk"`
	OrderID   ids.Order        `bun:"order_id"`
	EventID   ids.Event        `bun:"event_id"`
	UserID    ids.User         `bun:"user_id"`
	Status    string           `bun:"status"`
	Tickets   []ids.Ticket     `bun:"tickets,type:text"`
	Refund    int64            `bun:"refund"`
	Fee       int64            `bun:"fee"`
	Currency  string           `bun:"currency"`
	Reason    string           `bun:"reason"`
	Answer    string           `bun:"answer"`
	CreatedAt time.Time        `bun:"created_at"`
	DecidedAt *time.Time       `bun:"decided_at"`
}

// Key is what a list of cancellations is sorted by.
func (r cancellationRow) Key() (time.Time, string) { return r.CreatedAt, r.ID.String() }

func (r cancellationRow) cancellation() api.Cancellation {
	return api.Cancellation{ID: r.ID, OrderID: r.OrderID, EventID: r.EventID, Status: r.Status, Tickets: r.Tickets,
		Refund: api.Money{Amount: r.Refund, Currency: r.Currency}, Fee: api.Money{Amount: r.Fee, Currency: r.Currency},
		Reason: r.Reason, Answer: r.Answer, CreatedAt: r.CreatedAt.UTC(), DecidedAt: r.DecidedAt}
}

// returnable returns those tickets of an order that its buyer can give back: neither used nor given away.
func returnable(row orderRow, tickets []ticketRow) []ticketRow {
	return slices.DeleteFunc(slices.Clone(tickets), func(t ticketRow) bool {
		return t.Status != api.TicketValid || t.AdmittedAt != nil || t.OwnerID != row.UserID
	})
}

// worth returns what goes back for tickets of an order by a policy, and what the organizer keeps of what they cost: of
// the money that is neither back nor kept already. Of a part of a minor unit that is half or more, the fee has the
// whole.
func worth(row orderRow, tickets []ticketRow, p api.CancellationPolicy) (refund, fee int64) {
	cost := int64(0)
	for _, t := range tickets {
		cost += row.paidFor(t.Position, make([]int64, len(row.Charges.Taxes)))
	}
	cost = max(min(cost, row.Total-row.Refunded-row.Fee), 0)
	fee = min((cost*int64(p.FeePercent)+50)/100+p.FeePerTicket*products.Tickets(tickets), cost)
	return cost - fee, fee
}

// ownOrder returns an order of the caller with what its event offers.
func (s *Service) ownOrder(ctx context.Context, id ids.Order) (orderRow, *api.Offer, error) {
	row, err := s.db.order(ctx, id)
	if err == nil && (!rpc.Caller(ctx).Owns(row.UserID) || row.UserID == api.BoxOfficeBuyer) {
		err = fault.New(fault.NotFound, "there is no such order")
	}
	if err != nil {
		return row, nil, err
	}
	offer, err := s.offers.Get(ctx, row.EventID)
	return row, offer, err
}

func (s *Service) getCancellation(ctx context.Context, req *api.OrderRef) (*api.CancellationOptions, error) {
	row, offer, err := s.ownOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	out := &api.CancellationOptions{Tickets: []ids.Ticket{}, Until: offer.Event.CancelUntil(),
		Refund: row.money(0), Fee: row.money(0)}
	out.SelfService = out.Until != nil && s.now().Before(*out.Until)
	if row.Status == api.OrderPaid {
		all, err := s.db.ticketsOf(ctx, row.ID)
		if err != nil {
			return nil, err
		}
		all = returnable(row, all)
		tickets := products.Alone(row.Items, all)
		out.Refund.Amount, out.Fee.Amount = worth(row, products.With(row.Items, tickets, all),
			offer.Event.OrderRules.Cancellation)
		for _, t := range tickets {
			out.Tickets = append(out.Tickets, t.ID)
		}
	}
	var last []cancellationRow
	err = store.Select(ctx, s.db.Read(), &last, `SELECT * FROM cancellations WHERE order_id = ?
		ORDER BY created_at DESC, id DESC LIMIT 1`, row.ID)
	for _, r := range last {
		c := r.cancellation()
		out.Last = &c
	}
	return out, err
}

// createCancellation gives tickets of the caller back, if the organizer's policy has it so, and asks otherwise.
func (s *Service) createCancellation(ctx context.Context, req *api.NewCancellation) (*api.Cancellation, error) {
	_, offer, err := s.ownOrder(ctx, req.OrderID)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	req.Reason = text.CleanLines(req.Reason)
	if text.CheckLines(&check, "reason", req.Reason, 0, 1000); check.Err() != nil {
		return nil, check.Err()
	}
	now := store.Time(s.now())
	until := offer.Event.CancelUntil()
	row := cancellationRow{ID: ids.New[ids.CancellationKind](now), OrderID: req.OrderID, EventID: offer.Event.ID,
		UserID: rpc.Caller(ctx).User, Status: api.CancellationOpen, Reason: req.Reason, CreatedAt: now}
	granted := until != nil && now.Before(*until)
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		order, valid, err := s.db.lockedOrder(ctx, tx, req.OrderID)
		if err != nil {
			return err
		}
		var before []cancellationRow
		err = tx.NewRaw("SELECT * FROM cancellations WHERE id = ? OR order_id = ? AND status = 'open'", row.ID,
			row.OrderID).Scan(ctx, &before)
		switch {
		case err != nil:
			return err
		case len(before) > 0 && before[0].ID == row.ID: // an earlier run of this transaction
			row = before[0]
			return nil
		case order.UserID != row.UserID:
			return fault.New(fault.NotFound, "there is no such order")
		case order.Status != api.OrderPaid:
			return fault.New(fault.Conflict, "the order is %s", order.Status)
		case len(before) > 0:
			return fault.New(fault.Conflict, "the organizer has not decided about the last wish yet")
		}
		back := returnable(order, valid)
		tickets, err := chosen(products.Alone(order.Items, back), req.Tickets)
		if err != nil {
			return err
		}
		tickets = products.With(order.Items, tickets, back)
		row.Currency, row.Tickets = order.Currency, []ids.Ticket{}
		for _, t := range tickets {
			row.Tickets = append(row.Tickets, t.ID)
		}
		row.Refund, row.Fee = worth(order, tickets, offer.Event.OrderRules.Cancellation)
		if err := retention.Again(ctx, tx, row.EventID); err != nil {
			return err
		}
		if granted {
			if err := products.CheckLeft(&offer.Event, order.Items, valid, tickets); err != nil {
				return err
			}
			row.Status, row.DecidedAt = api.CancellationGranted, &now
			if err := s.db.takeBack(ctx, tx, order, valid, tickets, row, now); err != nil {
				return err
			}
		}
		_, err = tx.NewInsert().Model(&row).Returning("NULL").Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.afterCancellation(ctx, row)
	c := row.cancellation()
	return &c, nil
}

// chosen returns the tickets with the ids, or all if there are none.
func chosen(tickets []ticketRow, want []ids.Ticket) ([]ticketRow, error) {
	if len(want) == 0 {
		if len(tickets) == 0 {
			return nil, fault.New(fault.Conflict, "no ticket of the order can be given back")
		}
		return tickets, nil
	}
	var check fault.Check
	var out []ticketRow
	left := slices.Clone(tickets)
	for i, id := range want {
		at := slices.IndexFunc(left, func(t ticketRow) bool { return t.ID == id })
		check.Field(at >= 0, fieldName("tickets", i), "cannot be given back, is none of this order, or is named twice")
		if at >= 0 {
			out, left = append(out, left[at]), slices.Delete(left, at, at+1)
		}
	}
	return out, check.Err()
}

// takeBack revokes tickets of a locked order and has the money of a cancellation go back.
func (db ticketStore) takeBack(
	ctx context.Context, tx tx, order orderRow, valid, tickets []ticketRow, c cancellationRow, now time.Time,
) error {
	d := decision{row: order, revoked: tickets, left: len(valid) - len(tickets), due: api.RefundDue{OrderID: order.ID,
		PaymentID: order.PaymentID, Amount: order.money(c.Refund), Tickets: c.Tickets, Reason: api.RefundByBuyer}}
	if c.Refund > 0 {
		d.due.RefundID = ids.Derive[ids.RefundKind]("cancellation", c.ID.String())
	}
	rates := make([]int64, len(order.Charges.Taxes))
	for _, t := range tickets {
		order.paidFor(t.Position, rates)
	}
	d.carryTax(rates)
	if c.Fee > 0 {
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET fee = fee + ? WHERE id = ?", c.Fee, order.ID); err != nil {
			return err
		}
		d.row.Fee += c.Fee
	}
	return db.applyRefunds(ctx, tx, []decision{d}, now)
}

// afterCancellation says what has become of a cancellation, and gives its seats back.
func (s *Service) afterCancellation(ctx context.Context, row cancellationRow) {
	if row.Status != api.CancellationGranted {
		return
	}
	s.metrics.refunds.Inc()
	s.publishChanges(row.OrderID)
	s.returnSeats(ctx, row.OrderID)
}

func (s *Service) cancellations(
	ctx context.Context, req *api.CancellationPage,
) (*api.List[api.Cancellation], error) {
	if _, err := s.offerAs(ctx, req.EventID, api.MayReadOrders); err != nil {
		return nil, err
	}
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	query := s.db.Read().NewSelect().Where("event_id = ? AND status = ?", req.EventID, req.Status)
	rows, next, err := newestOf[cancellationRow](ctx, query, "created_at", req.Cursor, limit)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Cancellation]{Items: []api.Cancellation{}, NextCursor: next}
	for _, r := range rows {
		out.Items = append(out.Items, r.cancellation())
	}
	return out, nil
}

// decideCancellation takes the tickets of an open cancellation back, or leaves them.
func (s *Service) decideCancellation(
	ctx context.Context, req *api.CancellationDecision,
) (*api.Cancellation, error) {
	if _, err := s.offerAs(ctx, req.EventID, api.MayRefund); err != nil {
		return nil, err
	}
	var check fault.Check
	req.Answer = text.CleanLines(req.Answer)
	text.CheckLines(&check, "answer", req.Answer, 0, 1000)
	check.Field(req.Decision == api.CancellationGranted || req.Decision == api.CancellationDeclined, "decision",
		"must be granted or declined")
	check.Field(req.Decision == api.CancellationGranted || req.Refund == nil, "refund",
		"must be absent: what is declined gives nothing back")
	if err := check.Err(); err != nil {
		return nil, err
	}
	most := int64(api.RefundStepUp.Get(s.live))
	if most == 0 || rpc.Caller(ctx).Fresh {
		most = math.MaxInt64
	}
	var row cancellationRow
	err := s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) (err error) {
		row, err = s.db.decide(ctx, tx, req, most, store.Time(s.now()))
		return err
	})
	if err != nil {
		return nil, err
	}
	s.afterCancellation(ctx, row)
	c := row.cancellation()
	return &c, nil
}

func (db ticketStore) decide(
	ctx context.Context, tx tx, req *api.CancellationDecision, most int64, now time.Time,
) (row cancellationRow, err error) {
	find := func(lock bun.Safe) error {
		err := tx.NewRaw("SELECT * FROM cancellations WHERE id = ? AND event_id = ? ?", req.ID, req.EventID,
			lock).Scan(ctx, &row)
		return store.OrNotFound(err, "there is no such cancellation")
	}
	if err := find(""); err != nil {
		return row, err
	}
	order, valid, err := db.lockedOrder(ctx, tx, row.OrderID) // in the order in which a new one locks
	if err != nil {
		return row, err
	}
	if err := find(db.forUpdate()); err != nil {
		return row, err
	}
	want := req.Decision
	switch row.Status {
	case want:
		return row, nil
	case api.CancellationOpen:
	default:
		return row, fault.New(fault.Conflict, "the cancellation was %s", row.Status)
	}
	row.Status, row.Answer, row.DecidedAt = want, req.Answer, &now
	if want == api.CancellationGranted {
		if err := row.settle(order, valid, req.Refund); err != nil {
			return row, err
		}
		if most < math.MaxInt64 && row.Refund > 0 {
			sum, err := sumOfDay(ctx, tx, order.money(row.Refund), now)
			if err != nil {
				return row, err
			}
			if sum > most {
				return row, moreThan(ctx, most)
			}
		}
		tickets, err := chosen(returnable(order, valid), row.Tickets)
		if err != nil {
			return row, err
		}
		if err := db.takeBack(ctx, tx, order, valid, tickets, row, now); err != nil {
			return row, err
		}
	}
	err = auditlog.Add(ctx, tx, "ticketing", auditlog.Act{At: now, Object: row.ID.String(), Event: row.EventID,
		After: map[string]any{"status": row.Status, "order_id": row.OrderID, "refund": row.Refund}})
	if err != nil {
		return row, err
	}
	if want == api.CancellationDeclined {
		err := stream.Add(ctx, tx, api.CancellationWasDeclined.Subject, api.CancellationEvent{ID: row.ID,
			OrderID: row.OrderID, EventID: row.EventID, UserID: order.UserID, Total: order.money(order.Total),
			Answer: row.Answer})
		if err != nil {
			return row, err
		}
	}
	_, err = tx.NewUpdate().Model(&row).WherePK().Exec(ctx)
	return row, err
}

// settle says how much goes back of what the tickets cost: the given amount, or that of the policy.
func (r *cancellationRow) settle(order orderRow, valid []ticketRow, amount *api.Money) error {
	if order.Status != api.OrderPaid {
		return fault.New(fault.Conflict, "the order is %s", order.Status)
	}
	tickets := returnable(order, valid)
	other := func(t ticketRow) bool { return !slices.Contains(r.Tickets, t.ID) }
	good := slices.DeleteFunc(slices.Clone(tickets), other)
	if len(good) != len(r.Tickets) {
		return fault.New(fault.Conflict, "a ticket of it was used, given away or revoked meanwhile")
	}
	cost, _ := worth(order, good, api.CancellationPolicy{})
	if amount == nil {
		r.Refund = min(r.Refund, cost)
	} else {
		var check fault.Check
		check.Field(amount.Currency == order.Currency, "refund.currency", "must be %s, as it was paid", order.Currency)
		check.Field(amount.Amount >= 0 && amount.Amount <= cost, "refund.amount", "must be from 0 to %d", cost)
		if err := check.Err(); err != nil {
			return err
		}
		r.Refund = amount.Amount
	}
	r.Fee = cost - r.Refund
	return nil
}
