package ticketing

import (
	"context"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// The inventory keeps an event until retireAfter its end. What is given back of its orders afterwards needs no seats.
const (
	retireAfter = 30 * 24 * time.Hour
	retireEvery = time.Hour
)

// retire drops from the inventory what it keeps of events that ended long ago.
func (s *Service) retire(ctx context.Context) error {
	var failed error
	for _, event := range s.inv.Events() {
		over, err := s.db.isOver(ctx, event, s.now())
		if err == nil && over {
			err = s.inv.Retire(ctx, event)
		}
		if errors.Is(err, inventory.ErrHeld) { // its holds are about to expire
			continue
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// isOver reports whether an event ended so long ago that the inventory need not keep it.
func (db ticketStore) isOver(ctx context.Context, event ids.Event, now time.Time) (bool, error) {
	offer, err := db.offer(ctx, event)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil && now.Sub(offer.Event.EndsAt) > retireAfter, err
}
