package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// readFor is how long manifests are read before the hub is asked again how things are.
const readFor = 5 * time.Second

// round asks the hub once what is new, and does what follows from it.
func (s *Service) round(ctx context.Context) error {
	if s.doors.Fenced() != "" { // it would only be refused again
		return nil
	}
	ctx, end := s.onThisLine(ctx)
	defer end()
	session, fresh := s.talking()
	if !fresh {
		var err error
		if session, err = s.hello(ctx); err != nil {
			return err
		}
	}
	question := &line.Ask{Session: session, Status: s.lineStatus(), Known: s.known()}
	_, accepted := s.doors.Journaled()
	sent, asked := s.cfg.Now(), time.Now() // the one is what the venue's clock says, the other only counts steps
	state, err := ask(ctx, s, line.AskState, question)
	if err != nil {
		return s.refused(err)
	}
	if err := s.hear(sent, state.Now); err != nil {
		return err
	}
	if err := s.doors.Follow(state, !fresh); err != nil {
		return err
	}
	_, now := s.doors.Journaled()
	// The hub was restored from a backup, or the answer to what was handed up is lost.
	if state.Journal < accepted || state.Journal > now {
		if err := s.doors.Accept(state.Journal); err != nil {
			return err
		}
	}
	until := asked.Add(readFor)
	var failed []error
	for _, e := range state.Events {
		if err := s.event(ctx, session, &e, asked, until); err != nil {
			failed = append(failed, fmt.Errorf("event %s: %w", e.EventID, err))
		}
	}
	return errors.Join(failed...)
}

// talking returns the session, and whether its hello was said.
func (s *Service) talking() (line.Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session, s.session.Number != 0
}

