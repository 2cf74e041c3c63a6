package event

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	// maxAttempts bounds how often a change is begun again because the event changed meanwhile.
	maxAttempts = 100
	// barredAttempts is after how many attempts a caller is told that a pending change of another caller is in the way:
	// about a second, of which ticketing usually needs a few hundredths.
	barredAttempts = 40
	// unfinishedAfter is how old a pending change must be before another instance than its owner finishes it. It is
	// longer than any request lives, so that the owner is surely gone.
	unfinishedAfter = 15 * time.Second
	// finishTimeout bounds the work that must be done although the caller may have left.
	finishTimeout = 5 * time.Second
)

var (
	errMoved     = errors.New("event: it was changed by another caller")
	errUnchanged = errors.New("event: it is already so")
)

// edit is a change that a caller asks for.
type edit struct {
	event   ids.Event
	need    api.Permission
	unasked bool // no caller asks for it: need does not count
	ifMatch string
	topic   api.Topic[api.Offer]
	delete  bool
	apply   func(next *record) error // changes next, or returns a fault, or errUnchanged
	status  int                      // HTTP status of success, where the request may carry an Idempotency-Key
}

// change makes an edit and returns the event as it is afterwards.
//
// No caller waits for a lock: the edit is applied to the event as it was read, and written if the event still is like
// that; otherwise everything begins again, so a precondition is checked against what it meets in the end.
func (s *Service) change(ctx context.Context, ed edit) (*record, error) {
	defer s.evict(ed.event)
	for attempt := range maxAttempts {
		if attempt > 0 && !pause(ctx, attempt) {
			return nil, ctx.Err()
		}
		before, err := s.store.load(ctx, ed.event)
		if err != nil {
			return nil, err
		}
		if err := before.Require(rpc.Caller(ctx), ed.need); err != nil && !ed.unasked {
			return nil, err
		}
		if before.pending != "" {
			if attempt >= barredAttempts {
				return nil, fault.New(fault.Unavailable,
					"another change of this event is being finished").After(unfinishedAfter)
			}
			s.takeOver(ctx, before)
			continue
		}
		if !rpc.MatchETag(ed.ifMatch, before.Event.ETag()) {
			return nil, fault.New(fault.Precondition, "the event was changed meanwhile")
		}
		c, err := s.draft(ctx, before, ed)
		if errors.Is(err, errUnchanged) {
			return before.record, nil
		}
		if err != nil {
			return nil, err
		}
		after, err := s.apply(ctx, before, c)
		if !errors.Is(err, errMoved) {
			return after, err
		}
	}
	return nil, fault.New(fault.Conflict, "the event is being changed by others; try again")
}

// draft applies an edit to a copy of the event.
func (s *Service) draft(ctx context.Context, before storedEvent, ed edit) (change, error) {
	next := before.clone()
	if err := ed.apply(next); err != nil {
		return change{}, err
	}
	next.Event.Revision++
	next.Event.UpdatedAt = store.Time(s.now())
	c := change{Next: next, Subject: ed.topic.Subject, Delete: ed.delete, Act: rpc.From(ctx).Endpoint,
		By: auditlog.Author(ctx, "event"), Owner: next.owner}
	if ed.status != 0 {
		c.Answer = answerTo(ctx, ed.status)
	}
	return c, nil
}

func answerTo(ctx context.Context, status int) *answer {
	scope, key, hash, ok := rpc.Answer(ctx)
	if !ok {
		return nil
	}
	return &answer{Scope: scope, Key: key, Hash: hash, Status: status}
}

// apply makes a change, or returns errMoved. If it moves the quantities of an event that has been on sale, ticketing
// decides first.
func (s *Service) apply(ctx context.Context, before storedEvent, c change) (*record, error) {
	if before.public() && (c.Delete || !before.sameStock(c.Next)) {
		return s.negotiate(ctx, before, c)
	}
	made, err := s.store.replace(ctx, before, c)
	if errors.Is(err, store.ErrUnknown) {
		return s.resolve(ctx, c, err)
	}
	if err == nil && !made {
		err = errMoved
	}
	return c.Next, err
}

// resolve finds out whether a change happened whose commit was cut off, or that another instance may have finished.
func (s *Service) resolve(ctx context.Context, c change, cause error) (*record, error) {
	now, err := s.store.load(ctx, c.Next.Event.ID)
	switch {
	case fault.Is(err, fault.NotFound) && c.Delete:
		return c.Next, nil
	case err != nil:
		return nil, cause
	case !c.Delete && now.Event.Revision == c.Next.Event.Revision && now.Event.UpdatedAt.Equal(c.Next.Event.UpdatedAt):
		return c.Next, nil
	case now.Event.Revision < c.Next.Event.Revision:
		return nil, errMoved // it did not: begin again
	}
	return nil, cause
}

