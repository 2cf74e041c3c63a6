package ticketing

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/codes"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
	"github.com/starlightsymphony/starlight/svc/ticketing/products"
)

// draftOrder checks a request against the offer and returns the order as it will be written. At a counter a ticket type
// is sold also when the public cannot buy it.
func (s *Service) draftOrder(
	req *api.NewOrder, offer *api.Offer, user ids.User, now time.Time,
) (orderRow, []inventory.Line, error) {
	return s.draftWith(req, offer, user, now, codes.Deal{}, nil)
}

// draftWith is draftOrder for who has a deal, at the prices of stages. Without those every ticket type has its price.
func (s *Service) draftWith(
	req *api.NewOrder, offer *api.Offer, user ids.User, now time.Time, deal codes.Deal, at *stages,
) (orderRow, []inventory.Line, error) {
	event := &offer.Event
	var check fault.Check
	check.Field(len(req.Items) > 0, "items", "must name at least one ticket type")
	check.Field(len(req.Items) <= len(event.TicketTypes), "items", "has more entries than the event has ticket types")
	if err := check.Err(); err != nil {
		return orderRow{}, nil, err
	}
	switch {
	case event.Status == api.EventCancelled:
		return orderRow{}, nil, fault.New(fault.Conflict, "the event is cancelled")
	case event.Status != api.EventPublished:
		return orderRow{}, nil, fault.New(fault.Conflict, "the event is not on sale")
	case !now.Before(event.EndsAt):
		return orderRow{}, nil, fault.New(fault.Conflict, "the event is over")
	}
	var (
		total   int64
		tickets int
		items   = make([]api.OrderItem, 0, len(req.Items))
		lines   = make([]inventory.Line, 0, len(req.Items))
		limit   = api.MaxPerOrder.Get(s.live)
		closed  error
	)
	for i, item := range req.Items {
		field := fieldName("items", i)
		t := event.TicketType(item.TicketTypeID)
		if t == nil || !deal.Shows(t) && user != api.BoxOfficeBuyer {
			check.Field(false, field+".ticket_type_id", "is no ticket type of this event")
			continue
		}
		for _, l := range lines {
			check.Field(l.Type != t.ID, field+".ticket_type_id", "is named twice")
		}
		check.Field(item.Quantity >= 1, field+".quantity", "must be at least 1")
		check.Field(item.Quantity <= limit, field+".quantity", "must be at most %d", limit)
		if t.MaxPerOrder > 0 {
			check.Field(item.Quantity <= t.MaxPerOrder, field+".quantity", "must be at most %d for this ticket type",
				t.MaxPerOrder)
		}
		if user != api.BoxOfficeBuyer {
			check.Field(item.Quantity >= t.MinPerOrder, field+".quantity", "must be at least %d for this ticket type",
				t.MinPerOrder)
			check.Field(t.MaxPerPerson == 0 || item.Quantity <= t.MaxPerPerson, field+".quantity",
				"must be at most %d of this ticket type for one buyer", t.MaxPerPerson)
		}
		if item.Quantity < 1 || item.Quantity > limit {
			continue
		}
		if t.SalesStart != nil && now.Before(*t.SalesStart) && !deal.Opens(t, now) {
			closed = fault.New(fault.Conflict, "%s is on sale from %s", t.Name, t.SalesStart.Format(time.RFC3339))
		}
		if t.SalesEnd != nil && !now.Before(*t.SalesEnd) {
			closed = fault.New(fault.Conflict, "the sale of %s has ended", t.Name)
		}
		if !t.IsProduct() {
			tickets += item.Quantity
		}
		stage := at.stage(t, item.Quantity)
		each := unitPrice(&check, field, t, t.PriceAt(stage), item.UnitPrice)
		total += each.Amount * int64(item.Quantity)
		line := api.OrderItem{TicketTypeID: t.ID, Kind: t.Kind, Name: t.Title(),
			Quantity: item.Quantity, UnitPrice: each}
		if stage != nil {
			line.StageID, line.Stage = stage.ID, stage.Name
		}
		check.Field(item.MaxPrice == nil || item.MaxPrice.Currency == each.Currency, field+".max_price.currency",
			"must be %s", each.Currency)
		if item.MaxPrice != nil && each.Amount > item.MaxPrice.Amount && closed == nil {
			closed = at.dearer(t, each, item.Quantity).About(field+".max_price", "is less than "+each.String())
		}
		items = append(items, line)
		lines = append(lines, inventory.Line{Type: t.ID, N: item.Quantity, Stage: line.StageID})
	}
	if most := event.OrderRules.MaxPerOrder; most > 0 {
		limit = min(limit, most)
	}
	check.Field(tickets <= limit, "items", "must be at most %d tickets together", limit)
	products.Check(&check, event, req.Items, tickets, api.MaxPerOrder.Get(s.live), user)
	if rules := event.OrderRules; user != api.BoxOfficeBuyer {
		check.Field(tickets >= rules.MinPerOrder || tickets == 0, "items", "must be at least %d tickets together",
			rules.MinPerOrder)
		check.Field(rules.MaxPerPerson == 0 || tickets <= rules.MaxPerPerson, "items",
			"must be at most %d tickets for one buyer", rules.MaxPerPerson)
	}
	check.Field(total <= maxTotal, "items", "the total is too large")
	check.Field(len(req.Attendees) <= tickets, "attendees", "has more entries than there are tickets")
	for i, a := range req.Attendees {
		a.Check(&check, fieldName("attendees", i))
	}
	if err := check.Err(); err != nil {
		return orderRow{}, nil, err
	}
	if closed != nil && user != api.BoxOfficeBuyer {
		return orderRow{}, nil, closed
	}
	slices.SortStableFunc(items, products.Last) // attendees and answers count the tickets
	whole, err := deal.Apply(items)             // a discount is of tickets with what they come with
	if err != nil {
		return orderRow{}, nil, err
	}
	items = products.Apart(event, whole)
	lines = withIncluded(lines, items)
	_, discount := price.Total(items)
	charged := price.Charge(items, termsOf(offer))
	if check.Field(charged.Total <= maxTotal, "items", "the total is too large"); check.Err() != nil {
		return orderRow{}, nil, check.Err()
	}
	return orderRow{ID: ids.New[ids.OrderKind](now), EventID: event.ID, UserID: user, Status: api.OrderPending,
		Items: charged.Items, Attendees: req.Attendees, Total: charged.Total, Discount: discount,
		Charges: charges{Fees: charged.Fees, Taxes: charged.Taxes}, GivenBack: []int64{},
		PromoCode: deal.Text(), PromoCodeID: deal.ID(), Currency: items[0].UnitPrice.Currency,
		ExpiresAt: store.Time(now.Add(api.HoldTTL.Get(s.live))), Revision: 1,
		CreatedAt: now, UpdatedAt: now}, lines, nil
}