// hello begins a session.
func (s *Service) hello(ctx context.Context) (line.Session, error) {
	number, holds, journal, accepted, err := s.doors.Hello()
	if err != nil {
		return line.Session{}, err
	}
	id := s.db.Identity()
	session := line.Session{VenueID: id.Venue, Edge: id.Folder, Number: number}
	sent := s.cfg.Now()
	welcome, err := ask(ctx, s, line.SayHello, &line.Hello{Session: session, Version: s.cfg.Version,
		Key:   line.Key{ID: id.KeyID, Public: id.Key[32:]}, // the second half of a private key is the public one
		Holds: holds, Journal: journal, Accepted: accepted, Replace: s.cfg.Replace})
	if fault.Is(err, fault.Precondition) {
		return session, s.fence(err)
	}
	if err != nil {
		return session, err
	}
	if err := s.hear(sent, welcome.Now); err != nil {
		return session, err
	}
	if err := s.doors.Accept(welcome.Journal); err != nil {
		return session, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session, s.venue = session, welcome.Venue
	s.log.Info("the hub has said welcome", "venue", welcome.Venue.ID, "name", welcome.Venue.Name, "session", number,
		"journal", journal, "accepted", welcome.Journal, "holds", len(holds))
	return session, nil
}

// refused notes that the hub does not answer this session. It may have been restored from a backup, and not know of it:
// the next round says hello. If another computer serves the venue, that is refused, too.
func (s *Service) refused(err error) error {
	if fault.Is(err, fault.Precondition) {
		s.mu.Lock()
		s.session.Number = 0
		s.mu.Unlock()
		s.wake()
	}
	return err
}

// fence ends all decisions: another computer serves the venue, and what it decides is not known here. Two that decide
// would let people in twice, so this one must stop even if it is the one at the doors.
func (s *Service) fence(cause error) error {
	why := fault.From(cause).Detail
	s.log.Error("this computer is not the venue's any more, and admits no more: "+
		"scan with the other one, or release it and start this one with --replace", "reason", why)
	return errors.Join(cause, s.doors.Fence(why))
}

func (s *Service) hear(sent, hub time.Time) error {
	c := s.clock.hear(sent, hub)
	if c == nil {
		return nil
	}
	return s.doors.Write(func(tx *disk.Tx) error { return tx.PutClock(*c) })
}

// known is what the edge has, so that only what differs is sent.
func (s *Service) known() []line.Known {
	known := []line.Known{}
	for _, e := range s.doors.Events() {
		if e.Offer != nil {
			known = append(known, line.Known{EventID: e.EventID, Revision: e.Offer.Event.Revision,
				Team: e.Offer.Organizer.Revision})
		}
	}
	return known
}

// event reads what is new of an event's tickets, and moves its doors on. Doors that go back wait for no list.
func (s *Service) event(ctx context.Context, session line.Session, e *line.Event, asked, until time.Time) error {
	if e.State == line.DoorsReturning {
		return s.giveBack(ctx, session, e)
	}
	if err := s.read(ctx, session, e, until); err != nil {
		return err
	}
	s.doors.Current(e.EventID, asked)
	if e.State == line.DoorsHandingOver {
		return s.take(ctx, session, e.EventID)
	}
	return nil
}

// read reads pages of a manifest until nothing is missing, or for so long.
func (s *Service) read(ctx context.Context, session line.Session, e *line.Event, until time.Time) error {
	for ctx.Err() == nil {
		next, more := s.doors.NextPage(e.EventID)
		if !more {
			return nil
		}
		next.Session = session
		page, err := ask(ctx, s, line.GetPage, &next)
		if err != nil {
			return s.refused(err)
		}
		if err := s.doors.Page(next, e.Generation, page); err != nil {
			return err
		}
		if !time.Now().Before(until) {
			s.wake()
			return nil
		}
	}
	return ctx.Err()
}

// take takes the doors of an event over, if all is here that is needed for it.
func (s *Service) take(ctx context.Context, session line.Session, id ids.Event) error {
	before, _, _ := s.doors.Event(id)
	holds, err := s.doors.Take(id)
	if err != nil || !holds {
		return err
	}
	if !before.Holds {
		s.log.Info("the venue admits", "event", id, "epoch", before.Epoch, "tickets", s.doors.Tickets())
	}
	_, err = ask(ctx, s, line.Take, &line.Taken{Session: session,
		Hold: line.Hold{EventID: id, Epoch: before.Epoch, Position: before.Manifest.Position}})
	if fault.Is(err, fault.Conflict) { // it is over, as the next state will say
		return nil
	}
	return s.refused(err)
}

// giveBack gives the doors of an event back, after all that was decided has been handed up.
func (s *Service) giveBack(ctx context.Context, session line.Session, e *line.Event) error {
	journal, err := s.doors.Give(e.EventID)
	if err != nil {
		return err
	}
	if err := s.handUp(ctx, session, journal); err != nil {
		return err
	}
	_, err = ask(ctx, s, line.Return, &line.Returned{Session: session, Journal: journal,
		Hold: line.Hold{EventID: e.EventID, Epoch: e.Epoch}})
	if err != nil {
		return s.refused(err)
	}
	s.log.Info("the venue has given the doors back", "event", e.EventID, "epoch", e.Epoch, "journal", journal)
	s.wake()
	return nil
}

// handUpAlways hands the journal up whenever it has grown.
func (s *Service) handUpAlways(ctx context.Context) error {
	retry := retryPauses()
	for ctx.Err() == nil {
		session, ok := s.talking()
		var err error
		var grown <-chan struct{} = s.joined
		if ok && s.doors.Fenced() == "" {
			last, _ := s.doors.Journaled()
			if err = s.handUp(ctx, session, last); err == nil {
				grown = s.doors.Grown()
			}
		}
		pause := retry.Last
		if err != nil {
			pause = retry.Next()
		} else {
			retry.Reset()
			if !ok {
				pause = retry.First
			}
		}
		waitFor(ctx, pause, grown)
	}
	return nil
}

// handUp hands up the journal to an entry, as far as the hub does not have it. What joins meanwhile is handed up in its
// turn: doors that go back do not wait for those where people come in.
func (s *Service) handUp(ctx context.Context, session line.Session, last int64) error {
	s.upload.Lock()
	defer s.upload.Unlock()
	ctx, end := s.onThisLine(ctx)
	defer end()
	for ctx.Err() == nil {
		if _, accepted := s.doors.Journaled(); accepted >= last {
			return nil
		}
		entries, err := s.doors.Journal(s.upload.together)
		if err != nil || len(entries) == 0 {
			return err
		}
		began := time.Now()
		receipt, err := ask(ctx, s, line.HandUp, &line.Journal{Session: session, Entries: entries})
		if fault.Is(err, fault.Timeout) && len(entries) > 1 && ctx.Err() == nil {
			s.upload.together = len(entries) / 2 // a hub that is slow would begin all of them anew, for ever
			continue
		}
		if err != nil {
			return s.refused(err)
		}
		if time.Since(began) < line.HandUp.Timeout/4 {
			s.upload.together = min(2*s.upload.together, mostEntries)
		}
		if err := s.doors.Accept(receipt.Journal); err != nil {
			return err
		}
		if receipt.Journal < entries[0].Number {
			return fmt.Errorf("edge: the hub does not take entry %d of the journal", entries[0].Number)
		}
	}
	return ctx.Err()
}
