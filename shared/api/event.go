package api

import (
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// The states of an event.
const (
	EventDraft     = "draft"
	EventPublished = "published"
	EventCancelled = "cancelled"
)

// What becomes of people who went out of an event.
const (
	ReentryAny  = "any"  // they may come in again, as often as they like
	ReentryNone = "none" // they may not
)

// Event is something people come to.
type Event struct {
	ID          ids.Event     `json:"id"`
	OrganizerID ids.Organizer `json:"organizer_id"`                            // whose it is
	Status      string        `json:"status" enum:"draft,published,cancelled"` // a draft is seen by its team alone
	Name        string        `json:"name" maxLength:"200"`                    // what it is called, on one line
	// what people want to know of it; several lines of plain text
	Description string `json:"description" maxLength:"20000"`
	// what kind of event it is, such as concert
	Category string    `json:"category" pattern:"^[a-z0-9-]{1,40}$"`
	StartsAt time.Time `json:"starts_at"` // when it begins
	EndsAt   time.Time `json:"ends_at"`   // when it ends
	// of the place, from the IANA database, such as Europe/Berlin
	Timezone string   `json:"timezone"`
	Location Location `json:"location"`
	Image    Picture  `json:"image,omitzero"` // absent: there is none
	// the ceiling on the sum of the ticket types' quantities
	Capacity    int          `json:"capacity" minimum:"0" maximum:"1000000"`
	TicketTypes []TicketType `json:"ticket_types"`
	Quotas      []Quota      `json:"quotas,omitempty"`   // that ticket types share
	Tax         Tax          `json:"tax,omitzero"`       // of ticket types and fees that name none
	Fees        []Fee        `json:"fees,omitempty"`     // beside the tickets, or part of their prices
	VenueID     ids.Venue    `json:"venue_id,omitempty"` // the venue where it is, if it has a computer of its own
	// whether people who were scanned as they went out may come in again
	Reentry string `json:"reentry" enum:"any,none"`
	// that buyers may choose from; without any, all that are switched on
	Providers []string `json:"payment_providers,omitempty" enum:"stripe,sandbox,manual"`
	// what is asked of orders, and what buyers may do about paid ones
	OrderRules OrderRules `json:"order_rules,omitzero"`
	// of name and description, ISO 639, such as de; absent: not said
	Language string `json:"language,omitempty" pattern:"^[a-z]{2,3}$"`
	// name and description in other languages; readers of none of them get those of the event itself
	Translations []Translation `json:"translations,omitempty"`
	SeriesID     ids.Series    `json:"series_id,omitempty"` // of which it is one date
	// what buyers are asked; absent in lists
	Questions    []Question `json:"questions,omitempty"`
	CancelReason string     `json:"cancel_reason,omitempty"` // what the organizer said of the cancellation
	Revision     int64      `json:"revision"`                // grows with each change
	CreatedAt    time.Time  `json:"created_at"`              // when it was made
	UpdatedAt    time.Time  `json:"updated_at"`              // when it was last changed
}

// ETag implements rpc.ETagger.
func (e Event) ETag() string { return strconv.FormatInt(e.Revision, 36) }

// LetsBackIn reports whether people who went out may come in again.
func (e *Event) LetsBackIn() bool { return e.Reentry != ReentryNone }

// TicketType returns the ticket type with an id, or nil.
func (e *Event) TicketType(id ids.TicketType) *TicketType {
	for i := range e.TicketTypes {
		if e.TicketTypes[i].ID == id {
			return &e.TicketTypes[i]
		}
	}
	return nil
}

// Location is where an event is.
type Location struct {
	Name    string `json:"name" maxLength:"200" required:"false"` // of the hall or place
	Address string `json:"address,omitempty" maxLength:"500"`     // street and number
	City    string `json:"city" minLength:"1" maxLength:"200"`    // the town, in its own language
	Country string `json:"country" pattern:"^[A-Z]{2}$"`          // ISO 3166-1 alpha-2
	// WGS 84 degrees; together with longitude
	Latitude *float64 `json:"latitude,omitempty" minimum:"-90" maximum:"90"`
	// WGS 84 degrees; together with latitude
	Longitude *float64 `json:"longitude,omitempty" minimum:"-180" maximum:"180"`
}

// NewEvent is the request of CreateEvent.
type NewEvent struct {
	// whose it is; absent: the caller's own, which is made if need be
	OrganizerID ids.Organizer `json:"organizer_id,omitempty"`
	Name        string        `json:"name" minLength:"1" maxLength:"200"` // what it is called, on one line
	// what people want to know of it; several lines of plain text
	Description string `json:"description" maxLength:"20000" required:"false"`
	// what kind of event it is: 1 to 40 of a-z, 0-9 and -
	Category string `json:"category" default:"other" required:"false"`
	// when it begins, in the years 1970 to 2200
	StartsAt time.Time `json:"starts_at"`
	// when it ends: after starts_at, within a year of it
	EndsAt time.Time `json:"ends_at"`
	// of the place, from the IANA database, such as Europe/Berlin
	Timezone string   `json:"timezone"`
	Location Location `json:"location"`
	// the ceiling on the sum of the ticket types' quantities; 0 means their sum
	Capacity int `json:"capacity" minimum:"0" maximum:"1000000" default:"0" required:"false"`
	// all in one currency; a draft may have none
	TicketTypes []NewTicketType `json:"ticket_types" maxItems:"50" required:"false"`
	// that ticket types share; each type names those that it draws on
	Quotas  []NewQuota `json:"quotas,omitempty" maxItems:"20"`
	Tax     Tax        `json:"tax,omitzero"`                 // of ticket types and fees that name none
	Fees    []Fee      `json:"fees,omitempty" maxItems:"10"` // beside the tickets, or part of their prices
	VenueID ids.Venue  `json:"venue_id,omitempty"`           // the venue where it is, if it has a computer of its own
	// whether people who were scanned as they went out may come in again
	Reentry string `json:"reentry,omitempty" enum:"any,none" default:"any"`
	// that buyers may choose from, the default first; without any, all that are switched on
	Providers []string `json:"payment_providers,omitempty" enum:"stripe,sandbox,manual" maxItems:"3"`
	// what is asked of orders, and what buyers may do about paid ones
	OrderRules OrderRules `json:"order_rules,omitzero"`
	// of name and description, ISO 639, such as de
	Language string `json:"language,omitempty" pattern:"^[a-z]{2,3}$"`
	// name and description in other languages, which need language
	Translations []Translation `json:"translations,omitempty" maxItems:"10"`
}

// EventRef names an event in a path.
type EventRef struct {
	ID ids.Event `json:"-" path:"id"`
}

// PatchEvent is the request of UpdateEvent. What is absent stays as it is, null clears what can be cleared.
type PatchEvent struct {
	ID ids.Event `json:"-" path:"id"`
	// which dates of its series are changed with it; those that are over or cancelled stay as they are
	Scope string `json:"-" query:"scope" enum:"this,later,all" default:"this"`
	// the ETag that was read; if it is not the present one, nothing is changed
	IfMatch string `json:"-" header:"If-Match"`
	// what it is called, on one line
	Name *string `json:"name,omitempty" minLength:"1" maxLength:"200"`
	// several lines of plain text; null clears it
	Description codec.Patch[string] `json:"description,omitzero" maxLength:"20000"`
	Category    codec.Patch[string] `json:"category,omitzero" pattern:"^[a-z0-9-]{1,40}$"` // null means other
	StartsAt    *time.Time          `json:"starts_at,omitempty"`                           // when it begins
	// when it ends: after starts_at, within a year of it
	EndsAt *time.Time `json:"ends_at,omitempty"`
	// of the place, from the IANA database
	Timezone *string `json:"timezone,omitempty"`
	// replaces the whole location
	Location *Location `json:"location,omitempty"`
	// null or 0 means the sum of the ticket types' quantities
	Capacity codec.Patch[int] `json:"capacity,omitzero" minimum:"0" maximum:"1000000"`
	// replaces all quotas; one with an id stays the same quota. Null means none
	Quotas codec.Patch[[]Quota] `json:"quotas,omitzero" maxItems:"20"`
	// of ticket types and fees that name none; null means no tax
	Tax  codec.Patch[Tax]   `json:"tax,omitzero"`
	Fees codec.Patch[[]Fee] `json:"fees,omitzero" maxItems:"10"` // replaces all fees; null means none
	// the venue where it is; null means none
	VenueID codec.Patch[ids.Venue] `json:"venue_id,omitzero"`
	// whether people who were scanned as they went out may come in again; null means any
	Reentry codec.Patch[string] `json:"reentry,omitzero" enum:"any,none"`
	// null means all that are switched on
	Providers codec.Patch[[]string] `json:"payment_providers,omitzero" enum:"stripe,sandbox,manual" maxItems:"3"`
	// replaces all of them; null means none
	OrderRules codec.Patch[OrderRules] `json:"order_rules,omitzero"`
	// of name and description, ISO 639; null means not said
	Language codec.Patch[string] `json:"language,omitzero" pattern:"^[a-z]{2,3}$"`
	// what people read, or hear, who do not see the picture of the event
	ImageAlt *string `json:"image_alt,omitempty" minLength:"1" maxLength:"500"`
	// replaces all translations; null means none
	Translations codec.Patch[[]Translation] `json:"translations,omitzero" maxItems:"10"`
}

// CancelEventRequest is the request of CancelEvent.
type CancelEventRequest struct {
	ID ids.Event `json:"-" path:"id"`
	// which dates of its series are cancelled with it, of those that are on sale and not over
	Scope  string `json:"-" query:"scope" enum:"this,later,all" default:"this"`
	Reason string `json:"reason,omitempty" maxLength:"500"` // for the ticket holders
}

// EventQuery is the request of ListEvents.
type EventQuery struct {
	Page
	// words that the name, description, place or category has, without case and accents
	Q        string    `json:"-" query:"q"`
	Category string    `json:"-" query:"category"` // only this category
	City     string    `json:"-" query:"city"`     // only this city, without case and accents
	Country  string    `json:"-" query:"country"`  // only this country, ISO 3166-1 alpha-2
	From     time.Time `json:"-" query:"from"`     // only events that end then or later
	To       time.Time `json:"-" query:"to"`       // only events that start before
	// only those of this organizer, or of this person's own
	Organizer string     `json:"-" query:"organizer"`
	Series    ids.Series `json:"-" query:"series"` // only dates of this series
	// next: of each series only the date that comes next
	Dates string `json:"-" query:"dates" enum:"all,next" default:"all"`
	// anything but published finds only the caller's own
	Status string `json:"-" query:"status" enum:"draft,published,cancelled" default:"published"`
}

// TeamMember is a person who works for an event, or for all events of an organizer.
type TeamMember struct {
	UserID ids.User `json:"user_id,omitempty"`
	// owner, manager, finance, marketing, door, or a role of the organizer's own
	Role    string `json:"role"`
	Email   string `json:"email,omitempty"`   // of an invitation, or where the name is, too
	Invited bool   `json:"invited,omitempty"` // the address has no account yet; only managers see it
	// of the account; only among the members of an organizer, and for who manages them
	Name string `json:"name,omitempty"`
}

// Invite is the request of InviteTeamMember.
type Invite struct {
	EventID ids.Event `json:"-" path:"id"`
	Email   string    `json:"email" format:"email"` // of an account, or of a person who has none yet
	// manager, finance, marketing, door, or a role of the organizer's own
	Role string `json:"role" minLength:"1" maxLength:"40"`
}

// InvitationRef names an invitation.
type InvitationRef struct {
	EventID ids.Event `json:"-" path:"id"`
	Email   string    `json:"-" query:"email" required:"true"` // the address that was invited
}

// SetTeamMember is the request of the endpoint of that name.
type SetTeamMember struct {
	EventID ids.Event `json:"-" path:"id"`
	UserID  ids.User  `json:"-" path:"user_id"`
	// manager, finance, marketing, door, or a role of the organizer's own
	Role string `json:"role" minLength:"1" maxLength:"40"`
}

// SetOrganizer is the request of the endpoint of that name.
type SetOrganizer struct {
	EventID ids.Event `json:"-" path:"id"`
	UserID  ids.User  `json:"user_id"` // a member of the team
}

// TeamMemberRef names a member of a team in a path.
type TeamMemberRef struct {
	EventID ids.Event `json:"-" path:"id"`
	UserID  ids.User  `json:"-" path:"user_id"`
}

// OfferRequest is the request of the internal endpoint GetOffer.
type OfferRequest struct {
	EventID ids.Event `json:"event_id"`
}

// Offer is an event as those who sell and admit need it.
type Offer struct {
	Event     Event         `json:"event"`
	Team      []TeamMember  `json:"team"`               // of this event alone
	Organizer OrganizerTeam `json:"organizer,omitzero"` // as it was when this was read
}

// The endpoints of the event service.
var (
	CreateEvent = rpc.Endpoint[NewEvent, Event]{Spec: rpc.Spec{Service: "event", Name: "create",
		Method: "POST", Path: "/v1/events", Access: rpc.User, Status: 201, Location: "/v1/events/{id}",
		Idempotent: true, MaxBody: 256 << 10, Audited: true,
		Summary: "Create an event, as a draft",
		Faults:  rpc.Faults{fault.Conflict: inFlight}}}
	ListEvents = rpc.Endpoint[EventQuery, List[Event]]{Spec: rpc.Spec{Service: "event", Scopes: anyKey, Name: "list",
		Method: "GET", Path: "/v1/events", Access: rpc.Optional, Traffic: &rpc.Traffic{Subject: FactSearches, With: "q",
			Without: "cursor"}, Near: &rpc.Near{Lease: LeaseEvents}, Summary: "Browse and search events"}}
	GetEvent = rpc.Endpoint[EventRef, Event]{Spec: rpc.Spec{Service: "event", Scopes: anyKey,
		Name: "get", Method: "GET",
		Path: "/v1/events/{id}", Access: rpc.Optional, Workers: 256, Queue: 4096,
		Traffic: &rpc.Traffic{Subject: FactViews, Path: "id"}, Near: &rpc.Near{Lease: LeaseEvents, Path: "id"},
		Summary: "Read an event",
		Faults:  public()}}
	UpdateEvent = rpc.Endpoint[PatchEvent, Event]{Spec: rpc.Spec{Service: "event", Name: "update", Method: "PATCH",
		Path: "/v1/events/{id}", Access: rpc.User, Headers: []string{"If-Match"}, MaxBody: 256 << 10, Audited: true,
		Timeout: seriesTimeout,
		Summary: "Change an event",
		Faults:  forManagers(rpc.Faults{fault.Conflict: cancelled + "; " + noRoom + "; or " + busyEvent})}}
	DeleteEvent = rpc.Endpoint[EventRef, rpc.None]{Spec: rpc.Spec{Service: "event", Name: "delete", Method: "DELETE",
		Path: "/v1/events/{id}", Access: rpc.User, Status: 204, Audited: true,
		Summary: "Delete an event that never sold a ticket",
		Faults:  forManagers(rpc.Faults{fault.Conflict: "tickets of it are held or sold: cancel it instead"})}}
	PublishEvent = rpc.Endpoint[EventToPublish, Event]{Spec: rpc.Spec{Service: "event", Name: "publish", Method: "POST",
		Path: "/v1/events/{id}/publish", Access: rpc.User, Audited: true, Timeout: seriesTimeout,
		Summary: "Put a draft on sale",
		Faults: forManagers(rpc.Faults{fault.Conflict: cancelled +
			", or the draft is not complete: errors names what is missing"})}}
	CancelEvent = rpc.Endpoint[CancelEventRequest, Event]{Spec: rpc.Spec{Service: "event", Name: "cancel",
		Method: "POST", Path: "/v1/events/{id}/cancel", Access: rpc.User, Sensitive: true, Audited: true,
		Timeout: seriesTimeout,
		Summary: "Cancel an event",
		Faults:  forManagers(rpc.Faults{fault.Conflict: "it is a draft, which is deleted instead"})}}
	CreateTicketType = rpc.Endpoint[AddTicketType, Event]{Spec: rpc.Spec{Service: "event", Name: "add_ticket_type",
		Method: "POST", Path: "/v1/events/{id}/ticket-types", Access: rpc.User, Status: 201, Idempotent: true,
		Audited: true,
		Summary: "Add a ticket type",
		Faults: forManagers(rpc.Faults{fault.Conflict: cancelled + "; " + noRoom +
			"; tickets were sold or held in another currency; or " + inFlight})}}
	UpdateTicketType = rpc.Endpoint[PatchTicketType, Event]{Spec: rpc.Spec{Service: "event",
		Name: "update_ticket_type", Method: "PATCH", Path: "/v1/events/{id}/ticket-types/{ticket_type_id}",
		Access: rpc.User, Headers: []string{"If-Match"}, Audited: true,
		Summary: "Change a ticket type",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or the event has no such ticket type",
			fault.Conflict: cancelled + "; " + belowSold + "; " + noRoom +
				"; or tickets were sold or held in another currency"})}}
	DeleteTicketType = rpc.Endpoint[TicketTypeRef, rpc.None]{Spec: rpc.Spec{Service: "event",
		Name: "delete_ticket_type", Method: "DELETE", Path: "/v1/events/{id}/ticket-types/{ticket_type_id}",
		Access: rpc.User, Status: 204, Audited: true,
		Summary: "Remove a ticket type that has not sold",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or the event has no such ticket type",
			fault.Conflict: cancelled + "; tickets of the type are held or sold; or an event on sale would be left " +
				"without one"})}}
	GetCalendar = rpc.Endpoint[EventRef, rpc.Blob]{Spec: rpc.Spec{Service: "event", Scopes: anyKey,
		Name: "calendar", Method: "GET",
		Path: "/v1/events/{id}/calendar.ics", Access: rpc.Optional, Summary: "An event as iCalendar, RFC 5545",
		Faults: public()}}
	ListTeam = rpc.Endpoint[EventRef, List[TeamMember]]{Spec: rpc.Spec{Service: "event", Name: "list_team",
		Method: "GET", Path: "/v1/events/{id}/team", Access: rpc.User, Summary: "Who works for an event",
		Faults: forRole("in its team", nil)}}
	PutTeamMember = rpc.Endpoint[SetTeamMember, TeamMember]{Spec: rpc.Spec{Service: "event",
		Name: "set_team_member", Method: "PUT", Path: "/v1/events/{id}/team/{user_id}", Access: rpc.User,
		Sensitive: true, Audited: true,
		Summary: "Add a person to an event's team, or change the role",
		Faults: forManagers(rpc.Faults{fault.Conflict: "the person is the organizer, who is always a manager, or the " +
			"team is full"})}}
	DeleteTeamMember = rpc.Endpoint[TeamMemberRef, rpc.None]{Spec: rpc.Spec{Service: "event",
		Name: "delete_team_member", Method: "DELETE", Path: "/v1/events/{id}/team/{user_id}", Access: rpc.User,
		Status: 204, Audited: true,
		Summary: "Remove a person from an event's team",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or the person is not in the team",
			fault.Conflict: busyEvent})}}
	InviteTeamMember = rpc.Endpoint[Invite, TeamMember]{Spec: rpc.Spec{Service: "event", Name: "invite", Method: "POST",
		Path: "/v1/events/{id}/team", Access: rpc.User, Sensitive: true, Status: 201, Limit: rpc.LoginLimit,
		Audited: true,
		Summary: "Add a person to an event's team by mail address",
		Detail:  "An address without an account is invited: the invitation takes effect when the address gets one.",
		Faults: forManagers(rpc.Faults{fault.Conflict: "the person is the organizer, the team is full, or too many " +
			"invitations wait"})}}
	DeleteInvitation = rpc.Endpoint[InvitationRef, rpc.None]{Spec: rpc.Spec{Service: "event",
		Name: "uninvite", Method: "DELETE", Path: "/v1/events/{id}/team", Access: rpc.User, Status: 204, Audited: true,
		Summary: "Take an invitation to an event's team back",
		Faults:  forManagers(rpc.Faults{fault.Conflict: ""})}}
	PutOrganizer = rpc.Endpoint[SetOrganizer, Event]{Spec: rpc.Spec{Service: "event",
		Name: "set_organizer", Method: "PUT", Path: "/v1/events/{id}/organizer", Access: rpc.User, Sensitive: true,
		Audited: true,
		Summary: "Hand an event over to a member of its team",
		Detail: "It becomes an event of that person's own organizer. The owners of the organizer before become " +
			"managers of its team.",
		Faults: forManagers(rpc.Faults{fault.Conflict: "the person is not in the team: add them first"})}}

	GetOffer = rpc.Endpoint[OfferRequest, Offer]{Spec: rpc.Spec{Service: "event", Name: "offer",
		Access: rpc.Internal, Callers: []string{"ticketing", "payment", "notification", "venue", "audit"}, Workers: 256,
		Summary: "What an event offers, and its team"}}
	GetOrganizerTeam = rpc.Endpoint[OfOrganizer, OrganizerTeam]{Spec: rpc.Spec{Service: "event", Name: "organizer_team",
		Access: rpc.Internal, Callers: []string{"audit", "notification", "payment"},
		Summary: "Who may do what for an organizer"}}
	LeaseEvents = rpc.Endpoint[rpc.LeaseRequest, rpc.Lease]{Spec: rpc.Spec{Service: "event", Name: "lease",
		Access: rpc.Internal, Callers: []string{"gateway"}, Timeout: time.Second,
		Summary: "A gateway's lease for copies of public events"}}
	ExportEvents = rpc.Endpoint[PersonRef, List[PersonEvent]]{Spec: rpc.Spec{Service: "event", Name: "export_person",
		Access: rpc.Internal, Callers: []string{"user"},
		Summary: "A page of the events that a person runs or works for"}}
	GetRunningEvents = rpc.Endpoint[PersonRef, List[RunningEvent]]{Spec: rpc.Spec{Service: "event", Name: "running",
		Access: rpc.Internal, Callers: []string{"user"},
		Summary: "Published events that are not over of organizers with no other owner than this person, at most ten"}}
	GetCalendarFile = rpc.Endpoint[OfferRequest, rpc.Blob]{Spec: rpc.Spec{Service: "event", Name: "calendar_file",
		Access: rpc.Internal, Callers: []string{"notification"}, Summary: "GetCalendar for a mail"}}
)

func eventEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateEvent.Describe(), ListEvents.Describe(), GetEvent.Describe(),
		UpdateEvent.Describe(), DeleteEvent.Describe(), PublishEvent.Describe(), CancelEvent.Describe(),
		CreateTicketType.Describe(), UpdateTicketType.Describe(), DeleteTicketType.Describe(),
		GetCalendar.Describe(), ListTeam.Describe(), PutTeamMember.Describe(), DeleteTeamMember.Describe(),
		PutOrganizer.Describe(), InviteTeamMember.Describe(), DeleteInvitation.Describe(),
		GetOffer.Describe(), GetOrganizerTeam.Describe(), GetCalendarFile.Describe(), LeaseEvents.Describe(),
		ExportEvents.Describe(), GetRunningEvents.Describe()}
}

// The topics of the event service. Each carries the offer as it is after the change; Revision orders them.
var (
	EventCreated      = Topic[Offer]{"ev.event.event.created", "a draft was made"}
	EventUpdated      = Topic[Offer]{"ev.event.event.updated", "an event, its ticket types or its team changed"}
	EventWasPublished = Topic[Offer]{"ev.event.event.published", "an event went on sale"}
	EventWasCancelled = Topic[Offer]{"ev.event.event.cancelled", "an event was cancelled"}
	EventDeleted      = Topic[Offer]{"ev.event.event.deleted", "an event was deleted"}
)
