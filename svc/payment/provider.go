package payment

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Provider is somebody outside who takes money for us.
//
// Every call that changes something carries a key of ours that was stored before the call, and is idempotent on it: a
// call whose outcome is unknown is settled by making it again. Errors are faults: Unavailable and Timeout say that the
// outcome is unknown and trying again makes sense, NotFound that the provider does not know the object, any other that
// the provider refused for good.
type Provider interface {
	// Name is what callers choose it by and the last segment of its callback path.
	Name() string
	// Create begins to collect a payment.
	Create(ctx context.Context, req CreateRequest) (Remote, error)
	// Fetch returns a payment as the provider has it now. Decisions are made on this, never on what a callback says.
	Fetch(ctx context.Context, remoteID string) (RemoteState, error)
	// Refund gives money of a succeeded payment back.
	Refund(ctx context.Context, req RefundRequest) (RemoteRefund, error)
	// Cancel makes sure that a payment that has not succeeded never will, and returns it as it then is: failed, or
	// succeeded if the payer was faster, or processing if the provider cannot stop it any more and the end is open. Doing
	// it twice is fine.
	Cancel(ctx context.Context, remoteID string) (RemoteState, error)
	// ParseCallback checks that a callback was signed by the provider a short time ago and says what it is about. A bad
	// signature is Unauthenticated, a signed body without meaning Invalid.
	ParseCallback(cb *api.Callback) (CallbackEvent, error)
}

// CreateRequest asks a provider to collect a payment.
type CreateRequest struct {
	Key         string // idempotency key, derived from the payment id
	PaymentID   ids.Payment
	OrderID     ids.Order
	Amount      api.Money
	Description string // one line for the payer
	ReturnURL   string // where the hosted checkout sends the payer afterwards
}

// Remote is a payment that a provider has made for us.
type Remote struct {
	ID          string // the provider's own id
	CheckoutURL string // where the payer acts
}

// RemoteStatus is where a payment stands at the provider.
type RemoteStatus string

// The remote statuses.
const (
	RemotePending    RemoteStatus = "pending" // the payer has not acted
	RemoteProcessing RemoteStatus = "processing"
	RemoteSucceeded  RemoteStatus = "succeeded"
	RemoteFailed     RemoteStatus = "failed"
)

// RemoteState is a payment as the provider has it.
type RemoteState struct {
	ID        string
	PaymentID ids.Payment // the reference that we gave at Create
	Status    RemoteStatus
	Amount    api.Money // what was, or is to be, collected
	Reason    string    // of a failure, in the provider's words
}

// RefundRequest asks a provider to give money back.
type RefundRequest struct {
	Key      string // idempotency key, derived from our refund
	RemoteID string
	Amount   api.Money
	Reason   string
}

// RemoteRefund is a refund at the provider.
type RemoteRefund struct {
	ID      string
	Pending bool // it is under way: asking again under the same key tells when it is done
}

// CallbackEvent is what a verified callback says.
type CallbackEvent struct {
	ID       string // the provider's event id: the same event is sent again under the same id
	RemoteID string // the payment it is about; "" if it is about nothing that concerns us
	Type     string // for the record; what happened is fetched
}
