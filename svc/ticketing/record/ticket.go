// Package record has the rows of tickets, which the sale of an event and its doors share.
package record

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Seated is the condition for a ticket that takes a seat: a valid one, and one that was admitted before it was revoked.
const Seated = "(status <> 'revoked' OR admitted_at IS NOT NULL)"

// Ticket is a row of the table tickets.
type Ticket struct {
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
	Kind         string         `bun:"kind"`     // of api.TicketType

	Outside          bool  `bun:"outside,scanonly"`           // admitted, and gone out again
	ManifestPosition int64 `bun:"manifest_position,scanonly"` // see Mark
}

// Key is what a list of tickets is sorted by.
func (r Ticket) Key() (time.Time, string) { return r.IssuedAt, r.ID.String() }

// Ticket returns the ticket without its code.
func (r Ticket) Ticket() api.Ticket {
	return api.Ticket{ID: r.ID, Kind: r.Kind, Status: r.Status, EventID: r.EventID, EventName: r.EventName,
		TicketTypeID: r.TicketTypeID, TypeName: r.TypeName, OrderID: r.OrderID, OwnerID: r.OwnerID,
		Holder: api.Attendee{Name: r.HolderName, Email: r.HolderEmail}, Revision: r.Revision,
		IssuedAt: r.IssuedAt.UTC(), AdmittedAt: r.AdmittedAt}
}

// IsProduct reports whether it lets nobody in.
func (r Ticket) IsProduct() bool { return r.Kind == api.KindProduct }

// AsGiven is the ticket as it was when it was given away: what its new owner did with it since is not for the one
// before.
func (r Ticket) AsGiven(holder api.Attendee) Ticket {
	r.Status, r.AdmittedAt = api.TicketValid, nil
	r.HolderName, r.HolderEmail = holder.Name, holder.Email
	return r
}

// Mark gives tickets of an event, which the transaction has changed, the next position in the event's manifest, so that
// a venue learns of the change. It does nothing for an event whose doors were never handed over. Positions grow in the
// order of commits: the row of the doors is locked until the end of the transaction. A transaction that changes tickets
// of several events marks them in the order of the events.
//
// Call it after the tickets were changed, or locked for the change. Who hands doors over for the first time locks the
// table of tickets before: either it sees the change, or Mark sees the doors.
func Mark(ctx context.Context, tx bun.Tx, event ids.Event, tickets ...ids.Ticket) error {
	if len(tickets) == 0 {
		return nil
	}
	var position int64
	err := tx.NewRaw("UPDATE doors SET position = position + 1 WHERE event_id = ? RETURNING position", event).Scan(ctx,
		&position)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	const most = 1000 // in pieces: a statement has a limited length
	for from := 0; from < len(tickets); from += most {
		if _, err := tx.ExecContext(ctx, "UPDATE tickets SET manifest_position = ? WHERE id IN (?)", position,
			bun.List(tickets[from:min(from+most, len(tickets))])); err != nil {
			return err
		}
	}
	return nil
}
