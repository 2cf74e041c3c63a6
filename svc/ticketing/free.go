package ticketing

import (
	"context"
	"errors"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// confirm makes the hold of an order final that SQL knows as paid: a free order, which is paid as it is written.
//
// If the hold is gone, either the order was given up meanwhile, or it was written so late that its hold had ended. Then
// it takes its seats again, and if others have them by now, it is taken back.
func (s *Service) confirm(ctx context.Context, row orderRow) error {
	err := s.inv.Confirm(ctx, row.ref())
	if !errors.Is(err, inventory.ErrGone) {
		return err
	}
	known, err := s.db.remainingSeats(ctx, row.ID)
	if row = known[row.ID].row; err != nil || row.Status != api.OrderPaid {
		return err
	}
	err = s.inv.Sell(ctx, row.ref(), row.UserID, known[row.ID].lines, "free")
	if fault.Is(err, fault.SoldOut) {
		s.metrics.branch("free_sold_out")
		s.log.WarnContext(ctx, "free order is taken back: its hold had ended and its seats are taken", "order", row.ID)
		if _, err = s.db.cancelFree(ctx, row.ID, true, store.Time(s.now())); err == nil {
			s.publishChanges(row.ID)
		}
		return err
	}
	if err != nil {
		return err
	}
	// Given up between the look and the sale, it must not keep them.
	if row, err = s.db.order(ctx, row.ID); err == nil && row.ended() {
		err = s.inv.Return(ctx, row.ref())
	}
	return err
}
