package user

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// beginAtVenue notes that a person has signed in at a venue, whose password was checked a moment ago.
func (s *Service) beginAtVenue(ctx context.Context, req *line.VenueSession) (*line.BegunSession, error) {
	now := s.now()
	session := sessionRow{ID: ids.New[ids.SessionKind](now), UserID: req.UserID, VenueID: req.VenueID,
		Device: req.Venue, CreatedAt: now, LastUsedAt: now, ProvenAt: now,
		ExpiresAt: now.Add(line.SignInFor)}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, err := s.lock(ctx, tx, req.UserID)
		if fault.Is(err, fault.NotFound) || err == nil && (row.Locked || row.Generation != req.Generation) {
			return fault.New(fault.Unauthenticated, "the account has changed meanwhile: sign in again")
		}
		if err != nil {
			return err
		}
		_, err = s.addSession(ctx, tx, &session)
		return err
	})
	return &line.BegunSession{SessionID: session.ID}, err
}

// endAtVenue notes that a person has signed out at a venue.
func (s *Service) endAtVenue(ctx context.Context, req *line.EndedSession) (*rpc.None, error) {
	return nil, s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ? AND user_id = ? AND venue_id = ?",
			req.SessionID, req.UserID, req.VenueID)
		return err
	})
}

// checkSignedIn answers which of the people who have signed in elsewhere are to be signed out there: whose account is
// gone or locked, or of a later generation, or whose session has ended.
func (s *Service) checkSignedIn(ctx context.Context, req *line.SignedInPeople) (*line.SignedInPeople, error) {
	if len(req.People) > line.StaffLimit {
		return nil, fault.New(fault.TooLarge, "at most %d people at a time", line.StaffLimit)
	}
	out := &line.SignedInPeople{People: []line.SignedIn{}}
	if len(req.People) == 0 {
		return out, nil
	}
	people, sessions := make([]ids.User, len(req.People)), make([]ids.Session, len(req.People))
	for i, p := range req.People {
		people[i], sessions[i] = p.UserID, p.SessionID
	}
	var accounts []userRow
	err := s.db.Read().NewRaw("SELECT id, generation FROM users WHERE id IN (?) AND NOT locked", bun.List(people)).
		Scan(ctx, &accounts)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	var open []ids.Session
	err = s.db.Read().NewRaw("SELECT id FROM sessions WHERE id IN (?) AND expires_at > ?", bun.List(sessions), s.now()).
		Scan(ctx, &open)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	for _, p := range req.People {
		stands := slices.ContainsFunc(accounts, func(r userRow) bool {
			return r.ID == p.UserID && r.Generation == p.Generation
		})
		if !stands || p.SessionID != "" && !slices.Contains(open, p.SessionID) {
			out.People = append(out.People, p)
		}
	}
	return out, nil
}
