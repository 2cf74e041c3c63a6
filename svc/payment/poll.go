package payment

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
)

// sweepPayments asks the providers about payments that are open for longer than the setting payment.poll_after: their
// callback may be lost.
func (s *Service) sweepPayments(ctx context.Context) error {
	rows, err := s.books.unfinished(ctx, api.PaymentPollAfter.Get(s.live), sweepLimit)
	if err != nil {
		return err
	}
	return parallel(ctx, pollWorkers, rows, s.poll)
}

// poll asks about one payment. A payment whose creation at the provider was cut off is created again, under its key.
func (s *Service) poll(ctx context.Context, row *paymentRow) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*providerTimeout)
	defer cancel()
	desk, ok := s.desks[row.Provider]
	if !ok {
		return
	}
	if row.RemoteID == "" {
		remote, err := s.createRemote(ctx, desk.provider, row)
		if err != nil {
			return // told there
		}
		if _, err := s.opens.Do(ctx, opened{id: row.ID, remote: remote}); err != nil {
			s.log.WarnContext(ctx, "what a provider created cannot be kept", "payment", row.ID, "error", err)
			return
		}
		row.RemoteID = remote.ID
	}
	if err := s.settle(ctx, desk.provider, row.RemoteID, nil); err != nil {
		s.log.WarnContext(ctx, "a payment cannot be looked up", "provider", row.Provider, "payment", row.ID, "error", err)
	}
}
