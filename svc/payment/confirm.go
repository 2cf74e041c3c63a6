package payment

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// confirm looks at a payment at its provider and moves ours, with the events about it. The callback that made us
// look, if any, is finished in the same transaction.
func (s *Service) confirm(ctx context.Context, p provider.Provider, remoteID string, callback *callbackRow) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	in := observation{provider: p.Name(), callback: callback, remote: provider.State{ID: remoteID}}
	source := "poller"
	if callback != nil {
		source = "callback"
	}
	switch remote, err := p.Fetch(ctx, remoteID); {
	case fault.Is(err, fault.NotFound):
		in.unknown = true
	case err != nil:
		return err
	default:
		in.remote = remote
	}
	_, err := s.observe(ctx, p, source, in)
	return err
}

// observe moves a payment by what was seen of it. The source is what made us look.
func (s *Service) observe(ctx context.Context, p provider.Provider, source string,
	in observation) (confirmation, error) {
	in.cause = stream.CauseOf(ctx)
	out, err := s.confirmations.Do(ctx, in)
	if err != nil {
		return out, err
	}
	s.metrics.confirmed(p.Name(), source, out)
	switch out.verdict {
	case verdictUnknown, verdictForeign:
		s.log.WarnContext(ctx, "the payment at the provider is none of ours", "provider", p.Name(),
			"remote", in.remote.ID, "verdict", out.verdict)
	case verdictMismatch, verdictLate:
		s.log.WarnContext(ctx, "a payment ended otherwise than asked for", "provider", p.Name(), "payment", out.payment,
			"remote", in.remote.ID, "verdict", out.verdict, "remote_amount", in.remote.Amount)
	}
	return out, nil
}

// Confirm implements provider.Payments.
func (s *Service) Confirm(ctx context.Context, row *record.Payment) (*record.Payment, error) {
	p, ok := s.providers[row.Provider]
	if !ok {
		return nil, fault.New(fault.Unavailable, "the provider %s is not configured", row.Provider)
	}
	if err := s.complete(ctx, p, row); err != nil {
		return nil, err
	}
	if err := s.confirm(ctx, p, row.RemoteID, nil); err != nil {
		return nil, err
	}
	return s.store.payment(ctx, row.ID)
}

// verdict is what an observation of the provider means for a payment.
type verdict string

// The verdicts.
const (
	verdictNone verdict = "unchanged" // nothing new
	verdictMove verdict = "moved"     // the payment moves to another state
	// moved: the money came although the provider had said that it would not
	verdictLate     verdict = "late_success"
	verdictMismatch verdict = record.FlagMismatch // amount or currency are not ours: failed, and what came goes back
	verdictUnknown  verdict = "unknown"           // no payment of ours
	verdictForeign  verdict = "foreign_object"    // our payment, but another object of the provider
)

// rank orders the states; a payment only ever moves to a higher one.
func rank(status string) int {
	switch status {
	case api.PaymentRequiresAction:
		return 0
	case api.PaymentProcessing:
		return 1
	case api.PaymentFailed:
		return 2
	case api.PaymentSucceeded:
		return 3
	case api.PaymentRefunded:
		return 4
	}
	return -1
}

// judge returns what seeing remote means for a payment of ours that is in status and over amount. Captured reports
// whether money has been collected. next is the state that it is in afterwards.
//
// Whatever the order and number of observations of one remote history, the state in the end is that of the furthest.
func judge(status string, amount api.Money, captured bool, remote provider.State) (next string, v verdict) {
	if remote.Status == provider.Succeeded {
		switch {
		case captured:
			return status, verdictNone
		case remote.Amount != amount:
			return api.PaymentFailed, verdictMismatch
		case status == api.PaymentFailed:
			return api.PaymentSucceeded, verdictLate
		}
	}
	switch remote.Status {
	case provider.Processing:
		next = api.PaymentProcessing
	case provider.Succeeded:
		next = api.PaymentSucceeded
	case provider.Failed:
		next = api.PaymentFailed
	default:
		return status, verdictNone
	}
	if rank(next) <= rank(status) {
		return status, verdictNone
	}
	return next, verdictMove
}
