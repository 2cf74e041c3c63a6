package api

import (
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The states of a payment. They only move forward, in this order, and failed and refunded are ends.
const (
	PaymentRequiresAction = "requires_action" // the buyer has to act at checkout_url
	PaymentProcessing     = "processing"      // the provider is at it
	PaymentSucceeded      = "succeeded"
	PaymentFailed         = "failed"
	PaymentRefunded       = "refunded"
)

// Payment is one attempt to pay an order.
type Payment struct {
	ID            ids.Payment `json:"id"`
	OrderID       ids.Order   `json:"order_id"`
	UserID        ids.User    `json:"user_id"`
	Status        string      `json:"status"`
	Provider      string      `json:"provider"`
	Amount        Money       `json:"amount"`
	CheckoutURL   string      `json:"checkout_url,omitempty"` // while requires_action
	FailureReason string      `json:"failure_reason,omitempty"`
	Revision      int64       `json:"revision"`
	CreatedAt     time.Time   `json:"created_at"`
	UpdatedAt     time.Time   `json:"updated_at"`
}

// ETag implements rpc.ETagger.
func (p Payment) ETag() string { return strconv.FormatInt(p.Revision, 36) }

// NewPayment is the request of CreatePayment.
type NewPayment struct {
	OrderID  ids.Order `json:"-" path:"id"`
	Provider string    `json:"provider,omitempty"` // default: the system's default provider
}

// PaymentRef names a payment in a path.
type PaymentRef struct {
	ID ids.Payment `json:"-" path:"id"`
}

// Callback is a provider's webhook as it came.
type Callback struct {
	Provider  string `json:"-" path:"provider"`
	Signature string `json:"-" header:"Sandbox-Signature"`
	Body      []byte `json:"-" body:"raw"`
}

// SandboxOutcome is the request of DecideSandboxPayment: what the payer did at the sandbox provider.
type SandboxOutcome struct {
	ID      ids.Payment `json:"-" path:"id"`
	Outcome string      `json:"outcome"` // succeeded or declined
}

// The endpoints of the payment service.
var (
	CreatePayment = rpc.Endpoint[NewPayment, Payment]{Spec: rpc.Spec{Service: "payment", Name: "create", Method: "POST", Path: "/v1/orders/{id}/payments",
		Access: rpc.User, Status: 201, Idempotent: true, Workers: 512, Queue: 4096, Timeout: 15 * time.Second, Summary: "Begin to pay an order"}}
	GetPayment = rpc.Endpoint[PaymentRef, Payment]{Spec: rpc.Spec{Service: "payment", Name: "get", Method: "GET", Path: "/v1/payments/{id}",
		Access: rpc.User, Summary: "Read a payment"}}
	ReceiveCallback = rpc.Endpoint[Callback, rpc.None]{Spec: rpc.Spec{Service: "payment", Name: "callback", Method: "POST", Path: "/v1/payments/callbacks/{provider}",
		Access: rpc.Public, Raw: true, Headers: []string{"Sandbox-Signature"}, MaxBody: 256 << 10, Workers: 512, Queue: 4096, Summary: "A provider's signed webhook"}}
	DecideSandboxPayment = rpc.Endpoint[SandboxOutcome, rpc.None]{Spec: rpc.Spec{Service: "payment", Name: "sandbox_decide", Method: "POST", Path: "/v1/sandbox/payments/{id}",
		Access: rpc.Public, Status: 202, Workers: 512, Queue: 4096, Summary: "Act as the payer at the sandbox provider",
		Detail: "The sandbox then sends its signed callback like a real provider. Off unless the setting payment.sandbox is true."}}
	GetSandboxCheckout = rpc.Endpoint[PaymentRef, rpc.Blob]{Spec: rpc.Spec{Service: "payment", Name: "sandbox_checkout", Method: "GET", Path: "/sandbox/checkout/{id}",
		Access: rpc.Public, Summary: "The sandbox provider's checkout page"}}
)

func paymentEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreatePayment.Describe(), GetPayment.Describe(), ReceiveCallback.Describe(), DecideSandboxPayment.Describe(),
		GetSandboxCheckout.Describe()}
}

// PaymentEvent is the payload of the payment topics: the payment as it is after the change.
type PaymentEvent struct {
	Payment Payment `json:"payment"`
}

// The topics of the payment service.
var (
	PaymentHasSucceeded = Topic[PaymentEvent]{"ev.payment.payment.succeeded", "the money is there"}
	PaymentHasFailed    = Topic[PaymentEvent]{"ev.payment.payment.failed", "the provider declined"}
	PaymentWasRefunded  = Topic[PaymentEvent]{"ev.payment.payment.refunded", "the money is back with the buyer"}
)
