package ticketing

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// offerTTL bounds how old an offer can be when the message that tells of its change is lost.
const offerTTL = time.Second

// offerLimit bounds the memory of the cache, in events.
const offerLimit = 10_000

// offers knows what events offer. It asks the event service, remembers the answer for a second or until a message tells
// of a change, and keeps a copy in SQL: with the event service away, sales and doors go on with what is known.
type offers struct {
	db     ticketStore
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

func newOffers(db ticketStore, client *rpc.Client, now func() time.Time) *offers {
	return &offers{db: db, client: client, now: now, cache: map[ids.Event]cachedOffer{}}
}

// get returns what an event offers. The caller must not change it.
func (o *offers) get(ctx context.Context, event ids.Event) (*api.Offer, error) {
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

func (o *offers) fetch(ctx context.Context, event ids.Event, known *api.Offer) (*api.Offer, error) {
	offer, err := rpc.Call(ctx, o.client, api.GetOffer, &api.OfferRequest{EventID: event})
	switch {
	case fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout):
		if offer, err = o.db.offer(context.WithoutCancel(ctx), event); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case known == nil || known.Event.Revision != offer.Event.Revision:
		if err := o.db.saveOffer(ctx, offer); err != nil {
			return nil, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.cache) >= offerLimit {
		clear(o.cache)
	}
	o.cache[event] = cachedOffer{offer, o.now().Add(offerTTL)}
	return offer, nil
}

// evict makes the next get ask again.
func (o *offers) evict(event ids.Event) {
	o.asking.Forget(event.String())
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.cache, event)
}

// ticketType returns a ticket type of the offer, or nil.
func ticketType(o *api.Offer, id ids.TicketType) *api.TicketType {
	for i := range o.Event.TicketTypes {
		if o.Event.TicketTypes[i].ID == id {
			return &o.Event.TicketTypes[i]
		}
	}
	return nil
}

// offerAs returns an offer to a caller who has at least the role.
func (s *Service) offerAs(ctx context.Context, event ids.Event, need api.Role) (*api.Offer, error) {
	o, err := s.offers.get(ctx, event)
	if err != nil {
		return nil, err
	}
	return o, o.Require(rpc.Caller(ctx), need)
}
