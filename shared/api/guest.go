package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// GuestOf returns the buyer of an order that was made without an account: a person who has this order, its tickets and
// its payments, and nothing else. The id has the digits of the order's.
func GuestOf(order ids.Order) ids.User { return ids.Twin[ids.UserKind](order) }

// OrderOfGuest returns the order whose buyer a guest is.
func OrderOfGuest(guest ids.User) ids.Order { return ids.Twin[ids.OrderKind](guest) }

// CreatedOrder is an order that was made just now.
type CreatedOrder struct {
	Order
	// without an account: good for this order alone, as Authorization: Bearer, or as ?token= of links and files
	AccessToken string `json:"access_token,omitempty"`
}

// OrderAccess is a token that is good for one order.
type OrderAccess struct {
	AccessToken string `json:"access_token"` // for Authorization: Bearer, or ?token= where a link is needed
}

// OrderChange is the request of UpdateOrder. What is absent stays as it is.
type OrderChange struct {
	ID       ids.Order `json:"-" path:"id"`
	Email    *string   `json:"email,omitempty" format:"email"` // where its mails go from now on
	Name     *string   `json:"name,omitempty"`                 // of its buyer, on one line
	Language *string   `json:"language,omitempty"`             // of its mails, as in Accept-Language
}

// OrderRecords is all that is kept about the buyer of an order that was made without an account.
type OrderRecords struct {
	Order   Order          `json:"order"`
	Tickets []Ticket       `json:"tickets"`
	Answers []PersonAnswer `json:"answers,omitempty"` // to what was asked about them
	// whether the buyer has proven to read what is mailed to the address
	EmailVerified bool   `json:"email_verified"`
	Language      string `json:"language,omitempty"` // of its mails
}

// LinksOf is the request of RequestOrderLinks.
type LinksOf struct {
	Email string `json:"email" format:"email"` // that the orders were made with
}

// ClaimedOrders is how many orders a person has taken over.
type ClaimedOrders struct {
	Claimed int `json:"claimed" minimum:"0"` // orders that are the caller's now
	// whether there are more: ask again
	More bool `json:"more,omitempty"`
}

// CheckToken is the request of the internal endpoint CheckOrderToken.
type CheckToken struct {
	Token string `json:"token"`
}

// GuestPass is whom a token stands for.
type GuestPass struct {
	UserID ids.User `json:"user_id"` // see GuestOf
}

// MintLink is the request of the internal endpoint MintOrderLink.
type MintLink struct {
	UserID ids.User `json:"user_id"` // a guest
}

// MintedLink is a guest's link, ready to be mailed. The token exists nowhere else.
type MintedLink struct {
	Contact Contact `json:"contact"`
	Token   string  `json:"token"`
}

// GuestEvent is the payload of the topics about guests. Addresses stay in ticketing.
type GuestEvent struct {
	UserID  ids.User  `json:"user_id"` // see GuestOf
	OrderID ids.Order `json:"order_id"`
	EventID ids.Event `json:"event_id"`
	To      ids.User  `json:"to,omitempty"`    // with OrderWasClaimed: whose the order is now
	Free    bool      `json:"free,omitempty"`  // with GuestHasOrdered: it costs nothing
	Quiet   bool      `json:"quiet,omitempty"` // with GuestHasOrdered: the guest is not told
	At      time.Time `json:"at"`
}

// LinksRequest is the payload of OrderLinksRequested.
type LinksRequest struct {
	RequestID string    `json:"request_id"` // is not the secret
	At        time.Time `json:"at"`
}

const (
	notGuest = "there is no such order, or it was not made without an account"
	noMore   = "the order has an account by now"
)

