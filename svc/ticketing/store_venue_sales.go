package ticketing

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/leases"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// venueSaleRow is a row of the table venue_sales.
type venueSaleRow struct {
	bun.BaseModel `bun:"table:venue_sales,alias:venue_sales"`

	OrderID   ids.Order        `bun:"order_id,pk"`
	VenueID   ids.Venue        `bun:"venue_id"`
	EventID   ids.Event        `bun:"event_id"`
	State     string           `bun:"state"`
	Reason    string           `bun:"reason"`
	Sale      line.Sale        `bun:"sale,type:text"`
	Given     []inventory.Take `bun:"given,type:text"`
	SoldAt    time.Time        `bun:"sold_at"`
	UpdatedAt time.Time        `bun:"updated_at"`
}

// venueSale returns a sale, with an empty State if there is none.
func (db ticketStore) venueSale(ctx context.Context, order ids.Order) (venueSaleRow, error) {
	var rows []venueSaleRow
	err := db.Read().NewRaw("SELECT * FROM venue_sales WHERE order_id = ?", order).Scan(ctx, &rows)
	if err != nil || len(rows) == 0 {
		return venueSaleRow{}, err
	}
	return rows[0], nil
}

// waitingSales returns sales in quarantine that wait for seats, after an order.
func (db ticketStore) waitingSales(ctx context.Context, after ids.Order, limit int) ([]venueSaleRow, error) {
	var rows []venueSaleRow
	err := db.Read().NewRaw(`SELECT * FROM venue_sales WHERE state = 'quarantined' AND reason = ? AND order_id > ?
		ORDER BY order_id LIMIT ?`, noRoom, after, limit).Scan(ctx, &rows)
	return rows, err
}

// flaggedSales returns a page of the sales that are beside their leases or in quarantine, newest first.
func (db ticketStore) flaggedSales(
	ctx context.Context, req *api.EventPage,
) (rows []venueSaleRow, next string, err error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, "", err
	}
	then, after, err := store.DecodeTimeCursor(req.Cursor)
	if err != nil {
		return nil, "", err
	}
	query := db.Read().NewSelect().Model(&rows).Where("event_id = ?", req.EventID).
		Where("state IN ('beside', 'quarantined')").Order("sold_at DESC", "order_id DESC").Limit(int64(limit) + 1)
	if req.Cursor != "" {
		query = query.Where("(sold_at, order_id) < (?, ?)", then, after)
	}
	if err := query.Scan(ctx); err != nil {
		return nil, "", store.FaultOf(ctx, err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = store.EncodeTimeCursor(rows[limit-1].SoldAt, rows[limit-1].OrderID.String())
	}
	return rows, next, nil
}

// foreign says why the ids of a sale, or its currency, are not its own; "" if they are.
func (db ticketStore) foreign(ctx context.Context, from bun.IDB, event ids.Event, sale *line.Sale) (string, error) {
	var found struct {
		Orders, Tickets bool
		Currency        string
	}
	id := make([]ids.Ticket, len(sale.Tickets))
	for i, t := range sale.Tickets {
		id[i] = t.ID
	}
	err := from.NewRaw(`SELECT EXISTS (SELECT 1 FROM orders WHERE id = ?) AS orders,
		EXISTS (SELECT 1 FROM tickets WHERE id IN (?)) AS tickets,
		COALESCE((SELECT currency FROM currencies WHERE event_id = ?), '') AS currency`, sale.OrderID, bun.List(id),
		event).Scan(ctx, &found)
	switch {
	case err != nil:
		return "", err
	case found.Orders || found.Tickets:
		return "its order or its tickets have the id of others", nil
	case found.Currency != "" && found.Currency != sale.Total.Currency:
		return "it is in another currency than the event sells in", nil
	}
	return "", nil
}

