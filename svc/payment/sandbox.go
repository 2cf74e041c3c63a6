package payment

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
)

// sandboxName is what callers choose the sandbox provider by.
const sandboxName = "sandbox"

// The states of a payment in the books of the sandbox.
const (
	sandboxPending    = "pending"
	sandboxChallenged = "challenged" // the payer consented, and has to prove who they are
	sandboxProcessing = "processing" // the payer consented, and the money comes later
	sandboxSucceeded  = "succeeded"
	sandboxDeclined   = "declined"
	sandboxCancelled  = "cancelled" // by us
)

// checkoutTTL is how long a checkout of the sandbox can be paid.
const checkoutTTL = 24 * time.Hour

// sandbox is the built-in provider. It behaves like an outside party: it has its own ids and books, knows nothing of our
// tables, and tells of what the payer did by a signed callback over HTTP.
type sandbox struct {
	books     *sandboxBooks
	publicURL string
	secret    []byte
	now       func() time.Time
	live      *settings.Live
	sender    *sender

	creations *batch.Group[*sandboxPayment, *sandboxPayment]
	fetches   *batch.Group[string, *sandboxPayment]
	decisions *batch.Group[decision, *sandboxCallback]
}

// What a payer can do.
const (
	outcomeSucceeded     = "succeeded" // consent
	outcomeDeclined      = "declined"
	outcomeAuthenticated = "authenticated" // pass the challenge
)

// decision is what the payer of a payment did.
type decision struct {
	reference ids.Payment
	outcome   string
	reason    string // of a decline
	mood      mood
}

func newSandbox(books *sandboxBooks, publicURL string, secret []byte, now func() time.Time, live *settings.Live, s *sender) *sandbox {
	const limit, queue = 256, 8192
	return &sandbox{
		books: books, publicURL: publicURL, secret: secret, now: now, live: live, sender: s,
		creations: batch.New(limit, queue, books.create),
		fetches:   batch.New(limit, queue, books.fetch, batch.Parallel(2)),
		decisions: batch.New(limit, queue, books.decide),
	}
}

func (s *sandbox) close() {
	s.creations.Close()
	s.fetches.Close()
	s.decisions.Close()
}

// Name implements Provider.
func (s *sandbox) Name() string { return sandboxName }

// Create implements Provider.
func (s *sandbox) Create(ctx context.Context, req CreateRequest) (Remote, error) {
	now := store.Time(s.now())
	row, err := s.creations.Do(ctx, &sandboxPayment{
		ID: sandboxID("sbp_"), RequestKey: req.Key, Reference: req.PaymentID, OrderID: req.OrderID,
		Amount: req.Amount.Amount, Currency: req.Amount.Currency, Description: req.Description, ReturnURL: req.ReturnURL,
		Status: sandboxPending, CreatedAt: now, ExpiresAt: now.Add(checkoutTTL),
	})
	if err != nil {
		return Remote{}, err
	}
	if row.money() != req.Amount {
		return Remote{}, fault.New(fault.Unprocessable, "the key was used for another payment")
	}
	if err := s.silent(); err != nil {
		return Remote{}, err
	}
	return Remote{ID: row.ID, CheckoutURL: s.publicURL + "/sandbox/checkout/" + row.Reference.String()}, nil
}

// Fetch implements Provider.
func (s *sandbox) Fetch(ctx context.Context, remoteID string) (RemoteState, error) {
	row, err := s.fetches.Do(ctx, remoteID)
	if err != nil {
		return RemoteState{}, err
	}
	if err := s.silent(); err != nil {
		return RemoteState{}, err
	}
	state := RemoteState{ID: row.ID, PaymentID: row.Reference, Amount: row.money(), Status: RemotePending}
	switch row.Status {
	case sandboxSucceeded:
		state.Status, state.Amount.Amount = RemoteSucceeded, row.Captured
	case sandboxProcessing:
		state.Status = RemoteProcessing
	case sandboxDeclined:
		state.Status, state.Reason = RemoteFailed, row.Reason
	case sandboxCancelled:
		state.Status, state.Reason = RemoteFailed, api.FailureCancelled
	default:
		if !row.open(s.now()) {
			state.Status, state.Reason = RemoteFailed, api.FailureExpired
		}
	}
	return state, nil
}

