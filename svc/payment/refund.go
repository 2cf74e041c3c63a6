package payment

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// refundTime bounds an attempt to give money back: a call of the provider and its transactions.
const refundTime = provider.CallTimeout + 5*time.Second

// createRefund gives money back as a manager of the event decides. Ticketing decides, and revokes the
// tickets; the decision stands there, so what is interrupted here is carried out when its event arrives.
func (s *Service) createRefund(ctx context.Context, req *api.NewRefund) (*api.Refund, error) {
	missing := fault.New(fault.NotFound, "no such payment")
	payment, err := s.store.payment(ctx, req.PaymentID)
	if err != nil {
		return nil, err
	}
	id := ids.New[ids.RefundKind](s.now())
	if scope, key, hash, keyed := rpc.Answer(ctx); keyed {
		id = ids.Derive[ids.RefundKind](scope, key, hash)
	}
	due, err := rpc.Call(ctx, s.client, api.DecideRefund, &api.RefundOrder{RefundID: id,
		OrderID: cmp.Or(req.OrderID, payment.OrderID), PaymentID: payment.ID, Tickets: req.Tickets,
		Amount: req.Amount, Reason: req.Reason, KeepTickets: req.KeepTickets})
	hidden := !rpc.Caller(ctx).Owns(payment.UserID)
	if f := fault.From(err); hidden && f != nil && f.Code == fault.Forbidden && len(f.Fields) == 0 {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	var refund api.Refund
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if due.Amount.Amount == 0 { // tickets were revoked whose money is back already: there is nothing to carry out
			now := store.Time(s.now())
			refund = api.Refund{ID: due.RefundID, PaymentID: due.PaymentID, OrderID: due.OrderID,
				Status: api.RefundSucceeded, Amount: due.Amount, Tickets: due.Tickets, Reason: due.Reason,
				CreatedAt: now, UpdatedAt: now}
			return idempotency.KeepFor(ctx, tx, api.CreateRefund.Success(), &refund)
		}
		row, err := s.store.addRefund(ctx, tx, *due)
		if err != nil {
			return err
		}
		refund = row.Refund()
		return idempotency.KeepFor(ctx, tx, api.CreateRefund.Success(), &refund)
	})
	if err != nil {
		return nil, err
	}
	s.RefundNow()
	return &refund, nil
}

// listRefunds shows the refunds of a payment to who may see it.
func (s *Service) listRefunds(ctx context.Context, req *api.PaymentRef) (*api.List[api.Refund], error) {
	if _, err := s.Visible(ctx, req.ID); err != nil {
		return nil, err
	}
	rows, err := s.store.refunds(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Refund]{Items: make([]api.Refund, len(rows))}
	for i, r := range rows {
		out.Items[i] = r.Refund()
	}
	return out, nil
}

// RefundNow implements provider.Payments: it makes the sweep look for refunds at once.
func (s *Service) RefundNow() { wake(s.refundsDue) }

// sweepRefunds gives back what is due.
func (s *Service) sweepRefunds(ctx context.Context) error {
	rows, err := s.store.refundsDue().Take(ctx, sweepLimit)
	if err != nil {
		return err
	}
	return parallel(ctx, refundWorkers, rows, s.refund)
}

// refund asks the provider to give money back, while the refund is claimed. It stands in its table with the key that
// the provider knows it by; asking again gives the same refund.
func (s *Service) refund(ctx context.Context, row *record.Refund) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refundTime)
	defer cancel()
	err := s.store.refundsDue().Work(ctx, row, func(ctx context.Context) error { return s.tryRefund(ctx, row) })
	if err == nil || errors.Is(err, store.ErrClaimLost) {
		return
	}
	wait := provider.Backoff(row.Attempts)
	forGood := provider.Permanent(err)
	if errors.Is(err, errRefundPending) {
		s.metrics.refunded("pending")
	} else if forGood {
		s.metrics.refunded("refused")
		s.log.ErrorContext(ctx, "a refund needs a person", "refund", row.ID, "payment", row.PaymentID, "error", err)
	} else {
		s.metrics.refunded("delayed")
		s.log.WarnContext(ctx, "a refund waits", "refund", row.ID, "payment", row.PaymentID,
			"again_in", wait, "error", err)
	}
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), provider.CallTimeout)
	defer end()
	if err := s.store.postponeRefund(ctx, row, s.now().Add(wait), forGood); err != nil {
		s.log.WarnContext(ctx, "a refund cannot be put off", "refund", row.ID, "error", err)
	}
}

func (s *Service) tryRefund(ctx context.Context, row *record.Refund) error {
	payment, err := s.store.payment(ctx, row.PaymentID)
	if err != nil {
		return err
	}
	// Read after the payment: if another worker has just finished, this shows it.
	if pending, err := s.store.pending(ctx, row.ID); err != nil || !pending {
		return err
	}
	p, ok := s.providers[payment.Provider]
	if !ok {
		return fault.New(fault.Unavailable, "the provider %s is not configured", payment.Provider)
	}
	remote, err := p.Refund(ctx, provider.RefundRequest{
		Key: row.Key(), RemoteID: payment.RemoteID, Amount: row.Money(), Reason: row.Reason,
	})
	if err != nil {
		return err
	}
	if remote.Pending {
		return errRefundPending
	}
	fresh, err := s.store.refundDone(ctx, row, remote.ID)
	if err == nil && fresh {
		s.metrics.refunded("succeeded")
	}
	return err
}

// errRefundPending is no failure: the provider has taken the refund, and will say later that it is done.
var errRefundPending = fault.New(fault.Unavailable, "the refund is under way at the provider")
