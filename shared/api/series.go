package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// How bad a finding of Readiness is.
const (
	FindingError = "error" // the event cannot be published like that
	FindingHint  = "hint"  // it can, but its organizer should look at it
)

// Readiness is what a draft lacks, or what is odd about an event.
type Readiness struct {
	Ready    bool      `json:"ready"`    // nothing keeps the event from being published
	Findings []Finding `json:"findings"` // errors first
}

// Finding is something that an event lacks, or that is odd about it.
type Finding struct {
	Code   string `json:"code"`                    // for programs and translations, such as no_ticket_type
	Level  string `json:"level" enum:"error,hint"` // whether it keeps the event from being published
	Field  string `json:"field,omitempty"`         // of the event, where it is one
	Detail string `json:"detail"`                  // a sentence for the organizer
}

// CopyOf is the request of CopyEvent.
type CopyOf struct {
	ID ids.Event `json:"-" path:"id"`
	// when the copy begins; all other times of it are moved as far, by the clocks of the event's zone
	StartsAt time.Time `json:"starts_at"`
	// what it is called; absent: like the event
	Name string `json:"name,omitempty" maxLength:"200"`
}

// The endpoints that plan events.
var (
	GetReadiness = rpc.Endpoint[EventRef, Readiness]{Spec: rpc.Spec{Service: "event", Name: "readiness",
		Method: "GET", Path: "/v1/events/{id}/readiness", Access: rpc.User, Summary: "What an event lacks",
		Detail: "Errors keep a draft from being published; hints do not.",
		Faults: forRole("in its team", nil)}}
	CopyEvent = rpc.Endpoint[CopyOf, Event]{Spec: rpc.Spec{Service: "event", Name: "copy", Method: "POST",
		Path: "/v1/events/{id}/copies", Access: rpc.User, Status: 201, Location: "/v1/events/{id}", Idempotent: true,
		Audited: true,
		Summary: "Copy an event to another time, as a draft",
		Detail: "The copy has the ticket types, quotas, rules and texts of the event, under ids of its own, and the " +
			"team. Nothing of it is sold.",
		Faults: forManagers(rpc.Faults{fault.Conflict: inFlight})}}
)

func planningEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{GetReadiness.Describe(), CopyEvent.Describe()}
}
