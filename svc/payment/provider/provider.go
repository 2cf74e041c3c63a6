// Package provider is the port to those who collect money: what the payment service asks of them, and what may be asked
// of some.
//
// A new provider is a package that implements Provider, and a line where the parts of the system are put together.
package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// Provider is a party outside that takes money for us.
//
// Every call that changes something carries a key of ours that was stored before the call, and is idempotent on it: a
// call whose outcome is unknown is made again to learn it. Errors are faults: Unavailable and Timeout say that the
// outcome is unknown and trying again makes sense, NotFound that the provider does not know the object, any other that
// the provider refused for good.
type Provider interface {
	// Name is what callers choose it by and the last segment of its callback path.
	Name() string
	// Create has the provider collect a payment.
	Create(ctx context.Context, req CreateRequest) (Remote, error)
	// Fetch returns a payment as the provider has it now. Decisions are made on this, never on what a callback says.
	Fetch(ctx context.Context, remoteID string) (State, error)
	// Refund gives money of a succeeded payment back.
	Refund(ctx context.Context, req RefundRequest) (Refund, error)
	// Cancel makes sure that a payment that has not succeeded never will, and returns it as it then is: failed, or
	// succeeded if the payer was faster, or processing if the provider cannot stop it any more and the end is open.
	// Doing it twice is fine.
	Cancel(ctx context.Context, remoteID string) (State, error)
	// ParseCallback checks that a callback was signed by the provider a short time ago and says what it is about. A bad
	// signature is Unauthenticated, a signed body without meaning Invalid.
	ParseCallback(cb *api.Callback) (CallbackEvent, error)
}

// A Switched provider can be switched off by a live setting.
type Switched interface {
	// OffReason says in a sentence why the provider accepts no new payments; "" if it does.
	OffReason() string
}

// A Holder takes payments that may last longer than the hold of an order.
type Holder interface {
	// HoldUntil returns until when an order has to keep its seats for a payment.
	HoldUntil(id ids.Payment) time.Time
}

// A Runner works in the background.
type Runner interface {
	// Run works until ctx ends, and returns when all of it has stopped. To return before is a failure.
	Run(ctx context.Context) error
}

// A Local provider has its tables in the database of the payment service. Its side of a payment is stored in the
// transaction that stores ours, which saves a commit.
type Local interface {
	// Prepare returns what Create returns, and leaves it to Store to make it so.
	Prepare(ctx context.Context, req CreateRequest) (Remote, error)
	// Store stores what was prepared, within the caller's transaction. What is stored already stays as it is.
	Store(ctx context.Context, tx bun.Tx, reqs []CreateRequest) error
}

// A Counter is a provider whose money is there when its payments are stored.
type Counter interface {
	// Collected stores the provider's side of a payment, within the caller's transaction, and who has taken the money.
	Collected(ctx context.Context, tx bun.Tx, p *record.Payment, by string) error
}

// A Resident provider lives in the process of the payment service and has endpoints of its own.
type Resident interface {
	// Register binds the endpoints, before Run.
	Register(srv *rpc.Server, payments Payments)
}

// Payments is what the payment service does for a resident provider, which it knows by the interfaces of this package
// only.
type Payments interface {
	// Visible returns a payment to its payer, the event's managers and administrators; to any other caller it is
	// NotFound.
	Visible(ctx context.Context, id ids.Payment) (*record.Payment, error)
	// Managed returns a payment to the event's managers and administrators; to any other caller it is NotFound.
	Managed(ctx context.Context, id ids.Payment, need api.Permission) (*record.Payment, error)
	// Confirm looks at a payment at its provider, moves it accordingly, and returns it as it then is.
	Confirm(ctx context.Context, payment *record.Payment) (*record.Payment, error)
	// RefundNow has refunds that are due made at once.
	RefundNow()
}

// A Closer holds resources until the service stops.
type Closer interface {
	Close()
}

// A Watcher is a provider at which money may move after a payment or refund has succeeded.
type Watcher interface {
	// Concerns reports whether a callback of that type may be about such money.
	Concerns(eventType string) bool
	// Afterwards returns what has become of the refunds of a payment, and who reclaims its money.
	Afterwards(ctx context.Context, remoteID string) (Afterwards, error)
}

// Afterwards is what a provider says of a payment that has succeeded.
type Afterwards struct {
	FailedRefunds map[string]string // reasons, by the provider's id of the refund
	Disputes      []Dispute
}

// Dispute is a dispute as the provider has it.
type Dispute struct {
	ID       string
	Amount   api.Money
	Reason   string
	Status   string // one of the states of api.Dispute
	AnswerBy time.Time
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

// Status is where a payment stands at the provider.
type Status string

// The statuses.
const (
	Pending    Status = "pending" // the payer has not acted
	Processing Status = "processing"
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
)

// State is a payment as the provider has it.
type State struct {
	ID        string
	PaymentID ids.Payment // the reference that we gave at Create
	Status    Status
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

// Refund is a refund at the provider.
type Refund struct {
	ID      string
	Pending bool // it is under way: asking again under the same key shows when it is done
}

// CallbackEvent is what a verified callback says.
type CallbackEvent struct {
	ID       string // the provider's event id: the same event is sent again under the same id
	RemoteID string // the payment it is about; "" if it is about nothing that concerns us
	Type     string // for the record; what happened is fetched
}

// MaxID bounds the ids of a provider, in bytes.
const MaxID = 128

// Printable reports whether s has 1 to limit bytes, all of them visible ASCII.
func Printable(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// OffReason says that a provider is switched off while its setting is; "" otherwise. It serves those that are Switched.
func OffReason(name string, enabled *settings.Setting[bool], live *settings.Live) string {
	if enabled.Get(live) {
		return ""
	}
	return fmt.Sprintf("the %s provider is switched off (setting %s)", name, enabled.Key())
}

// Permanent reports whether trying again is pointless: the provider has understood, and refused.
func Permanent(err error) bool {
	switch fault.From(err).Code {
	case fault.Invalid, fault.NotFound, fault.Conflict, fault.Unprocessable, fault.Forbidden:
		return true
	}
	return false
}
