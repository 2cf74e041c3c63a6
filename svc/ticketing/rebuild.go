package ticketing

import (
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/svc/ticketing/offers"

	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
	"github.com/starlightsymphony/starlight/svc/ticketing/recount"
)

// rebuildWithin bounds the rebuild of one event.
const rebuildWithin = 2 * time.Minute

// rebuildInventory makes the inventory of an event what SQL says, for operators: of the one that is named, or of the
// next one after another.
func (s *Service) rebuildInventory(ctx context.Context, req *api.RebuildOf) (*api.RebuiltInventory, error) {
	event := req.EventID
	if event == "" {
		var err error
		if event, err = s.db.stockedAfter(ctx, req.After); err != nil || event == "" {
			return &api.RebuiltInventory{}, err
		}
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx tx) error { // before: it is not one transaction
		return auditlog.Add(ctx, tx, "ticketing", auditlog.Act{Object: event.String(), Event: event})
	})
	if err != nil {
		return nil, err
	}
	return s.rebuild(ctx, event)
}

// rebuildStock makes the sums of an event what the rows say of which they are the sums, for operators: of the event
// that is named, or of the next one after another. What is sold of a ticket type is the number of its tickets that take
// a seat, what is sold of a lease is in its sales, and what is leased of a ticket type is what its leases have left.
//
// The sums are compared as of one moment first, which holds nobody up. If they differ, they are made anew under the
// locks of whoever changes them, so that sales may go on meanwhile, and compared once more.
func (s *Service) rebuildStock(ctx context.Context, req *api.RebuildOf) (*api.RebuiltStock, error) {
	event := req.EventID
	if event == "" {
		var err error
		if event, err = recount.Next(ctx, s.db.DB, req.After); err != nil || event == "" {
			return &api.RebuiltStock{}, err
		}
	}
	out := &api.RebuiltStock{EventID: event, Mended: []api.StockSum{}}
	before, err := recount.Read(ctx, s.db.DB, event)
	if err != nil {
		return nil, err
	}
	out.Compared, out.Left = before.Sums(), before.Wrong()
	if len(out.Left) == 0 {
		return out, nil
	}
	mended, err := recount.Mend(ctx, s.db.DB, event)
	if err != nil {
		return nil, err
	}
	out.Mended = append(out.Mended, mended...)
	after, err := recount.Read(ctx, s.db.DB, event)
	if err != nil {
		return nil, err
	}
	out.Left = after.Wrong()
	s.log.WarnContext(ctx, "sums of an event were not what its tickets and leases say", "event", event,
		"mended", len(out.Mended), "left", len(out.Left))
	return out, nil
}

