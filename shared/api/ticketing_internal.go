package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// What other services ask ticketing for is here; its endpoints are declared with those that callers see.

// Resize is the request of the internal endpoint ResizeInventory: the quantities as they shall be. Types that are
// missing shall have none.
type Resize struct {
	EventID    ids.Event              `json:"event_id"`
	Revision   int64                  `json:"revision"` // of the event; an older one changes nothing
	Quantities map[ids.TicketType]int `json:"quantities"`
	Quotas     []QuotaShare           `json:"quotas,omitempty"` // as they shall be
	// of the ticket types' prices; refused if orders were made in another
	Currency string `json:"currency,omitempty"`
}

// BeginPaymentOf is the request of the internal endpoint BeginPayment.
type BeginPaymentOf struct {
	OrderID   ids.Order   `json:"order_id"`
	PaymentID ids.Payment `json:"payment_id"`
	// HoldUntil is set for a payment that takes its time, such as a bank transfer: the order is to keep its seats until
	// then, or until the event begins if that is earlier, should its expires_at be before. It is the same for one
	// payment however often it is begun.
	HoldUntil *time.Time `json:"hold_until,omitempty"`
}

// Payable is the answer of BeginPayment.
type Payable struct {
	Order     Order    `json:"order"`
	Providers []string `json:"providers,omitempty"` // that the event accepts; empty means any
	// whose event it is now; "" in answers of an instance from before payments had it
	OrganizerID ids.Organizer `json:"organizer_id,omitempty"`
}

// RefundOrder is the request of the internal endpoint of that name: NewRefund with the order that was paid and the id
// of the refund. The same id again changes nothing.
type RefundOrder struct {
	RefundID  ids.Refund   `json:"refund_id"`
	OrderID   ids.Order    `json:"order_id"`
	PaymentID ids.Payment  `json:"payment_id"`
	Tickets   []ids.Ticket `json:"tickets,omitempty"`
	Amount    *Money       `json:"amount,omitempty"`
	Reason    string       `json:"reason,omitempty"`

	KeepTickets bool `json:"keep_tickets,omitempty"`
}

// HeldTickets is the request of the internal endpoint GetHeldTickets: a person, and of what. One of the three is given.
type HeldTickets struct {
	UserID   ids.User   `json:"user_id"`
	EventID  ids.Event  `json:"event_id,omitempty"`
	OrderID  ids.Order  `json:"order_id,omitempty"`
	TicketID ids.Ticket `json:"ticket_id,omitempty"`
}

// RebuildOf is the request of the internal endpoints RebuildInventory and RebuildStock: an event, or the one before the
// one that is meant.
type RebuildOf struct {
	EventID ids.Event `json:"event_id,omitempty"`
	After   ids.Event `json:"after,omitempty"` // without event_id: the first event after this one
}

// RebuiltInventory is what became of an event's inventory. Without an event there is none left.
type RebuiltInventory struct {
	EventID ids.Event `json:"event_id,omitempty"`
	Orders  int       `json:"orders"`  // that have seats, or had some
	Mended  int       `json:"mended"`  // whose seats were not what SQL says
	Waiting int       `json:"waiting"` // that differ, but were changed a moment ago
	NoRoom  int       `json:"no_room"` // that should have seats which others have
}

// What is summed up of seats.
const (
	StockSold   = "sold"   // of a ticket type: its tickets that take a seat; of a lease: those of its sales
	StockLeased = "leased" // of a ticket type: what its leases have left
)

// StockSum is a sum that was not what the rows say of which it is the sum: of a ticket type, or of a lease.
type StockSum struct {
	Type  ids.TicketType `json:"ticket_type_id,omitempty"`
	Lease ids.Lease      `json:"lease_id,omitempty"`
	What  string         `json:"what"` // StockSold or StockLeased
	Was   int            `json:"was"`  // 0 as well if there is no row
	Is    int            `json:"is"`   // what the rows say
}

// Name says of what and of which thing it is the sum, for people.
func (s StockSum) Name() string {
	if s.Lease != "" {
		return s.What + " of " + s.Lease.String()
	}
	return s.What + " of " + s.Type.String()
}

// RebuiltStock is what became of an event's sums. Without an event there is none left.
type RebuiltStock struct {
	EventID  ids.Event  `json:"event_id,omitempty"`
	Compared int        `json:"compared"` // how many sums there are
	Mended   []StockSum `json:"mended"`
	Left     []StockSum `json:"left"` // that differ still: there is no row, or no room for so many
}

// PersonRecords is a page of what ticketing knows about a person: orders, and when there are no more, tickets, and
// then answers. An empty NextCursor ends it.
type PersonRecords struct {
	Orders     []Order        `json:"orders"`
	Tickets    []Ticket       `json:"tickets"`
	Answers    []PersonAnswer `json:"answers"` // null on pages of orders and tickets
	NextCursor string         `json:"next_cursor,omitempty"`
}
