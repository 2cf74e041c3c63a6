package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// ExchangePolicy is how buyers exchange paid tickets for others of the event, or of another date of its series.
type ExchangePolicy struct {
	// whether they do so by themselves until the time; otherwise only the organizer does it for them
	SelfService bool `json:"self_service,omitempty"`
	// until how long before the event begins
	MinutesBefore int `json:"minutes_before,omitempty" minimum:"0" maximum:"525600"`
	// whether for tickets of another type; otherwise only for one of the same name, on another date
	OtherTypes bool `json:"other_types,omitempty"`
	// whether for tickets of another date of the series
	OtherDates bool `json:"other_dates,omitempty"`
	// whether for what costs less, too: the difference goes back
	Cheaper bool `json:"cheaper,omitempty"`
	// what the exchange of a ticket costs, in minor units of the currency of the order
	FeePerTicket int64 `json:"fee_per_ticket,omitempty" minimum:"0" maximum:"1000000000000"`
}

// OrderCredit is money of another order's payment that pays a part of an order, because tickets of that one were
// exchanged for those of this one.
type OrderCredit struct {
	PaymentID ids.Payment `json:"payment_id"` // that has collected it
	Amount    Money       `json:"amount"`
	Refunded  Money       `json:"refunded,omitzero"` // what of it goes back, is back, or pays a further order; absent: nothing
}

// ExchangeFor is for what tickets of an order are exchanged.
type ExchangeFor struct {
	Tickets []ids.Ticket `json:"tickets" maxItems:"200"` // to exchange, all of them for tickets of one type
	// another date of the series; for the organizer, another of its events. Absent: the event of the order
	ToEventID    ids.Event      `json:"to_event_id,omitempty"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"` // of the new tickets
	// what is to be paid by what the buyer was shown, or, if it is negative, goes back: if that is dearer by now,
	// nothing is exchanged, and the answer is price_changed. Absent: whatever it costs
	MaxDifference *Money `json:"max_difference,omitempty"`
}

// NewExchange is the request of CreateExchange.
type NewExchange struct {
	OrderID ids.Order `json:"-" path:"id"`
	ExchangeFor
}

// StaffExchange is the request of CreateStaffExchange.
type StaffExchange struct {
	EventID ids.Event `json:"-" path:"id"`
	OrderID ids.Order `json:"-" path:"order_id"`
	ExchangeFor
}

// ExchangeUntil returns until when buyers exchange tickets by themselves, or nil if they never do.
func (e *Event) ExchangeUntil() *time.Time {
	p := e.OrderRules.Exchange
	return e.selfServiceUntil(p.SelfService, p.MinutesBefore)
}

// ExchangeQuery is the request of GetExchange.
type ExchangeQuery struct {
	OrderID ids.Order `json:"-" path:"id"`
	// those that are to be exchanged; absent: all that can be
	Tickets []ids.Ticket `json:"-" query:"ticket"`
	// as to_event_id of CreateExchange
	ToEventID ids.Event `json:"-" query:"to_event_id"`
}

// ExchangeOptions is for what tickets of a paid order can be exchanged now, and what that costs.
type ExchangeOptions struct {
	// whether the caller may: by the policy of the event, or as one who works with its orders
	Allowed bool         `json:"allowed"`
	Until   *time.Time   `json:"until,omitempty"` // until when buyers may; absent: they may not
	Tickets []ids.Ticket `json:"tickets"`         // of the order that can be exchanged
	// whether buyers may exchange for other dates of the series: ask again with to_event_id
	OtherDates bool            `json:"other_dates,omitempty"`
	EventID    ids.Event       `json:"event_id"`          // of the offers
	Credit     Money           `json:"credit"`            // what was paid for the tickets that were asked about
	Offers     []ExchangeOffer `json:"offers"`            // for what they can be exchanged
	Pending    ids.Order       `json:"pending,omitempty"` // an exchange of the order that waits for its payment
}

