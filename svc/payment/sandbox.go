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
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// sandboxName is what callers choose the sandbox provider by.
const sandboxName = "sandbox"

// The states of a payment in the tables of the sandbox.
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

// sandbox is the built-in provider. It behaves like an outside party: it has its own ids and tables, knows nothing of our
// tables, and tells of what the payer did by a signed callback over HTTP.
type sandbox struct {
	store     *sandboxStore
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
	faults    faults
}

func newSandbox(st *sandboxStore, publicURL string, secret []byte, now func() time.Time, live *settings.Live, s *sender) *sandbox {
	const limit, queue = 256, 8192
	return &sandbox{
		store: st, publicURL: publicURL, secret: secret, now: now, live: live, sender: s,
		creations: batch.New(limit, queue, st.create),
		fetches:   batch.New(limit, queue, st.fetch, batch.Parallel(2)),
		decisions: batch.New(limit, queue, st.decide),
	}
}

// Close implements provider.Closer.
func (s *sandbox) Close() {
	s.creations.Close()
	s.fetches.Close()
	s.decisions.Close()
	s.sender.close()
}

// Run implements provider.Runner: it sends the callbacks.
func (s *sandbox) Run(ctx context.Context) { s.sender.run(ctx) }

// OffReason implements provider.Switched.
func (s *sandbox) OffReason() string { return provider.OffReason(s.Name(), api.SandboxEnabled, s.live) }

// Name implements provider.Provider.
func (s *sandbox) Name() string { return sandboxName }

// Create implements provider.Provider.
func (s *sandbox) Create(ctx context.Context, req provider.CreateRequest) (provider.Remote, error) {
	now := store.Time(s.now())
	row, err := s.creations.Do(ctx, &sandboxPayment{
		ID: sandboxID("sbp_"), RequestKey: req.Key, Reference: req.PaymentID, OrderID: req.OrderID,
		Amount: req.Amount.Amount, Currency: req.Amount.Currency, Description: req.Description, ReturnURL: req.ReturnURL,
		Status: sandboxPending, CreatedAt: now, ExpiresAt: now.Add(checkoutTTL),
	})
	if err != nil {
		return provider.Remote{}, err
	}
	if row.money() != req.Amount {
		return provider.Remote{}, fault.New(fault.Unprocessable, "the key was used for another payment")
	}
	if err := s.lostAnswer(); err != nil {
		return provider.Remote{}, err
	}
	return provider.Remote{ID: row.ID, CheckoutURL: s.publicURL + "/sandbox/checkout/" + row.Reference.String()}, nil
}

// Fetch implements provider.Provider.
func (s *sandbox) Fetch(ctx context.Context, remoteID string) (provider.State, error) {
	row, err := s.fetches.Do(ctx, remoteID)
	if err != nil {
		return provider.State{}, err
	}
	if err := s.lostAnswer(); err != nil {
		return provider.State{}, err
	}
	state := provider.State{ID: row.ID, PaymentID: row.Reference, Amount: row.money(), Status: provider.Pending}
	switch row.Status {
	case sandboxSucceeded:
		state.Status, state.Amount.Amount = provider.Succeeded, row.Captured
	case sandboxProcessing:
		state.Status = provider.Processing
	case sandboxDeclined:
		state.Status, state.Reason = provider.Failed, row.Reason
	case sandboxCancelled:
		state.Status, state.Reason = provider.Failed, api.FailureCancelled
	default:
		if !row.open(s.now()) {
			state.Status, state.Reason = provider.Failed, api.FailureExpired
		}
	}
	return state, nil
}

// Cancel implements provider.Provider.
func (s *sandbox) Cancel(ctx context.Context, remoteID string) (provider.State, error) {
	if err := s.store.cancel(ctx, remoteID, s.faults()); err != nil {
		return provider.State{}, err
	}
	return s.Fetch(ctx, remoteID)
}

// Refund implements provider.Provider.
func (s *sandbox) Refund(ctx context.Context, req provider.RefundRequest) (provider.Refund, error) {
	row, err := s.store.refund(ctx, &sandboxRefund{
		ID: sandboxID("sbr_"), RequestKey: req.Key, PaymentID: req.RemoteID, Amount: req.Amount.Amount, CreatedAt: store.Time(s.now()),
	}, req.Amount.Currency)
	if err != nil {
		return provider.Refund{}, err
	}
	if err := s.lostAnswer(); err != nil {
		return provider.Refund{}, err
	}
	return provider.Refund{ID: row.ID}, nil
}

// callbackBody is the body of a callback of the sandbox.
type callbackBody struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Payment string `json:"payment"`
	Created int64  `json:"created"` // Unix seconds
}

// signatureHeader is the header in which the signature of a callback comes.
const signatureHeader = "Sandbox-Signature"

// maxType bounds the type of a callback, in bytes.
const maxType = 64

// ParseCallback implements provider.Provider.
func (s *sandbox) ParseCallback(cb *api.Callback) (provider.CallbackEvent, error) {
	if err := provider.Verify(s.secret, cb.Headers[signatureHeader], cb.Body, s.now()); err != nil {
		return provider.CallbackEvent{}, err
	}
	return parseCallbackBody(cb.Body)
}

// parseCallbackBody reads a body whose signature is right. Members that are not known are let pass: a provider adds some.
func parseCallbackBody(body []byte) (provider.CallbackEvent, error) {
	var b callbackBody
	if err := json.Unmarshal(body, &b); err != nil {
		return provider.CallbackEvent{}, fault.Wrap(err, fault.Invalid, "the callback is not the JSON object that it should be")
	}
	var check fault.Check
	check.Field(provider.Printable(b.ID, provider.MaxID), "id", "must be 1 to %d printable ASCII characters", provider.MaxID)
	check.Field(provider.Printable(b.Payment, provider.MaxID), "payment", "must be 1 to %d printable ASCII characters", provider.MaxID)
	check.Field(provider.Printable(b.Type, maxType), "type", "must be 1 to %d printable ASCII characters", maxType)
	if err := check.Err(); err != nil {
		return provider.CallbackEvent{}, err
	}
	return provider.CallbackEvent{ID: b.ID, RemoteID: b.Payment, Type: b.Type}, nil
}

// decide records what the payer did and sends the callback. Deciding the same again changes nothing; deciding otherwise
// is a Conflict, deciding after the checkout has expired is Expired.
func (s *sandbox) decide(ctx context.Context, reference ids.Payment, outcome, reason string) error {
	callback, err := s.decisions.Do(ctx, decision{reference: reference, outcome: outcome, reason: reason, faults: s.faults()})
	if err != nil {
		return err
	}
	if callback != nil {
		s.sender.enqueue(callback)
	}
	return nil
}

// sandboxID returns a fresh id of the sandbox, which cannot be guessed.
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