// refill rebuilds the inventory of an event whose pool is gone, or was never filled in again, before any seat of it is
// given to others. An event without orders and leases needs nothing.
func (s *Service) refill(ctx context.Context, event ids.Event) error {
	if ordered, err := s.db.hasOrders(ctx, event); err != nil || !ordered {
		return err
	}
	done := s.rebuilds.DoChan(event.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rebuildWithin)
		defer cancel()
		return s.rebuild(ctx, event)
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rebuild makes the inventory of an event what SQL says. What was changed a moment ago may be on its way between the
// two, and is left alone; every change depends on the entry being what was seen. So sales may go on meanwhile.
//
// A pool that is missing stays closed until all that SQL knows has its seats again.
func (s *Service) rebuild(ctx context.Context, event ids.Event) (*api.RebuiltInventory, error) {
	out := &api.RebuiltInventory{EventID: event}
	revision, k, err := s.db.stockOf(ctx, event)
	if err != nil || len(k.lines) == 0 {
		return out, err
	}
	err = s.inv.OpenClosed(ctx, event, revision, k.lines, k.quotas...)
	if errors.Is(err, inventory.ErrBroken) { // nothing can be made of it
		s.log.WarnContext(ctx, "what the inventory had of an event is dropped", "event", event, "error", err)
		if err = s.inv.Drop(ctx, event); err == nil {
			err = s.inv.OpenClosed(ctx, event, revision, k.lines, k.quotas...)
		}
	}
	if err != nil {
		return nil, err
	}
	pool, err := s.inv.Pool(ctx, event)
	if err != nil {
		return nil, err
	}
	known, err := s.inv.Entries(ctx, event)
	if err != nil {
		return nil, err
	}
	rows, seats, err := s.db.seats(ctx, event, sortedKeys(known))
	if err != nil {
		return nil, err
	}
	out.Orders = len(rows)
	// What gives seats back comes first, then leases, then what is sold, then what is held.
	var phases [3][]repair
	for _, id := range sortedKeys(rows) {
		r := repair{ref: inventory.Ref{Event: event, Order: id}, known: known[id],
			should: s.shouldHave(rows[id], seats[id], known[id])}
		switch {
		case r.known.State == inventory.Held && rows[id].ID == "": // about to be written, or it expires
		case sameSeats(r.known, r.should):
		case !pool.Closed && s.now().Sub(later(time.Unix(r.known.Changed, 0), rows[id].UpdatedAt)) < audit.OnItsWay:
			out.Waiting++
		default:
			phase := map[string]int{"": 0, inventory.Sold: 1, inventory.Held: 2}[r.should.State]
			phases[phase] = append(phases[phase], r)
		}
	}
	for phase, repairs := range phases {
		if err := s.applyRepairs(ctx, repairs, out); err != nil {
			return nil, err
		}
		if phase > 0 {
			continue
		}
		mended, waiting, noRoom, err := s.leases.Mend(ctx, event, pool)
		if err != nil {
			return nil, err
		}
		out.Mended, out.Waiting, out.NoRoom = out.Mended+mended, out.Waiting+waiting, out.NoRoom+noRoom
	}
	if pool.Closed {
		if err := s.codes.Restore(ctx, event); err != nil {
			return nil, err
		}
		if err := s.inv.Reopen(ctx, event); err != nil {
			return nil, err
		}
	}
	if out.Mended > 0 || out.NoRoom > 0 {
		s.log.InfoContext(ctx, "the inventory of an event was mended", "event", event, "orders", out.Orders,
			"mended", out.Mended, "no_room", out.NoRoom)
	}
	return out, nil
}

// repair is an order whose entry is not what it should be.
type repair struct {
	ref    inventory.Ref
	known  inventory.Entry
	should inventory.Entry
}

// applyRepairs makes repairs, and counts them.
func (s *Service) applyRepairs(ctx context.Context, repairs []repair, out *api.RebuiltInventory) error {
	errs := make([]error, len(repairs))
	for start := 0; start < len(repairs); start += batchSize {
		some := repairs[start:min(start+batchSize, len(repairs))]
		together(some, func(i int, r repair) { errs[start+i] = s.inv.Mend(ctx, r.ref, r.known, r.should) })
	}
	for _, err := range errs {
		switch {
		case err == nil:
			out.Mended++
		case fault.Is(err, fault.SoldOut):
			out.NoRoom++
		case fault.Is(err, fault.Conflict): // it has just changed
			out.Waiting++
		default:
			return err
		}
	}
	return nil
}

// shouldHave returns what the inventory should have for an order with so many seats.
func (s *Service) shouldHave(row orderRow, seats map[ids.TicketType]int, known inventory.Entry) inventory.Entry {
	e := inventory.Entry{User: row.UserID, Op: row.ID.String(), Code: row.PromoCodeID}
	switch {
	case len(seats) > 0:
		e.State = inventory.Sold
		for _, t := range sortedKeys(seats) {
			e.Lines = append(e.Lines, inventory.Line{Type: t, N: seats[t], Stage: row.stageOf(t)})
		}
	// one that is overdue is about to end
	case row.Status == api.OrderPending && (known.State != "" || s.now().Before(row.ExpiresAt)):
		e.State, e.Lines, e.Expires = inventory.Held, row.lines(), row.ExpiresAt.UnixMilli()
	default:
		return inventory.Entry{}
	}
	return e
}

// sameSeats reports whether two entries are the same for the pool.
func sameSeats(a, b inventory.Entry) bool {
	type seat struct {
		Type  ids.TicketType
		Stage ids.Stage
	}
	count := func(e inventory.Entry) map[seat]int {
		n := map[seat]int{}
		for _, l := range e.Lines {
			n[seat{l.Type, l.Stage}] += l.N
		}
		return n
	}
	return a.State == b.State && (a.State == "" || a.Code == b.Code) && maps.Equal(count(a), count(b))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stockedAfter returns the first event after another that has been on sale, or "".
func (db ticketStore) stockedAfter(ctx context.Context, event ids.Event) (ids.Event, error) {
	var next ids.Event
	err := db.Read().NewRaw("SELECT COALESCE(MIN(event_id), '') FROM stock WHERE event_id > ?",
		event.String()).Scan(ctx, &next)
	return next, err
}

// hasOrders reports whether an event has orders or leases that have, or had, seats.
func (db ticketStore) hasOrders(ctx context.Context, event ids.Event) (bool, error) {
	var found bool
	err := db.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM orders WHERE event_id = ?) OR "+
		"EXISTS (SELECT 1 FROM leases WHERE event_id = ?)", event, event).Scan(ctx, &found)
	return found, err
}