// manyStages is how often an order whose stage was just sold out is made anew: each time at the price of a later stage,
// unless places of one come back meanwhile.
const manyStages = 20

// errStageMoved is an order whose stages are not those that the inventory has.
var errStageMoved = fault.New(fault.Unavailable, "the prices have just changed: try again").After(time.Second)

// makeOrder is tryOrder until the stages at whose prices the order is are those that it gets.
func (s *Service) makeOrder(
	ctx context.Context, req *api.NewOrder, user ids.User, created creation,
) (*api.Order, error) {
	for range manyStages {
		order, err := s.tryOrder(ctx, req, user, created)
		if !errors.Is(err, errStageMoved) {
			return order, err
		}
	}
	return nil, errStageMoved
}

// stock is what an event has to sell.
type stock struct {
	lines  []inventory.Line
	quotas []api.QuotaShare
}

func stockOf(o *api.Offer) stock {
	k := stock{lines: make([]inventory.Line, len(o.Event.TicketTypes)), quotas: o.Event.QuotaShares()}
	for i, t := range o.Event.TicketTypes {
		k.lines[i] = inventory.Line{Type: t.ID, N: t.Quantity}
	}
	return k
}

// usedUp says of which field it is that a code may not be used once more.
func usedUp(err error) error {
	if errors.Is(err, inventory.ErrUsedUp) {
		return inventory.ErrUsedUp.About("promo_code", "is used up")
	}
	return err
}

// overCodeLimits adds to the orders of a transaction that are refused those whose buyers use a code more often than a
// person may. overLimits has locked the buyers.
func (db ticketStore) overCodeLimits(
	ctx context.Context, tx tx, in []creation, refused map[int]error,
) (map[int]error, error) {
	var users []ids.User
	var used []ids.PromoCode
	for _, c := range in {
		if c.perPerson > 0 {
			users, used = append(users, c.row.UserID), append(used, c.row.PromoCodeID)
		}
	}
	if len(users) == 0 {
		return refused, nil
	}
	type use struct {
		ID          ids.Order
		UserID      ids.User
		PromoCodeID ids.PromoCode
	}
	var rows []use
	err := store.Select(ctx, tx, &rows, `SELECT id, user_id, promo_code_id FROM orders WHERE promo_code_id IN (?)
		AND promo_code_id <> '' AND user_id IN (?) AND status IN ('pending', 'paid')`, store.List(used),
		store.List(users))
	if err != nil {
		return nil, err
	}
	if refused == nil {
		refused = map[int]error{}
	}
	for i, c := range in {
		if c.perPerson == 0 || refused[i] != nil {
			continue
		}
		n, known := 0, false
		for _, u := range rows {
			if u.UserID == c.row.UserID && u.PromoCodeID == c.row.PromoCodeID {
				n++
				known = known || u.ID == c.row.ID // the same request has come before
			}
		}
		if n >= c.perPerson && !known {
			refused[i] = fault.New(fault.Conflict, "you have used the promo code as often as one person may").About(
				"promo_code", "is used up for you")
			continue
		}
		if !known {
			rows = append(rows, use{c.row.ID, c.row.UserID, c.row.PromoCodeID})
		}
	}
	return refused, nil
}

