package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// StaffOrder is the request of CreateStaffOrder: an order that the organizer makes for a person, who has it like one
// that was made without an account.
type StaffOrder struct {
	EventID ids.Event      `json:"-" path:"id"`
	Items   []NewOrderItem `json:"items"` // what the person gets, each ticket type once; hidden ones too
	// who comes, in the order of the items: at most one for each ticket
	Attendees []Attendee `json:"attendees,omitempty"`
	Email     string     `json:"email" format:"email"` // of the person: the link to the order is mailed there
	Name      string     `json:"name,omitempty"`       // of the person, on one line
	Language  string     `json:"language,omitempty"`   // of the mails, as in Accept-Language
	// it costs nothing, and has its tickets at once; otherwise the person pays by the link
	Complimentary bool `json:"complimentary,omitempty"`
	// until when one that costs something keeps its seats: at most 60 days, and until the event begins; absent: a week
	HoldUntil *time.Time `json:"hold_until,omitempty"`
}

// OrderEdit is the request of UpdateEventOrder. What is absent stays as it is.
type OrderEdit struct {
	EventID ids.Event `json:"-" path:"id"`
	OrderID ids.Order `json:"-" path:"order_id"`
	// of an order without an account: where its mails go from now on
	Email    *string `json:"email,omitempty" format:"email"`
	Name     *string `json:"name,omitempty"`     // of an order without an account: of its buyer, on one line
	Language *string `json:"language,omitempty"` // of an order without an account: of its mails
	// who comes with its tickets
	Holders []TicketHolder `json:"holders,omitempty" maxItems:"200"`
	// for those who work with the orders of the event; several lines of plain text, empty: none
	Note *string `json:"note,omitempty" maxLength:"2000"`
}

// TicketHolder says who comes with a ticket.
type TicketHolder struct {
	TicketID ids.Ticket `json:"ticket_id"`
	Holder   Attendee   `json:"holder"`
}

// The endpoints by which the organizer works with orders.
var (
	CreateStaffOrder = rpc.Endpoint[StaffOrder, Order]{Spec: rpc.Spec{Service: "ticketing",
		Name: "create_staff_order", Method: "POST", Path: "/v1/events/{id}/orders", Access: rpc.User, Status: 201,
		Idempotent: true, Audited: true, Sensitive: true,
		Summary: "Make an order for a person: a complimentary one, or one that the person pays by a link",
		Detail: "The link is mailed. When a ticket type is sold, whether it is hidden, and what is asked of a buyer " +
			"does not matter; its seats are from the pool like all others.",
		Faults: forManagers(rpc.Faults{fault.SoldOut: "there is no room left",
			fault.Conflict: "the event is not on sale, cancelled or over; or " + inFlight})}}
	UpdateEventOrder = rpc.Endpoint[OrderEdit, Order]{Spec: rpc.Spec{Service: "ticketing",
		Name: "update_event_order", Method: "PATCH", Path: "/v1/events/{id}/orders/{order_id}", Access: rpc.User,
		Audited: true, Summary: "Change the names, the address or the note of an order",
		Detail: "Another address gets a link by mail; the links that were mailed to the one before end. The codes of " +
			"tickets stay good.",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or it has no such order",
			fault.Conflict: "the buyer has an account, which has the address; or a ticket was used or revoked"})}}
	MailOrderTickets = rpc.Endpoint[OrderRef, rpc.None]{Spec: rpc.Spec{Service: "ticketing",
		Name: "mail_order_tickets", Method: "POST", Path: "/v1/orders/{id}/tickets/mails", Access: rpc.User,
		Guests: true, Status: 202, Limit: rpc.LoginLimit,
		Summary: "Mail the tickets of an order to its buyer once more",
		Detail:  "For the buyer, and for those who work with the orders of the event; three times an hour.",
		Faults: rpc.Faults{fault.NotFound: noOrder, fault.Forbidden: "the caller may see the order, but is not " +
			"allowed to do this", fault.Conflict: "the order is not paid, or was sold at a counter",
			fault.RateLimited: "they were mailed three times in an hour"}}}
)

func staffOrderEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateStaffOrder.Describe(), UpdateEventOrder.Describe(), MailOrderTickets.Describe()}
}

// TicketsWereRequested has the tickets of an order mailed once more.
var TicketsWereRequested = Topic[OrderEvent]{"ev.ticketing.order.tickets_requested",
	"the tickets of an order are to be mailed to its buyer once more"}
