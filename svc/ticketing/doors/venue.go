package doors

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// errNotHeld answers a venue that speaks of a hand-over which is over: it does not admit for the event.
var errNotHeld = fault.New(fault.Conflict, "the doors are not the venue's under this hand-over")

// hello registers a venue's key, and adopts the doors that it holds if this database does not know of that: then it was
// restored from a backup.
func (s *Doors) hello(ctx context.Context, req *line.Hello) (*line.Welcome, error) {
	now := store.Time(s.now())
	if len(req.Key.Public) != 32 || req.Key.ID == "" || len(req.Key.ID) > 64 {
		return nil, fault.New(fault.Invalid, "the key is not an Ed25519 key with an id")
	}
	holds, err := s.trustedHolds(ctx, req)
	if err != nil {
		return nil, err
	}
	var number int64
	var adopted []ids.Event
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		var err error
		adopted = nil
		if number, err = s.db.lockedJournal(ctx, tx, req.Session, now); err != nil {
			return err
		}
		if req.Journal < number {
			return fault.New(fault.Precondition, "the edge's journal ends at %d, and %d entries of it are here: its "+
				"data folder is an old copy", req.Journal, number)
		}
		if err := registerKey(ctx, tx, req.VenueID, req.Key, now); err != nil {
			return err
		}
		adopted, err = s.db.adopt(ctx, tx, req.VenueID, holds, number < req.Accepted, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, event := range adopted {
		s.metrics.restored.Inc()
		s.log.WarnContext(ctx, "a venue holds doors that this database did not know of, or not so: it was restored",
			"event", event, "venue", req.VenueID)
	}
	return &line.Welcome{Now: now, Journal: number}, nil
}

// trustedHolds returns those of the doors that an edge says to hold which may be its venue's. What else it says is
// logged, and changes nothing: the edge learns from its state that they are not.
func (s *Doors) trustedHolds(ctx context.Context, req *line.Hello) ([]line.Hold, error) {
	trusted, err := s.trusted(ctx, req.VenueID, func(yield func(ids.Event) bool) {
		for _, h := range req.Holds {
			if !yield(h.EventID) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var holds []line.Hold
	for _, h := range req.Holds {
		if trusted[h.EventID] {
			holds = append(holds, h)
			continue
		}
		s.log.WarnContext(ctx, "a venue says that it holds doors which are none of its", "event", h.EventID,
			"venue", req.VenueID)
	}
	return holds, nil
}

// registerKey keeps the key of a venue. The id of a key that another venue has, or that is another key, is refused.
func registerKey(ctx context.Context, tx tx, venue ids.Venue, key line.Key, now time.Time) error {
	public := base64.StdEncoding.EncodeToString(key.Public)
	if _, err := tx.ExecContext(ctx, `INSERT INTO venue_keys (id, venue_id, public, created_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`, key.ID, venue, public, now); err != nil {
		return err
	}
	var known bool
	err := tx.NewRaw("SELECT venue_id = ? AND public = ? FROM venue_keys WHERE id = ?", venue, public, key.ID).Scan(ctx,
		&known)
	if err == nil && !known {
		return fault.New(fault.Conflict, "the id of the key belongs to another key")
	}
	return err
}

// adopt makes the doors what a venue holds on its disk, where they are not: a Take that did not arrive, or this
// database is older than the venue's. restored says that it is, by the journal. It returns the events for which it is.
func (db doorStore) adopt(
	ctx context.Context, tx tx, venue ids.Venue, holds []line.Hold, restored bool, now time.Time,
) ([]ids.Event, error) {
	differ := false
	for _, h := range holds {
		row, err := doorOf(ctx, tx, h.EventID)
		if err != nil {
			return nil, err
		}
		differ = differ || !row.isOver(h) && (!row.isHeld(venue, h) || restored || h.Position > row.Position)
	}
	if differ { // before the rows are locked, as all others do
		if err := db.lockTickets(ctx, tx); err != nil {
			return nil, err
		}
	}
	var events []ids.Event
	for _, h := range holds {
		row, err := db.lockedDoor(ctx, tx, h.EventID)
		if err != nil {
			return nil, err
		}
		held := row.isHeld(venue, h)
		switch {
		case held && row.State == line.DoorsHandingOver:
			row.State, row.ChangedAt = line.DoorsVenue, now
			if err := row.put(ctx, tx); err != nil {
				return nil, err
			}
		case row.isOver(h) && !held: // the venue learns of it from the state
			continue
		}
		if held && !restored && h.Position <= row.Position || !differ {
			continue
		}
		next := doorRow{EventID: h.EventID, Policy: line.PolicyVenue, Unknown: line.UnknownRefuse, Position: 1}
		if row != nil {
			next = *row
		}
		if !held {
			next.VenueID, next.State, next.Epoch = venue, line.DoorsVenue, h.Epoch
		}
		// What the venue knows under the positions that it has may not be so here.
		next.Position, next.Generation = max(next.Position, h.Position), after(next.Generation, now)
		next.ChangedAt = now
		if err := next.put(ctx, tx); err != nil {
			return nil, err
		}
		events = append(events, h.EventID)
	}
	return events, nil
}

// isHeld reports whether the row says that the venue holds the doors so, or may.
func (r *doorRow) isHeld(venue ids.Venue, h line.Hold) bool {
	return r != nil && r.VenueID == venue && r.Epoch == h.Epoch && r.State != line.DoorsHub
}

// isOver reports whether a hand-over has ended, unless the row says that it is held.
func (r *doorRow) isOver(h line.Hold) bool {
	return r != nil && (r.Epoch > h.Epoch || r.Epoch == h.Epoch && r.State == line.DoorsHub)
}

// mostOffers bounds the descriptions of events in one answer, in bytes: it has to fit into a message. The others come
// when the venue asks next.
const mostOffers = 600_000

// state tells a venue of the events whose doors are its own.
func (s *Doors) state(ctx context.Context, req *line.Ask) (*line.State, error) {
	now := store.Time(s.now())
	out := &line.State{Now: now, Events: []line.Event{}}
	var err error
	if out.Journal, err = s.db.contact(ctx, req.Session, now); err != nil {
		return nil, err
	}
	if out.Keys, err = s.publicKeys(ctx, req.VenueID); err != nil {
		return nil, err
	}
	rows, err := s.db.ofVenue(ctx, req.VenueID)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	events := make([]ids.Event, len(rows))
	for i, r := range rows {
		events[i] = r.EventID
	}
	leases, err := s.leases(ctx, req.VenueID, events)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	known := make(map[ids.Event]line.Known, len(req.Known))
	for _, k := range req.Known {
		known[k.EventID] = k
	}
	size := 0
	for _, r := range rows {
		e := line.Event{EventID: r.EventID, State: r.State, Epoch: r.Epoch, Policy: r.Policy, Unknown: r.Unknown,
			Position: r.Position, Generation: r.Generation, Passes: []line.Pass{}, Leases: leases[r.EventID],
			MaxPerOrder: api.MaxPerOrder.Get(s.live)}
		if e.Leases == nil {
			e.Leases = []line.Lease{}
		}
		offer, err := s.offers.Get(ctx, r.EventID)
		if err != nil && !fault.Is(err, fault.NotFound) { // deleted, or a database without it was restored
			return nil, err
		}
		if err == nil {
			if e.Generation, err = s.generation(ctx, r, &offer.Event, now); err != nil {
				return nil, store.FaultOf(ctx, err)
			}
			opens, closes := s.hours(&offer.Event)
			e.Opens, e.Closes = opens, &closes
		}
		if err == nil && size < mostOffers && (known[r.EventID].Revision != offer.Event.Revision ||
			known[r.EventID].Team != offer.Organizer.Revision) {
			text, err := json.Marshal(offer)
			if err != nil {
				return nil, err
			}
			size += len(text)
			e.Offer = offer
		}
		out.Events = append(out.Events, e)
	}
	return out, nil
}

// publicKeys returns the keys that sign codes which a venue may see: the system's and its own.
func (s *Doors) publicKeys(ctx context.Context, venue ids.Venue) ([]line.Key, error) {
	keys := []line.Key{}
	for _, k := range s.keys.Public() {
		keys = append(keys, line.Key{ID: k.ID, Public: k.Public})
	}
	var own []struct{ ID, Public string }
	err := s.db.Read().NewRaw("SELECT id, public FROM venue_keys WHERE venue_id = ? ORDER BY created_at, id",
		venue).Scan(ctx, &own)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	for _, k := range own {
		public, err := base64.StdEncoding.DecodeString(k.Public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, line.Key{ID: k.ID, Public: public})
	}
	return keys, nil
}

// taken notes that a venue admits: it has written so to its disk.
func (s *Doors) taken(ctx context.Context, req *line.Taken) (*rpc.None, error) {
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row, err := s.db.lockedDoor(ctx, tx, req.EventID)
		switch {
		case err != nil:
			return err
		case row == nil, row.VenueID != req.VenueID, row.Epoch != req.Epoch, row.State == line.DoorsHub:
			return errNotHeld
		case row.State != line.DoorsHandingOver: // it has said so before, or the doors are wanted back already
			return nil
		}
		row.State, row.ChangedAt = line.DoorsVenue, store.Time(s.now())
		return row.put(ctx, tx)
	})
}

// returned notes that a venue admits no more, once all that it has decided is here. From then on the system admits. A
// venue that has lost the doors before may say so, too: it is true.
func (s *Doors) returned(ctx context.Context, req *line.Returned) (*rpc.None, error) {
	return nil, s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		now := store.Time(s.now())
		number, err := s.db.lockedJournal(ctx, tx, req.Session, now)
		if err != nil {
			return err
		}
		if number < req.Journal {
			return fault.New(fault.Conflict, "the journal is here up to %d, and the venue has decided up to %d", number,
				req.Journal)
		}
		row, err := s.db.lockedDoor(ctx, tx, req.EventID)
		foreign := row != nil && row.VenueID != req.VenueID && row.State != line.DoorsHub
		if err != nil || row == nil || foreign || row.isOver(req.Hold) {
			return err
		}
		// An epoch from the future is of a hand-over that a restored database forgot: it must not be adopted any more.
		row.VenueID, row.State, row.Epoch, row.ChangedAt = req.VenueID, line.DoorsHub, req.Epoch, now
		return row.put(ctx, tx)
	})
}

// manifest returns a page of the tickets of an event whose doors are the venue's.
func (s *Doors) manifest(ctx context.Context, req *line.Manifest) (*line.Page, error) {
	row, err := doorOf(ctx, s.db.Read(), req.EventID) // before the tickets: its position is older than they are
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	if row == nil || row.VenueID != req.VenueID || row.State == line.DoorsHub {
		return nil, errNotHeld
	}
	limit := req.Limit
	if limit <= 0 || limit > line.ManifestLimit {
		limit = line.ManifestLimit
	}
	var event *api.Event
	offer, err := s.offers.Get(ctx, req.EventID)
	if err == nil {
		event = &offer.Event
	} else if !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	page, err := s.db.page(ctx, req, event, limit)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	switch {
	case req.Since == 0:
		page.Position = row.Position
	case len(page.Tickets) > 0:
		page.Position = page.Tickets[len(page.Tickets)-1].Position
	default:
		page.Position = req.Since
	}
	return page, nil
}
