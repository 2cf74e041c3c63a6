package ticketing

import (
	"context"
	"errors"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// createLease gives seats to a venue to sell.
func (s *Service) createLease(ctx context.Context, req *api.NewLease) (*api.Lease, error) {
	offer, err := s.offerAs(ctx, req.EventID, api.MayUseVenues)
	if err != nil {
		return nil, err
	}
	if err := s.requireVenue(ctx, req.VenueID); err != nil {
		return nil, err
	}
	var check fault.Check
	t := offer.Event.TicketType(req.TicketTypeID)
	check.Field(t != nil, "ticket_type_id", "is no ticket type of this event")
	check.Field(t == nil || len(t.Includes) == 0, "ticket_type_id",
		"includes products, which the till of a venue does not sell with tickets")
	check.Field(req.Quantity >= 1, "quantity", "must be at least 1")
	if err := check.Err(); err != nil {
		return nil, err
	}
	switch {
	case offer.Event.Status != api.EventPublished:
		return nil, fault.New(fault.Conflict, "the event is not on sale")
	case !s.now().Before(offer.Event.EndsAt):
		return nil, fault.New(fault.Conflict, "the event is over")
	case offer.Event.ChargesOnTop():
		return nil, fault.New(fault.Conflict, "tax or fees come on top of the prices, which the till of a venue does "+
			"not charge")
	}
	if _, err := s.inv.Pool(ctx, req.EventID); errors.Is(err, inventory.ErrNoPool) {
		err = s.setQuantities(ctx, req.EventID, offer.Event.Revision, stockOf(offer), "")
		if err != nil {
			return nil, err
		}
	}
	id := ids.New[ids.LeaseKind](s.now())
	if scope, key, hash, keyed := rpc.Answer(ctx); keyed {
		id = ids.Derive[ids.LeaseKind](scope, key, hash)
	}
	row, err := s.leases.Open(ctx, *req, id)
	if err != nil {
		return nil, err
	}
	s.doors.Poke(ctx, row.VenueID)
	lease := row.Lease()
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		return idempotency.KeepFor(ctx, tx, api.CreateLease.Success(), &lease)
	})
	if err != nil {
		return nil, err
	}
	return &lease, nil
}

func (s *Service) listLeases(ctx context.Context, req *api.EventRef) (*api.List[api.Lease], error) {
	if _, err := s.offerAs(ctx, req.ID, api.MayUseVenues); err != nil {
		return nil, err
	}
	rows, err := s.leases.Of(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Lease]{Items: make([]api.Lease, len(rows))}
	for i := range rows {
		out.Items[i] = rows[i].Lease()
	}
	return out, nil
}

func (s *Service) resizeLease(ctx context.Context, req *api.PatchLease) (*api.Lease, error) {
	if err := s.requireLease(ctx, req.EventID, req.LeaseID); err != nil {
		return nil, err
	}
	var check fault.Check
	check.Field(req.Quantity >= 1, "quantity", "must be at least 1: a lease that is not needed is closed")
	if err := check.Err(); err != nil {
		return nil, err
	}
	row, err := s.leases.Resize(ctx, req.LeaseID, req.Quantity)
	if err != nil {
		return nil, err
	}
	s.doors.Poke(ctx, row.VenueID)
	lease := row.Lease()
	return &lease, nil
}

func (s *Service) closeLease(ctx context.Context, req *api.LeaseToClose) (*api.Lease, error) {
	if err := s.requireLease(ctx, req.EventID, req.LeaseID); err != nil {
		return nil, err
	}
	if req.Force && !rpc.Caller(ctx).Admin() {
		return nil, fault.New(fault.Forbidden, "only administrators close a lease without its venue")
	}
	row, err := s.leases.Close(ctx, req.LeaseID, req.Force)
	if err != nil {
		return nil, err
	}
	s.doors.Poke(ctx, row.VenueID)
	lease := row.Lease()
	if req.Force {
		s.log.WarnContext(ctx, "a lease was closed without its venue", "event", req.EventID, "lease", req.LeaseID,
			"by", rpc.Caller(ctx).User, "seats_unknown", lease.Unknown)
	}
	return &lease, nil
}

// requireLease lets only managers of the event pass who own the lease's venue, and administrators.
func (s *Service) requireLease(ctx context.Context, event ids.Event, id ids.Lease) error {
	if _, err := s.offerAs(ctx, event, api.MayUseVenues); err != nil {
		return err
	}
	row, err := s.leases.Get(ctx, id)
	if err == nil {
		err = s.requireVenue(ctx, row.VenueID)
	}
	if err == nil && row.EventID != event {
		err = fault.New(fault.NotFound, "there is no such lease")
	}
	return err
}

// requireVenue lets only the owner of a venue pass, and administrators.
func (s *Service) requireVenue(ctx context.Context, id ids.Venue) error {
	if id == "" {
		var check fault.Check
		check.Field(false, "venue_id", "must be given")
		return check.Err()
	}
	v, err := rpc.Call(ctx, s.client, line.FindVenue, &line.VenueRef{VenueID: id})
	if err != nil {
		return err
	}
	if caller := rpc.Caller(ctx); v.Owner != caller.User && !caller.Admin() {
		return fault.New(fault.Forbidden, "only the venue's owner may do this")
	}
	return nil
}
