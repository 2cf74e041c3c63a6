package api

import (
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The states of a payment. They only move forward, in this order.
const (
	PaymentRequiresAction = "requires_action" // the buyer has to act at checkout_url
	PaymentProcessing     = "processing"      // the provider is at it
	PaymentFailed         = "failed"          // for good, unless the provider says later that the money came after all
	PaymentSucceeded      = "succeeded"
	PaymentRefunded       = "refunded" // all of the money is back
)

// PaymentProviders returns the names of every provider that there is. Which of them are switched on is up to settings
// and credentials.
func PaymentProviders() []string { return []string{"stripe", "sandbox", "manual"} }

// Why a payment failed: codes, for programs and for translation. Providers have more reasons than a payer may learn.
const (
	FailureDeclined      = "declined"              // for a reason that its bank keeps to itself
	FailureFunds         = "insufficient_funds"    // or a limit of the card
	FailureExpiredCard   = "expired_card"          //
	FailureDetails       = "incorrect_details"     // a number, date or code was mistyped
	FailureAuthenticated = "authentication_failed" // the payer did not prove who they are
	FailureUnsupported   = "not_supported"         // the way to pay is not for this amount, currency or country
	FailureRefused       = "refused"               // the provider does not take this payment at all
	FailureCancelled     = "cancelled"             // at the provider, while the order could still be paid
	FailureExpired       = "expired"               // the time to pay was over
	FailureWrongAmount   = "wrong_amount"          // what came was not what was asked for, and goes back
	// the order expired or was cancelled before it was paid: that has an event of its own
	FailureOrderEnded = "order_ended"
)

// FailureReasons returns every failure reason of payments.
func FailureReasons() []string {
	return []string{FailureDeclined, FailureFunds, FailureExpiredCard, FailureDetails, FailureAuthenticated,
		FailureUnsupported, FailureRefused, FailureCancelled, FailureExpired, FailureWrongAmount, FailureOrderEnded}
}

// Why the system gives money back: codes, for programs and for translation. A person who gives it back writes a reason
// of their own.
const (
	RefundPaidTwice      = "paid_twice"      // the order was paid already
	RefundOrderEnded     = "order_ended"     // the money came for an order that was cancelled or expired
	RefundSoldOut        = "sold_out"        // the money came late, and the seats have gone to others
	RefundEventCancelled = "event_cancelled" //
	RefundWrongAmount    = "wrong_amount"    // what came was not what was asked for
	RefundReversed       = "reversed"        // a sale at a counter was taken back there, and its money handed back
	RefundByOrganizer    = "by_organizer"    // who gave no other reason
	RefundByBuyer        = "by_buyer"        // who gave tickets back
	RefundExchanged      = "exchanged"       // the tickets were exchanged for others that cost less
)

// RefundReasons returns every refund reason of the system.
func RefundReasons() []string {
	return []string{RefundPaidTwice, RefundOrderEnded, RefundSoldOut, RefundEventCancelled,
		RefundWrongAmount, RefundByOrganizer, RefundByBuyer, RefundExchanged}
}

// Payment is one attempt to pay an order.
type Payment struct {
	ID      ids.Payment `json:"id"`
	OrderID ids.Order   `json:"order_id"`
	UserID  ids.User    `json:"user_id"`
	// they only move forward; a failed one may still succeed when the provider says so later
	Status      string `json:"status" enum:"requires_action,processing,failed,succeeded,refunded"`
	Provider    string `json:"provider" enum:"stripe,sandbox,manual,box_office"` // where it is made
	Amount      Money  `json:"amount"`
	Refunded    Money  `json:"refunded,omitzero"`      // given back so far; absent if nothing is
	CheckoutURL string `json:"checkout_url,omitempty"` // while requires_action
	// why it failed
	FailureReason string    `json:"failure_reason,omitempty" enum:"declined,insufficient_funds,expired_card,incorrect_details,authentication_failed,not_supported,refused,cancelled,expired,wrong_amount,order_ended"`
	Revision      int64     `json:"revision"`   // grows with each change
	CreatedAt     time.Time `json:"created_at"` // when it was begun
	UpdatedAt     time.Time `json:"updated_at"` // when it was last changed
}

// CanTryAgain reports whether the payment failed while its order could still be paid. If not, the end of the order, or
// the money that goes back, is what its payer is notified of.
func (p Payment) CanTryAgain() bool {
	switch p.FailureReason {
	case FailureOrderEnded, FailureExpired, FailureWrongAmount:
		return false
	}
	return p.Status == PaymentFailed
}

// ETag implements rpc.ETagger.
func (p Payment) ETag() string { return strconv.FormatInt(p.Revision, 36) }

// NewPayment is the request of CreatePayment.
type NewPayment struct {
	OrderID ids.Order `json:"-" path:"id"`
	// one that the event accepts; absent: the first of the event, or that of the setting payment.provider
	Provider string `json:"provider,omitempty" enum:"stripe,sandbox,manual"`
}

// PaymentRef names a payment in a path.
type PaymentRef struct {
	ID ids.Payment `json:"-" path:"id"`
}

// Callback is a provider's webhook as it came.
type Callback struct {
	Provider string `json:"-" path:"provider" enum:"stripe,sandbox"` // who sends it
	// by their canonical names; one of them has the signature
	Headers map[string]string `json:"-" header:"*"`
	Body    []byte            `json:"-" body:"raw"`
}

// The states of a refund.
const (
	RefundPending   = "pending"
	RefundSucceeded = "succeeded"
	// refused by the provider, or the money did not arrive: a person has to check it, and may repeat it
	RefundFailed = "failed"
)

// Refund is money on its way back to a buyer, or back.
type Refund struct {
	ID        ids.Refund  `json:"id"`
	PaymentID ids.Payment `json:"payment_id"`
	OrderID   ids.Order   `json:"order_id"`
	// a failed one has to be checked, and may be repeated
	Status    string       `json:"status" enum:"pending,succeeded,failed"`
	Amount    Money        `json:"amount"`
	Tickets   []ids.Ticket `json:"tickets,omitempty"` // that were revoked for it
	Reason    string       `json:"reason,omitempty"`  // one of RefundReasons, or what the person who gave it back wrote
	Failure   string       `json:"failure,omitempty"` // what the provider says of a failed one
	CreatedAt time.Time    `json:"created_at"`        // when it was decided
	UpdatedAt time.Time    `json:"updated_at"`        // when it was last changed
}

// NewRefund is the request of CreateRefund. With tickets, their price goes back, as far as it is not back yet, and they
// are revoked. With an amount that much goes back; the tickets stay, unless it is all that is left. With neither, all
// that is left goes back and all tickets are revoked. Tickets can be revoked after their money is back; then the amount
// is 0.
type NewRefund struct {
	PaymentID ids.Payment `json:"-" path:"id"`
	// what money goes back of; absent: the order that the payment was made for. Another is one whose credits have money
	// of it. What is more than is left of the payment goes back by the other payments of the order
	OrderID ids.Order `json:"order_id,omitempty"`
	// whose price goes back and that are revoked; not together with amount
	Tickets []ids.Ticket `json:"tickets,omitempty" maxItems:"500"`
	// how much goes back, in the currency that was paid
	Amount *Money `json:"amount,omitempty"`
	Reason string `json:"reason,omitempty"` // for the buyer

	KeepTickets bool `json:"keep_tickets,omitempty"` // the tickets stay valid even if all of the money goes back
}

// The states of a dispute.
const (
	DisputeInquiry = "inquiry" // a bank asks; the money is still here
	DisputeOpen    = "open"    // the provider has taken the money until the bank decides
	DisputeWon     = "won"     // the money is back
	DisputeLost    = "lost"
)

// Dispute is money that a payer reclaims by a bank. It is answered at the provider.
type Dispute struct {
	ID        string      `json:"id"` // at the provider
	PaymentID ids.Payment `json:"payment_id"`
	// an inquiry leaves the money here, an open one takes it until the bank decides
	Status    string     `json:"status" enum:"inquiry,open,won,lost"`
	Amount    Money      `json:"amount"`
	Reason    string     `json:"reason,omitempty"`    // the provider's code, such as fraudulent
	AnswerBy  *time.Time `json:"answer_by,omitempty"` // until when the provider takes an answer
	CreatedAt time.Time  `json:"created_at"`          // when the provider reported it
	UpdatedAt time.Time  `json:"updated_at"`          // when it was last changed
}

// AccountBalance is the state of an account of the ledger. In each currency, the debits of all accounts are their
// credits.
type AccountBalance struct {
	Account string `json:"account"` // provider:<name>, sales, suspense, refunds_payable or disputes
	Debit   Money  `json:"debit"`   // all that was ever entered
	Credit  Money  `json:"credit"`
}

// OrdersToClose is the request of the internal endpoint ClosePayments.
type OrdersToClose struct {
	OrderIDs []ids.Order `json:"order_ids"` // at most 500
}

// ClosedOrders is its answer.
type ClosedOrders struct {
	OrderIDs []ids.Order `json:"order_ids"` // those that can no longer be paid
}

// SandboxOutcome is the request of DecideSandboxPayment: what the payer did at the sandbox provider.
type SandboxOutcome struct {
	ID ids.Payment `json:"-" path:"id"`
	// what the payer did; authenticated passes a challenge
	Outcome string `json:"outcome" enum:"succeeded,declined,authenticated"`
	// of a decline, such as insufficient_funds
	Reason string `json:"reason,omitempty"`
}

// ManualPaymentRef names a manual payment by what the payer wrote on the bank transfer, or by its id.
type ManualPaymentRef struct {
	Reference string `json:"-" path:"reference"` // in any case, with or without spaces and hyphens; or a payment id
}

// ManualPayment is a payment that the payer brings by bank transfer or to the box office.
type ManualPayment struct {
	Payment      Payment    `json:"payment"`
	Reference    string     `json:"reference"`         // XXXX-XXXX, the last character checks the others
	DueAt        time.Time  `json:"due_at"`            // until when to pay
	PaidAt       *time.Time `json:"paid_at,omitempty"` // when paid_by said that the money is there
	PaidBy       ids.User   `json:"paid_by,omitempty"`
	Instructions []string   `json:"instructions,omitempty"` // lines of the setting payment.manual_instructions
}

// MarkPaid is the request of MarkPaymentPaid.
type MarkPaid struct {
	ID     ids.Payment `json:"-" path:"id"`
	Amount Money       `json:"amount"` // what came; must be what was to come
}

// RefundRef names a refund in a path.
type RefundRef struct {
	PaymentID ids.Payment `json:"-" path:"id"`
	RefundID  ids.Refund  `json:"-" path:"refund_id"`
}

// The endpoints of the payment service.
var (
	CreatePayment = rpc.Endpoint[NewPayment, Payment]{Spec: rpc.Spec{Service: "payment", Name: "create", Method: "POST",
		Path: "/v1/orders/{id}/payments", Access: rpc.User, Guests: true, PassesOn: true, Status: 201,
		Location:   "/v1/payments/{id}",
		Idempotent: true, Workers: 512, Queue: 4096, Timeout: 15 * time.Second, Summary: "Begin to pay an order",
		Faults: rpc.Faults{fault.NotFound: "there is no such order, or the caller is not its buyer",
			fault.Forbidden: "", fault.Conflict: "the order is paid, is being paid, costs nothing or has ended; the " +
				"provider refuses the payment; or " + inFlight,
			fault.Expired: "the order has lost its seats"}}}
	GetPayment = rpc.Endpoint[PaymentRef, Payment]{Spec: rpc.Spec{Service: "payment", Scopes: orderKeys,
		Name: "get", Method: "GET",
		Path: "/v1/payments/{id}", Access: rpc.User, Guests: true, Summary: "Read a payment",
		Faults: hidden(noPayment, "")}}
	CreateRefund = rpc.Endpoint[NewRefund, Refund]{Spec: rpc.Spec{Service: "payment", Scopes: refundKeys,
		Name: "refund", Method: "POST",
		Path: "/v1/payments/{id}/refunds", Access: rpc.User, Sensitive: true, PassesOn: true, Status: 201,
		Idempotent: true, Audited: true,
		Summary: "Give money back, in whole, by ticket or in part, for the event's managers",
		Detail: "The tickets are revoked and their seats come back at once; the money follows. " +
			"The seat of a ticket that was admitted is not sold again: its guest may be inside. An amount that is " +
			"all that is left revokes the tickets too, unless keep_tickets is true.",
		Faults: rpc.Faults{fault.NotFound: notManaged,
			fault.Forbidden: "the caller is the payer, but no manager of the event; or the amount is above " +
				"payment.refund_step_up and needs a fresh proof: then errors has the field step_up",
			fault.Conflict: "the order is not paid or was paid by another payment; less money than that is left; " +
				"a ticket was used or given away; or " + inFlight}}}
	ListRefunds = rpc.Endpoint[PaymentRef, List[Refund]]{Spec: rpc.Spec{Service: "payment", Scopes: orderKeys,
		Name:   "refunds",
		Method: "GET", Path: "/v1/payments/{id}/refunds", Access: rpc.User, Guests: true,
		Summary: "The refunds of a payment, oldest first",
		Faults:  hidden(noPayment, "")}}
	RepeatRefund = rpc.Endpoint[RefundRef, Refund]{Spec: rpc.Spec{Service: "payment",
		Name: "repeat_refund", Method: "POST", Path: "/v1/payments/{id}/refunds/{refund_id}/repeat",
		Access: rpc.User, Sensitive: true, Status: 202, Audited: true,
		Summary: "Make a refund that has failed once more, for the event's managers",
		Detail: "A refund may fail days after it had succeeded, when the buyer's bank sends the money back. " +
			"Repeating one that is under way changes nothing.",
		Faults: hidden(notManaged+"; or it has no such refund", "the refund has succeeded")}}
	ListEventMoney = rpc.Endpoint[EventRef, List[MoneyMonth]]{Spec: rpc.Spec{Service: "payment", Name: "event_money",
		Method: "GET", Path: "/v1/events/{id}/money", Access: rpc.User, Timeout: 10 * time.Second,
		Summary: "What moved of the money of an event, by month, provider and currency, oldest first",
		Detail:  "For those who may read its money. The numbers are those of the ledger.",
		Faults:  hidden("there is no such event, or the caller has no part in it", "")}}
	ListDisputes = rpc.Endpoint[PaymentRef, List[Dispute]]{Spec: rpc.Spec{Service: "payment", Name: "disputes",
		Method: "GET", Path: "/v1/payments/{id}/disputes", Access: rpc.User,
		Summary: "Who reclaims the money of a payment by a bank, oldest first, for the event's managers",
		Faults:  hidden(notManaged, "")}}
	ReceiveCallback = rpc.Endpoint[Callback, rpc.None]{Spec: rpc.Spec{Service: "payment", Name: "callback",
		Method: "POST", Path: "/v1/payments/callbacks/{provider}", Access: rpc.Public, Raw: true,
		Headers: []string{rpc.AllHeaders}, MaxBody: 256 << 10, Workers: 512, Queue: 4096, Urgent: true,
		Summary: "A provider's signed webhook",
		Detail:  "The signature is read from the header in which the provider sends it, such as Stripe-Signature.",
		Faults:  rpc.Faults{fault.Unauthenticated: "the signature is missing, wrong or too old"}}}
	DecideSandboxPayment = rpc.Endpoint[SandboxOutcome, rpc.None]{Spec: rpc.Spec{Service: "payment",
		Name: "sandbox_decide", Method: "POST", Path: "/v1/sandbox/payments/{id}", Access: rpc.Public, Status: 202,
		Workers: 512, Queue: 4096, Summary: "Act as the payer at the sandbox provider",
		Detail: "The sandbox then sends its signed callback like a real provider. Off unless the setting " +
			"payment.sandbox is true.",
		Faults: rpc.Faults{fault.NotFound: "the sandbox does not know this payment, or is switched off",
			fault.Expired:  "the checkout has expired",
			fault.Conflict: "the payment is decided already, or there is no challenge"}}}
	GetSandboxCheckout = rpc.Endpoint[PaymentRef, rpc.Blob]{Spec: rpc.Spec{Service: "payment", Name: "sandbox_checkout",
		Method: "GET", Path: "/sandbox/checkout/{id}", Access: rpc.Public,
		Summary: "The sandbox provider's checkout page",
		Faults:  hidden("the sandbox does not know this payment, or is switched off", "")}}
	GetManualCheckout = rpc.Endpoint[PaymentRef, rpc.Blob]{Spec: rpc.Spec{Service: "payment", Name: "manual_checkout",
		Method: "GET", Path: "/manual/checkout/{id}", Access: rpc.Public,
		Summary: "What to pay by bank transfer or at the box office, where and until when, as a page",
		Faults:  hidden("there is no such manual payment", "")}}
	GetManualPayment = rpc.Endpoint[ManualPaymentRef, ManualPayment]{Spec: rpc.Spec{Service: "payment",
		Name: "manual_payment", Method: "GET", Path: "/v1/manual/payments/{reference}", Access: rpc.User,
		Guests:  true,
		Summary: "Find a manual payment by its reference or id, for its payer and the event's managers",
		Faults: hidden("there is no manual payment of this reference, or the caller is neither its payer nor a "+
			"manager of its event", "")}}
	MarkPaymentPaid = rpc.Endpoint[MarkPaid, Payment]{Spec: rpc.Spec{Service: "payment", Name: "mark_paid",
		Method: "POST", Path: "/v1/payments/{id}/mark-paid", Access: rpc.User, Sensitive: true,
		Timeout: 15 * time.Second, Audited: true,
		Summary: "Say that the money of a manual payment is there, for the event's managers",
		Detail: "Saying it again changes nothing. Money for an order whose hold is over is treated like late money " +
			"of any provider.",
		Faults: hidden(notManaged, "it is no manual payment")}}
	MarkRefundPaid = rpc.Endpoint[RefundRef, rpc.None]{Spec: rpc.Spec{Service: "payment",
		Name: "mark_refund_paid", Method: "POST", Path: "/v1/payments/{id}/refunds/{refund_id}/mark-paid",
		Access: rpc.User, Sensitive: true, Status: 202, Audited: true,
		Summary: "Say that a refund of a manual payment has been paid out, for the event's managers",
		Detail:  "The refund succeeds within seconds. Until a manager says so it stays pending.",
		Faults:  hidden(notManaged+"; or it has no such refund", "it is no manual payment, or cannot be refunded")}}

	GetSandboxReport = rpc.Endpoint[rpc.None, rpc.Blob]{Spec: rpc.Spec{Service: "payment", Name: "sandbox_report",
		Method: "GET", Path: "/v1/sandbox/report.csv", Access: rpc.Admin, Timeout: 30 * time.Second,
		Summary: "What the sandbox provider says it has collected and given back"}}
	GetTrialBalance = rpc.Endpoint[rpc.None, List[AccountBalance]]{Spec: rpc.Spec{Service: "payment",
		Name: "trial_balance", Method: "GET", Path: "/v1/ledger/trial-balance", Access: rpc.Admin,
		Timeout: 30 * time.Second, Summary: "Every account of the ledger, by currency"}}

	ClosePayments = rpc.Endpoint[OrdersToClose, ClosedOrders]{Spec: rpc.Spec{Service: "payment", Name: "close",
		Access: rpc.Internal, Callers: []string{"ticketing"}, Timeout: 15 * time.Second,
		Summary: "End the open payments of orders at their providers, before the orders lose their seats"}}
	ExportPayments = rpc.Endpoint[PersonRef, List[Payment]]{Spec: rpc.Spec{Service: "payment", Name: "export_person",
		Access: rpc.Internal, Callers: []string{"user"}, Summary: "A page of the payments of a person"}}
	GetPaymentMethods = rpc.Endpoint[rpc.None, PaymentMethods]{Spec: rpc.Spec{Service: "payment", Name: "methods",
		Access: rpc.Internal, Callers: []string{"event"}, Timeout: time.Second,
		Summary: "Which providers are switched on"}}
)

func paymentEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreatePayment.Describe(), GetPayment.Describe(), CreateRefund.Describe(),
		ListRefunds.Describe(), RepeatRefund.Describe(), ListDisputes.Describe(), ListEventMoney.Describe(),
		ListOrganizerMoney.Describe(), ReceiveCallback.Describe(),
		DecideSandboxPayment.Describe(), GetSandboxCheckout.Describe(), GetSandboxReport.Describe(),
		GetManualCheckout.Describe(), GetManualPayment.Describe(), MarkPaymentPaid.Describe(),
		MarkRefundPaid.Describe(),
		GetTrialBalance.Describe(), ClosePayments.Describe(), ExportPayments.Describe(),
		GetPaymentMethods.Describe()}
}

