package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The states of a cancellation.
const (
	CancellationOpen     = "open"     // the organizer has to decide
	CancellationGranted  = "granted"  // the tickets are revoked, and the money goes back
	CancellationDeclined = "declined" // the tickets stay as they are
)

// Cancellation is the wish of a buyer to give tickets of a paid order back, and what became of it.
type Cancellation struct {
	ID      ids.Cancellation `json:"id"`
	OrderID ids.Order        `json:"order_id"`
	EventID ids.Event        `json:"event_id"`
	// an open one waits for the organizer
	Status  string       `json:"status" enum:"open,granted,declined"`
	Tickets []ids.Ticket `json:"tickets"`          // that are given back
	Refund  Money        `json:"refund"`           // what goes back; while it is open, by the organizer's policy
	Fee     Money        `json:"fee"`              // what the organizer keeps of what the tickets cost
	Reason  string       `json:"reason,omitempty"` // what the buyer said
	Answer  string       `json:"answer,omitempty"` // what the organizer said
	// when it was asked for
	CreatedAt time.Time  `json:"created_at"`
	DecidedAt *time.Time `json:"decided_at,omitempty"` // when it was granted or declined
}

// CancelUntil returns until when buyers give tickets back by themselves, or nil if they never do.
func (e *Event) CancelUntil() *time.Time {
	p := e.OrderRules.Cancellation
	return e.selfServiceUntil(p.SelfService, p.MinutesBefore)
}

// selfServiceUntil returns the time of a policy so long before the event begins, or nil if it lets buyers do nothing.
func (e *Event) selfServiceUntil(selfService bool, minutesBefore int) *time.Time {
	if !selfService {
		return nil
	}
	until := e.StartsAt.Add(-time.Duration(minutesBefore) * time.Minute)
	return &until
}

// NewCancellation is the request of CreateCancellation.
type NewCancellation struct {
	OrderID ids.Order    `json:"-" path:"id"`
	Tickets []ids.Ticket `json:"tickets,omitempty" maxItems:"200"`  // to give back; absent: all that are left
	Reason  string       `json:"reason,omitempty" maxLength:"1000"` // for the organizer; several lines of plain text
}

// CancellationOptions is what the buyer of a paid order may do about it now.
type CancellationOptions struct {
	// whether the money goes back at once; otherwise the organizer is asked
	SelfService bool         `json:"self_service"`
	Until       *time.Time   `json:"until,omitempty"` // until when that is so
	Tickets     []ids.Ticket `json:"tickets"`         // that can be given back
	Refund      Money        `json:"refund"`          // what goes back for all of them, by the organizer's policy
	Fee         Money        `json:"fee"`             // what the organizer keeps of what they cost
	// what was asked for last
	Last *Cancellation `json:"last,omitempty"`
}

// CancellationPage is the request of ListCancellations.
type CancellationPage struct {
	EventPage
	Status string `json:"-" query:"status" enum:"open,granted,declined" default:"open"` // those that are in the state
}

// CancellationDecision is the request of DecideCancellation.
type CancellationDecision struct {
	EventID  ids.Event        `json:"-" path:"id"`
	ID       ids.Cancellation `json:"-" path:"cancellation_id"`
	Decision string           `json:"decision" enum:"granted,declined"`  // declined: the tickets stay as they are
	Refund   *Money           `json:"refund,omitempty"`                  // absent: what the policy gives back
	Answer   string           `json:"answer,omitempty" maxLength:"1000"` // for the buyer; several lines of plain text
}

// CancellationEvent is the payload of CancellationWasDeclined.
type CancellationEvent struct {
	ID      ids.Cancellation `json:"id"`
	OrderID ids.Order        `json:"order_id"`
	EventID ids.Event        `json:"event_id"`
	UserID  ids.User         `json:"user_id"`          // who wanted to give the tickets back
	Total   Money            `json:"total"`            // what the order has cost
	Answer  string           `json:"answer,omitempty"` // what the organizer said
}

// CancellationWasDeclined says what the buyer is to be told. What was granted is told by the refund.
var CancellationWasDeclined = Topic[CancellationEvent]{"ev.ticketing.cancellation.declined",
	"an organizer has declined to take tickets back"}

// The endpoints by which buyers give paid tickets back.
var (
	GetCancellation = rpc.Endpoint[OrderRef, CancellationOptions]{Spec: rpc.Spec{Service: "ticketing",
		Name: "get_cancellation", Method: "GET", Path: "/v1/orders/{id}/cancellation", Access: rpc.User, Guests: true,
		Summary: "What giving back the tickets of a paid order would mean, and what became of the last wish to",
		Faults:  hidden("there is no such order, or it is not the caller's", "")}}
	CreateCancellation = rpc.Endpoint[NewCancellation, Cancellation]{Spec: rpc.Spec{Service: "ticketing",
		Name: "create_cancellation", Method: "POST", Path: "/v1/orders/{id}/cancellations", Access: rpc.User,
		Guests: true, Status: 201, Summary: "Give tickets of a paid order back, or ask the organizer to take them",
		Detail: "Within the organizer's policy it is granted at once: the tickets are revoked, and the money is on " +
			"its way. Otherwise it is open until the organizer decides; the tickets stay good meanwhile.",
		Faults: hidden("there is no such order, or it is not the caller's",
			"the order is not paid; a ticket of it was used or given away; or another wish waits for the organizer")}}
	ListCancellations = rpc.Endpoint[CancellationPage, List[Cancellation]]{Spec: rpc.Spec{Service: "ticketing",
		Name: "cancellations", Method: "GET", Path: "/v1/events/{id}/cancellations", Access: rpc.User,
		Summary: "What buyers of an event want to give back, newest first",
		Faults:  forManagers(nil)}}
	DecideCancellation = rpc.Endpoint[CancellationDecision, Cancellation]{Spec: rpc.Spec{Service: "ticketing",
		Name: "decide_cancellation", Method: "POST", Path: "/v1/events/{id}/cancellations/{cancellation_id}/decision",
		Access: rpc.User, Sensitive: true, Audited: true,
		Summary: "Take tickets back that a buyer wants to give back, or decline",
		Detail:  "The same decision again changes nothing.",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or it has no such cancellation",
			fault.Conflict: "it was decided otherwise, or a ticket was used, given away or revoked meanwhile"})}}
)

func cancellationEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{GetCancellation.Describe(), CreateCancellation.Describe(), ListCancellations.Describe(),
		DecideCancellation.Describe()}
}
