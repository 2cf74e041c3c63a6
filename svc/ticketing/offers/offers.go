// Package offers knows what the events offer that are sold here.
package offers

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/singleflight"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
)

// ttl bounds how old an offer can be when the message that tells of its change is lost.
const ttl = time.Second

// limit bounds the memory of the cache, in events.
const limit = 10_000

// Offers knows what events offer. It asks the event service, remembers the answer for a second or until a message tells
// of a change, and keeps a copy in SQL: with the event service away, sales and doors go on with what is known.
type Offers struct {
	db     *store.DB
	client *rpc.Client
	now    func() time.Time
	asking singleflight.Group

	mu    sync.Mutex
	cache map[ids.Event]cachedOffer
}

type cachedOffer struct {
	*api.Offer
	until time.Time
}

// New returns the offers that are kept in a database.
func New(db *store.DB, client *rpc.Client, now func() time.Time) *Offers {
	return &Offers{db: db, client: client, now: now, cache: map[ids.Event]cachedOffer{}}
}

// Get returns what an event offers. The caller must not change it.
func (o *Offers) Get(ctx context.Context, event ids.Event) (*api.Offer, error) {
	o.mu.Lock()
	c, ok := o.cache[event]
	o.mu.Unlock()
	if ok && o.now().Before(c.until) {
		return c.Offer, nil
	}
	v, err, _ := o.asking.Do(event.String(), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return o.fetch(ctx, event, c.Offer)
	})
	if err != nil {
		return nil, err
	}
	return v.(*api.Offer), nil
}

// As returns what an event offers to a caller who has the permission.
func (o *Offers) As(ctx context.Context, event ids.Event, need api.Permission) (*api.Offer, error) {
	offer, err := o.Get(ctx, event)
	if err != nil {
		return nil, err
	}
	return offer, offer.Require(rpc.Caller(ctx), need)
}

func (o *Offers) fetch(ctx context.Context, event ids.Event, known *api.Offer) (*api.Offer, error) {
	offer, err := rpc.Call(ctx, o.client, api.GetOffer, &api.OfferRequest{EventID: event})
	switch {
	case fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout):
		if offer, err = load(context.WithoutCancel(ctx), o.db, event); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case known == nil || known.Event.Revision != offer.Event.Revision ||
		known.Organizer.Revision != offer.Organizer.Revision:
		if err := o.Save(ctx, offer); err != nil {
			return nil, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.cache) >= limit {
		clear(o.cache)
	}
	o.cache[event] = cachedOffer{offer, o.now().Add(ttl)}
	return offer, nil
}

// Evict makes the next Get ask again.
func (o *Offers) Evict(event ids.Event) {
	o.asking.Forget(event.String())
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.cache, event)
}

// EvictOrganizer makes the next Get of each of an organizer's events ask again.
func (o *Offers) EvictOrganizer(id ids.Organizer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for event, c := range o.cache {
		if c.Event.OrganizerID == id {
			o.asking.Forget(event.String())
			delete(o.cache, event)
		}
	}
}

// load returns the kept copy of an offer, with the newest team of its organizer.
func load(ctx context.Context, db *store.DB, event ids.Event) (*api.Offer, error) {
	var text string
	err := db.Read().NewRaw("SELECT offer FROM offers WHERE event_id = ?", event).Scan(ctx, &text)
	if err != nil {
		return nil, store.OrNotFound(err, api.NoSuchEvent)
	}
	offer := new(api.Offer)
	if err := json.Unmarshal([]byte(text), offer); err != nil {
		return nil, fmt.Errorf("offer of %s: %w", event, err)
	}
	var teams []string
	err = db.Read().NewRaw("SELECT team FROM organizers WHERE id = ?", offer.Event.OrganizerID).Scan(ctx, &teams)
	if err != nil || len(teams) == 0 {
		return offer, err
	}
	team := new(api.OrganizerTeam)
	if err := json.Unmarshal([]byte(teams[0]), team); err != nil {
		return nil, fmt.Errorf("team of %s: %w", offer.Event.OrganizerID, err)
	}
	return offer.Joined(team), nil
}

// Save keeps a copy of an offer unless a newer one is there.
func (o *Offers) Save(ctx context.Context, offer *api.Offer) error {
	text, err := json.Marshal(offer)
	if err != nil {
		return err
	}
	return o.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.ExecContext(ctx, `
			INSERT INTO offers (event_id, revision, cancelled, offer, ends_at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (event_id) DO UPDATE SET revision = excluded.revision, cancelled = excluded.cancelled,
				offer = excluded.offer, ends_at = excluded.ends_at
			WHERE offers.revision <= excluded.revision`,
			offer.Event.ID, offer.Event.Revision, offer.Event.Status == api.EventCancelled, string(text),
			store.Time(offer.Event.EndsAt))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 1 {
			if err := answers.Date(ctx, tx, &offer.Event); err != nil {
				return err
			}
		}
		return saveTeam(ctx, tx, &offer.Organizer)
	})
}

// Team returns who works for an organizer, as far as it is known: one without an event on sale is not.
func (o *Offers) Team(ctx context.Context, id ids.Organizer) (*api.OrganizerTeam, error) {
	var text string
	err := o.db.Read().NewRaw("SELECT team FROM organizers WHERE id = ?", id).Scan(ctx, &text)
	if err != nil {
		return nil, store.OrNotFound(err, api.NoSuchOrganizer)
	}
	team := new(api.OrganizerTeam)
	if err := json.Unmarshal([]byte(text), team); err != nil {
		return nil, fmt.Errorf("team of %s: %w", id, err)
	}
	return team, nil
}

// SaveTeam keeps a copy of an organizer's team unless a newer one is there.
func (o *Offers) SaveTeam(ctx context.Context, team *api.OrganizerTeam) error {
	return o.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error { return saveTeam(ctx, tx, team) })
}

func saveTeam(ctx context.Context, tx bun.Tx, team *api.OrganizerTeam) error {
	text, err := json.Marshal(team)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO organizers (id, revision, team) VALUES (?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, team = excluded.team
		WHERE organizers.revision < excluded.revision`, team.ID, team.Revision, string(text))
	return err
}

// RetireAfter is how long after its end an event may still have seats to give back.
const RetireAfter = 30 * 24 * time.Hour

// IsOver reports whether an event ended so long ago that its seats need not be kept.
func IsOver(ctx context.Context, db *store.DB, event ids.Event, now time.Time) (bool, error) {
	offer, err := load(ctx, db, event)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil && now.Sub(offer.Event.EndsAt) > RetireAfter, err
}
