package ticketing

import (
	"context"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
)

type ticketRow = record.Ticket

// issuing collects the tickets of the orders that a transaction pays for.
type issuing struct {
	tickets []ticketRow
	sold    map[ids.TicketType]int     // without what comes back
	revoked map[ids.Event][]ids.Ticket // in the same transaction
}

// order adds the tickets of a paid order and returns their ids.
func (s *issuing) order(row orderRow, eventName string, now time.Time) []ids.Ticket {
	if s.sold == nil {
		s.sold = map[ids.TicketType]int{}
	}
	var made []ids.Ticket
	for _, item := range row.Items {
		s.sold[item.TicketTypeID] += item.Quantity
		for range item.Quantity {
			t := ticketRow{ID: ids.New[ids.TicketKind](now), OrderID: row.ID, Position: len(made), EventID: row.EventID,
				EventName:    eventName,
				TicketTypeID: item.TicketTypeID, TypeName: item.Name, OwnerID: row.UserID, Status: api.TicketValid,
				Revision: 1, IssuedAt: now, Kind: item.Kind}
			if t.Position < len(row.Attendees) {
				t.HolderName, t.HolderEmail = row.Attendees[t.Position].Name, row.Attendees[t.Position].Email
			}
			s.tickets = append(s.tickets, t)
			made = append(made, t.ID)
		}
	}
	return made
}

// name gives tickets that were just added other ids, which are known outside already.
func (s *issuing) name(made, as []ids.Ticket) {
	first := len(s.tickets) - len(made)
	for i, id := range as {
		s.tickets[first+i].ID = id
	}
}

// write moves the stock and inserts the tickets, of events of which so much is known.
func (s *issuing) write(ctx context.Context, tx tx, known map[ids.Event]offered) error {
	if len(s.tickets) == 0 {
		return nil
	}
	if err := sell(ctx, tx, s.sold); err != nil {
		return err
	}
	// In pieces: a statement has a limited number of parameters and a limited length.
	for from := 0; from < len(s.tickets); from += 500 {
		piece := s.tickets[from:min(from+500, len(s.tickets))]
		if _, err := store.Insert(ctx, tx, piece, ""); err != nil {
			return err
		}
	}
	changed := s.revoked
	if changed == nil {
		changed = map[ids.Event][]ids.Ticket{}
	}
	for _, t := range s.tickets {
		if o, ok := known[t.EventID]; o.handed || !ok {
			changed[t.EventID] = append(changed[t.EventID], t.ID)
		}
	}
	return markAll(ctx, tx, changed)
}

// markAll marks changed tickets, event after event.
func markAll(ctx context.Context, tx tx, changed map[ids.Event][]ids.Ticket) error {
	for _, event := range sortedKeys(changed) {
		if err := record.Mark(ctx, tx, event, changed[event]...); err != nil {
			return err
		}
	}
	return nil
}

func (db ticketStore) ticket(ctx context.Context, id ids.Ticket) (ticketRow, error) {
	var row ticketRow
	err := db.Read().NewRaw("SELECT * FROM tickets WHERE id = ?", id).Scan(ctx, &row)
	return row, store.OrNotFound(err, "there is no such ticket")
}

func (db ticketStore) ticketsOf(ctx context.Context, order ids.Order) ([]ticketRow, error) {
	var rows []ticketRow
	err := store.Select(ctx, db.Read(), &rows, "SELECT * FROM tickets WHERE order_id = ? ORDER BY position", order)
	return rows, err
}

// setHolder says who comes with a valid ticket of the owner. It reports false if there is no such ticket.
func (db ticketStore) setHolder(
	ctx context.Context, id ids.Ticket, owner ids.User, holder api.Attendee,
) (row ticketRow, ok bool, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		var rows []ticketRow
		err := tx.NewRaw(
			"UPDATE tickets SET holder_name = ?, holder_email = ? WHERE id = ? AND owner_id = ? AND status = ? "+
				"RETURNING *",
			holder.Name, holder.Email, id, owner, api.TicketValid).Scan(ctx, &rows)
		if ok = len(rows) == 1; !ok {
			return err
		}
		row = rows[0]
		if err := retention.Again(ctx, tx, row.EventID); err != nil {
			return err
		}
		return record.Mark(ctx, tx, row.EventID, row.ID)
	})
	return row, ok, err
}

