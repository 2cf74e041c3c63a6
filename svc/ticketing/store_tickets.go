package ticketing

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// ticketRow is a row of the table tickets.
type ticketRow struct {
	bun.BaseModel `bun:"table:tickets,alias:tickets"`

	ID           ids.Ticket     `bun:"id,pk"`
	OrderID      ids.Order      `bun:"order_id"`
	Position     int            `bun:"position"`
	EventID      ids.Event      `bun:"event_id"`
	EventName    string         `bun:"event_name"`
	TicketTypeID ids.TicketType `bun:"ticket_type_id"`
	TypeName     string         `bun:"type_name"`
	OwnerID      ids.User       `bun:"owner_id"`
	HolderName   string         `bun:"holder_name"`
	HolderEmail  string         `bun:"holder_email"`
	Status       string         `bun:"status"`
	Revision     int64          `bun:"revision"`
	IssuedAt     time.Time      `bun:"issued_at"`
	AdmittedAt   *time.Time     `bun:"admitted_at"`
	GivenBy      ids.User       `bun:"given_by"` // the owner before; "" if the ticket was never given away
}

func (r ticketRow) key() (time.Time, string) { return r.IssuedAt, r.ID.String() }

// issuing collects the tickets of the orders that a transaction pays for.
type issuing struct {
	tickets []ticketRow
	sold    map[ids.TicketType]int
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
				Revision: 1, IssuedAt: now}
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

// write moves the stock and inserts the tickets.
func (s *issuing) write(ctx context.Context, tx tx) error {
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
		if ok = len(rows) == 1; ok {
			row = rows[0]
		}
		return err
	})
	return row, ok, err
}

// transfer gives a valid ticket of from to another person, and finds that done if it was done before. It reports false
// if the ticket is not there to be given.
func (db ticketStore) transfer(
	ctx context.Context, id ids.Ticket, from, to ids.User, holder api.Attendee, now time.Time,
) (row ticketRow, ok bool, err error) {
	err = db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
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
				row = rows[0].asGiven(holder)
			}
			return err
		}
		row = rows[0]
		return stream.Add(ctx, tx, api.TicketTransferred.Subject, api.TicketEvent{TicketID: row.ID,
			EventID: row.EventID, TicketTypeID: row.TicketTypeID, OwnerID: row.OwnerID, At: now})
	})
	return row, ok, err
}

// asGiven is the ticket as it was when it was given away: what its new owner did with it since is not for the one
// before.
func (r ticketRow) asGiven(holder api.Attendee) ticketRow {
	r.Status, r.AdmittedAt = api.TicketValid, nil
	r.HolderName, r.HolderEmail = holder.Name, holder.Email
	return r
}

// forgetPerson takes the names of a person off their orders and tickets.
func (db ticketStore) forgetPerson(ctx context.Context, user ids.User) error {
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE orders SET attendees = '[]' WHERE user_id = ?", user); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE tickets SET holder_name = '', holder_email = '' WHERE owner_id = ?", user)
		return err
	})
}

// scanRow is a row of the table admissions.
type scanRow struct {
	bun.BaseModel `bun:"table:admissions,alias:admissions"`

	ID        ids.Admission `bun:"id,pk"`
	EventID   ids.Event     `bun:"event_id"`
	TicketID  ids.Ticket    `bun:"ticket_id"`
	Result    string        `bun:"result"`
	Gate      string        `bun:"gate"`
	ScannedBy ids.User      `bun:"scanned_by"`
	At        time.Time     `bun:"at"`
}

func (r scanRow) key() (time.Time, string) { return r.At, r.ID.String() }

// scan is a code that was shown at a door: what its signature says, and the verdict as far as no ticket is needed for
// it.
type scan struct {
	row      scanRow // Result is set if the verdict is out already
	revision int64
}

// scanned is the verdict on a scan.
type scanned struct {
	result string
	ticket ticketRow // ID is empty if there is none
	gate   string    // of the first admission
}

