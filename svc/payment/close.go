package payment

import (
	"context"
	"sync"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// closePayments ends the open payments of orders at their providers, for ticketing, which is about to give their seats
// to others. An order that is in the answer cannot be paid any more; one that is not has been paid, is being paid, or
// its provider does not answer.
func (s *Service) closePayments(ctx context.Context, req *api.OrdersToClose) (*api.ClosedOrders, error) {
	const most = 500
	if len(req.OrderIDs) > most {
		return nil, fault.New(fault.Invalid, "at most %d orders can be closed together", most)
	}
	rows, err := s.store.payable(ctx, req.OrderIDs)
	if err != nil {
		return nil, err
	}
	// Before the provider is asked: its callback may come before its answer.
	if err := s.store.ending(ctx, rows, api.FailureOrderEnded); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	open := map[ids.Order]bool{}
	err = parallel(ctx, pollWorkers, rows, func(ctx context.Context, row *record.Payment) {
		if !row.IsOpen() || !s.close(ctx, row) { // one that is not open has succeeded
			mu.Lock()
			defer mu.Unlock()
			open[row.OrderID] = true
		}
	})
	if err != nil {
		return nil, err
	}
	out := &api.ClosedOrders{OrderIDs: []ids.Order{}}
	for _, id := range req.OrderIDs {
		if !open[id] {
			out.OrderIDs = append(out.OrderIDs, id)
		}
	}
	return out, nil
}

// close ends one payment at its provider, and reports whether it has failed for good.
func (s *Service) close(ctx context.Context, row *record.Payment) bool {
	p, ok := s.providers[row.Provider]
	if !ok {
		return false
	}
	err := s.complete(ctx, p, row) // a creation that was cut off may have happened
	var remote provider.State
	if err == nil {
		remote, err = p.Cancel(ctx, row.RemoteID)
	}
	var out confirmation
	if err == nil {
		out, err = s.observe(ctx, p, "close", observation{provider: row.Provider, remote: remote})
	}
	if err != nil {
		s.log.WarnContext(ctx, "a payment cannot be ended", "provider", row.Provider, "payment", row.ID, "error", err)
		return false
	}
	return out.status == api.PaymentFailed
}

// payable returns the payments of orders that have succeeded or still may.
func (b *paymentStore) payable(ctx context.Context, orders []ids.Order) ([]*record.Payment, error) {
	var rows []*record.Payment
	err := b.db.Read().NewSelect().Model(&rows).Where("p.order_id IN (?)",
		bun.List(append([]ids.Order{""}, orders...))).
		Where("p.status IN (?, ?, ?)", api.PaymentRequiresAction, api.PaymentProcessing, api.PaymentSucceeded).Scan(ctx)
	return rows, err
}

// ending records why payments are about to be ended.
func (b *paymentStore) ending(ctx context.Context, rows []*record.Payment, why string) error {
	var list []ids.Payment
	for _, r := range rows {
		if r.IsOpen() && r.Ending == "" {
			list = append(list, r.ID)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*record.Payment)(nil)).Set("ending = ?", why).
			Where("id IN (?)", bun.List(list)).Exec(ctx)
		return err
	})
}