// book writes a sale of the venue as an order with its tickets, or keeps it in quarantine.
func (b *selling) book(ctx context.Context, tx tx, event ids.Event, sale *line.Sale, at time.Time) error {
	var known []venueSaleRow
	if err := tx.NewRaw("SELECT * FROM venue_sales WHERE order_id = ? ?", sale.OrderID, b.db.forUpdate()).Scan(ctx,
		&known); err != nil {
		return err
	}
	v := b.verdicts[sale.OrderID]
	if len(known) == 1 && (known[0].State != saleQuarantined || v.state == saleQuarantined) {
		return nil
	}
	now := store.Time(b.now())
	if v.state != saleQuarantined {
		if _, err := tx.ExecContext(ctx, "INSERT INTO currencies (event_id, currency) VALUES (?, ?) "+
			"ON CONFLICT (event_id) DO NOTHING", event, sale.Total.Currency); err != nil {
			return err
		}
		reason, err := b.db.foreign(ctx, tx, event, sale)
		if err == nil && reason == "" {
			reason, err = b.noStock(ctx, tx, sale, v.state)
		}
		if err != nil {
			return err
		}
		if reason != "" {
			v = verdict{saleQuarantined, reason}
			b.undo[sale.OrderID] = reason
		}
	}
	row := venueSaleRow{OrderID: sale.OrderID, VenueID: b.venue, EventID: event, State: v.state, Reason: v.reason,
		Sale: *sale, Given: []inventory.Take{}, SoldAt: store.Time(at), UpdatedAt: now}
	if _, err := tx.NewInsert().Model(&row).On("CONFLICT (order_id) DO UPDATE").Set("state = EXCLUDED.state").
		Set("reason = EXCLUDED.reason").Set("updated_at = EXCLUDED.updated_at").Returning("NULL").
		Exec(ctx); err != nil {
		return err
	}
	if v.state != saleLeased {
		b.flagged[sale.OrderID] = v
	}
	if v.state == saleQuarantined {
		return nil
	}
	if v.state == saleLeased {
		for _, t := range takesOf(sale) {
			if err := b.batch.Sold(ctx, t.Lease, t.N); err != nil {
				return err
			}
		}
	}
	offered, err := b.db.offered(ctx, tx, map[ids.Event]bool{event: true})
	if err != nil {
		return err
	}
	b.over[event] = b.over[event] || offered[event].cancelled
	if !b.over[event] {
		delete(b.over, event)
	}
	return b.writeSale(ctx, tx, event, sale, at, now)
}

// noStock says why the fence has no room for a sale that the inventory has taken: then they disagree, and the sale
// waits for a rebuild.
func (b *selling) noStock(ctx context.Context, tx tx, sale *line.Sale, state string) (string, error) {
	if state == saleLeased {
		n := map[ids.Lease]int{}
		for _, t := range takesOf(sale) {
			n[t.Lease] += t.N
		}
		return b.batch.Lacks(ctx, b.venue, n)
	}
	n := map[ids.TicketType]int{}
	for _, l := range sale.Lines {
		n[l.TicketTypeID] += l.Quantity
	}
	for _, t := range sortedKeys(n) {
		var room []int
		err := tx.NewRaw("SELECT capacity - sold - leased FROM stock WHERE ticket_type_id = ? ?", t,
			b.db.forUpdate()).Scan(ctx, &room)
		if err != nil {
			return "", err
		}
		if len(room) == 0 || room[0] < n[t] {
			return noRoom, nil
		}
	}
	return "", nil
}

// writeSale writes the order of a sale, its tickets, and what is published of it.
func (b *selling) writeSale(
	ctx context.Context, tx tx, event ids.Event, sale *line.Sale, at, now time.Time,
) error {
	name, types := "", map[ids.TicketType]*api.TicketType{}
	offer, err := b.offers.Get(ctx, event)
	if err != nil {
		return err
	}
	name = offer.Event.Name
	for i := range offer.Event.TicketTypes {
		t := &offer.Event.TicketTypes[i]
		types[t.ID] = t
	}
	row := orderRow{ID: sale.OrderID, EventID: event, UserID: api.BoxOfficeBuyer, Status: api.OrderPaid,
		Attendees: []api.Attendee{}, Total: sale.Total.Amount, Currency: sale.Total.Currency,
		PaymentID: paymentOf(sale.OrderID, sale.Total.Amount), ExpiresAt: now, PaidAt: &now, Revision: 1,
		CreatedAt: store.Time(at), UpdatedAt: now}
	for _, l := range sale.Lines {
		i := slices.IndexFunc(row.Items, func(item api.OrderItem) bool {
			return item.TicketTypeID == l.TicketTypeID && item.UnitPrice == l.UnitPrice
		})
		if i >= 0 { // of another lease
			row.Items[i].Quantity += l.Quantity
			continue
		}
		t := types[l.TicketTypeID]
		row.Items = append(row.Items, api.OrderItem{TicketTypeID: t.ID, Kind: t.Kind, Name: t.Title(),
			Quantity: l.Quantity, UnitPrice: l.UnitPrice})
	}
	charged := price.Charge(row.Items, tillTerms(offer))
	row.Items, row.GivenBack = charged.Items, []int64{}
	row.Charges = charges{Fees: charged.Fees, Taxes: charged.Taxes}
	issue := issuing{sold: map[ids.TicketType]int{}}
	made := saleMade{payment: api.BoxOfficePayment{Method: sale.Payment.Method,
		Reference: plain(sale.Payment.Reference)}, by: plain(sale.By), of: offer.Event.OrganizerID, venue: b.venue}
	for i, t := range sale.Tickets {
		issue.sold[t.TicketTypeID]++
		made.tickets = append(made.tickets, t.ID)
		issue.tickets = append(issue.tickets, ticketRow{ID: t.ID, OrderID: row.ID, Position: i, EventID: event,
			EventName: name, TicketTypeID: t.TicketTypeID, Kind: types[t.TicketTypeID].Kind,
			TypeName: types[t.TicketTypeID].Title(), OwnerID: row.UserID,
			HolderName: plain(t.Holder.Name), HolderEmail: plain(t.Holder.Email), Status: api.TicketValid, Revision: 1,
			IssuedAt: store.Time(at)})
	}
	row, fresh, err := numbered(ctx, tx, row)
	if err != nil {
		return err
	}
	if !fresh {
		return fmt.Errorf("the order %s of a sale is there already", row.ID)
	}
	if err := issue.write(ctx, tx, nil); err != nil {
		return err
	}
	b.bills.Paid(offer, row.order(), nil, 1, now)
	return stream.AddAll(ctx, tx,
		stream.Message{Subject: api.OrderWasPaid.Subject,
			Payload: api.OrderEvent{Order: row.order(), Tickets: made.tickets}},
		stream.Message{Subject: api.OrderWasSold.Subject, Payload: made.event(row)})
}

