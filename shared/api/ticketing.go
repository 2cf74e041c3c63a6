package api

import (
	"cmp"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
)

// The states of an order.
const (
	OrderPending   = "pending"   // holds its seats until expires_at
	OrderPaid      = "paid"      // has its tickets
	OrderExpired   = "expired"   // was not paid in time; the seats are back
	OrderCancelled = "cancelled" // given up by the buyer, or the event was cancelled; nothing was paid
	OrderRefunding = "refunding" // the money is on its way back
	OrderRefunded  = "refunded"  // the money is back
)

// The states of a ticket.
const (
	TicketValid    = "valid"
	TicketAdmitted = "admitted"

	TicketHandedOut = "handed_out" // a product
	TicketRevoked   = "revoked"
)

// Availability is what is left of an event. For each ticket type quantity = available + held + sold + leased, unless
// less is available because a quota that it draws on has less left, or because seats are reserved for codes.
type Availability struct {
	EventID     ids.Event          `json:"event_id"`
	TicketTypes []TypeAvailability `json:"ticket_types"`
	Code        *PromoOffer        `json:"code,omitempty"` // with a code: what it does
}

// TypeAvailability is what is left of a ticket type.
type TypeAvailability struct {
	ID        ids.TicketType `json:"id"`
	Quantity  int            `json:"quantity" minimum:"0"`  // how many tickets there are
	Available int            `json:"available" minimum:"0"` // how many can be bought now
	Held      int            `json:"held" minimum:"0"`      // how many unpaid orders hold
	Sold      int            `json:"sold" minimum:"0"`      // how many are sold
	Leased    int            `json:"leased" minimum:"0"`    // how many only a venue sells, and has not
	// how many are kept for holders of codes; they are not available without one
	Reserved int `json:"reserved,omitempty" minimum:"0"`
	// what one costs now, before codes and before what comes on top
	Price Money        `json:"price"`
	Stage *StageOnSale `json:"stage,omitempty"` // whose price that is; absent: that of the ticket type
	Next  *NextPrice   `json:"next,omitempty"`  // what it costs afterwards, if that is known to be another price
}

// NewOrder is the request of CreateOrder.
type NewOrder struct {
	EventID ids.Event `json:"event_id"`
	// what to buy, each ticket type once; products come with tickets
	Items []NewOrderItem `json:"items"`
	// of a discount, hidden ticket types or reserved seats; case and blanks do not count
	PromoCode string `json:"promo_code,omitempty" maxLength:"100"`
	// who comes, in the order of the items: at most one for each ticket
	Attendees []Attendee `json:"attendees,omitempty"`
	// to what the event asks at checkout; of an order that costs something they can be given later
	Answers  []Answer `json:"answers,omitempty" maxItems:"2000"`
	Billing  *Billing `json:"billing,omitempty"`              // who stands on the invoice as the buyer
	Email    string   `json:"email,omitempty" format:"email"` // without an account: where tickets and link are mailed
	Name     string   `json:"name,omitempty"`                 // without an account: of the buyer, on one line
	Language string   `json:"language,omitempty"`             // without an account: of the mails, as in Accept-Language
}

// NewOrderItem asks for tickets of one type.
type NewOrderItem struct {
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Quantity     int            `json:"quantity" minimum:"1"` // how many; settings and the ticket type limit it
	// of a type with free_price: what the buyer pays for each, at least its price. Absent: its price
	UnitPrice *Money `json:"unit_price,omitempty"`
	// what each costs by what the buyer was shown: if it is more by now, nothing is ordered, and the answer is
	// price_changed. Absent: whatever it costs
	MaxPrice *Money `json:"max_price,omitempty"`
}

// Attendee is who will come with a ticket.
type Attendee struct {
	Name  string `json:"name"`                           // who comes, on one line
	Email string `json:"email,omitempty" format:"email"` // where to reach this person
}

