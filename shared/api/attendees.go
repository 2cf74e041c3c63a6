package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/text"
)

// Check finds what cannot stand in a list of attendees. Both members may be empty.
func (a Attendee) Check(check *fault.Check, field string) {
	text.CheckLine(check, field+".name", a.Name, 0, 200)
	check.Field(a.Email == "" || text.Email(a.Email), field+".email", "is not an email address")
}

// EventAttendee is who comes with a ticket, as the organizer sees it. Name and email are the holder's, or where the
// ticket names none, those of the account that owns it.
type EventAttendee struct {
	Name         string         `json:"name"`  // of the holder, or of the account that owns the ticket
	Email        string         `json:"email"` // of the holder, or of the account that owns the ticket
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	TypeName     string         `json:"ticket_type_name"`                                // what the ticket type is called
	Status       string         `json:"status" enum:"valid,admitted,handed_out,revoked"` // of the ticket
	AdmittedAt   *time.Time     `json:"admitted_at,omitempty"`                           // when it was admitted or handed out
	OrderID      ids.Order      `json:"order_id"`
	TicketID     ids.Ticket     `json:"ticket_id"`
	Answers      []Answer       `json:"answers,omitempty"` // to what the event asks for each ticket
}

// AttendeePage is the request of ListAttendees.
type AttendeePage struct {
	EventPage
	// product: who gets what is sold beside tickets
	Kind  string `json:"-" query:"kind" enum:"ticket,product" default:"ticket"`
	Query string `json:"-" query:"q"` // a part of the name, address, order id or ticket id, without case and accents
}

// EventExport is the request for a table of an event as CSV.
type EventExport struct {
	EventID ids.Event `json:"-" path:"id"`
}

// AttendeeExport is the request of GetAttendeesCSV.
type AttendeeExport struct {
	EventExport
	// product: who gets what is sold beside tickets
	Kind  string `json:"-" query:"kind" enum:"ticket,product" default:"ticket"`
	Query string `json:"-" query:"q"` // a part of the name, address, order id or ticket id, without case and accents
}

// EventWorkbook is the request for a table of an event as an Excel workbook. One has at most 5,000 rows; the next ones
// are in the next part.
type EventWorkbook struct {
	EventExport
	Part int `json:"-" query:"part" minimum:"1" default:"1"` // which 5,000 rows of the table
}

// AttendeeWorkbook is the request of GetAttendeesXLSX.
type AttendeeWorkbook struct {
	EventWorkbook
	// product: who gets what is sold beside tickets
	Kind  string `json:"-" query:"kind" enum:"ticket,product" default:"ticket"`
	Query string `json:"-" query:"q"` // a part of the name, address, order id or ticket id, without case and accents
}

// NewHolder is the request of UpdateTicket: who comes with a ticket.
type NewHolder struct {
	ID     ids.Ticket `json:"-" path:"id"`
	Holder Attendee   `json:"holder"`
}

const (
	workbookWithin = 30 * time.Second
	workbookBound  = "A workbook has at most 5,000 rows; part=2 has the next ones. CSV has no bound."
)

// The endpoints about who comes.
var (
	ListAttendees = rpc.Endpoint[AttendeePage, List[EventAttendee]]{Spec: rpc.Spec{Service: "ticketing",
		Scopes: readKeys,

		Name: "attendees", Method: "GET", Path: "/v1/events/{id}/attendees", Access: rpc.User,
		Summary: "Who comes to an event, for its managers, newest tickets first",
		Detail: "A search reads 2,000 tickets a page: a page may have few items, and there are more as long as it " +
			"has a next_cursor.",
		Faults: forManagers(nil)}}
	GetAttendeesCSV = rpc.Endpoint[AttendeeExport, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "attendees_csv", Method: "GET", Path: "/v1/events/{id}/attendees.csv", Access: rpc.User,
		Summary: "Who comes to an event, as CSV",
		Detail:  "All of them, or with q those that the list finds, however many they are.",
		Faults:  forManagers(nil)}}
	GetAttendeesXLSX = rpc.Endpoint[AttendeeWorkbook, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "attendees_xlsx", Method: "GET", Path: "/v1/events/{id}/attendees.xlsx", Access: rpc.User,
		Summary: "Who comes to an event, as an Excel workbook",
		Timeout: workbookWithin, Workers: 4, Detail: workbookBound,
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or the workbook has no such part"})}}
	GetOrdersCSV = rpc.Endpoint[EventExport, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "orders_csv", Method: "GET", Path: "/v1/events/{id}/orders.csv", Access: rpc.User,
		Summary: "The orders of an event with their buyers, as CSV",
		Detail:  "All of them, however many they are.",
		Faults:  forManagers(nil)}}
	GetOrdersXLSX = rpc.Endpoint[EventWorkbook, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "orders_xlsx", Method: "GET", Path: "/v1/events/{id}/orders.xlsx", Access: rpc.User,
		Summary: "The orders of an event with their buyers, as an Excel workbook",
		Timeout: workbookWithin, Workers: 4, Detail: workbookBound,
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or the workbook has no such part"})}}
	UpdateTicket = rpc.Endpoint[NewHolder, Ticket]{Spec: rpc.Spec{Service: "ticketing", Name: "update_ticket",
		Method: "PATCH", Path: "/v1/tickets/{id}", Access: rpc.User, Guests: true,
		Summary: "Say who comes with a ticket",
		Detail:  "For its owner, until it is used or revoked. The code stays good.",
		Faults:  hidden(notOwned, "the ticket was used, revoked or given away")}}
)

func attendeeEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListAttendees.Describe(), GetAttendeesCSV.Describe(), GetAttendeesXLSX.Describe(),
		GetOrdersCSV.Describe(), GetOrdersXLSX.Describe(), UpdateTicket.Describe()}
}
