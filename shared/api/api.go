// Package api is the contract of the system: every endpoint, request, response, domain event and live setting, declared
// once. Services bind handlers to these values, other services call them, the gateway mounts them, and the OpenAPI
// document, the permissions of each service on NATS and the micro metadata are derived from them.
package api

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

// All returns every endpoint in reading order.
func All() []rpc.Descriptor {
	return slices.Concat(userEndpoints(), eventEndpoints(), planningEndpoints(), organizerEndpoints(),
		pictureEndpoints(),
		keyEndpoints(), webhookEndpoints(), ticketingEndpoints(), attendeeEndpoints(), cancellationEndpoints(),
		staffOrderEndpoints(), paymentEndpoints(), payoutEndpoints(), notificationEndpoints(), analyticsEndpoints(),
		configEndpoints(),
		discoveryEndpoints(), venueEndpoints(), leaseEndpoints(), promoEndpoints(), questionEndpoints(),
		authorityEndpoints(), invoiceEndpoints(), importEndpoints(),
		closureEndpoints(), exchangeEndpoints(), auditEndpoints())
}

// Topic is a kind of domain event: the subject it is published on, in stream EVENTS, and the type of its payload.
type Topic[T any] struct {
	Subject string // ev.<service>.<entity>.<verb>
	Summary string
}

// List is one page of a collection.
type List[T any] struct {
	Items []T `json:"items"` // what is on the page
	// for the parameter cursor of the next page; absent on the last one
	NextCursor string `json:"next_cursor,omitempty"`
}

// Page is the part of a request that asks for a page.
type Page struct {
	Limit  int    `json:"-" query:"limit" minimum:"1" maximum:"200" default:"50"` // how many items a page has at most
	Cursor string `json:"-" query:"cursor"`                                       // the next_cursor of the page before
}