// Order is a purchase from the first second to the last. Prices are those of the moment it was made.
type Order struct {
	ID ids.Order `json:"id"`
	// what people call the order by, such as 7KX4P: at its event no other has it
	Number  string    `json:"number,omitempty"`
	EventID ids.Event `json:"event_id"`
	UserID  ids.User  `json:"user_id"`
	Buyer   *Attendee `json:"buyer,omitempty"`   // for the organizer, and for one without an account
	Billing *Billing  `json:"billing,omitempty"` // where one order is answered, and in exports: who stands on the invoice as the buyer
	Note    string    `json:"note,omitempty"`    // for the organizer: what its people say of the order
	// pending holds its seats until expires_at; refunding and refunded are about all of its money
	Status    string      `json:"status" enum:"pending,paid,expired,cancelled,refunding,refunded"`
	Items     []OrderItem `json:"items"`
	Fees      []OrderFee  `json:"fees,omitempty"`
	Total     Money       `json:"total"`                // what is paid: the gross of all items and fees
	Taxes     []TaxTotal  `json:"taxes,omitempty"`      // by rate; their gross is the total
	Discount  Money       `json:"discount,omitzero"`    // what the items cost less than without their discounts
	PromoCode string      `json:"promo_code,omitempty"` // that was used
	Refunded  Money       `json:"refunded,omitzero"`    // what goes back, or is back; absent if nothing is
	// what of that pays the orders that its tickets were exchanged for, and so does not leave
	Credited Money `json:"credited,omitzero"`
	// of an exchange: the order whose tickets are revoked when it is paid
	ExchangeOf ids.Order `json:"exchange_of,omitempty"`
	// of an exchange: money of that order which pays a part of the total
	Credits []OrderCredit `json:"credits,omitempty"`
	// of an exchange: what is to be paid beside the credits, or was
	Due Money `json:"due,omitzero"`
	// what the organizer keeps of what tickets cost that were given back
	CancellationFee Money `json:"cancellation_fee,omitzero"`
	// answers are missing, without which it cannot be paid
	AnswersDue bool `json:"answers_due,omitempty"`
	// lines have no tax: the buyer, a business of another member state of the EU, owes it
	ReverseCharge bool `json:"reverse_charge,omitempty"`
	// what was found out of the buyer's VAT number; absent: the order depends on none
	VATCheck *VATCheck `json:"vat_check,omitempty"`

	ExpiresAt *time.Time  `json:"expires_at,omitempty"` // while pending
	PaymentID ids.Payment `json:"payment_id,omitempty"` // the newest attempt to pay
	PaidAt    *time.Time  `json:"paid_at,omitempty"`    // when it was paid
	Revision  int64       `json:"revision"`             // grows with each change
	CreatedAt time.Time   `json:"created_at"`           // when it was made
	UpdatedAt time.Time   `json:"updated_at"`           // when it was last changed
}

// Called returns what people call an order: its number, or its id where it has none.
func (o Order) Called() string { return cmp.Or(o.Number, o.ID.String()) }

// ETag implements rpc.ETagger.
func (o Order) ETag() string { return strconv.FormatInt(o.Revision, 36) }

// IsTransient implements rpc.Transient: a pending order is about to be paid or to end, and a refund is under way.
func (o Order) IsTransient() bool { return o.Status == OrderPending || o.Status == OrderRefunding }

// ToPay returns what its buyer pays for an order: the total, without what credits pay of it.
func (o Order) ToPay() Money {
	if o.ExchangeOf != "" {
		return o.Due
	}
	return o.Total
}

// Credit is what credits pay of an order.
func (o Order) Credit() Money {
	sum := Money{Currency: o.Total.Currency}
	for _, c := range o.Credits {
		sum.Amount += c.Amount.Amount
	}
	return sum
}

// LiveSubject returns where changes of an order are published.
func (r OrderRef) LiveSubject() string { return live.Subject("ticketing", r.ID.String()) }

// OrderRef names an order in a path.
type OrderRef struct {
	ID ids.Order `json:"-" path:"id"`
}

// Ticket lets one person in, once, or is a product that is handed out once.
type Ticket struct {
	ID ids.Ticket `json:"id"`
	// a product lets nobody in; absent: a ticket
	Kind string `json:"kind,omitempty" enum:"ticket,product"`
	Code string `json:"code,omitempty"` // signed; what the QR code holds; for its owner and the event's managers
	// a valid one lets a person in, an admitted one has done so, a revoked one does not; a product is handed out
	Status       string         `json:"status" enum:"valid,admitted,handed_out,revoked"`
	EventID      ids.Event      `json:"event_id"`
	EventName    string         `json:"event_name"` // what the event is called
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	TypeName     string         `json:"ticket_type_name"` // what the ticket type is called
	OrderID      ids.Order      `json:"order_id"`
	OwnerID      ids.User       `json:"owner_id,omitempty"` // absent in answers at a venue
	Holder       Attendee       `json:"holder"`
	Revision     int64          `json:"revision"`              // grows with each transfer; older codes are revoked
	IssuedAt     time.Time      `json:"issued_at,omitzero"`    // when it was made; absent in answers at a venue
	AdmittedAt   *time.Time     `json:"admitted_at,omitempty"` // when its holder came in, or the product was handed out
	// waits to be accepted by another person; for its owner, where one ticket is answered
	Offer *TicketOffer `json:"offer,omitempty"`
}