// transfer gives a valid ticket of from to another person, and finds that done if it was done before. It reports false
// if the ticket is not there to be given.
func (db ticketStore) transfer(
	ctx context.Context, id ids.Ticket, from, to ids.User, holder api.Attendee, now time.Time,
) (row ticketRow, ok bool, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row, ok, err = move(ctx, tx, id, from, to, holder, now)
		return err
	})
	return row, ok, err
}

// move is transfer within a transaction.
func move(ctx context.Context, tx tx, id ids.Ticket, from, to ids.User, holder api.Attendee, now time.Time) (
	row ticketRow, ok bool, err error) {
	err = func() error {
		var rows []ticketRow
		err := tx.NewRaw(`UPDATE tickets SET owner_id = ?, holder_name = ?, holder_email = ?, given_by = ?, revision = revision + 1
			WHERE id = ? AND owner_id = ? AND status = ? RETURNING *`,
			to, holder.Name, holder.Email, from, id, from, api.TicketValid).Scan(ctx, &rows)
		if err != nil {
			return err
		}
		if ok = len(rows) == 1; !ok {
			err := tx.NewRaw("SELECT * FROM tickets WHERE id = ? AND owner_id = ? AND given_by = ?", id, to,
				from).Scan(ctx, &rows)
			if ok = len(rows) == 1; ok {
				row = rows[0].AsGiven(holder)
			}
			return err
		}
		row = rows[0]
		if err := answers.ForgetTicket(ctx, tx, row.OrderID, row.Position); err != nil {
			return err
		}
		if err := retention.Again(ctx, tx, row.EventID); err != nil {
			return err
		}
		if err := record.Mark(ctx, tx, row.EventID, row.ID); err != nil {
			return err
		}
		return stream.Add(ctx, tx, api.TicketTransferred.Subject, api.TicketEvent{TicketID: row.ID,
			EventID: row.EventID, TicketTypeID: row.TicketTypeID, Kind: row.Kind, OwnerID: row.OwnerID, At: now})
	}()
	return row, ok, err
}

// forgetPerson takes the names of a person off their orders and tickets.
func (db ticketStore) forgetPerson(ctx context.Context, user ids.User) error {
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if err := guests.ForgetAccount(ctx, tx, user); err != nil {
			return err
		}
		if err := idempotency.DeleteOf(ctx, tx, user); err != nil {
			return err
		}
		return forgetNames(ctx, tx, user)
	})
}

// forgetNames is forgetPerson without the account.
func forgetNames(ctx context.Context, tx tx, user ids.User) error {
	if _, err := tx.ExecContext(ctx, "UPDATE orders SET attendees = '[]' WHERE user_id = ?", user); err != nil {
		return err
	}
	if err := retention.Texts(ctx, tx, "SELECT id FROM orders WHERE user_id = ?", user); err != nil {
		return err
	}
	if err := answers.ForgetPerson(ctx, tx, user); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM ticket_offers WHERE giver = ? OR taken_by = ?", user,
		user); err != nil {
		return err
	}
	var rows []ticketRow
	err := tx.NewRaw("UPDATE tickets SET holder_name = '', holder_email = '' WHERE owner_id = ? RETURNING *",
		user).Scan(ctx, &rows)
	if err != nil {
		return err
	}
	changed := map[ids.Event][]ids.Ticket{}
	for _, t := range rows {
		changed[t.EventID] = append(changed[t.EventID], t.ID)
	}
	return markAll(ctx, tx, changed)
}

// heldTickets is the query for the good tickets of a person in an event, of an order, or the one with an id. An event
// has many, and a person may have: those in an event are looked for by the person, the others by the order or the id. A
// column with something added to it is none that an index has.
func heldTickets(column string) string {
	owner, of := "tickets.owner_id || ''", "tickets."+column
	if column == "event_id" {
		owner, of = "tickets.owner_id", "tickets.event_id || ''"
	}
	return `SELECT tickets.* FROM tickets JOIN orders ON orders.id = tickets.order_id
		WHERE ` + owner + ` = ? AND ` + of + ` = ? AND tickets.status <> ? AND orders.status = ?
		ORDER BY tickets.issued_at, tickets.position`
}

// held returns the good tickets of a person in which a column of the table has the value.
func (db ticketStore) held(ctx context.Context, owner ids.User, column, value string) ([]ticketRow, error) {
	var rows []ticketRow
	err := store.Select(ctx, db.Read(), &rows, heldTickets(column), owner, value, api.TicketRevoked, api.OrderPaid)
	return rows, err
}
