package venue

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The sign-ins of a venue, at all instances together: so many at once, and then one more after each pause. The user
// service slows down guesses at one account; this bounds what a venue can do with all of them.
const (
	signIns     = 20
	signInPause = 3 * time.Second
)

// tryOnce counts a sign-in or a pairing of a venue, or refuses it with RateLimited. The statement does the counting, so
// that no two instances count as one.
func (t edges) tryOnce(ctx context.Context, venue ids.Venue, now time.Time, what string) error {
	return t.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		most := now.Add((signIns - 1) * signInPause)
		res, err := tx.ExecContext(ctx, `UPDATE edges SET
			sign_ins_full = CASE WHEN sign_ins_full < ? THEN ? ELSE sign_ins_full END + ?
			WHERE venue_id = ? AND sign_ins_full <= ?`,
			now.UnixMilli(), now.UnixMilli(), signInPause.Milliseconds(), venue, most.UnixMilli())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		var full int64
		if err := tx.NewRaw("SELECT sign_ins_full FROM edges WHERE venue_id = ?", venue).Scan(ctx, &full); err != nil {
			return err
		}
		return fault.New(fault.RateLimited, "too many %s at this venue", what).After(time.UnixMilli(full).Sub(most))
	})
}

// signIn checks who a person is, and what of the venue's events the person works for.
func (s *Service) signIn(ctx context.Context, req *line.SignIn) (*line.Staff, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	if err := s.edges.tryOnce(ctx, req.VenueID, s.now(), "people sign in"); err != nil {
		return nil, err
	}
	person, err := rpc.Call(ctx, s.client, line.CheckUserPassword,
		&line.CheckPassword{Email: req.Email, Password: req.Password, FactorProof: req.FactorProof})
	if err != nil {
		return nil, err
	}
	// Without what the edge knows, the state has the offer of every event.
	state, err := rpc.Call(ctx, s.client, line.VenueState, &line.Ask{Session: req.Session})
	if err != nil {
		return nil, err
	}
	who := rpc.Principal{User: person.ID, Roles: person.Roles}
	staff := &line.Staff{UserID: person.ID, Name: person.Name, Admin: who.Admin(), Roles: []line.StaffRole{},
		Generation: person.Generation}
	for _, e := range state.Events {
		if e.Offer == nil {
			continue
		}
		if role := e.Offer.RoleOf(who.User); role != "" {
			staff.Roles = append(staff.Roles, line.StaffRole{EventID: e.EventID, Role: role})
		}
	}
	if !staff.Admin && len(staff.Roles) == 0 {
		return staff, nil
	}
	venue, err := s.store.load(ctx, req.VenueID)
	if err != nil {
		return nil, err
	}
	begun, err := rpc.Call(ctx, s.client, line.BeginVenueSession, &line.VenueSession{UserID: person.ID,
		Generation: person.Generation, VenueID: req.VenueID, Venue: venue.Name})
	if err != nil {
		return nil, err
	}
	staff.SessionID = begun.SessionID
	return staff, nil
}

// signOut ends a session that has begun at a venue.
func (s *Service) signOut(ctx context.Context, req *line.EndedSession) (*rpc.None, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	return rpc.Call(ctx, s.client, line.EndVenueSession, req)
}

// staff answers which people who have signed in at a venue are to be signed out there.
func (s *Service) staff(ctx context.Context, req *line.Staffing) (*line.SignedInPeople, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	return rpc.Call(ctx, s.client, line.CheckSignedIn, &req.SignedInPeople)
}