// TicketRef names a ticket in a path.
type TicketRef struct {
	ID ids.Ticket `json:"-" path:"id"`
}

// EventPage is a page of something that belongs to an event.
type EventPage struct {
	Page
	EventID ids.Event `json:"-" path:"id"`
}

// OrderSearch is the request of ListEventOrders.
type OrderSearch struct {
	EventPage
	// the number or id of an order, the address of a buyer, or a part of a name, an address or a promo code, without
	// case and accents. A page of a search may be empty and have a cursor: each looks at a bounded number of orders
	Query string `json:"-" query:"q"`
}

// The endpoints of the ticketing service.
var (
	GetAvailability = rpc.Endpoint[AvailabilityQuery, Availability]{Spec: rpc.Spec{Service: "ticketing", Scopes: anyKey,
		Name: "availability", Method: "GET", Path: "/v1/events/{id}/availability", Access: rpc.Optional, Joint: true,
		Workers: 256, Queue: 4096, Summary: "What is left of an event",
		Detail: "With code it has what the code unlocks and does. Hidden ticket types are there for its holders alone.",
		Faults: public()}}
	CreateOrder = rpc.Endpoint[NewOrder, CreatedOrder]{Spec: rpc.Spec{Service: "ticketing", Name: "create_order",
		Method: "POST", Path: "/v1/orders", Access: rpc.Optional, Status: 201, Location: "/v1/orders/{id}",
		Sealed: true, Limit: rpc.GuestLimit,
		Idempotent: true, Workers: 512, Queue: 8192, Summary: "Take seats and hold them until they are paid",
		Detail: "Answers when the seats are decided and on disk. A free order is paid at once. " +
			"No room is 409 sold_out. Without an account email is needed, and the answer has an access_token that is " +
			"good for this order alone; an Idempotency-Key is then hard to guess: 16 characters or more.",
		Faults: rpc.Faults{fault.SoldOut: "there is no room left", fault.PriceChanged: "it costs more than max_price",
			fault.Conflict: "the event is not on sale, cancelled or over, or the sale of a ticket type has not begun " +
				"or has ended", fault.NotFound: "there is no such event, or the caller may not see it"}}}
	GetOrder = rpc.Endpoint[OrderRef, Order]{Spec: rpc.Spec{Service: "ticketing", Scopes: orderKeys,
		Name: "get_order", Method: "GET", Path: "/v1/orders/{id}", Access: rpc.User, Guests: true,
		Waits:   "id",
		Summary: "Read an order, or wait until it changes",
		Detail:  "With wait the answer comes as soon as the order changes, or after that time as it is then.",
		Faults:  hidden(noOrder, "")}}
	CancelOrder = rpc.Endpoint[OrderRef, Order]{Spec: rpc.Spec{Service: "ticketing", Name: "cancel_order",
		Method: "POST", Path: "/v1/orders/{id}/cancel", Access: rpc.User, Guests: true,
		Summary: "Give up an order that is pending, was free, or whose money is all back",
		Faults: hidden(noOrder,
			"the order is paid, which only its organizer can refund; is being paid; or has ended")}}
	ListMyOrders = rpc.Endpoint[Page, List[Order]]{Spec: rpc.Spec{Service: "ticketing", Name: "my_orders",
		Method: "GET", Path: "/v1/me/orders", Access: rpc.User, Summary: "The caller's orders, newest first"}}
	ListMyTickets = rpc.Endpoint[Page, List[Ticket]]{Spec: rpc.Spec{Service: "ticketing", Name: "my_tickets",
		Method: "GET", Path: "/v1/me/tickets", Access: rpc.User, Summary: "The caller's tickets, newest first"}}
	ListOrderTickets = rpc.Endpoint[OrderRef, List[Ticket]]{Spec: rpc.Spec{Service: "ticketing", Scopes: orderKeys,
		Name: "order_tickets", Method: "GET", Path: "/v1/orders/{id}/tickets", Access: rpc.User, Guests: true,
		Summary: "The tickets of an order",
		Faults:  hidden(noOrder, "")}}
	ListEventOrders = rpc.Endpoint[OrderSearch, List[Order]]{Spec: rpc.Spec{Service: "ticketing", Scopes: orderKeys,
		Name: "event_orders", Method: "GET", Path: "/v1/events/{id}/orders", Access: rpc.User,
		Summary: "The orders of an event, for its managers, or those that have a text",
		Faults:  forManagers(nil)}}
	GetTicket = rpc.Endpoint[TicketRef, Ticket]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "get_ticket", Method: "GET", Path: "/v1/tickets/{id}", Access: rpc.User, Guests: true,
		Summary: "Read a ticket",
		Faults:  hidden(noTicket, "")}}
	GetTicketQR = rpc.Endpoint[TicketRef, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Name: "ticket_qr",
		Method: "GET", Path: "/v1/tickets/{id}/qr.png", Access: rpc.User, Guests: true,
		Summary: "A ticket's code as QR picture",
		Faults:  hidden(noTicket, "")}}
	AdmitTicket = rpc.Endpoint[Admission, AdmissionResult]{Spec: rpc.Spec{Service: "ticketing", Scopes: doorKeys,
		Name: "admit", Method: "POST", Path: "/v1/events/{id}/admissions", Access: rpc.User, Workers: 1024, Queue: 4096,
		Urgent: true, Summary: "Admit a ticket at the door",
		Detail: "A ticket is admitted once; every later scan answers already_admitted. After a scan on the way out " +
			"it is admitted again, or the answer is no_reentry, by the event's rule. A product is handed_out once.",
		Faults: forRole("in its team", rpc.Faults{fault.Conflict: ""})}}
	ListAdmissions = rpc.Endpoint[EventPage, List[Scan]]{Spec: rpc.Spec{Service: "ticketing", Scopes: doorKeys,
		Name: "admissions", Method: "GET", Path: "/v1/events/{id}/admissions", Access: rpc.User,
		Summary: "Every scan at the doors of an event, newest first",
		Faults:  forRole("in its team", nil)}}

	ResizeInventory = rpc.Endpoint[Resize, rpc.None]{Spec: rpc.Spec{Service: "ticketing", Name: "resize",
		Access: rpc.Internal, Callers: []string{"event"},
		Summary: "Set the quantities and the currency of an event; refuses to go below held + sold + leased, and to " +
			"leave the currency of its orders"}}
	BeginPayment = rpc.Endpoint[BeginPaymentOf, Payable]{Spec: rpc.Spec{Service: "ticketing", Name: "begin_payment",
		Access: rpc.Internal, Callers: []string{"payment"}, OnBehalf: true,
		Summary: "Tie a payment to the caller's pending order"}}
	DecideRefund = rpc.Endpoint[RefundOrder, RefundDue]{Spec: rpc.Spec{Service: "ticketing", Name: "decide_refund",
		Access: rpc.Internal, Callers: []string{"payment"}, OnBehalf: true,
		Summary: "Revoke tickets of a paid order and say how much goes back, for the event's managers"}}
	GetHeldTickets = rpc.Endpoint[HeldTickets, List[Ticket]]{Spec: rpc.Spec{Service: "ticketing", Name: "held_tickets",
		Access: rpc.Internal, Callers: []string{"notification"},
		Summary: "The good tickets that a person holds of an event or order, for the mail that brings them"}}
	ExportPerson = rpc.Endpoint[PersonRef, PersonRecords]{Spec: rpc.Spec{Service: "ticketing", Name: "export_person",
		Access: rpc.Internal, Callers: []string{"user"}, Summary: "A page of all that ticketing knows about a person"}}
	RebuildInventory = rpc.Endpoint[RebuildOf, RebuiltInventory]{Spec: rpc.Spec{Service: "ticketing",
		Name: "rebuild_inventory", Access: rpc.Internal, Callers: []string{"admin"}, Timeout: 2 * time.Minute,
		Audited: true, Summary: "Make the inventory of an event what SQL says, while it is on sale"}}
	RebuildStock = rpc.Endpoint[RebuildOf, RebuiltStock]{Spec: rpc.Spec{Service: "ticketing",
		Name: "rebuild_stock", Access: rpc.Internal, Callers: []string{"admin"}, Timeout: 2 * time.Minute,
		Audited: true, Summary: "Make what SQL counts as sold and leased of an event what its tickets, leases and " +
			"sales say, while it is on sale"}}
)

