package payment

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// sweepPayments asks the providers about payments that are open for longer than the setting payment.poll_after: their
// callback may be lost.
func (s *Service) sweepPayments(ctx context.Context) error {
	rows, err := s.store.unfinished(ctx, api.PaymentPollAfter.Get(s.live), sweepLimit)
	if err != nil {
		return err
	}
	return parallel(ctx, pollWorkers, rows, s.poll)
}

// poll asks about one payment.
func (s *Service) poll(ctx context.Context, row *record.Payment) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	p, ok := s.providers[row.Provider]
	if !ok {
		return
	}
	err := s.complete(ctx, p, row)
	if err == nil {
		err = s.confirm(ctx, p, row.RemoteID, nil)
	}
	if err != nil {
		s.log.WarnContext(ctx, "a payment cannot be looked up", "provider", row.Provider,
			"payment", row.ID, "error", err)
	}
}

// complete creates a payment whose creation at the provider was cut off again, under its key.
func (s *Service) complete(ctx context.Context, p *provider.Guard, row *record.Payment) error {
	if row.RemoteID != "" {
		return nil
	}
	created, err := s.createRemote(ctx, p, row)
	if err != nil {
		return err
	}
	if _, err := s.remotes.Do(ctx, created); err != nil {
		return err
	}
	row.RemoteID = created.remote.ID
	return nil
}
