package payment

import (
	"context"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// refundLease is how long a refund belongs to the instance that took it up; longer than an attempt can last.
const refundLease = time.Minute

// sweepRefunds gives back what is due.
func (s *Service) sweepRefunds(ctx context.Context) error {
	rows, err := s.books.owed(ctx, sweepLimit)
	if err != nil {
		return err
	}
	return parallel(ctx, refundWorkers, rows, s.refund)
}

// refund asks the provider to give money back. The refund stands in its table with the key that the provider knows it
// by; asking again gives the same refund.
func (s *Service) refund(ctx context.Context, row *refundRow) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refundLease/2)
	defer cancel()
	err := s.tryRefund(ctx, row)
	if err == nil {
		return
	}
	wait := backoff(row.Attempts, firstRetry, lastRetry)
	forGood := permanent(err)
	if forGood {
		s.metrics.refunded("refused")
		s.log.ErrorContext(ctx, "a refund needs a person", "refund", row.ID, "payment", row.PaymentID, "error", err)
	} else {
		s.metrics.refunded("delayed")
		s.log.WarnContext(ctx, "a refund waits", "refund", row.ID, "payment", row.PaymentID, "again_in", wait, "error", err)
	}
	if err := s.books.putOff(ctx, row.ID, s.now().Add(wait), forGood); err != nil {
		s.log.WarnContext(ctx, "a refund cannot be put off", "refund", row.ID, "error", err)
	}
}

func (s *Service) tryRefund(ctx context.Context, row *refundRow) error {
	payment, err := s.books.payment(ctx, row.PaymentID)
	if err != nil {
		return err
	}
	// Read after the payment: if another worker has just finished, this shows it.
	if pending, err := s.books.pending(ctx, row.ID); err != nil || !pending {
		return err
	}
	switch payment.Status {
	case api.PaymentSucceeded:
	case api.PaymentFailed, api.PaymentRefunded:
		return fault.New(fault.Conflict, "a payment that is %s cannot be refunded", payment.Status)
	default:
		return fault.New(fault.Unavailable, "the payment has not succeeded yet")
	}
	desk, ok := s.desks[payment.Provider]
	if !ok {
		return fault.New(fault.Unavailable, "the provider %s is not configured", payment.Provider)
	}
	call, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	remote, err := desk.provider.Refund(call, RefundRequest{
		Key: "starlight-refund-" + row.ID.String(), RemoteID: payment.RemoteID, Amount: row.money(), Reason: row.Reason,
	})
	if err != nil {
		s.metrics.providerError(payment.Provider, "refund")
		return err
	}
	fresh, err := s.books.repaid(ctx, row, remote.ID)
	if err == nil && fresh {
		s.metrics.refunded("succeeded")
	}
	return err
}

// permanent reports whether trying again is pointless: the provider has understood, and refused.
func permanent(err error) bool {
	switch fault.From(err).Code {
	case fault.Invalid, fault.NotFound, fault.Conflict, fault.Unprocessable, fault.Forbidden:
		return true
	}
	return false
}