func ticketingEndpoints() []rpc.Descriptor {
	return append([]rpc.Descriptor{GetAvailability.Describe(), CreateOrder.Describe(),
		GetOrder.Describe(), CancelOrder.Describe(), ListMyOrders.Describe(), ListMyTickets.Describe(),
		ListOrderTickets.Describe(), ListEventOrders.Describe(), GetTicket.Describe(),
		GetTicketQR.Describe(), TransferTicket.Describe(), AdmitTicket.Describe(), ListAdmissions.Describe(),
		ResizeInventory.Describe(), BeginPayment.Describe(), DecideRefund.Describe(), GetHeldTickets.Describe(),
		ExportPerson.Describe(),
		RebuildInventory.Describe(), RebuildStock.Describe(), WithdrawTransfer.Describe(), ListTicketOffers.Describe(),
		AcceptTicketOffer.Describe(), RefuseTicketOffer.Describe(), MintOfferToken.Describe()}, guestEndpoints()...)
}

// OrderEvent is the payload of the order topics: the order as it is after the change.
type OrderEvent struct {
	Order   Order        `json:"order"`
	Tickets []ids.Ticket `json:"tickets,omitempty"` // with OrderWasPaid: those that were issued
	Quiet   bool         `json:"quiet,omitempty"`   // with OrderWasPaid and OrderWasCancelled: its buyer is not told
}