// The endpoints and topics about orders without an account, which ticketing serves.
var (
	RenewOrderAccess = rpc.Endpoint[OrderRef, OrderAccess]{Spec: rpc.Spec{Service: "ticketing",
		Name: "renew_order_access", Method: "POST", Path: "/v1/orders/{id}/access-token", Access: rpc.User,
		Guests: true, Sealed: true, Status: 201, Limit: rpc.LoginLimit,
		Summary: "Another token for an order that was made without an account",
		Detail:  "All tokens of the order before it end, those in mails too.",
		Faults:  hidden(notGuest, noMore)}}
	EndOrderAccess = rpc.Endpoint[OrderRef, rpc.None]{Spec: rpc.Spec{Service: "ticketing",
		Name: "end_order_access", Method: "DELETE", Path: "/v1/orders/{id}/access-token", Access: rpc.User,
		Guests: true, Status: 204, Summary: "End all tokens of an order that was made without an account",
		Detail: "Another one comes by mail: POST /v1/order-links.",
		Faults: hidden(notGuest, "")}}
	UpdateOrder = rpc.Endpoint[OrderChange, Order]{Spec: rpc.Spec{Service: "ticketing", Name: "update_order",
		Method: "PATCH", Path: "/v1/orders/{id}", Access: rpc.User, Guests: true, Limit: rpc.LoginLimit,
		Summary: "Change the buyer's address, name or language of an order that was made without an account",
		Detail: "Another address gets a link by mail. The links that were mailed to the one before end, and it hears " +
			"nothing more of the order.",
		Faults: hidden(notGuest, "the address was changed too often, or the order has an account by now")}}
	ExportOrder = rpc.Endpoint[OrderRef, OrderRecords]{Spec: rpc.Spec{Service: "ticketing", Name: "export_order",
		Method: "GET", Path: "/v1/orders/{id}/export", Access: rpc.User, Guests: true,
		Summary: "All that is kept about the buyer of an order that was made without an account",
		Faults:  hidden(notGuest, "")}}
	ForgetOrder = rpc.Endpoint[OrderRef, rpc.None]{Spec: rpc.Spec{Service: "ticketing", Name: "forget_order",
		Method: "DELETE", Path: "/v1/orders/{id}/personal-data", Access: rpc.User, Guests: true, Status: 204,
		Summary: "Erase the personal data of an order that was made without an account",
		Detail: "An unpaid order is cancelled. Tickets stay valid, without names; nothing is mailed any more, and " +
			"the order's tokens end.",
		Faults: hidden(notGuest, "the order is being paid")}}
	RequestOrderLinks = rpc.Endpoint[LinksOf, rpc.None]{Spec: rpc.Spec{Service: "ticketing",
		Name: "request_order_links", Method: "POST", Path: "/v1/order-links", Access: rpc.Public, Sealed: true,
		Status: 202, Limit: rpc.LoginLimit,
		Summary: "Have the links to the newest orders of an address mailed to it",
		Detail:  "The answer is the same whether or not there are such orders."}}
	ClaimOrders = rpc.Endpoint[rpc.None, ClaimedOrders]{Spec: rpc.Spec{Service: "ticketing", Name: "claim_orders",
		Method: "POST", Path: "/v1/me/orders/claims", Access: rpc.User,
		Summary: "Take over the orders that were made with the caller's address without an account",
		Detail: "The caller has confirmed the address. Orders from before that are taken over by themselves. Their " +
			"tokens end.",
		Faults: rpc.Faults{fault.Conflict: "the caller's address is not confirmed"}}}
	CheckOrderToken = rpc.Endpoint[CheckToken, GuestPass]{Spec: rpc.Spec{Service: "ticketing",
		Name: "check_order_token", Access: rpc.Internal, Sealed: true, Callers: []string{"gateway"},
		Timeout: 2 * time.Second, Workers: 128, Queue: 2048, Summary: "Whom the token of an order stands for"}}
	MintOrderLink = rpc.Endpoint[MintLink, MintedLink]{Spec: rpc.Spec{Service: "ticketing", Name: "mint_order_link",
		Access: rpc.Internal, Sealed: true, Callers: []string{"notification"},
		Summary: "Make the token of a guest's link, at the moment it is mailed"}}
	GetGuests = rpc.Endpoint[GetContactsOf, List[Contact]]{Spec: rpc.Spec{Service: "ticketing", Name: "guests",
		Access: rpc.Internal, Callers: []string{"notification"},
		Summary: "How to reach buyers without an account; others are left out"}}

	GuestHasOrdered = Topic[GuestEvent]{"ev.ticketing.guest.ordered", "an order was made without an account"}
	GuestWantsLink  = Topic[GuestEvent]{"ev.ticketing.guest.link",
		"the link to an order that was made without an account is to be mailed"}
	GuestConfirmed = Topic[GuestEvent]{"ev.ticketing.guest.confirmed",
		"the buyer of an order without an account reads what is mailed to the address"}
	GuestForgotten = Topic[GuestEvent]{"ev.ticketing.guest.forgotten",
		"the buyer of an order without an account is forgotten"}
	OrderWasClaimed = Topic[GuestEvent]{"ev.ticketing.order.claimed",
		"an order that was made without an account belongs to one now, with its tickets and payments"}
	OrderLinksRequested = Topic[LinksRequest]{"ev.ticketing.guest.links_requested",
		"the links to the orders of an address are to be mailed to it, if there are any"}
)

func guestEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{RenewOrderAccess.Describe(), EndOrderAccess.Describe(), UpdateOrder.Describe(),
		ExportOrder.Describe(), ForgetOrder.Describe(), RequestOrderLinks.Describe(), ClaimOrders.Describe(),
		CheckOrderToken.Describe(), MintOrderLink.Describe(), GetGuests.Describe()}
}

func guestTopics() []TopicDescriptor {
	return []TopicDescriptor{GuestHasOrdered.Describe(), GuestWantsLink.Describe(), GuestConfirmed.Describe(),
		GuestForgotten.Describe(), OrderWasClaimed.Describe(), OrderLinksRequested.Describe()}
}

// OrderTokenPrefix begins the token of an order.
const OrderTokenPrefix = "go_"
