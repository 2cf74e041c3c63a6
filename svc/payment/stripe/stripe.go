// Package stripe collects by the hosted checkout of Stripe.
package stripe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	stripesdk "github.com/stripe/stripe-go/v85"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// Name is what callers choose Stripe by.
const Name = "stripe"

// openTime is how long after the beginning of a payment its checkout can be used. Stripe allows 30 minutes to 24 hours
// from the moment it makes the session (https://docs.stripe.com/api/checkout/sessions/create). The end is counted from
// our own beginning, so that a creation whose answer was lost is repeated with the same parameters, as its key demands;
// and once Stripe may have forgotten the key, after a day, the repetition is refused rather than made a second
// checkout.
const openTime = 23 * time.Hour

// Config is the account at Stripe.
type Config struct {
	Key            string // secret or restricted API key
	WebhookSecrets string // signing secrets of the webhook endpoint, separated by commas; any one of them is accepted
	URL            string // of the API; default https://api.stripe.com
}

// Provider collects by Stripe's hosted checkout. A payment of ours is a Checkout Session; the id that we keep is the
// session's.
type Provider struct {
	client  *stripesdk.Client
	http    *http.Client
	key     string
	secrets [][]byte
	now     func() time.Time
}

// New returns the provider of an account. A nil now means time.Now. Its errors do not show the key.
func New(cfg Config, now func() time.Time, log *slog.Logger) (*Provider, error) {
	if now == nil {
		now = time.Now
	}
	if cfg.URL == "" {
		cfg.URL = stripesdk.APIURL
	}
	if err := checkURL(cfg); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: provider.MaxCalls,
		IdleConnTimeout: time.Minute,
		DialContext:     (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
	}
	s := &Provider{
		// The deadline is the context's. A redirection is an answer like any other: the key goes nowhere else.
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request,
			[]*http.Request) error {
			return http.ErrUseLastResponse
		}},
		key: cfg.Key, now: now,
	}
	for secret := range strings.SplitSeq(cfg.WebhookSecrets, ",") {
		if secret = strings.TrimSpace(secret); secret != "" {
			s.secrets = append(s.secrets, []byte(secret))
		}
	}
	if len(s.secrets) == 0 {
		log.Warn("there is no webhook secret of Stripe: payments are found by asking only")
	}
	s.client = stripesdk.NewClient(cfg.Key,
		stripesdk.WithBackends(stripesdk.NewBackendsWithConfig(&stripesdk.BackendConfig{
			HTTPClient: s.http, URL: stripesdk.String(strings.TrimSuffix(cfg.URL, "/")),
			MaxNetworkRetries: stripesdk.Int64(0), // those who call us try again
			EnableTelemetry:   stripesdk.Bool(false),
			LeveledLogger:     &stripesdk.LeveledLogger{Level: stripesdk.LevelNull}, // those who call us log
		})))
	return s, nil
}

// checkURL refuses to send a live key in the clear. The errors do not show the URL: it might hold a password.
func checkURL(cfg Config) error {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("the URL of Stripe must be https://HOST without user and query")
	}
	test := strings.HasPrefix(cfg.Key, "sk_test_") || strings.HasPrefix(cfg.Key, "rk_test_")
	if u.Scheme == "http" && !test {
		return errors.New("only a test key may go to Stripe without TLS")
	}
	return nil
}

// Close implements provider.Closer.
func (s *Provider) Close() { s.http.CloseIdleConnections() }

// Name implements provider.Provider.
func (s *Provider) Name() string { return Name }