// RefundDue is the payload of OrderRefundDue: a decision that money goes back. The payment service carries it out, once
// for each id.
type RefundDue struct {
	RefundID  ids.Refund   `json:"refund_id"`
	OrderID   ids.Order    `json:"order_id"`
	PaymentID ids.Payment  `json:"payment_id"`
	Amount    Money        `json:"amount"`
	Taxes     []TaxTotal   `json:"taxes,omitempty"`   // what of the amount is of which rate, if the order was taxed
	Tickets   []ids.Ticket `json:"tickets,omitempty"` // that were revoked for it
	Reason    string       `json:"reason"`
}

// RevokedByCancellation is the cause of a revocation because the ticket's event was cancelled.
const RevokedByCancellation = "event_cancelled"

// TicketEvent is the payload of the ticket topics.
type TicketEvent struct {
	TicketID     ids.Ticket     `json:"ticket_id"`
	EventID      ids.Event      `json:"event_id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Kind         string         `json:"kind,omitempty" enum:"ticket,product"` // absent: a ticket
	OwnerID      ids.User       `json:"owner_id"`
	Gate         string         `json:"gate,omitempty"`
	// with TicketWasRevoked: RevokedByCancellation, RevokedByExchange, or empty if the order was refunded or given up
	Cause string    `json:"cause,omitempty"`
	At    time.Time `json:"at"`
}

// The topics of the ticketing service.
var (
	OrderWasHeld = Topic[OrderEvent]{"ev.ticketing.order.held", "seats are held for an order"}
	OrderIsDue   = Topic[OrderEvent]{"ev.ticketing.order.due",
		"the organizer made an order for a person with an account, who has to pay it"}
	OrderWasPaid      = Topic[OrderEvent]{"ev.ticketing.order.paid", "an order is paid and has its tickets"}
	OrderWasSold      = Topic[SaleEvent]{"ev.ticketing.order.sold", "an order was sold and paid at a counter"}
	OrderHasExpired   = Topic[OrderEvent]{"ev.ticketing.order.expired", "an order was not paid in time"}
	OrderWasCancelled = Topic[OrderEvent]{"ev.ticketing.order.cancelled",
		"an order was given up, or its event was cancelled before it cost anything"}
	OrderRefundDue = Topic[RefundDue]{"ev.ticketing.order.refund_due",
		"money goes back: refunded, or come for an order without seats"}
	OrderWasRefunded = Topic[OrderEvent]{"ev.ticketing.order.refunded", "all of an order's money is back"}
	TicketWasRevoked = Topic[TicketEvent]{"ev.ticketing.ticket.revoked",
		"a ticket is no longer valid: refunded, or its event was cancelled"}
	TicketTransferred = Topic[TicketEvent]{"ev.ticketing.ticket.transferred", "a ticket has a new owner"}
	TicketAdmission   = Topic[TicketEvent]{"ev.ticketing.ticket.admitted", "a ticket was admitted"}

	TicketAdmissionUndone = Topic[TicketEvent]{"ev.ticketing.ticket.admission_undone",
		"the admission of a ticket, made at that time, was taken back: it is good again"}
)