// PaymentMethods is the answer of GetPaymentMethods.
type PaymentMethods struct {
	Providers []string `json:"providers"` // that take payments now
}

// PaymentEvent is the payload of the payment topics: the payment as it is after the change.
type PaymentEvent struct {
	Payment Payment `json:"payment"`
}

// DisputeEvent is the payload of PaymentDisputed.
type DisputeEvent struct {
	Dispute Dispute `json:"dispute"`
	Payment Payment `json:"payment"`
}

// RefundEvent is the payload of the refund topics: the refund and its payment as they are after it.
type RefundEvent struct {
	Refund  Refund  `json:"refund"`
	Payment Payment `json:"payment"`
}

// PaymentReminder is the payload of PaymentReminderDue.
type PaymentReminder struct {
	Payment   Payment   `json:"payment"`
	Reference string    `json:"reference"`
	DueAt     time.Time `json:"due_at"`
}

// The topics of the payment service.
var (
	PaymentHasSucceeded = Topic[PaymentEvent]{"ev.payment.payment.succeeded", "the money is there"}
	PaymentHasFailed    = Topic[PaymentEvent]{"ev.payment.payment.failed", "the provider declined"}
	PaymentWasRefunded  = Topic[PaymentEvent]{"ev.payment.payment.refunded", "all of the money is back with the buyer"}
	PaymentReminderDue  = Topic[PaymentReminder]{"ev.payment.payment.reminder",
		"half of the time to bring the money is over"}
	RefundHasSucceeded = Topic[RefundEvent]{"ev.payment.refund.succeeded",
		"some or all of the money is back with the buyer"}
	RefundHasFailed = Topic[RefundEvent]{"ev.payment.refund.failed",
		"a refund that had succeeded did not arrive: a person has to repeat it"}
	PaymentDisputed = Topic[DisputeEvent]{"ev.payment.dispute.changed",
		"a payer reclaims money by a bank, or that has come to an end"}
)