// Create implements provider.Provider.
func (s *Provider) Create(ctx context.Context, req provider.CreateRequest) (provider.Remote, error) {
	amount, currency, err := toStripe(req.Amount)
	if err != nil {
		return provider.Remote{}, err
	}
	description := req.Description
	if description == "" {
		description = "Tickets" // Stripe wants a name
	}
	reference := map[string]string{"payment_id": req.PaymentID.String(), "order_id": req.OrderID.String()}
	params := &stripesdk.CheckoutSessionCreateParams{
		Mode:              stripesdk.String(string(stripesdk.CheckoutSessionModePayment)),
		SuccessURL:        &req.ReturnURL,
		CancelURL:         &req.ReturnURL,
		ExpiresAt:         stripesdk.Int64(req.PaymentID.Time().Add(openTime).Unix()),
		ClientReferenceID: stripesdk.String(req.PaymentID.String()),
		Metadata:          reference,
		PaymentIntentData: &stripesdk.CheckoutSessionCreatePaymentIntentDataParams{Metadata: reference,
			Description: &description},
		// What is collected is to be what the order says, not what a rate of exchange makes of it.
		AdaptivePricing: &stripesdk.CheckoutSessionCreateAdaptivePricingParams{Enabled: stripesdk.Bool(false)},
		LineItems: []*stripesdk.CheckoutSessionCreateLineItemParams{{
			Quantity: stripesdk.Int64(1),
			PriceData: &stripesdk.CheckoutSessionCreateLineItemPriceDataParams{Currency: &currency, UnitAmount: &amount,
				ProductData: &stripesdk.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: &description}},
		}},
	}
	params.SetIdempotencyKey(req.Key)
	session, err := s.client.V1CheckoutSessions.Create(ctx, params)
	if err != nil {
		return provider.Remote{}, s.fault(ctx, err)
	}
	return provider.Remote{ID: session.ID, CheckoutURL: session.URL}, nil
}

// Fetch implements provider.Provider. It knows a session by the id of its payment intent too: the events of intents,
// charges and refunds speak of that.
func (s *Provider) Fetch(ctx context.Context, remoteID string) (provider.State, error) {
	session, err := s.session(ctx, remoteID)
	if err != nil {
		return provider.State{}, err
	}
	return stateOfSession(session)
}

// session reads a session with its payment intent.
func (s *Provider) session(ctx context.Context, remoteID string) (*stripesdk.CheckoutSession, error) {
	switch {
	case strings.HasPrefix(remoteID, "cs_"):
		params := &stripesdk.CheckoutSessionRetrieveParams{}
		params.AddExpand("payment_intent")
		session, err := s.client.V1CheckoutSessions.Retrieve(ctx, remoteID, params)
		return session, s.fault(ctx, err)
	case strings.HasPrefix(remoteID, "pi_"):
		params := &stripesdk.CheckoutSessionListParams{PaymentIntent: &remoteID}
		params.AddExpand("data.payment_intent")
		params.Limit = stripesdk.Int64(1)
		for session, err := range s.client.V1CheckoutSessions.List(ctx, params).All(ctx) {
			return session, s.fault(ctx, err)
		}
	}
	return nil, fault.New(fault.NotFound, "Stripe has no checkout of that id")
}

// stateOfSession says what a session with its intent means. The intent is ahead: it knows of money that is under way
// after the payer has left the checkout, and how much has come.
func stateOfSession(session *stripesdk.CheckoutSession) (provider.State, error) {
	state := provider.State{ID: session.ID, Status: provider.Pending}
	var err error
	if state.PaymentID, err = ids.Parse[ids.PaymentKind](session.ClientReferenceID); err != nil {
		return state, nil // the account has other uses too: it may be about anything, even without an amount
	}
	intent := session.PaymentIntent
	if intent == nil {
		intent = &stripesdk.PaymentIntent{}
	}
	amount, currency := session.AmountTotal, session.Currency
	complete := session.Status == stripesdk.CheckoutSessionStatusComplete
	switch {
	case intent.Status == stripesdk.PaymentIntentStatusSucceeded:
		state.Status = provider.Succeeded
		amount, currency = intent.AmountReceived, intent.Currency
	case session.PaymentStatus == stripesdk.CheckoutSessionPaymentStatusPaid:
		state.Status = provider.Succeeded
	case intent.Status == stripesdk.PaymentIntentStatusCanceled:
		state.Status, state.Reason = provider.Failed, api.FailureCancelled
	case intent.Status == stripesdk.PaymentIntentStatusProcessing,
		intent.Status == stripesdk.PaymentIntentStatusRequiresCapture:
		state.Status = provider.Processing
	case session.Status == stripesdk.CheckoutSessionStatusExpired:
		state.Status, state.Reason = provider.Failed, api.FailureExpired
	case complete && intent.Status == stripesdk.PaymentIntentStatusRequiresPaymentMethod:
		state.Status, state.Reason = provider.Failed, declineReason(intent.LastPaymentError)
	case complete: // a voucher or a bank transfer that the payer has yet to make
		state.Status = provider.Processing
	}
	state.Amount, err = fromStripe(amount, string(currency))
	return state, err
}

