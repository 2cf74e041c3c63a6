// Package sandbox is a provider that moves no money, for tests and demonstrations. It behaves like an outside party: it has
// its own ids and tables, knows nothing of the tables of payments, and says what the payer did by a signed callback over HTTP.
// Live settings inject faults.
package sandbox

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/checkout"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// Name is what callers choose the sandbox by.
const Name = "sandbox"

// The states of a payment in the tables of the sandbox.
const (
	statusPending    = "pending"
	statusChallenged = "challenged" // the payer consented, and has to prove who they are
	statusProcessing = "processing" // the payer consented, and the money comes later
	statusSucceeded  = "succeeded"
	statusDeclined   = "declined"
	statusCancelled  = "cancelled" // by us
)

// CheckoutTTL is how long a checkout of the sandbox can be paid.
const CheckoutTTL = 24 * time.Hour

// Config is what the provider needs.
type Config struct {
	DB      *store.DB // the payment service's, in which the sandbox has tables of its own
	Live    *settings.Live
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time // nil means time.Now

	PublicURL   string // where buyers reach the gateway
	CallbackURL string // where the sandbox reaches the gateway; "" means PublicURL

	// Secret signs the callbacks. If it is empty, the first instance makes one and stores it.
	Secret string
}

// Provider is the sandbox.
type Provider struct {
	tables    *tables
	publicURL string
	secret    []byte
	now       func() time.Time
	live      *settings.Live
	log       *slog.Logger
	sender    *sender
	page      *checkout.Page

	creations *batch.Group[*paymentRow, *paymentRow]
	fetches   *batch.Group[string, *paymentRow]
	decisions *batch.Group[decision, *callbackRow]
}

// New returns the sandbox. It does no work in the background before Run.
func New(ctx context.Context, cfg Config) (*Provider, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	page, err := newPage()
	if err != nil {
		return nil, err
	}
	t := &tables{db: cfg.DB, now: cfg.Now}
	secret := []byte(cfg.Secret)
	if len(secret) == 0 {
		if secret, err = t.secret(ctx); err != nil {
			return nil, err
		}
	}
	const limit, queue = 256, 8192
	s := &Provider{
		tables: t, publicURL: strings.TrimSuffix(cfg.PublicURL, "/"), secret: secret, now: cfg.Now, live: cfg.Live, log: cfg.Log, page: page,
		creations: batch.New(limit, queue, t.create),
		fetches:   batch.New(limit, queue, t.fetch, batch.Parallel(2)),
		decisions: batch.New(limit, queue, t.decide),
	}
	s.sender = newSender(t, cmp.Or(strings.TrimSuffix(cfg.CallbackURL, "/"), s.publicURL), secret, cfg, s.faults)
	return s, nil
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

// Close implements provider.Closer.
func (s *Provider) Close() {
	s.creations.Close()
	s.fetches.Close()
	s.decisions.Close()
	s.sender.close()
}

// Run implements provider.Runner: it sends the callbacks, and deletes those that are done with.
func (s *Provider) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { s.sender.run(ctx) })
	provider.Every(ctx, time.Hour, nil, func() {
		if err := s.tables.deleteCallbacks(ctx, s.now().Add(-api.CallbackRetention.Get(s.live))); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "old callbacks of the sandbox cannot be deleted", "error", err)
		}
	})
}

// OffReason implements provider.Switched.
func (s *Provider) OffReason() string {
	return provider.OffReason(s.Name(), api.SandboxEnabled, s.live)
}

// Name implements provider.Provider.
func (s *Provider) Name() string { return Name }

// Create implements provider.Provider.
func (s *Provider) Create(ctx context.Context, req provider.CreateRequest) (provider.Remote, error) {
	now := store.Time(s.now())
	row, err := s.creations.Do(ctx, &paymentRow{
		ID: newID("sbp_"), RequestKey: req.Key, Reference: req.PaymentID, OrderID: req.OrderID,
		Amount: req.Amount.Amount, Currency: req.Amount.Currency, Description: req.Description, ReturnURL: req.ReturnURL,
		Status: statusPending, CreatedAt: now, ExpiresAt: now.Add(CheckoutTTL),
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
func (s *Provider) Fetch(ctx context.Context, remoteID string) (provider.State, error) {
	row, err := s.fetches.Do(ctx, remoteID)
	if err != nil {
		return provider.State{}, err
	}
	if err := s.lostAnswer(); err != nil {
		return provider.State{}, err
	}
	state := provider.State{ID: row.ID, PaymentID: row.Reference, Amount: row.money(), Status: provider.Pending}
	switch row.Status {
	case statusSucceeded:
		state.Status, state.Amount.Amount = provider.Succeeded, row.Captured
	case statusProcessing:
		state.Status = provider.Processing
	case statusDeclined:
		state.Status, state.Reason = provider.Failed, row.Reason
	case statusCancelled:
		state.Status, state.Reason = provider.Failed, api.FailureCancelled
	default:
		if !row.open(s.now()) {
			state.Status, state.Reason = provider.Failed, api.FailureExpired
		}
	}
	return state, nil
}

// Cancel implements provider.Provider.
func (s *Provider) Cancel(ctx context.Context, remoteID string) (provider.State, error) {
	if err := s.tables.cancel(ctx, remoteID, s.faults()); err != nil {
		return provider.State{}, err
	}
	return s.Fetch(ctx, remoteID)
}

// Refund implements provider.Provider.
func (s *Provider) Refund(ctx context.Context, req provider.RefundRequest) (provider.Refund, error) {
	row, err := s.tables.refund(ctx, &refundRow{
		ID: newID("sbr_"), RequestKey: req.Key, PaymentID: req.RemoteID, Amount: req.Amount.Amount, CreatedAt: store.Time(s.now()),
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
func (s *Provider) ParseCallback(cb *api.Callback) (provider.CallbackEvent, error) {
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
func (s *Provider) decide(ctx context.Context, reference ids.Payment, outcome, reason string) error {
	callback, err := s.decisions.Do(ctx, decision{reference: reference, outcome: outcome, reason: reason, faults: s.faults()})
	if err != nil {
		return err
	}
	if callback != nil {
		s.sender.enqueue(callback)
	}
	return nil
}

// newID returns a fresh id of the sandbox, which cannot be guessed.
func newID(prefix string) string { return prefix + rand.Text() }

func (p *paymentRow) money() api.Money { return api.Money{Amount: p.Amount, Currency: p.Currency} }

// open reports whether the payer can still act.
func (p *paymentRow) open(now time.Time) bool {
	return (p.Status == statusPending || p.Status == statusChallenged) && now.Before(p.ExpiresAt)
}

func (c *callbackRow) body() []byte {
	b, err := json.Marshal(callbackBody{ID: c.ID, Type: c.Type, Payment: c.PaymentID, Created: c.CreatedAt.Unix()})
	if err != nil {
		panic(fmt.Sprintf("sandbox: a struct of strings does not encode: %v", err))
	}
	return b
}
