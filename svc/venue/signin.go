package venue

import (
	"context"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The sign-ins of a venue, at one instance: so many at once, and then one more after each pause. The user service slows
// down guesses at one account; this bounds what a venue can do with all of them.
const (
	signIns     = 20
	signInPause = 3 * time.Second
)

// meter lets so many things happen at once, and one more after each pause.
type meter struct {
	most  int
	pause time.Duration

	mu   sync.Mutex
	full map[ids.Venue]time.Time // when all of a venue's are there again
}

// spend uses n up, and returns for how long there are too few if so.
func (m *meter) spend(venue ids.Venue, n int, now time.Time) (wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	full := m.full[venue]
	if full.Before(now) {
		full = now
	}
	full = full.Add(time.Duration(n) * m.pause)
	if wait := full.Sub(now) - time.Duration(m.most)*m.pause; wait > 0 {
		return wait
	}
	m.full[venue] = full
	return 0
}

// signIn checks who a person is, and what of the venue's events the person works for.
func (s *Service) signIn(ctx context.Context, req *line.SignIn) (*line.Staff, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	if wait := s.signIns.spend(req.VenueID, 1, s.now()); wait > 0 {
		return nil, fault.New(fault.RateLimited, "too many people sign in at this venue").After(wait)
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
	staff := &line.Staff{UserID: person.ID, Name: person.Name, Admin: who.Admin(), Roles: []line.StaffRole{}}
	for _, e := range state.Events {
		if e.Offer == nil {
			continue
		}
		if role := e.Offer.RoleOf(who.User); role != "" {
			staff.Roles = append(staff.Roles, line.StaffRole{EventID: e.EventID, Role: role})
		}
	}
	return staff, nil
}