// negotiate makes a change that ticketing may refuse.
//
// The change is noted in the event's row before ticketing is asked. While the note is there the event is not changed
// otherwise, so what ticketing has agreed to is what will be written. If this process ends in between, another one
// finds the note, asks again, which is harmless, and finishes the change.
func (s *Service) negotiate(ctx context.Context, before storedEvent, c change) (*record, error) {
	if c.Answer != nil { // a repeated request must not reach ticketing: it would add a second ticket type
		_, _, _, found, err := idempotency.In(s.store.db).Lookup(ctx, c.Answer.Scope, c.Answer.Key)
		if err != nil {
			return nil, err
		}
		if found {
			return nil, rpc.ErrDuplicateAnswer
		}
	}
	note, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	ok, err := s.store.prepare(ctx, before, c, string(note))
	if err == nil && !ok {
		err = errMoved
	}
	if err != nil {
		return nil, err
	}
	before.pending = string(note)
	return s.finish(ctx, before, c)
}

// finish asks ticketing about a noted change and makes it, or takes the note away. If the outcome is unknown the note
// stays, for adopt.
func (s *Service) finish(ctx context.Context, before storedEvent, c change) (*record, error) {
	id := before.Event.ID
	resize := &api.Resize{EventID: id, Revision: c.Next.Event.Revision, Quantities: c.Next.quantities(),
		Quotas: c.Next.Event.QuotaShares(), Currency: c.Next.currency()}
	if c.Delete {
		resize.Quantities, resize.Quotas, resize.Currency = map[ids.TicketType]int{}, nil, ""
	}
	_, err := rpc.Call(ctx, s.client, api.ResizeInventory, resize)

	// From here on it is no longer the caller's decision: ticketing has made it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	if err != nil {
		if fault.Is(err, fault.Timeout) || fault.Is(err, fault.Internal) {
			return nil, err // it may have happened
		}
		if werr := s.store.withdraw(ctx, id, before.pending); werr != nil {
			return nil, werr
		}
		if c.Delete && fault.Is(err, fault.Conflict) {
			err = fault.Wrap(err, fault.Conflict, "tickets of this event are held or sold; cancel it instead")
		}
		return nil, err
	}
	made, err := s.store.replace(ctx, before, c)
	s.evict(id)
	if err == nil && !made {
		err = errMoved
	}
	if errors.Is(err, store.ErrUnknown) || errors.Is(err, errMoved) {
		return s.resolve(ctx, c, err)
	}
	return c.Next, err
}

// takeOver finishes a pending change whose owner is gone. A younger one is left to its owner.
func (s *Service) takeOver(ctx context.Context, k storedEvent) {
	if s.now().Sub(k.pendingAt) < unfinishedAfter {
		return
	}
	var c change
	err := json.Unmarshal([]byte(k.pending), &c)
	if err == nil {
		_, err = s.finish(ctx, k, c)
	}
	if err != nil && !errors.Is(err, errMoved) {
		s.log.WarnContext(ctx, "an unfinished change could not be made", "event", k.Event.ID, "error", err)
	}
}

// sweep adopts all changes whose owners are gone.
func (s *Service) sweep(ctx context.Context) error {
	found, err := s.store.unfinished(ctx, s.now().Add(-unfinishedAfter))
	if err != nil {
		return err
	}
	for _, id := range found {
		k, err := s.store.load(ctx, id)
		if err != nil {
			return err
		}
		if k.pending != "" {
			s.takeOver(ctx, k)
		}
	}
	return nil
}

// pause waits a moment, longer with each attempt, up to a twentieth of a second, and reports whether to go on.
func pause(ctx context.Context, attempt int) bool {
	most := min(time.Millisecond<<min(attempt, 10), 50*time.Millisecond)
	return run.Pause(ctx, time.Duration(rand.Int64N(int64(most)))+time.Millisecond/2)
}

// unfinished returns events whose pending change is older than that, oldest first.
func (b eventStore) unfinished(ctx context.Context, before time.Time) ([]ids.Event, error) {
	var found []ids.Event
	err := b.db.Read().NewRaw("SELECT id FROM events WHERE pending_at < ? ORDER BY pending_at LIMIT 100",
		store.Time(before)).Scan(ctx, &found)
	return found, err
}