// declineReason returns what a payer may know of a decline, https://docs.stripe.com/declines/codes. Of a stolen card,
// or one that is thought to be, the one who uses it is told nothing.
func declineReason(e *stripesdk.Error) string {
	if e == nil {
		return api.FailureDeclined
	}
	switch e.DeclineCode {
	case stripesdk.DeclineCodeInsufficientFunds, stripesdk.DeclineCodeCardVelocityExceeded,
		stripesdk.DeclineCodeWithdrawalCountLimitExceeded:
		return api.FailureFunds
	case stripesdk.DeclineCodeExpiredCard:
		return api.FailureExpiredCard
	case stripesdk.DeclineCodeIncorrectCVC, stripesdk.DeclineCodeIncorrectNumber, stripesdk.DeclineCodeIncorrectPIN,
		stripesdk.DeclineCodeIncorrectZip, stripesdk.DeclineCodeInvalidCVC, stripesdk.DeclineCodeInvalidExpiryMonth,
		stripesdk.DeclineCodeInvalidExpiryYear,
		stripesdk.DeclineCodeInvalidNumber, stripesdk.DeclineCodeInvalidPIN, stripesdk.DeclineCodeInvalidAccount:
		return api.FailureDetails
	case stripesdk.DeclineCodeAuthenticationRequired:
		return api.FailureAuthenticated
	case stripesdk.DeclineCodeCardNotSupported, stripesdk.DeclineCodeCurrencyNotSupported,
		stripesdk.DeclineCodeInvalidAmount:
		return api.FailureUnsupported
	}
	switch e.Code {
	case stripesdk.ErrorCodeExpiredCard:
		return api.FailureExpiredCard
	case stripesdk.ErrorCodeIncorrectCVC, stripesdk.ErrorCodeIncorrectNumber, stripesdk.ErrorCodeInvalidCVC,
		stripesdk.ErrorCodeInvalidNumber:
		return api.FailureDetails
	case stripesdk.ErrorCodeAuthenticationRequired, stripesdk.ErrorCodePaymentIntentAuthenticationFailure:
		return api.FailureAuthenticated
	}
	return api.FailureDeclined
}

// Cancel implements provider.Provider. What the two changes answer does not count, only what stands there afterwards: a
// payer or another instance may be faster. They need no key: doing them twice is doing them once, and a key would have
// Stripe repeat its first answer for a day, were it even an error.
func (s *Provider) Cancel(ctx context.Context, remoteID string) (provider.State, error) {
	session, err := s.session(ctx, remoteID)
	if err != nil {
		return provider.State{}, err
	}
	if session.Status == stripesdk.CheckoutSessionStatusOpen {
		_, err = s.client.V1CheckoutSessions.Expire(ctx, session.ID, &stripesdk.CheckoutSessionExpireParams{})
		if session, err = s.after(ctx, session.ID, err); err != nil {
			return provider.State{}, err
		}
	}
	if state, err := stateOfSession(session); err != nil || state.Status == provider.Succeeded {
		return state, err
	}
	if intent := session.PaymentIntent; intent != nil && intent.Status != stripesdk.PaymentIntentStatusCanceled {
		_, err = s.client.V1PaymentIntents.Cancel(ctx, intent.ID, &stripesdk.PaymentIntentCancelParams{})
		if session, err = s.after(ctx, session.ID, err); err != nil {
			return provider.State{}, err
		}
	}
	state, err := stateOfSession(session)
	if err == nil && state.Status == provider.Pending {
		return provider.State{}, fault.New(fault.Unavailable, "Stripe has not closed the checkout")
	}
	return state, err
}

// after reads a session again after a change that ended with err, unless the outcome of that is unknown.
func (s *Provider) after(ctx context.Context, id string, err error) (*stripesdk.CheckoutSession, error) {
	if err := s.fault(ctx, err); err != nil && !provider.Permanent(err) {
		return nil, err
	}
	return s.session(ctx, id)
}

// refundKey is where a refund at Stripe carries our key.
const refundKey = "starlight_key"

