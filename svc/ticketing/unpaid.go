package ticketing

import (
	"context"
	"maps"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// unpaidLimits bound what a person may hold without having paid, so that no buyer keeps a house from others. 0 means
// that there is no such bound.
type unpaidLimits struct {
	orders int           // at a time
	seats  int           // of an event
	pause  time.Duration // after an order for the event that kept its seats for long and was not paid
	long   time.Duration // how long that is
}

// unpaidLimitsOf returns the limits for an order, and nothing where there are none: nobody's orders are then looked at.
// One that costs nothing is paid at once.
func (s *Service) unpaidLimitsOf(row orderRow) unpaidLimits {
	l := unpaidLimits{orders: api.MaxOpenOrders.Get(s.live), seats: api.MaxUnpaidSeats.Get(s.live),
		pause: api.RenewalPause.Get(s.live)}
	if row.toPay() == 0 || l == (unpaidLimits{}) {
		return unpaidLimits{}
	}
	l.long = api.HoldTTL.Get(s.live) / 2
	return l
}

// unpaid is what is looked at of an order that is not paid.
type unpaid struct {
	ID        ids.Order
	UserID    ids.User
	EventID   ids.Event
	Status    string
	Items     []api.OrderItem `bun:"items,type:text"`
	Extended  bool
	ExpiresAt time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}

// addTo adds the seats of the order, and what it has of each product, to what a person has. Seats have no type.
func (u unpaid) addTo(has map[ids.TicketType]int) map[ids.TicketType]int {
	for _, item := range u.Items {
		if item.IncludedInID != "" { // the tickets are bounded
			continue
		}
		of := ids.TicketType("")
		if item.IsProduct() {
			of = item.TicketTypeID
		}
		has[of] += item.Quantity
	}
	return has
}

// most returns the largest of what a person has: the tickets together, or one product.
func most(has map[ids.TicketType]int) (n int) {
	for _, one := range has {
		n = max(n, one)
	}
	return n
}

// endedUnpaid is how far back orders are looked for that have ended unpaid lately: longer than any hold that a live
// setting allows, and the longest pause.
const endedUnpaid = 26 * time.Hour

// unpaidOf returns the pending orders of people, and those of late that were not paid.
func unpaidOf(ctx context.Context, db bun.IDB, users []ids.User, now time.Time) ([]unpaid, error) {
	var rows []unpaid
	err := store.Select(ctx, db, &rows, `SELECT id, user_id, event_id, status, items, extended, expires_at, created_at,
		updated_at FROM orders WHERE user_id IN (?) AND (status = 'pending'
		OR status IN ('expired', 'cancelled') AND created_at > ?)`, store.List(users), now.Add(-endedUnpaid))
	return rows, err
}

// lockBuyers makes transactions that count the orders of a person wait for each other. SQLite has one writer.
func (db ticketStore) lockBuyers(ctx context.Context, tx tx, users []ids.User) error {
	if !db.Postgres() {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('starlight buyer ' || id, 0))
		FROM unnest(ARRAY[?]) AS id ORDER BY id`, bun.List(users))
	return err
}

// check returns why a person may not have one more order beside those that are there, or nil.
func (l unpaidLimits) check(order orderRow, others []unpaid, now time.Time) error {
	open, has := 0, unpaid{Items: order.Items}.addTo(map[ids.TicketType]int{})
	soonest := now.Add(time.Minute)
	for _, o := range others {
		switch {
		case o.ID == order.ID || o.UserID != order.UserID: // the same request has come before
		case o.Status == api.OrderPending:
			open++
			if open == 1 || o.ExpiresAt.Before(soonest) {
				soonest = o.ExpiresAt
			}
			if o.EventID == order.EventID {
				o.addTo(has)
			}
		case l.pause > 0 && o.EventID == order.EventID && o.UpdatedAt.Sub(o.CreatedAt) >= l.long &&
			now.Sub(o.UpdatedAt) < l.pause:
			return fault.New(fault.RateLimited, "an order of yours for this event was not paid in time; "+
				"its seats are for others first").After(o.UpdatedAt.Add(l.pause).Sub(now))
		}
	}
	wait := max(soonest.Sub(now), time.Second)
	if l.orders > 0 && open >= l.orders {
		return fault.New(fault.RateLimited, "you have %d unpaid orders; pay or cancel one first", open).After(wait)
	}
	if seats := most(has); l.seats > 0 && seats > l.seats {
		return fault.New(fault.RateLimited, "that makes %d unpaid tickets of one event, and a person may have %d; "+
			"pay or cancel an order first", seats, l.seats).After(wait)
	}
	return nil
}

// mayHold refuses an order that create would refuse, before it takes seats. Buyers of whom this instance knows no hold
// are not asked about: create decides.
func (s *Service) mayHold(ctx context.Context, order orderRow, l unpaidLimits) error {
	if l == (unpaidLimits{}) || s.inv.HeldBy(order.UserID) == 0 {
		return nil
	}
	now := store.Time(s.now())
	others, err := unpaidOf(ctx, s.db.Read(), []ids.User{order.UserID}, now)
	if err != nil {
		return err
	}
	return l.check(order, others, now)
}

// overLimits returns why orders of a transaction are refused, by their place in it. Those before count for those after
// them.
func (db ticketStore) overLimits(ctx context.Context, tx tx, in []creation, now time.Time) (map[int]error, error) {
	locked, limited := map[ids.User]bool{}, map[ids.User]bool{}
	for _, c := range in {
		if c.guest == nil && (c.limits != (unpaidLimits{}) || c.perPerson > 0 || c.most != nil) {
			locked[c.row.UserID] = true
		}
		if c.guest == nil && c.limits != (unpaidLimits{}) {
			limited[c.row.UserID] = true
		}
	}
	if len(locked) == 0 {
		return nil, nil
	}
	if err := db.lockBuyers(ctx, tx, sortedKeys(locked)); err != nil {
		return nil, err
	}
	if len(limited) == 0 {
		return map[int]error{}, nil
	}
	users := sortedKeys(limited)
	rows, err := unpaidOf(ctx, tx, users, now)
	if err != nil {
		return nil, err
	}
	byUser := make(map[ids.User][]unpaid, len(users))
	for _, r := range rows {
		byUser[r.UserID] = append(byUser[r.UserID], r)
	}
	refused := map[int]error{}
	for i, c := range in {
		user := c.row.UserID
		if c.limits == (unpaidLimits{}) || c.guest != nil {
			continue
		}
		if err := c.limits.check(c.row, byUser[user], now); err != nil {
			refused[i] = err
			continue
		}
		byUser[user] = append(byUser[user], unpaid{ID: c.row.ID, UserID: user, EventID: c.row.EventID,
			Status: api.OrderPending, Items: c.row.Items, ExpiresAt: c.row.ExpiresAt})
	}
	return refused, nil
}

// mayExtend returns a Conflict if an order may not keep its seats for longer than others, because the person has enough
// seats of the event that do.
func mayExtend(order orderRow, others []unpaid, limit int) error {
	has := unpaid{Items: order.Items}.addTo(map[ids.TicketType]int{})
	for _, o := range others {
		if o.Extended && o.Status == api.OrderPending && o.EventID == order.EventID && o.ID != order.ID {
			o.addTo(has)
		}
	}
	if seats := most(has); limit > 0 && seats > limit {
		return fault.New(fault.Conflict, "by a payment that takes days a person may have %d unpaid tickets of an "+
			"event, and this makes %d; pay in another way", limit, seats)
	}
	return nil
}

// personLimits are how many tickets of an event a person may have, paid or not.
type personLimits struct {
	event int // of all types, products aside; 0 is without bound
	types map[ids.TicketType]int

	products map[ids.TicketType]bool // that are no tickets

	leaving map[ids.TicketType]int // what the person has and gives up for the order
}

// personLimitsOf returns the limits for an order, or nil if the event has none: no order is looked at then.
func personLimitsOf(event *api.Event, row orderRow) *personLimits {
	l := personLimits{event: event.OrderRules.MaxPerPerson}
	for _, item := range row.Items {
		if t := event.TicketType(item.TicketTypeID); t != nil && t.MaxPerPerson > 0 {
			if l.types == nil {
				l.types = map[ids.TicketType]int{}
			}
			l.types[t.ID] = t.MaxPerPerson
		}
	}
	if l.event == 0 && l.types == nil {
		return nil
	}
	for _, t := range event.TicketTypes {
		if t.IsProduct() {
			if l.products == nil {
				l.products = map[ids.TicketType]bool{}
			}
			l.products[t.ID] = true
		}
	}
	return &l
}

// check returns why a person who has tickets of the event may not have those of the order too, or nil.
func (l *personLimits) check(order orderRow, has map[ids.TicketType]int) error {
	all, wanted := 0, 0
	if l.leaving != nil {
		has = maps.Clone(has)
		for t, n := range l.leaving {
			has[t] -= n
		}
	}
	for t, n := range has {
		if !l.products[t] {
			all += n
		}
	}
	with := map[ids.TicketType]int{} // what comes with tickets: of the product somebody may buy as many fewer
	for _, item := range order.Items {
		if item.IncludedInID != "" {
			with[item.TicketTypeID] += item.Quantity
		}
	}
	for i, item := range order.Items {
		if item.IncludedInID != "" {
			continue
		}
		if !item.IsProduct() {
			wanted += item.Quantity
		}
		if most := l.types[item.TicketTypeID]; most > 0 &&
			has[item.TicketTypeID]+with[item.TicketTypeID]+item.Quantity > most {
			return fault.New(fault.Conflict, "one buyer may have %d tickets of the type %s, and you have %d", most,
				item.Name, has[item.TicketTypeID]).About(fieldName("items", i)+".quantity", "is too many for one buyer")
		}
	}
	if l.event > 0 && all+wanted > l.event {
		return fault.New(fault.Conflict, "one buyer may have %d tickets of the event, and you have %d", l.event,
			all).About("items", "are too many for one buyer")
	}
	return nil
}

// buyerAt is a person at an event: a person by id, or a guest by address.
type buyerAt struct{ event, person string }

func (c *creation) buyer() buyerAt {
	if c.guest != nil {
		return buyerAt{c.row.EventID.String(), "email " + c.guest.Guest.EmailKey}
	}
	return buyerAt{c.row.EventID.String(), c.row.UserID.String()}
}

// overPersonLimits adds to the orders of a transaction that are refused those whose buyers would have more tickets than
// one may. Those before count for those after them. overLimits and overGuestLimits have locked the buyers.
func (db ticketStore) overPersonLimits(
	ctx context.Context, tx tx, in []creation, refused map[int]error,
) (map[int]error, error) {
	var users []ids.User
	var emails []string
	var events []ids.Event
	for i, c := range in {
		switch {
		case c.most == nil || refused[i] != nil:
			continue
		case c.guest != nil:
			emails = append(emails, c.guest.Guest.EmailKey)
		default:
			users = append(users, c.row.UserID)
		}
		events = append(events, c.row.EventID)
	}
	if len(events) == 0 {
		return refused, nil
	}
	has, known, err := ticketsOfBuyers(ctx, tx, events, users, emails)
	if err != nil {
		return nil, err
	}
	if refused == nil {
		refused = map[int]error{}
	}
	for i, c := range in {
		if c.most == nil || refused[i] != nil || known[c.row.ID] { // the same request has come before
			continue
		}
		key := c.buyer()
		if err := c.most.check(c.row, has[key]); err != nil {
			refused[i] = err
			continue
		}
		if has[key] == nil {
			has[key] = map[ids.TicketType]int{}
		}
		for _, item := range c.row.Items {
			has[key][item.TicketTypeID] += item.Quantity
		}
		known[c.row.ID] = true
	}
	return refused, nil
}

// ordersOfBuyers finds orders of people at events, by the people: an event has very many. What is added to a column
// takes it out of the choice of indexes.
const ordersOfBuyers = `SELECT id, event_id, user_id AS person, items FROM orders
	WHERE user_id IN (?) AND event_id || '' IN (?) AND status IN ('pending', 'paid')`

// ticketsOfBuyers returns how many tickets of events people and guests have ordered and not given back, and their
// orders. What was transferred to or from them does not matter.
func ticketsOfBuyers(
	ctx context.Context, tx tx, events []ids.Event, users []ids.User, emails []string,
) (map[buyerAt]map[ids.TicketType]int, map[ids.Order]bool, error) {
	type ordered struct {
		ID      ids.Order
		EventID string
		Person  string
		Items   []api.OrderItem `bun:"items,type:text"`
	}
	var rows, more []ordered
	if len(users) > 0 {
		err := store.Select(ctx, tx, &rows, ordersOfBuyers, store.List(users), store.List(events))
		if err != nil {
			return nil, nil, err
		}
	}
	if len(emails) > 0 {
		err := store.Select(ctx, tx, &more, `SELECT o.id, o.event_id, 'email ' || g.email_key AS person, o.items
			FROM guests AS g JOIN orders AS o ON o.id = g.order_id WHERE g.email_key IN (?) AND g.event_id IN (?)
			AND g.claimed_by = '' AND o.status IN ('pending', 'paid')`, store.List(emails), store.List(events))
		if err != nil {
			return nil, nil, err
		}
	}
	has, buyers := map[buyerAt]map[ids.TicketType]int{}, map[ids.Order]buyerAt{}
	known := map[ids.Order]bool{}
	for _, r := range append(rows, more...) {
		key := buyerAt{r.EventID, r.Person}
		if has[key] == nil {
			has[key] = map[ids.TicketType]int{}
		}
		for _, item := range r.Items {
			has[key][item.TicketTypeID] += item.Quantity
		}
		buyers[r.ID], known[r.ID] = key, true
	}
	if len(known) == 0 {
		return has, known, nil
	}
	var back []struct {
		OrderID      ids.Order
		TicketTypeID ids.TicketType
		N            int
	}
	err := store.Select(ctx, tx, &back, `SELECT order_id, ticket_type_id, COUNT(*) AS n FROM tickets
		WHERE order_id IN (?) AND status = 'revoked' GROUP BY order_id, ticket_type_id`,
		store.List(sortedKeys(known)))
	for _, r := range back {
		has[buyers[r.OrderID]][r.TicketTypeID] -= r.N
	}
	return has, known, err
}