// plain makes a text of a venue one that the database takes.
func plain(text string) string {
	const most = 200
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// reverse takes a sale back. Its tickets are revoked, its money was handed back, and its seats are those of its leases
// again, as far as they were not refunded here before, and none of its tickets was admitted.
func (b *selling) reverse(ctx context.Context, tx tx, r *line.Reversal) (leases.Problem, error) {
	var known []venueSaleRow
	err := tx.NewRaw("SELECT * FROM venue_sales WHERE order_id = ? ?", r.OrderID, b.db.forUpdate()).Scan(ctx, &known)
	switch {
	case err != nil:
		return "", err
	case len(known) == 0 || known[0].VenueID != b.venue:
		return "the venue has no such sale to take back", nil
	}
	sale := &known[0]
	booked := sale.State == saleLeased || sale.State == saleBeside
	if sale.State == saleReversed {
		return "", nil
	}
	free := map[ids.TicketType]int{} // seats that the lease may have
	if booked {
		if free, err = b.revoke(ctx, tx, r); err != nil {
			return "", err
		}
	}
	if sale.State == saleLeased {
		for _, t := range sale.Sale.Lines {
			n := min(free[t.TicketTypeID], t.Quantity)
			free[t.TicketTypeID] -= n
			given, err := b.batch.Unsold(ctx, t.LeaseID, n, t.Quantity-n)
			if err != nil {
				return "", err
			}
			if given > 0 {
				sale.Given = append(sale.Given, inventory.Take{Lease: t.LeaseID, N: given})
			}
		}
	}
	sale.State, sale.Reason, sale.UpdatedAt = saleReversed, plain(r.Reason), store.Time(b.now())
	b.changed[r.OrderID] = booked
	if !booked {
		delete(b.changed, r.OrderID)
	}
	_, err = tx.NewUpdate().Model(sale).Column("state", "reason", "given", "updated_at").WherePK().Exec(ctx)
	return "", err
}

// revoke takes back what is left of the order of a sale, and returns the seats that nobody has any more.
func (b *selling) revoke(ctx context.Context, tx tx, r *line.Reversal) (map[ids.TicketType]int, error) {
	row, tickets, err := b.db.lockedOrder(ctx, tx, r.OrderID)
	if err != nil {
		return nil, err
	}
	free := map[ids.TicketType]int{}
	if row.Status != api.OrderPaid { // refunded here meanwhile
		return free, nil
	}
	admitted := false
	for _, t := range tickets {
		free[t.TicketTypeID]++
		admitted = admitted || t.AdmittedAt != nil
	}
	if admitted { // some seats are taken for good, and the others are the pool's
		free = map[ids.TicketType]int{}
	}
	d := decideAll(row, tickets, reversalOf(row.ID), api.RefundReversed)
	return free, b.db.applyDecisions(ctx, tx, []decision{d}, &b.bills, store.Time(b.now()))
}

// givenBack returns what reversed sales gave back to their leases.
func (db ticketStore) givenBack(ctx context.Context, orders []ids.Order) (map[ids.Order][]inventory.Take, error) {
	var rows []venueSaleRow
	err := db.Read().NewRaw("SELECT order_id, given FROM venue_sales WHERE order_id IN (?) AND state = 'reversed'",
		bun.List(orders)).Scan(ctx, &rows)
	out := make(map[ids.Order][]inventory.Take, len(rows))
	for _, r := range rows {
		out[r.OrderID] = r.Given
	}
	return out, err
}