// Refund implements provider.Provider. Stripe forgets an idempotency key after a day, but not the metadata of a refund:
// one that was asked for under the key before is looked for first, however long ago that was.
func (s *Provider) Refund(ctx context.Context, req provider.RefundRequest) (provider.Refund, error) {
	amount, _, err := toStripe(req.Amount)
	if err != nil {
		return provider.Refund{}, err
	}
	session, err := s.session(ctx, req.RemoteID)
	if err != nil {
		return provider.Refund{}, err
	}
	if session.PaymentIntent == nil {
		return provider.Refund{}, fault.New(fault.Conflict, "nothing was paid in this checkout")
	}
	intent := session.PaymentIntent.ID
	list := &stripesdk.RefundListParams{PaymentIntent: &intent}
	list.Limit = stripesdk.Int64(100)
	for refund, err := range s.client.V1Refunds.List(ctx, list).All(ctx) {
		if err != nil {
			return provider.Refund{}, s.fault(ctx, err)
		}
		if refund.Metadata[refundKey] == req.Key {
			return remoteRefund(refund)
		}
	}
	params := &stripesdk.RefundCreateParams{
		PaymentIntent: &intent, Amount: &amount,
		Reason:   stripesdk.String(string(stripesdk.RefundReasonRequestedByCustomer)),
		Metadata: map[string]string{refundKey: req.Key},
	}
	params.SetIdempotencyKey(req.Key)
	refund, err := s.client.V1Refunds.Create(ctx, params)
	if err != nil {
		return provider.Refund{}, s.fault(ctx, err)
	}
	return remoteRefund(refund)
}

// remoteRefund says what became of a refund. Some ways to pay take days to give back, and may fail in the end.
func remoteRefund(r *stripesdk.Refund) (provider.Refund, error) {
	switch r.Status {
	case stripesdk.RefundStatusFailed, stripesdk.RefundStatusCanceled:
		return provider.Refund{}, fault.New(fault.Conflict, "Stripe's refund %s is %s (%s)", r.ID,
			r.Status, r.FailureReason)
	case stripesdk.RefundStatusSucceeded:
		return provider.Refund{ID: r.ID}, nil
	}
	return provider.Refund{ID: r.ID, Pending: true}, nil
}

// fault turns an error of Stripe into one of ours, https://docs.stripe.com/api/errors. A refused key is Unavailable: it
// is for the operator to put right, and no reason to give a payment up. Nothing in it shows the key, whatever a server
// or a proxy on the way has sent back.
func (s *Provider) fault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var refused *stripesdk.Error
	if !errors.As(err, &refused) {
		cause := errors.New(s.redact(err.Error()))
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return fault.Wrap(cause, fault.Timeout, "Stripe did not answer in time")
		}
		return fault.Wrap(cause, fault.Unavailable, "Stripe cannot be reached")
	}
	cause := errors.New(s.redact(fmt.Sprintf("stripe: %d %s %s %s: %s (request %s)", refused.HTTPStatusCode,
		refused.Type, refused.Code, refused.Param, refused.Msg, refused.RequestID)))
	switch status := refused.HTTPStatusCode; {
	case refused.Type == stripesdk.ErrorTypeIdempotency:
		return fault.Wrap(cause, fault.Unprocessable, "the key was used for another request at Stripe")
	case refused.Code == stripesdk.ErrorCodeResourceMissing, status == http.StatusNotFound:
		return fault.Wrap(cause, fault.NotFound, "Stripe does not know it")
	case refused.Code == stripesdk.ErrorCodeBalanceInsufficient, refused.Code == stripesdk.ErrorCodeLockTimeout,
		refused.Code == stripesdk.ErrorCodeIdempotencyKeyInUse, refused.Code == stripesdk.ErrorCodeRateLimit,
		status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusConflict,
		status == http.StatusTooManyRequests, status >= 500:
		return fault.Wrap(cause, fault.Unavailable, "Stripe cannot do it now")
	case refused.Code == stripesdk.ErrorCodeChargeAlreadyRefunded, refused.Code == stripesdk.ErrorCodeChargeDisputed,
		refused.Code == stripesdk.ErrorCodePaymentIntentUnexpectedState:
		return fault.Wrap(cause, fault.Conflict, "the state of the payment at Stripe does not allow it")
	}
	return fault.Wrap(cause, fault.Invalid, "Stripe refused it")
}

// redact takes the key out of a text.
func (s *Provider) redact(text string) string { return strings.ReplaceAll(text, s.key, "[key]") }