// availability tells what is left. An event that nobody has ordered from yet has everything.
func (s *Service) availability(ctx context.Context, req *api.AvailabilityQuery) (rpc.Encoded, error) {
	offer, err := s.offerAs(ctx, req.ID, api.MayVisit)
	if err != nil {
		return rpc.Encoded{}, err
	}
	var deal codes.Deal
	if req.Code != "" {
		if deal, err = s.codes.Deal(ctx, offer, req.Code); err != nil {
			return rpc.Encoded{}, err
		}
	}
	pool, err := s.poolOf(ctx, offer)
	if err != nil {
		return rpc.Encoded{}, err
	}
	team := offer.Can(rpc.Caller(ctx), api.MayReadEvent)
	out := availabilityOf(offer, &pool, deal, team, s.now())
	text, err := json.Marshal(out)
	if err != nil {
		return rpc.Encoded{}, err
	}
	answer := rpc.Encoded{JSON: text}
	hidden := slices.ContainsFunc(offer.Event.TicketTypes, func(t api.TicketType) bool { return t.Hidden })
	if offer.Require(rpc.Principal{}, api.MayVisit) == nil && !hidden && deal.Code == nil {
		answer.Shared = time.Millisecond // by those who ask now: the next order changes it
	}
	return answer, nil
}

// poolOf returns what an event has left. One of which nothing was ordered yet has everything.
func (s *Service) poolOf(ctx context.Context, offer *api.Offer) (inventory.Pool, error) {
	pool, err := s.inv.Current(ctx, offer.Event.ID)
	if errors.Is(err, inventory.ErrNoPool) {
		k := stockOf(offer)
		return inventory.Unsold(k.lines, k.quotas), nil
	}
	return pool, err
}

// availabilityOf tells what a pool has of what is offered, for who has the deal, or for the event's team.
func availabilityOf(
	offer *api.Offer, pool *inventory.Pool, deal codes.Deal, team bool, now time.Time,
) *api.Availability {
	left := func(s *api.Stage) int { return pool.StageLeft(stageTerms(offer, s)) }
	out := &api.Availability{EventID: offer.Event.ID, Code: deal.Offer(&offer.Event),
		TicketTypes: make([]api.TypeAvailability, 0, len(offer.Event.TicketTypes))}
	for _, t := range offer.Event.TicketTypes {
		if !team && !deal.Shows(&t) {
			continue
		}
		c := inventory.Counts{Type: t.ID, Capacity: t.Quantity}
		free := c.Capacity
		if i := slices.IndexFunc(pool.Types, func(c inventory.Counts) bool { return c.Type == t.ID }); i >= 0 {
			c, free = pool.Types[i], max(pool.Free(t.ID, deal.ID()), 0)
			if len(t.Includes) > 0 {
				together := []inventory.Line{{Type: t.ID, N: 1}}
				for _, p := range t.Includes {
					together = append(together, inventory.Line{Type: p.TicketTypeID, N: p.Quantity})
				}
				free = pool.FreeTogether(together, deal.ID())
			}
		}
		of := api.TypeAvailability{ID: t.ID, Quantity: c.Capacity, Available: free, Held: c.Held, Sold: c.Sold,
			Leased: c.Leased, Reserved: pool.Reserved(t.ID, deal.ID()), Price: t.Price}
		if len(t.Stages) > 0 {
			stage := t.StageFor(now, 1, left)
			of.Price, of.Next = t.PriceAt(stage), t.NextAfter(stage, now, left)
			if stage != nil {
				of.Stage = &api.StageOnSale{ID: stage.ID, Name: stage.Name, Until: stage.Until}
				if stage.Quantity > 0 {
					of.Stage.Left = left(stage)
				}
			}
		}
		out.TicketTypes = append(out.TicketTypes, of)
	}
	return out
}
