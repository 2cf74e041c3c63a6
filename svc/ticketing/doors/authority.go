package doors

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// handOver begins to hand the doors of an event over to a venue.
func (s *Doors) handOver(ctx context.Context, req *api.NewAuthority) (*api.Authority, error) {
	offer, err := s.offers.As(ctx, req.EventID, api.MayUseVenues)
	if err != nil {
		return nil, err
	}
	if req.Policy == "" {
		req.Policy = line.PolicyVenue
	}
	if req.Unknown == "" {
		req.Unknown = line.UnknownRefuse
	}
	var check fault.Check
	check.Field(req.VenueID != "", "venue_id", "must be given")
	check.Field(req.Policy == line.PolicyVenue || req.Policy == line.PolicyShared, "policy",
		"must be venue or shared")
	check.Field(req.Unknown == line.UnknownAdmit || req.Unknown == line.UnknownRefuse, "unknown",
		"must be admit or refuse")
	if err := check.Err(); err != nil {
		return nil, err
	}
	if err := s.mayUse(ctx, req.VenueID); err != nil {
		return nil, err
	}
	if offer.Event.Status != api.EventPublished {
		return nil, fault.New(fault.Conflict, "the event is not published")
	}
	row, err := s.db.handOver(ctx, doorRow{EventID: req.EventID, VenueID: req.VenueID, Policy: req.Policy,
		Unknown: req.Unknown}, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	switch {
	case row.VenueID != req.VenueID:
		return nil, fault.New(fault.Conflict, "venue %s has the doors: take them back first", row.VenueID)
	case row.State == line.DoorsReturning:
		return nil, fault.New(fault.Conflict, "the venue is giving the doors back: wait until it has")
	}
	s.log.InfoContext(ctx, "doors are handed over", "event", row.EventID, "venue", row.VenueID, "state", row.State,
		"epoch", row.Epoch, "policy", row.Policy)
	s.Poke(ctx, row.VenueID)
	return row.authority(), nil
}

// mayUse returns nil if the caller may hand doors over to the venue: its owner, and administrators.
func (s *Doors) mayUse(ctx context.Context, id ids.Venue) error {
	caller := rpc.Caller(ctx)
	v, err := rpc.Call(ctx, s.client, line.FindVenue, &line.VenueRef{VenueID: id})
	switch {
	case caller.Admin() || err != nil && !fault.Is(err, fault.NotFound):
		return err
	case err != nil || v.Owner != caller.User: // which of the two is not for the caller to know
		return fault.New(fault.Forbidden, "only the venue's owner may hand doors over to it")
	}
	return nil
}

// Poke lets a venue ask what has changed. It asks by itself a moment later.
func (s *Doors) Poke(ctx context.Context, venue ids.Venue) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := rpc.Call(ctx, s.client, line.PokeVenue, &line.VenueRef{VenueID: venue}); err != nil {
		s.log.DebugContext(ctx, "a venue is not told that something has changed", "venue", venue, "error", err)
	}
}

func (s *Doors) authority(ctx context.Context, req *api.EventRef) (*api.Authority, error) {
	if _, err := s.offers.As(ctx, req.ID, api.MayAdmit); err != nil {
		return nil, err
	}
	row, err := doorOf(ctx, s.db.Read(), req.ID)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return &api.Authority{EventID: req.ID, State: line.DoorsHub}, nil
	}
	return row.authority(), nil
}

// takeBack begins to take the doors of an event back. The venue gives them back when it next asks, and not before all
// that it has decided is here.
func (s *Doors) takeBack(ctx context.Context, req *api.AuthorityEnd) (*api.Authority, error) {
	if _, err := s.offers.As(ctx, req.EventID, api.MayUseVenues); err != nil {
		return nil, err
	}
	if req.Force && !rpc.Caller(ctx).Admin() {
		return nil, fault.New(fault.Forbidden, "only administrators may take doors from a venue by force")
	}
	before, row, err := s.db.takeBack(ctx, req.EventID, req.Force, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	if row == nil {
		return &api.Authority{EventID: req.EventID, State: line.DoorsHub}, nil
	}
	out := row.authority()
	if before.State == line.DoorsHub {
		return out, nil
	}
	s.log.InfoContext(ctx, "doors are taken back", "event", row.EventID, "venue", row.VenueID, "state", row.State,
		"epoch", row.Epoch, "force", req.Force)
	if req.Force {
		if out.Lost, err = s.db.lost(ctx, before); err != nil {
			return nil, err
		}
	}
	s.Poke(ctx, row.VenueID)
	return out, nil
}

// Lost is what a venue had of an event when its doors were taken from it.
type Lost struct {
	State    string // before: not DoorsHub
	Policy   string
	Epoch    int64
	Admitted int // admissions that it has reported under the epoch
}

// Held returns the events whose doors a venue has, or is to get or to give back.
func (s *Doors) Held(ctx context.Context, venue ids.Venue) ([]ids.Event, error) {
	rows, err := s.db.ofVenue(ctx, venue)
	list := make([]ids.Event, len(rows))
	for i := range rows {
		list[i] = rows[i].EventID
	}
	return list, store.FaultOf(ctx, err)
}

// Lose takes the doors of an event from a venue that is lost for ever, unless they are not its own any more. It calls
// keep in the same transaction.
func (s *Doors) Lose(
	ctx context.Context, event ids.Event, venue ids.Venue, keep func(context.Context, bun.Tx, Lost) error,
) error {
	return s.db.lose(ctx, event, venue, store.Time(s.now()), keep)
}

func (db doorStore) lose(
	ctx context.Context, event ids.Event, venue ids.Venue, now time.Time,
	keep func(context.Context, bun.Tx, Lost) error,
) error {
	return db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row, err := db.lockedDoor(ctx, tx, event)
		if err != nil || row == nil || row.State == line.DoorsHub || row.VenueID != venue {
			return err
		}
		next := *row
		next.State, next.Epoch, next.ChangedAt = line.DoorsHub, after(row.Epoch, now), now
		if err := next.change(ctx, tx, row); err != nil {
			return err
		}
		had := Lost{State: row.State, Policy: row.Policy, Epoch: row.Epoch}
		if had.Admitted, err = admittedBy(ctx, tx, row); err != nil {
			return err
		}
		return keep(ctx, tx, had)
	})
}

// admittedBy returns how many admissions a venue has reported under its present hand-over.
func admittedBy(ctx context.Context, from bun.IDB, d *doorRow) (n int, err error) {
	err = from.NewRaw(`SELECT COUNT(*) FROM admissions WHERE event_id = ? AND venue_id = ? AND epoch = ?
		AND result = 'admitted'`, d.EventID, d.VenueID, d.Epoch).Scan(ctx, &n)
	return n, err
}

// lost says what is known of the last decisions of a venue that doors are taken from by force.
func (db doorStore) lost(ctx context.Context, d *doorRow) (*api.LostVenue, error) {
	out := &api.LostVenue{VenueID: d.VenueID}
	var contacts []time.Time
	err := db.Read().NewRaw("SELECT contact_at FROM journals WHERE venue_id = ? ORDER BY contact_at DESC LIMIT 1",
		d.VenueID).Scan(ctx, &contacts)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	if len(contacts) > 0 {
		last := contacts[0].UTC()
		out.LastContact = &last
	}
	out.Admitted, err = admittedBy(ctx, db.Read(), d)
	return out, store.FaultOf(ctx, err)
}
