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

// Which dates of a series something is done to. Dates that are over stay as they are.
const (
	ScopeThis  = "this"  // the event alone
	ScopeLater = "later" // it, and those that begin later
	ScopeAll   = "all"
)

// seriesTimeout is how long a caller waits for what may be about all dates of a series.
const seriesTimeout = 10 * time.Second

// EventToPublish is the request of PublishEvent.
type EventToPublish struct {
	ID ids.Event `json:"-" path:"id"`
	// which drafts of its series are published with it: all of them, or none
	Scope string `json:"-" query:"scope" enum:"this,later,all" default:"this"`
}

// NewSeries is the request of CreateSeries.
type NewSeries struct {
	ID ids.Event `json:"-" path:"id"`
	// RRULE of RFC 5545, of FREQ YEARLY, MONTHLY, WEEKLY or DAILY, such as FREQ=WEEKLY;BYDAY=TU,TH
	Rule string `json:"rule" minLength:"1" maxLength:"500"`
	// the last moment at which a date may begin, unless the rule has UNTIL or COUNT
	Until *time.Time `json:"until,omitempty"`
	// how many dates there are, the event included, unless the rule has UNTIL or COUNT
	Count int `json:"count,omitempty" minimum:"0" maximum:"366"`
	// dates of the rule on which there is no event
	Except []time.Time `json:"exdates,omitempty" maxItems:"366"`
	DryRun bool        `json:"dry_run,omitempty"` // the dates are only shown
}

// EventSeries is the dates of an event that takes place more than once.
type EventSeries struct {
	ID    ids.Series   `json:"id,omitempty"` // absent in a preview of a new one
	Dates []SeriesDate `json:"dates"`        // by their begin, the event itself included
	dry   bool
}

// Preview returns the series as what it would be.
func (s EventSeries) Preview() *EventSeries {
	s.dry = true
	return &s
}

// IsPartial implements rpc.Partial: a preview makes nothing.
func (s EventSeries) IsPartial() bool { return s.dry }

// SeriesDate is one date of a series.
type SeriesDate struct {
	EventID  ids.Event `json:"event_id,omitempty"` // absent if there is no event yet
	StartsAt time.Time `json:"starts_at"`          // when it begins
	EndsAt   time.Time `json:"ends_at"`            // when it ends
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
	CreateSeries = rpc.Endpoint[NewSeries, EventSeries]{Spec: rpc.Spec{Service: "event", Name: "create_series",
		Method: "POST", Path: "/v1/events/{id}/series", Access: rpc.User, Status: 201, Idempotent: true,
		Audited: true, Timeout: seriesTimeout,
		Summary: "Repeat an event by a rule",
		Detail: "Each date of the rule that the series lacks becomes a draft, as a copy is made. The event is the " +
			"first date; one that is in a series already gets further dates of it. A preview answers with 200.",
		Faults: forManagers(rpc.Faults{fault.Conflict: cancelled + "; or " + inFlight})}}
)

func planningEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{GetReadiness.Describe(), CopyEvent.Describe(), CreateSeries.Describe()}
}