// admit decides scans, in their order, and keeps all of them, in one transaction.
func (db ticketStore) admit(ctx context.Context, in []scan) ([]scanned, error) {
	out := make([]scanned, len(in))
	runs := 0
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		clear(out)
		tickets, err := db.scannedTickets(ctx, tx, in)
		if err != nil {
			return err
		}
		if runs++; runs > 1 {
			if done, err := scannedBefore(ctx, tx, in, tickets, out); err != nil || done {
				return err
			}
		}
		var (
			rows   = make([]scanRow, 0, len(in))
			events []stream.Message
			gates  = map[ids.Ticket]string{}
		)
		for i, s := range in {
			t, known := tickets[s.row.TicketID]
			row := s.row
			if row.Result == "" {
				row.Result = decideAdmission(t, known, s.revision)
			}
			if row.Result == api.Admitted {
				at := row.At
				t.Status, t.AdmittedAt = api.TicketAdmitted, &at
				tickets[t.ID], gates[t.ID] = t, row.Gate
				_, err := store.Exec(ctx, tx, "UPDATE tickets SET status = ?, admitted_at = ? WHERE id = ?", t.Status,
					at, t.ID)
				if err != nil {
					return err
				}
				events = append(events,
					stream.Message{Subject: api.TicketAdmission.Subject,
						Payload: api.TicketEvent{TicketID: t.ID, EventID: t.EventID,
							TicketTypeID: t.TicketTypeID, OwnerID: t.OwnerID, Gate: row.Gate, At: at}})
			}
			rows = append(rows, row)
			out[i] = scanned{result: row.Result, ticket: t}
			if row.Result == api.AlreadyAdmitted {
				gate, here := gates[t.ID]
				if !here {
					if err := store.Select(ctx, tx, &gate, firstGate, t.ID); err != nil {
						return err
					}
				}
				out[i].gate = gate
			}
		}
		if _, err := store.Insert(ctx, tx, rows, ""); err != nil {
			return err
		}
		return stream.AddAll(ctx, tx, events...)
	})
	return out, err
}

// scannedBefore reports whether an earlier run of the transaction has kept the scans after all, and fills in what they
// were told: one transaction keeps all of them or none.
func scannedBefore(
	ctx context.Context, tx tx, in []scan, tickets map[ids.Ticket]ticketRow, out []scanned,
) (bool, error) {
	id := make([]ids.Admission, len(in))
	for i, s := range in {
		id[i] = s.row.ID
	}
	var rows []scanRow
	if err := tx.NewRaw("SELECT * FROM admissions WHERE id IN (?)", bun.List(id)).Scan(ctx, &rows); err != nil ||
		len(rows) == 0 {
		return false, err
	}
	results := make(map[ids.Admission]string, len(rows))
	for _, r := range rows {
		results[r.ID] = r.Result
	}
	for i, s := range in {
		out[i] = scanned{result: results[s.row.ID], ticket: tickets[s.row.TicketID]}
		if out[i].result == api.AlreadyAdmitted {
			if err := tx.NewRaw(firstGate, s.row.TicketID).Scan(ctx, &out[i].gate); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// firstGate is the query for where a ticket was admitted.
const firstGate = "SELECT gate FROM admissions WHERE ticket_id = ? AND result = 'admitted'"

func (db ticketStore) scannedTickets(ctx context.Context, tx tx, in []scan) (map[ids.Ticket]ticketRow, error) {
	id := make([]ids.Ticket, 0, len(in))
	for _, s := range in {
		if s.row.TicketID != "" {
			id = append(id, s.row.TicketID)
		}
	}
	byID := make(map[ids.Ticket]ticketRow, len(id))
	if len(id) == 0 {
		return byID, nil
	}
	var rows []ticketRow
	err := store.Select(ctx, tx, &rows, "SELECT * FROM tickets WHERE id IN (?) ORDER BY id ?", store.List(id),
		db.forUpdate())
	for _, row := range rows {
		byID[row.ID] = row
	}
	return byID, err
}

// held returns the good tickets of a person in which a column of the table has the value.
func (db ticketStore) held(ctx context.Context, owner ids.User, column, value string) ([]ticketRow, error) {
	var rows []ticketRow
	err := store.Select(ctx, db.Read(), &rows,
		`SELECT tickets.* FROM tickets JOIN orders ON orders.id = tickets.order_id
		WHERE tickets.owner_id = ? AND tickets.? = ? AND tickets.status <> ? AND orders.status = ?
		ORDER BY tickets.issued_at, tickets.position`,
		owner, bun.Ident(column), value, api.TicketRevoked, api.OrderPaid)
	return rows, err
}
