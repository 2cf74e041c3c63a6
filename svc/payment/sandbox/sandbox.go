// Package sandbox is a provider that moves no money, for tests and demonstrations. It behaves like an outside party: it
// has its own ids and tables, knows nothing of the tables of payments, and says what the payer did by a signed callback
// over HTTP. Live settings inject faults.
package sandbox

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/run"
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

	requests  *batch.Group[string, *paymentRow]
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
	together := batch.LingerInCompany(time.Millisecond)
	s := &Provider{
		tables: t, publicURL: strings.TrimSuffix(cfg.PublicURL, "/"), secret: secret, now: cfg.Now, live: cfg.Live,
		log: cfg.Log, page: page,
		requests:  batch.New(limit, queue, t.byRequest, batch.Parallel(2), together),
		fetches:   batch.New(limit, queue, t.fetch, batch.Parallel(2), together),
		decisions: batch.New(limit, queue, t.decide, together),
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
	s.requests.Close()
	s.fetches.Close()
	s.decisions.Close()
	s.sender.client.CloseIdleConnections()
}

// Run implements provider.Runner: it sends the callbacks, and deletes those that are done with.
func (s *Provider) Run(ctx context.Context) error {
	g := run.NewGroup(s.log)
	s.sender.background(g)
	g.Every(run.Loop{Name: "old callbacks of the sandbox", Interval: time.Hour, Jitter: time.Minute,
		Do: func(ctx context.Context) error {
			return s.tables.deleteCallbacks(ctx, s.now().Add(-api.CallbackRetention.Get(s.live)))
		}})
	return g.Run(ctx)
}

// OffReason implements provider.Switched.
func (s *Provider) OffReason() string {
	return provider.OffReason(s.Name(), api.SandboxEnabled, s.live)
}

// Name implements provider.Provider.
func (s *Provider) Name() string { return Name }

// Create implements provider.Provider.
func (s *Provider) Create(ctx context.Context, req provider.CreateRequest) (provider.Remote, error) {
	remote, err := s.prepare(ctx, req)
	if err == nil {
		err = s.tables.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			return s.Store(ctx, tx, []provider.CreateRequest{req})
		})
	}
	return remote, err
}

// Prepare implements provider.Local. When its answer is to be lost, the work is done all the same.
func (s *Provider) Prepare(ctx context.Context, req provider.CreateRequest) (provider.Remote, error) {
	if err := s.lostAnswer(); err != nil {
		if _, failed := s.Create(ctx, req); failed != nil {
			return provider.Remote{}, failed
		}
		return provider.Remote{}, err
	}
	return s.prepare(ctx, req)
}

// prepare returns the payment of a request key, or what it will be once it is stored.
func (s *Provider) prepare(ctx context.Context, req provider.CreateRequest) (provider.Remote, error) {
	id := s.paymentID(req.Key)
	switch row, err := s.requests.Do(ctx, req.Key); {
	case fault.Is(err, fault.NotFound):
	case err != nil:
		return provider.Remote{}, err
	case row.money() != req.Amount:
		return provider.Remote{}, fault.New(fault.Unprocessable, "the key was used for another payment")
	default:
		id = row.ID
	}
	return provider.Remote{ID: id, CheckoutURL: s.publicURL + "/sandbox/checkout/" + req.PaymentID.String()}, nil
}

// Store implements provider.Local.
func (s *Provider) Store(ctx context.Context, tx bun.Tx, reqs []provider.CreateRequest) error {
	now := store.Time(s.now())
	rows := make([]*paymentRow, len(reqs))
	for i, req := range reqs {
		rows[i] = &paymentRow{
			ID: s.paymentID(req.Key), RequestKey: req.Key, Reference: req.PaymentID, OrderID: req.OrderID,
			Amount: req.Amount.Amount, Currency: req.Amount.Currency, Description: req.Description,
			ReturnURL: req.ReturnURL,
			Status:    statusPending, CreatedAt: now, ExpiresAt: now.Add(CheckoutTTL),
		}
	}
	return insertPayments(ctx, tx, rows)
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
		ID: newID("sbr_"), RequestKey: req.Key, PaymentID: req.RemoteID, Amount: req.Amount.Amount,
		CreatedAt: store.Time(s.now()),
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

// parseCallbackBody reads a body whose signature is right. Members that are not known are let pass: a provider adds
// some.
func parseCallbackBody(body []byte) (provider.CallbackEvent, error) {
	var b callbackBody
	if err := json.Unmarshal(body, &b); err != nil {
		return provider.CallbackEvent{}, fault.Wrap(err, fault.Invalid,
			"the callback is not the JSON object that it should be")
	}
	var check fault.Check
	check.Field(provider.Printable(b.ID, provider.MaxID), "id",
		"must be 1 to %d printable ASCII characters", provider.MaxID)
	check.Field(provider.Printable(b.Payment, provider.MaxID), "payment",
		"must be 1 to %d printable ASCII characters", provider.MaxID)
	check.Field(provider.Printable(b.Type, maxType), "type", "must be 1 to %d printable ASCII characters", maxType)
	if err := check.Err(); err != nil {
		return provider.CallbackEvent{}, err
	}
	return provider.CallbackEvent{ID: b.ID, RemoteID: b.Payment, Type: b.Type}, nil
}

// decide records what the payer did and sends the callback. Deciding the same again changes nothing; deciding otherwise
// is a Conflict, deciding after the checkout has expired is Expired.
func (s *Provider) decide(ctx context.Context, reference ids.Payment, outcome, reason string) error {
	callback, err := s.decisions.Do(ctx, decision{reference: reference, outcome: outcome,
		reason: reason, faults: s.faults()})
	if err != nil {
		return err
	}
	if callback != nil {
		s.sender.enqueue(callback)
	}
	return nil
}

// paymentID returns the id of the payment of a request key, which only the sandbox can know before it says so.
func (s *Provider) paymentID(key string) string {
	const length = 26
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte("payment " + key))
	return "sbp_" + base32.StdEncoding.EncodeToString(mac.Sum(nil))[:length]
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