// Cancel implements Provider.
func (s *sandbox) Cancel(ctx context.Context, remoteID string) (RemoteState, error) {
	if err := s.books.cancel(ctx, remoteID, s.mood()); err != nil {
		return RemoteState{}, err
	}
	return s.Fetch(ctx, remoteID)
}

// Refund implements Provider.
func (s *sandbox) Refund(ctx context.Context, req RefundRequest) (RemoteRefund, error) {
	row, err := s.books.refund(ctx, &sandboxRefund{
		ID: sandboxID("sbr_"), RequestKey: req.Key, PaymentID: req.RemoteID, Amount: req.Amount.Amount, CreatedAt: store.Time(s.now()),
	}, req.Amount.Currency)
	if err != nil {
		return RemoteRefund{}, err
	}
	if err := s.silent(); err != nil {
		return RemoteRefund{}, err
	}
	return RemoteRefund{ID: row.ID}, nil
}

// callbackBody is the body of a callback of the sandbox.
type callbackBody struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Payment string `json:"payment"`
	Created int64  `json:"created"` // Unix seconds
}

// The bounds of a callback's members, in bytes.
const (
	maxRemoteID = 128
	maxType     = 64
)

// ParseCallback implements Provider.
func (s *sandbox) ParseCallback(cb *api.Callback) (CallbackEvent, error) {
	if err := verify(s.secret, cb.SandboxSignature, cb.Body, s.now()); err != nil {
		return CallbackEvent{}, err
	}
	return parseCallbackBody(cb.Body)
}

// parseCallbackBody reads a body whose signature is right. Members that are not known are let pass: a provider adds some.
func parseCallbackBody(body []byte) (CallbackEvent, error) {
	var b callbackBody
	if err := json.Unmarshal(body, &b); err != nil {
		return CallbackEvent{}, fault.Wrap(err, fault.Invalid, "the callback is not the JSON object that it should be")
	}
	var check fault.Check
	check.Field(printable(b.ID, maxRemoteID), "id", "must be 1 to %d printable ASCII characters", maxRemoteID)
	check.Field(printable(b.Payment, maxRemoteID), "payment", "must be 1 to %d printable ASCII characters", maxRemoteID)
	check.Field(printable(b.Type, maxType), "type", "must be 1 to %d printable ASCII characters", maxType)
	if err := check.Err(); err != nil {
		return CallbackEvent{}, err
	}
	return CallbackEvent{ID: b.ID, RemoteID: b.Payment, Type: b.Type}, nil
}

// printable reports whether s has 1 to limit bytes, all of them visible ASCII.
func printable(s string, limit int) bool {
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

// decide records what the payer did and sends the callback. Deciding the same again changes nothing; deciding otherwise
// is a Conflict, deciding after the checkout has expired is Expired.
func (s *sandbox) decide(ctx context.Context, reference ids.Payment, outcome, reason string) error {
	callback, err := s.decisions.Do(ctx, decision{reference: reference, outcome: outcome, reason: reason, mood: s.mood()})
	if err != nil {
		return err
	}
	if callback != nil {
		s.sender.take(callback)
	}
	return nil
}

// sandboxID returns a fresh id of the sandbox, which nobody can guess.
func sandboxID(prefix string) string { return prefix + rand.Text() }

func (p *sandboxPayment) money() api.Money { return api.Money{Amount: p.Amount, Currency: p.Currency} }

// open reports whether the payer can still act.
func (p *sandboxPayment) open(now time.Time) bool {
	return (p.Status == sandboxPending || p.Status == sandboxChallenged) && now.Before(p.ExpiresAt)
}

func (c *sandboxCallback) body() []byte {
	b, err := json.Marshal(callbackBody{ID: c.ID, Type: c.Type, Payment: c.PaymentID, Created: c.CreatedAt.Unix()})
	if err != nil {
		panic(fmt.Sprintf("payment: a struct of strings does not encode: %v", err))
	}
	return b
}
