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
	worker, ok := s.workers[row.Provider]
	if !ok {
		return
	}
	err := s.complete(ctx, worker.provider, row)
	if err == nil {
		err = s.confirm(ctx, worker.provider, row.RemoteID, nil)
	}
	if err != nil {
		s.log.WarnContext(ctx, "a payment cannot be looked up", "provider", row.Provider, "payment", row.ID, "error", err)
	}
}

// complete creates a payment whose creation at the provider was cut off again, under its key.
func (s *Service) complete(ctx context.Context, p provider.Provider, row *record.Payment) error {
	if row.RemoteID != "" {
		return nil
	}
	remote, err := s.createRemote(ctx, p, row)
	if err != nil {
		return err
	}
	if _, err := s.remotes.Do(ctx, remoteCreated{id: row.ID, remote: remote}); err != nil {
		return err
	}
	row.RemoteID = remote.ID
	return nil
}
