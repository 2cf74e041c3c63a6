package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/text"
)

// BoxOffice is the provider of what is paid at a counter. No caller can choose it for an order.
const BoxOffice = "box_office"

// BoxOfficeBuyer has the orders and tickets that were sold at a counter. No person has this account.
const BoxOfficeBuyer ids.User = "usr_00000000000000000000000000"

// How a sale at a counter is paid.
const (
	PaidInCash = "cash"
	PaidByCard = "card"
	PaidNot    = "free" // the tickets cost nothing
)

// BoxOfficePayment is how a sale at a counter is paid.
type BoxOfficePayment struct {
	// free is for tickets that cost nothing, and only for them
	Method    string `json:"method" enum:"cash,card,free"`
	Reference string `json:"reference,omitempty" maxLength:"100"` // of the card terminal, on one line
}

// Check returns a fault of code Invalid unless a sale can be paid so. The total is in minor units.
func (p BoxOfficePayment) Check(total int64) error {
	var check fault.Check
	switch p.Method {
	case PaidInCash, PaidByCard:
		check.Field(total > 0, "payment.method", "must be free: the tickets cost nothing")
	case PaidNot:
		check.Field(total == 0, "payment.method", "must be cash or card: the tickets cost something")
	default:
		check.Field(false, "payment.method", "must be cash, card or free")
	}
	text.CheckLine(&check, "payment.reference", p.Reference, 0, 100)
	return check.Err()
}

// NewSale is the request of CreateSale.
type NewSale struct {
	EventID ids.Event        `json:"event_id"`
	Items   []NewOrderItem   `json:"items"` // what is sold, each ticket type once
	Payment BoxOfficePayment `json:"payment"`
	// who comes, in the order of the items: at most one for each ticket
	Attendees []Attendee `json:"attendees,omitempty"`
}

// Sale is a sale at a counter, with its tickets to print or to show.
type Sale struct {
	OrderID ids.Order        `json:"order_id"`
	EventID ids.Event        `json:"event_id"`
	Total   Money            `json:"total"`
	Payment BoxOfficePayment `json:"payment"`
	Tickets []SaleTicket     `json:"tickets"`
	SoldAt  time.Time        `json:"sold_at"` // by the clock of who sold it
}

// SaleTicket is a ticket of a sale.
type SaleTicket struct {
	ID           ids.Ticket     `json:"id"`
	Code         string         `json:"code"` // signed; what the QR code holds
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Holder       Attendee       `json:"holder"`
}

// CreateSale sells at a counter.
var CreateSale = rpc.Endpoint[NewSale, Sale]{Spec: rpc.Spec{Service: "ticketing", Scopes: sellKeys,
	Name:   "create_sale",
	Method: "POST", Path: "/v1/box-office/sales", Access: rpc.User, Status: 201, Idempotent: true, Workers: 128,
	Audited: true, Summary: "Sell tickets at a counter, paid in cash or at a card terminal",
	Detail: "For the team of the event, those at the doors included. The tickets are from the pool, and good at " +
		"once; the time in which a ticket type is sold to the public does not matter. Refunds of such an order are " +
		"paid out by hand, and then marked as paid.",
	Faults: forRole("in its team", rpc.Faults{fault.SoldOut: "there is no room left",
		fault.Conflict: "the event is not on sale, cancelled or over"})}}

// ReverseSaleRequest is the request of ReverseSale.
type ReverseSaleRequest struct {
	OrderID ids.Order `json:"-" path:"id"`
	Reason  string    `json:"reason,omitempty" maxLength:"200"` // on one line
	// take it back although a ticket of it was admitted
	IncludeAdmitted bool `json:"include_admitted,omitempty"`
}

// SaleReversal is a sale that was taken back.
type SaleReversal struct {
	OrderID    ids.Order    `json:"order_id"`
	EventID    ids.Event    `json:"event_id"`
	Refund     Money        `json:"refund"`      // what the customer is handed back
	Tickets    []ids.Ticket `json:"tickets"`     // that are good no more; those refunded before are not among them
	ReversedAt time.Time    `json:"reversed_at"` // by the clock of who took it back
}

// ErrAdmittedSale answers a reversal that does not say what it is about to do.
var ErrAdmittedSale = fault.New(fault.Conflict, "a ticket of the sale was admitted: to take the sale back all the "+
	"same, set include_admitted")

// ReverseSale takes a sale at a counter back.
var ReverseSale = rpc.Endpoint[ReverseSaleRequest, SaleReversal]{Spec: rpc.Spec{Service: "ticketing",
	Name: "reverse_sale", Method: "POST", Path: "/v1/box-office/sales/{id}/reversal", Access: rpc.User,
	Sensitive: true, Audited: true,
	Summary: "Take back a sale at a counter, whose money was handed back there",
	Detail: "For managers of the event. What is left of its tickets is revoked, and its seats are for sale again; " +
		"the seat of one that was admitted is not. The money counts as paid out. The same again changes nothing.",
	Faults: hidden("there is no such sale, or it is none of the caller's events", "a ticket of it was admitted, and "+
		"include_admitted is not set; or all of it was refunded before")}}

// FlaggedSale is a sale of a venue that its leases did not have the seats for, or that makes no sense.
type FlaggedSale struct {
	OrderID ids.Order `json:"order_id"`
	VenueID ids.Venue `json:"venue_id"`
	// beside is booked with seats of the pool; quarantined is not booked
	State   string       `json:"state" enum:"beside,quarantined"`
	Reason  string       `json:"reason"` // in words
	Total   Money        `json:"total"`
	Tickets []ids.Ticket `json:"tickets"`
	SoldAt  time.Time    `json:"sold_at"` // by the venue's clock
}

// ListFlaggedSales returns the sales of venues that a person should look at.
var ListFlaggedSales = rpc.Endpoint[EventPage, List[FlaggedSale]]{Spec: rpc.Spec{Service: "ticketing",
	Name: "flagged_sales", Method: "GET", Path: "/v1/events/{id}/flagged-sales", Access: rpc.User,
	Summary: "Sales of venues that their leases did not have the seats for, newest first, for the event's managers",
	Detail: "One in quarantine because the event has no room is booked by itself once there is some: its tickets are " +
		"in people's hands.",
	Faults: forManagers(nil)}}

// SaleEvent is the payload of OrderWasSold.
type SaleEvent struct {
	Order   Order            `json:"order"`
	Payment BoxOfficePayment `json:"payment"`
	By      string           `json:"by"`                 // who sold it: a user, a key, or a device at a venue
	VenueID ids.Venue        `json:"venue_id,omitempty"` // that sold it by itself
	// whose event it was; absent in what was sold before sales said so
	OrganizerID ids.Organizer `json:"organizer_id,omitempty"`
}
