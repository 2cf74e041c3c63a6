package api

import (
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// What a promo code does to prices.
const (
	PromoNone    = "none"    // nothing: it unlocks ticket types, or has seats kept
	PromoPercent = "percent" // a part of the price less
	PromoAmount  = "amount"  // so much less for the whole order
	PromoPrice   = "price"   // another price for each ticket
	PromoBundle  = "bundle"  // of each so many tickets of a type some are free
)

// PromoTerms are what a promo code is good for.
type PromoTerms struct {
	Name string `json:"name,omitempty" maxLength:"200"` // for the organizer, on one line
	// percent, amount, price and bundle change what tickets cost; none does not
	Kind string `json:"kind,omitempty" enum:"none,percent,amount,price,bundle" default:"none"`
	// with percent: how much less, with up to two decimals, such as 12.5
	Percent string `json:"percent,omitempty" pattern:"^[0-9]{1,3}(\\.[0-9]{1,2})?$"`
	Amount  *Money `json:"amount,omitempty"`                    // with amount: how much less, but never below zero
	Price   *Money `json:"price,omitempty"`                     // with price: what a ticket costs, if that is less
	Buy     int    `json:"buy,omitempty" minimum:"0"`           // with bundle: of each so many tickets of a type
	Pay     int    `json:"pay,omitempty" minimum:"0"`           // with bundle: so many are paid
	Auto    bool   `json:"automatic,omitempty" default:"false"` // it applies without being entered

	// which ticket types and products it is for; without any, all ticket types and no product
	TicketTypeIDs []ids.TicketType `json:"ticket_type_ids,omitempty" maxItems:"50"`
	// hidden ones among ticket_type_ids can be bought with it
	Unlocks bool `json:"unlocks,omitempty"`
	// seats that only its holders can buy
	Reserve *PromoReserve `json:"reserve,omitempty"`

	MaxUses      int `json:"max_uses,omitempty" minimum:"0"`       // the most orders of an event; 0 is without bound
	MaxPerPerson int `json:"max_per_person,omitempty" minimum:"0"` // of one account; 0 is without bound
	// the most tickets of an order that it makes cheaper; 0 is without bound
	MaxTickets int `json:"max_tickets,omitempty" minimum:"0"`
	// the least tickets of its types that an order must have
	MinTickets int `json:"min_tickets,omitempty" minimum:"0"`
	// what its types must cost at the least without it, in minor units
	MinTotal int64 `json:"min_total,omitempty" minimum:"0"`

	ValidFrom  *time.Time `json:"valid_from,omitempty"`  // absent: at once
	ValidUntil *time.Time `json:"valid_until,omitempty"` // absent: until the event ends
	// from when on its types are on sale with it, before others can buy them
	SalesStart *time.Time `json:"sales_start,omitempty"`
}

// PromoReserve are seats that are kept for holders of a promo code: of a ticket type, or of a quota.
type PromoReserve struct {
	TicketTypeID ids.TicketType `json:"ticket_type_id,omitempty"`
	QuotaID      ids.Quota      `json:"quota_id,omitempty"`
	Quantity     int            `json:"quantity" minimum:"0" maximum:"1000000"` // 0 keeps none
}

// PromoCode is a word that buyers enter for a discount, for hidden ticket types or for seats that are kept, or a
// discount that applies by itself.
type PromoCode struct {
	ID          ids.PromoCode `json:"id"`
	OrganizerID ids.Organizer `json:"organizer_id,omitempty"` // of a code for all its events
	EventID     ids.Event     `json:"event_id,omitempty"`     // of a code for one event
	Code        string        `json:"code,omitempty"`         // what is entered; automatic ones have none
	Batch       string        `json:"batch,omitempty"`        // of the request that made it with others
	PromoTerms
	Used      int       `json:"used"`       // orders that use it: those that have seats
	Revision  int64     `json:"revision"`   // grows with each change
	CreatedAt time.Time `json:"created_at"` // when it was made
	UpdatedAt time.Time `json:"updated_at"` // when it was last changed
}

// ETag implements rpc.ETagger.
func (c PromoCode) ETag() string { return strconv.FormatInt(c.Revision, 36) }

// NewPromoCode is the request of CreatePromoCode.
type NewPromoCode struct {
	EventID ids.Event `json:"-" path:"id"`
	// what is entered: 3 to 40 letters, digits, - and _; case and blanks do not count. Absent: a random one
	Code string `json:"code,omitempty" maxLength:"80"`
	PromoTerms
}

// NewOrganizerCode is the request of CreateOrganizerCode.
type NewOrganizerCode struct {
	OrganizerID ids.Organizer `json:"-" path:"id"`
	// what is entered: 3 to 40 letters, digits, - and _; case and blanks do not count. Absent: a random one
	Code string `json:"code,omitempty" maxLength:"80"`
	PromoTerms
}

// NewPromoBatch is the request of CreatePromoBatch.
type NewPromoBatch struct {
	EventID ids.Event `json:"-" path:"id"`
	Count   int       `json:"count" minimum:"1" maximum:"10000"` // how many codes
	Prefix  string    `json:"prefix,omitempty" maxLength:"20"`   // that all of them begin with
	PromoTerms
}

// PromoBatch is what a NewPromoBatch made.
type PromoBatch struct {
	Batch string `json:"batch"` // names its codes in lists and files
	Count int    `json:"count"` // how many were made
}

// PromoCodeRef names a promo code of an event in a path.
type PromoCodeRef struct {
	EventID ids.Event     `json:"-" path:"id"`
	ID      ids.PromoCode `json:"-" path:"code_id"`
}

// OrganizerCodeRef names a promo code of an organizer in a path.
type OrganizerCodeRef struct {
	OrganizerID ids.Organizer `json:"-" path:"id"`
	ID          ids.PromoCode `json:"-" path:"code_id"`
}

// PromoCodeQuery is the request of ListPromoCodes.
type PromoCodeQuery struct {
	Page
	EventID ids.Event `json:"-" path:"id"`
	Code    string    `json:"-" query:"code"`  // only the one that is entered so
	Batch   string    `json:"-" query:"batch"` // only those of a batch
}

// OrganizerCodeQuery is the request of ListOrganizerCodes.
type OrganizerCodeQuery struct {
	Page
	OrganizerID ids.Organizer `json:"-" path:"id"`
	Code        string        `json:"-" query:"code"` // only the one that is entered so
}

// PromoExport is the request of GetPromoCodesCSV.
type PromoExport struct {
	EventID ids.Event `json:"-" path:"id"`
	Batch   string    `json:"-" query:"batch"` // only those of a batch
}

// PromoChanges are changes of the terms. What is absent stays as it is, null clears. The kind stays.
type PromoChanges struct {
	Name    codec.Patch[string] `json:"name,omitzero" maxLength:"200"`                            // for the organizer, on one line
	Percent *string             `json:"percent,omitempty" pattern:"^[0-9]{1,3}(\\.[0-9]{1,2})?$"` // with percent
	Amount  *Money              `json:"amount,omitempty"`                                         // with amount
	Price   *Money              `json:"price,omitempty"`                                          // with price
	Buy     *int                `json:"buy,omitempty" minimum:"0"`                                // with bundle
	Pay     *int                `json:"pay,omitempty" minimum:"0"`                                // with bundle
	Unlocks *bool               `json:"unlocks,omitempty"`                                        // whether hidden types can be bought with it
	// the most orders of an event; null is without bound
	MaxUses codec.Patch[int] `json:"max_uses,omitzero" minimum:"0"`
	// of one account; null is without bound
	MaxPerPerson codec.Patch[int] `json:"max_per_person,omitzero" minimum:"0"`
	// the most tickets of an order that it makes cheaper; null is without bound
	MaxTickets codec.Patch[int] `json:"max_tickets,omitzero" minimum:"0"`
	// the least tickets of its types that an order must have; null is none
	MinTickets codec.Patch[int] `json:"min_tickets,omitzero" minimum:"0"`
	// what its types must cost at the least; null is none
	MinTotal codec.Patch[int64] `json:"min_total,omitzero" minimum:"0"`
	// null means all ticket types, and no product
	TicketTypeIDs codec.Patch[[]ids.TicketType] `json:"ticket_type_ids,omitzero" maxItems:"50"`
	Reserve       codec.Patch[PromoReserve]     `json:"reserve,omitzero"`     // null keeps no seats
	ValidFrom     codec.Patch[time.Time]        `json:"valid_from,omitzero"`  // null means at once
	ValidUntil    codec.Patch[time.Time]        `json:"valid_until,omitzero"` // null means until the event ends
	SalesStart    codec.Patch[time.Time]        `json:"sales_start,omitzero"` // null means with all others
}

// PatchPromoCode is the request of UpdatePromoCode.
type PatchPromoCode struct {
	EventID ids.Event     `json:"-" path:"id"`
	ID      ids.PromoCode `json:"-" path:"code_id"`
	// the ETag that was read; if it is not the present one, nothing is changed
	IfMatch string `json:"-" header:"If-Match"`
	PromoChanges
}

// PatchOrganizerCode is the request of UpdateOrganizerCode.
type PatchOrganizerCode struct {
	OrganizerID ids.Organizer `json:"-" path:"id"`
	ID          ids.PromoCode `json:"-" path:"code_id"`
	// the ETag that was read; if it is not the present one, nothing is changed
	IfMatch string `json:"-" header:"If-Match"`
	PromoChanges
}

// AvailabilityQuery is the request of GetAvailability.
type AvailabilityQuery struct {
	ID   ids.Event `json:"-" path:"id"`
	Code string    `json:"-" query:"code" maxLength:"100"` // a promo code: with it, more may be there
}

// PromoOffer is what a promo code does, for who has it.
type PromoOffer struct {
	Code string `json:"code"` // as the organizer writes it
	PromoTerms
	TicketTypes []TicketType `json:"ticket_types,omitempty"` // hidden ones that it unlocks
}

const (
	noCode     = "there is no such event or code, or the caller is not in the event's team"
	codeExists = "there is such a code already, or the seats that it is to keep are not there"
)

// The endpoints of promo codes, which the ticketing service serves.
var (
	CreatePromoCode = rpc.Endpoint[NewPromoCode, PromoCode]{Spec: rpc.Spec{Service: "ticketing", Name: "create_code",
		Method: "POST", Path: "/v1/events/{id}/codes", Access: rpc.User, Status: 201, Idempotent: true, Audited: true,
		Summary: "Create a promo code, or an automatic discount, of an event",
		Detail:  "Its limits are part of the decision about seats: they hold however many buyers come at once.",
		Faults:  forManagers(rpc.Faults{fault.Conflict: codeExists})}}
	CreatePromoBatch = rpc.Endpoint[NewPromoBatch, PromoBatch]{Spec: rpc.Spec{Service: "ticketing",
		Name: "create_codes", Method: "POST", Path: "/v1/events/{id}/codes/batch", Access: rpc.User, Status: 201,
		Idempotent: true, Audited: true, Summary: "Create many random promo codes with the same terms",
		Faults: forManagers(rpc.Faults{fault.Conflict: inFlight})}}
	ListPromoCodes = rpc.Endpoint[PromoCodeQuery, List[PromoCode]]{Spec: rpc.Spec{Service: "ticketing",
		Name: "codes", Method: "GET", Path: "/v1/events/{id}/codes", Access: rpc.User,
		Summary: "The promo codes of an event, newest first", Faults: forManagers(nil)}}
	GetPromoCodesCSV = rpc.Endpoint[PromoExport, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Name: "codes_csv",
		Method: "GET", Path: "/v1/events/{id}/codes.csv", Access: rpc.User,
		Summary: "The promo codes of an event as CSV", Faults: forManagers(nil)}}
	GetPromoCode = rpc.Endpoint[PromoCodeRef, PromoCode]{Spec: rpc.Spec{Service: "ticketing", Name: "get_code",
		Method: "GET", Path: "/v1/events/{id}/codes/{code_id}", Access: rpc.User, Summary: "Read a promo code",
		Faults: forManagers(rpc.Faults{fault.NotFound: noCode})}}
	UpdatePromoCode = rpc.Endpoint[PatchPromoCode, PromoCode]{Spec: rpc.Spec{Service: "ticketing",
		Name: "update_code", Method: "PATCH", Path: "/v1/events/{id}/codes/{code_id}", Access: rpc.User,
		Headers: []string{"If-Match"}, Audited: true, Summary: "Change a promo code",
		Detail: "Fewer uses than there are let no further order use it. Orders keep what they were made with.",
		Faults: forManagers(rpc.Faults{fault.NotFound: noCode,
			fault.Conflict: "the seats that it is to keep are not there"})}}
	DeletePromoCode = rpc.Endpoint[PromoCodeRef, rpc.None]{Spec: rpc.Spec{Service: "ticketing",
		Name: "delete_code", Method: "DELETE", Path: "/v1/events/{id}/codes/{code_id}", Access: rpc.User, Status: 204,
		Audited: true, Summary: "Delete a promo code; orders that use it stay as they are",
		Faults: forManagers(rpc.Faults{fault.NotFound: noCode, fault.Conflict: ""})}}

	CreateOrganizerCode = rpc.Endpoint[NewOrganizerCode, PromoCode]{Spec: rpc.Spec{Service: "ticketing",
		Name: "create_organizer_code", Method: "POST", Path: "/v1/organizers/{id}/codes", Access: rpc.User, Status: 201,
		Idempotent: true, Audited: true, Summary: "Create a promo code for all events of an organizer",
		Detail: "max_uses is then of each event. It names no ticket types and keeps no seats.",
		Faults: forMembers(MayEditEvent, rpc.Faults{fault.Conflict: "there is such a code already"})}}
	ListOrganizerCodes = rpc.Endpoint[OrganizerCodeQuery, List[PromoCode]]{Spec: rpc.Spec{Service: "ticketing",
		Name: "organizer_codes", Method: "GET", Path: "/v1/organizers/{id}/codes", Access: rpc.User,
		Summary: "The promo codes for all events of an organizer, newest first", Faults: forMembers(MayEditEvent, nil)}}
	UpdateOrganizerCode = rpc.Endpoint[PatchOrganizerCode, PromoCode]{Spec: rpc.Spec{Service: "ticketing",
		Name: "update_organizer_code", Method: "PATCH", Path: "/v1/organizers/{id}/codes/{code_id}", Access: rpc.User,
		Headers: []string{"If-Match"}, Audited: true, Summary: "Change a promo code of an organizer",
		Faults: forMembers(MayEditEvent, rpc.Faults{fault.Conflict: ""})}}
	DeleteOrganizerCode = rpc.Endpoint[OrganizerCodeRef, rpc.None]{Spec: rpc.Spec{Service: "ticketing",
		Name: "delete_organizer_code", Method: "DELETE", Path: "/v1/organizers/{id}/codes/{code_id}", Access: rpc.User,
		Status: 204, Audited: true, Summary: "Delete a promo code of an organizer; orders that use it stay as they are",
		Faults: forMembers(MayEditEvent, rpc.Faults{fault.Conflict: ""})}}
)

func promoEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreatePromoCode.Describe(), CreatePromoBatch.Describe(), ListPromoCodes.Describe(),
		GetPromoCodesCSV.Describe(), GetPromoCode.Describe(), UpdatePromoCode.Describe(), DeletePromoCode.Describe(),
		CreateOrganizerCode.Describe(), ListOrganizerCodes.Describe(), UpdateOrganizerCode.Describe(),
		DeleteOrganizerCode.Describe()}
}