// stockOf returns the quantities that the fence has for an event, and the newest revision among them, with the quotas.
func (db ticketStore) stockOf(ctx context.Context, event ids.Event) (revision int64, k stock, err error) {
	var rows []struct {
		TicketTypeID       ids.TicketType
		Capacity, Revision int64
	}
	err = db.Read().NewRaw(
		"SELECT ticket_type_id, capacity, revision FROM stock WHERE event_id = ? ORDER BY ticket_type_id",
		event).Scan(ctx, &rows)
	for _, r := range rows {
		revision = max(revision, r.Revision)
		k.lines = append(k.lines, inventory.Line{Type: r.TicketTypeID, N: int(r.Capacity)})
	}
	var shares []string
	if err == nil {
		err = db.Read().NewRaw("SELECT shares FROM quotas WHERE event_id = ?", event).Scan(ctx, &shares)
	}
	if err == nil && len(shares) == 1 {
		err = json.Unmarshal([]byte(shares[0]), &k.quotas)
	}
	return revision, k, err
}

// seats returns, as of one moment, the orders of an event that should have seats, together with those that are known to
// the inventory, and the seats that the tickets of each order take. A known order that does not exist has an empty row.
func (db ticketStore) seats(
	ctx context.Context, event ids.Event, known []ids.Order,
) (map[ids.Order]orderRow, ticketCounts, error) {
	var opts sql.TxOptions
	if db.Postgres() {
		opts = sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := db.Read().BeginTx(ctx, &opts)
	if err != nil {
		return nil, nil, err
	}
	defer tx.Rollback()
	var counts []struct {
		OrderID      ids.Order
		TicketTypeID ids.TicketType
		N            int
	}
	err = tx.NewRaw(
		"SELECT order_id, ticket_type_id, COUNT(*) AS n FROM tickets WHERE event_id = ? AND ? GROUP BY order_id, "+
			"ticket_type_id",
		event, bun.Safe(record.Seated)).Scan(ctx, &counts)
	if err != nil {
		return nil, nil, err
	}
	rows, seats := map[ids.Order]orderRow{}, ticketCounts{}
	for _, id := range known {
		rows[id] = orderRow{}
	}
	for _, c := range counts {
		if seats[c.OrderID] == nil {
			seats[c.OrderID] = map[ids.TicketType]int{}
		}
		seats[c.OrderID][c.TicketTypeID] = c.N
		rows[c.OrderID] = orderRow{}
	}
	const columns = "SELECT id, event_id, user_id, status, items, promo_code_id, expires_at, updated_at " +
		"FROM orders WHERE "
	var found []orderRow
	if err := tx.NewRaw(columns+"event_id = ? AND status = 'pending'", event).Scan(ctx, &found); err != nil {
		return nil, nil, err
	}
	for _, row := range found {
		rows[row.ID] = row
	}
	for some := range slices.Chunk(sortedKeys(rows), sweepSize) {
		var found []orderRow // anew: in a row that is used again, what JSON leaves out would be that of the last
		if err := tx.NewRaw(columns+"id IN (?)", bun.List(some)).Scan(ctx, &found); err != nil {
			return nil, nil, err
		}
		for _, row := range found {
			rows[row.ID] = row
		}
	}
	return rows, seats, nil
}

// ticketCounts are numbers of tickets by order and type.
type ticketCounts map[ids.Order]map[ids.TicketType]int

// retireEvery is how often events that ended long ago are looked for.
const retireEvery = time.Hour

// retire drops from the inventory what it keeps of events that ended long ago. What is given back of their orders
// afterwards needs no seats.
func (s *Service) retire(ctx context.Context) error {
	var failed error
	for _, event := range s.inv.Events() {
		over, err := offers.IsOver(ctx, s.db.DB, event, s.now())
		if err == nil && over {
			err = s.inv.Retire(ctx, event)
		}
		if errors.Is(err, inventory.ErrHeld) { // its holds are about to expire
			continue
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
