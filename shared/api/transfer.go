package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Transfer is the request of TransferTicket.
type Transfer struct {
	ID    ids.Ticket `json:"-" path:"id"`
	Email string     `json:"email" format:"email"` // of the new owner
	Name  string     `json:"name,omitempty"`       // who comes with it; absent: the new owner
}

// TicketOffer is a ticket that waits to be accepted by whoever reads the mail of an address.
type TicketOffer struct {
	ID        ids.TicketOffer `json:"id"`
	TicketID  ids.Ticket      `json:"ticket_id"`
	EventID   ids.Event       `json:"event_id"`
	EventName string          `json:"event_name"`           // what the event is called
	Email     string          `json:"email" format:"email"` // of the one who may accept it
	CreatedAt time.Time       `json:"created_at"`           // when it was made
	ExpiresAt time.Time       `json:"expires_at"`           // until when it can be accepted
}

// AcceptOffer is the request of AcceptTicketOffer. One of the two has to be given.
type AcceptOffer struct {
	Token   string          `json:"token,omitempty"`    // from the mail
	OfferID ids.TicketOffer `json:"offer_id,omitempty"` // of an offer to the confirmed address of the caller
}

// RefuseOffer is the request of RefuseTicketOffer.
type RefuseOffer struct {
	Token string `json:"token"` // from the mail
}

// MintOffer is the request of the internal endpoint MintOfferToken.
type MintOffer struct {
	OfferID ids.TicketOffer `json:"offer_id"`
}

// MintedOffer is an offer of a ticket, ready to be mailed. The token exists nowhere else.
type MintedOffer struct {
	Email     string    `json:"email"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// How an offer of a ticket ends.
const (
	OfferAccepted  = "accepted"
	OfferRefused   = "refused"
	OfferWithdrawn = "withdrawn"
)

// OfferEvent is the payload of the topics about offers of tickets. The address stays in ticketing.
type OfferEvent struct {
	OfferID  ids.TicketOffer `json:"offer_id"`
	TicketID ids.Ticket      `json:"ticket_id"`
	EventID  ids.Event       `json:"event_id"`
	OwnerID  ids.User        `json:"owner_id"`          // who offers it
	Outcome  string          `json:"outcome,omitempty"` // with TicketOfferEnded: accepted, refused or withdrawn
	At       time.Time       `json:"at"`
}

const offerOver = "the offer is used, taken back or over"

// The endpoints and topics about offers of tickets, which ticketing serves.
var (
	TransferTicket = rpc.Endpoint[Transfer, Ticket]{Spec: rpc.Spec{Service: "ticketing", Name: "transfer_ticket",
		Method: "POST", Path: "/v1/tickets/{id}/transfer", Access: rpc.User, Guests: true, Sensitive: true,
		Limit:   rpc.LoginLimit,
		Summary: "Give a ticket to another person",
		Detail: "If an account has the address, and has confirmed it, the ticket is its own at once, and the old " +
			"code is revoked. Otherwise the ticket is offered: a token is mailed there that accepts it for a week. " +
			"Until then it stays the caller's, and valid; the answer has offer.",
		Faults: hidden(notOwned, "the ticket was used or revoked, is offered to another address, or the caller's own "+
			"address is not confirmed")}}
	WithdrawTransfer = rpc.Endpoint[TicketRef, rpc.None]{Spec: rpc.Spec{Service: "ticketing",
		Name: "withdraw_transfer", Method: "DELETE", Path: "/v1/tickets/{id}/transfer", Access: rpc.User, Status: 204,
		Guests: true, Sensitive: true, Summary: "Take back the offer of a ticket, while it waits",
		Faults: hidden(notOwned, "the ticket was not offered, or the offer was accepted")}}
	ListTicketOffers = rpc.Endpoint[rpc.None, List[TicketOffer]]{Spec: rpc.Spec{Service: "ticketing",
		Name: "my_ticket_offers", Method: "GET", Path: "/v1/me/ticket-offers", Access: rpc.User,
		Summary: "Tickets that are offered to the caller's confirmed address"}}
	AcceptTicketOffer = rpc.Endpoint[AcceptOffer, Ticket]{Spec: rpc.Spec{Service: "ticketing",
		Name: "accept_ticket_offer", Method: "POST", Path: "/v1/ticket-offers/accept", Access: rpc.User, Sealed: true,
		Sensitive: true, Limit: rpc.LoginLimit, Summary: "Accept a ticket that was offered",
		Detail: "With the token from the mail, or by its id if it was offered to the caller's confirmed address. The " +
			"code that the ticket had is revoked.",
		Faults: rpc.Faults{fault.Expired: offerOver,
			fault.Conflict: "the ticket was used, given back or given to another person"}}}
	RefuseTicketOffer = rpc.Endpoint[RefuseOffer, rpc.None]{Spec: rpc.Spec{Service: "ticketing",
		Name: "refuse_ticket_offer", Method: "POST", Path: "/v1/ticket-offers/refuse", Access: rpc.Public, Sealed: true,
		Status: 204, Limit: rpc.LoginLimit, Summary: "Refuse a ticket that was offered, with the token from the mail",
		Faults: rpc.Faults{fault.Expired: offerOver}}}
	MintOfferToken = rpc.Endpoint[MintOffer, MintedOffer]{Spec: rpc.Spec{Service: "ticketing", Name: "mint_offer",
		Access: rpc.Internal, Sealed: true, Callers: []string{"notification"},
		Summary: "Make the token that accepts a ticket, at the moment it is mailed"}}

	TicketOffered    = Topic[OfferEvent]{"ev.ticketing.offer.made", "a ticket is offered to the owner of an address"}
	TicketOfferEnded = Topic[OfferEvent]{"ev.ticketing.offer.ended",
		"an offer of a ticket was accepted, refused or withdrawn"}
)