// ExchangeOffer is what it costs to exchange tickets for those of a type. The total is the credit and what is due; if
// it is less than the credit, the rest goes back.
type ExchangeOffer struct {
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Name         string         `json:"name"`                  // of the ticket type
	Available    int            `json:"available" minimum:"0"` // how many can be had now
	Total        Money          `json:"total"`                 // what the new order costs, with the fee
	Fee          Money          `json:"fee,omitzero"`          // for the exchange; absent: none
	Due          Money          `json:"due"`                   // what is to be paid
	Refund       Money          `json:"refund"`                // what goes back
}

// ExchangeEvent is the payload of TicketsWereExchanged.
type ExchangeEvent struct {
	RefundID  ids.Refund   `json:"refund_id"`  // the decision about the old order
	OrderID   ids.Order    `json:"order_id"`   // the old one
	EventID   ids.Event    `json:"event_id"`   // of it
	PaymentID ids.Payment  `json:"payment_id"` // that has paid it; empty if credits or nothing did
	UserID    ids.User     `json:"user_id"`    // whose orders they are
	Tickets   []ids.Ticket `json:"tickets"`    // that are revoked
	Credit    Money        `json:"credit"`     // what of their price pays the new order
	Refund    Money        `json:"refund"`     // what of it goes back
	Order     Order        `json:"order"`      // the new one, which is paid
	At        time.Time    `json:"at"`
}

// TicketsWereExchanged says that tickets were exchanged for those of another order.
var TicketsWereExchanged = Topic[ExchangeEvent]{"ev.ticketing.order.exchanged",
	"tickets of an order were exchanged for those of another"}

// RevokedByExchange is the cause of a revocation because the ticket was exchanged for another.
const RevokedByExchange = "exchanged"

const noExchange = "the order is not paid; a ticket of it was used or given away; the buyer may not exchange it for " +
	"that, or not any more; or another exchange of it waits to be paid"

// The endpoints by which tickets are exchanged.
var (
	GetExchange = rpc.Endpoint[ExchangeQuery, ExchangeOptions]{Spec: rpc.Spec{Service: "ticketing",
		Name: "get_exchange", Method: "GET", Path: "/v1/orders/{id}/exchange", Access: rpc.User, Guests: true,
		Summary: "For what tickets of a paid order can be exchanged, and what that costs",
		Faults:  hidden(noOrder, "the two events have different organizers or currencies")}}
	CreateExchange = rpc.Endpoint[NewExchange, CreatedOrder]{Spec: rpc.Spec{Service: "ticketing",
		Name: "create_exchange", Method: "POST", Path: "/v1/orders/{id}/exchanges", Access: rpc.User, Guests: true,
		Status: 201, Location: "/v1/orders/{id}", Idempotent: true, Sealed: true,
		Summary: "Exchange tickets of a paid order for those of another type or date",
		Detail: "The answer is a new order at its full price; what was paid for the old tickets is a credit of it. " +
			"If nothing is due, it is paid at once, the old tickets are revoked, and a rest goes back. Otherwise " +
			"it holds its seats until the difference is paid; the old tickets stay good until then. Without an " +
			"account the answer has the access_token of the new order.",
		Faults: rpc.Faults{fault.NotFound: noOrder, fault.Forbidden: "", fault.Conflict: noExchange,
			fault.SoldOut: "there is no room left", fault.PriceChanged: "it costs more than max_difference"}}}
	CreateStaffExchange = rpc.Endpoint[StaffExchange, Order]{Spec: rpc.Spec{Service: "ticketing",
		Name: "create_staff_exchange", Method: "POST", Path: "/v1/events/{id}/orders/{order_id}/exchanges",
		Access: rpc.User, Status: 201, Idempotent: true, Sensitive: true, Audited: true,
		Summary: "Exchange tickets of an order for its buyer, whatever the policy of the event is, without a fee",
		Detail: "The new order is the buyer's, who has a week to pay what is due. Money that goes back needs the " +
			"permission to refund.",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or it has no such order",
			fault.SoldOut: "there is no room left", fault.PriceChanged: "it costs more than max_difference",
			fault.Conflict: "the order is not paid, or was sold at a counter; a ticket of it was used or given away; " +
				"or another exchange of it waits to be paid"})}}
)

func exchangeEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{GetExchange.Describe(), CreateExchange.Describe(), CreateStaffExchange.Describe()}
}
