package payment

import (
	"context"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

const (
	// lookTime bounds one look at a payment: a call or two of its provider and a transaction.
	lookTime = 2 * provider.CallTimeout
	// promptTime bounds the look that the answer to a callback waits for.
	promptTime = 2 * time.Second
	// callbackWorkers bounds the stored callbacks of one provider that are processed at the same time.
	callbackWorkers = 64
)

// receiveCallback verifies a callback and looks at its payment at the provider. The callback is stored together with
// what the look meant, and then acknowledged. If the provider does not answer promptly, the callback is stored alone
// and acknowledged, and processed later.
//
// A callback about a payment that we do not have is accepted too, counted and logged: the provider can do nothing about
// it, and would send it again for days.
func (s *Service) receiveCallback(ctx context.Context, req *api.Callback) (*rpc.None, error) {
	p, ok := s.providers[req.Provider]
	if !ok {
		return nil, fault.New(fault.NotFound, "no such payment provider")
	}
	event, err := p.ParseCallback(req)
	if err != nil {
		s.metrics.received(req.Provider, "refused")
		if left, ok := s.lines.Take("callback refused " + req.Provider); ok {
			s.log.WarnContext(ctx, "a callback was refused", "provider", req.Provider,
				"address", rpc.From(ctx).Address, "more_before", left, "error", err)
		}
		return nil, err
	}
	if event.RemoteID == "" {
		s.metrics.received(req.Provider, "passed over")
		return &rpc.None{}, nil
	}
	now := store.Time(s.now())
	row := &callbackRow{Provider: req.Provider, EventID: event.ID, RemoteID: event.RemoteID,
		Type: event.Type, Body: req.Body, ReceivedAt: now, DueAt: now}
	fresh, err := s.receive(ctx, p, row)
	switch {
	case err != nil:
		return nil, err
	case fresh:
		s.metrics.received(req.Provider, "new")
	default:
		s.metrics.received(req.Provider, "duplicate")
	}
	return &rpc.None{}, nil
}

// receive stores a callback, processed if that goes promptly, and reports whether it is new.
func (s *Service) receive(ctx context.Context, p *provider.Guard, row *callbackRow) (fresh bool, err error) {
	if !p.Concerns(row.Type) { // a look at what came afterwards takes more than a moment
		if known, err := s.known.Do(ctx, row.key()); err != nil || known {
			return false, err
		}
		prompt, cancel := context.WithTimeout(ctx, promptTime)
		err := s.confirm(prompt, p, row.RemoteID, row)
		cancel()
		if err == nil {
			return true, nil
		}
		wait := provider.Backoff(row.Attempts)
		s.log.WarnContext(ctx, "a callback waits", "provider", row.Provider, "callback", row.EventID,
			"again_in", wait, "error", err)
		row.DueAt, row.Attempts = store.Time(s.now().Add(wait)), 1
	}
	if fresh, err = s.receipts.Do(ctx, row); err == nil {
		wake(s.callbacksDue[p.Name()])
	}
	return fresh, err
}

// sweepCallbacks processes the stored callbacks of a provider that are due. Each provider has a sweep of its own, so a
// slow one does not delay the others.
func (s *Service) sweepCallbacks(ctx context.Context, p *provider.Guard) error {
	claim := s.store.callbacks(p.Name())
	rows, err := claim.Take(ctx, sweepLimit)
	if err != nil {
		return err
	}
	return parallel(ctx, callbackWorkers, rows, func(ctx context.Context,
		row *callbackRow) {
		s.process(ctx, p, claim, row)
	})
}

// process looks at the payment of a claimed callback. If that fails, the callback is due again later.
func (s *Service) process(ctx context.Context, p *provider.Guard, claim store.Claim[callbackRow], row *callbackRow) {
	ctx = context.WithoutCancel(ctx)
	err := claim.Work(ctx, row, func(ctx context.Context) error {
		if err := s.lookAfterwards(ctx, p, row); err != nil {
			return err
		}
		return s.confirm(ctx, p, row.RemoteID, row)
	})
	if err == nil || errors.Is(err, store.ErrClaimLost) {
		return
	}
	wait := provider.Backoff(row.Attempts)
	s.log.WarnContext(ctx, "a callback waits", "provider", row.Provider, "callback", row.EventID,
		"again_in", wait, "error", err)
	ctx, cancel := context.WithTimeout(ctx, provider.CallTimeout)
	defer cancel()
	if err := s.store.postpone(ctx, row, s.now().Add(wait)); err != nil {
		s.log.WarnContext(ctx, "a callback cannot be put off", "callback", row.EventID, "error", err)
	}
}

// deleteCallbacks deletes callbacks that were processed longer ago than the setting payment.callback_retention.
func (s *Service) deleteCallbacks(ctx context.Context) error {
	return s.store.deleteCallbacks(ctx, s.now().Add(-api.CallbackRetention.Get(s.live)))
}

// eraseReasons erases what people wrote of refunds that ended longer ago than the setting payment.reason_retention.
func (s *Service) eraseReasons(ctx context.Context) error {
	return record.DeleteSome(ctx, s.store.db, `UPDATE payment_refunds SET reason = '' WHERE id IN
		(SELECT id FROM payment_refunds WHERE updated_at < ? AND reason <> '' AND status <> 'pending' LIMIT ?)`,
		s.now().Add(-api.ReasonRetention.Get(s.live)))
}
