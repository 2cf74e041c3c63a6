package edge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// tokenPrefix begins the tokens of people, so that they are told from the secrets of devices.
const tokenPrefix = "ses."

// people are the staff who have signed in. Only hashes of their tokens are kept.
type people struct {
	now func() time.Time

	mu   sync.RWMutex
	list map[[32]byte]disk.Session
}

func newPeople(db *disk.DB, now func() time.Time) (*people, error) {
	p := &people{now: now}
	err := db.View(func(tx *disk.Tx) (err error) {
		p.list, err = tx.Sessions()
		return err
	})
	return p, err
}

// find returns the session of a token.
func (p *people) find(hash [32]byte) (disk.Session, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s, ok := p.list[hash]
	return s, ok && p.now().Before(s.Expires)
}

// tidy ends the sessions that are over.
func (p *people) tidy(write func(func(*disk.Tx) error) error) error {
	now := p.now()
	return p.drop(write, func(s disk.Session) bool { return !now.Before(s.Expires) })
}

// drop ends some sessions, or none if the disk takes no writes.
func (p *people) drop(write func(func(*disk.Tx) error) error, which func(disk.Session) bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var over [][32]byte
	for hash, s := range p.list {
		if which(s) {
			over = append(over, hash)
		}
	}
	if len(over) == 0 {
		return nil
	}
	err := write(func(tx *disk.Tx) error {
		for _, hash := range over {
			if err := tx.DeleteSession(hash); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		for _, hash := range over {
			delete(p.list, hash)
		}
	}
	return err
}

// signedIn returns who is signed in.
func (p *people) signedIn() []line.SignedIn {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var all []line.SignedIn
	for _, s := range p.list {
		if who := ofStaff(s); !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	return all
}

func ofStaff(s disk.Session) line.SignedIn {
	return line.SignedIn{UserID: s.Staff.UserID, Generation: s.Staff.Generation, SessionID: s.Staff.SessionID}
}

// checkStaff asks the hub who has been signed out there, and signs them out here.
func (s *Service) checkStaff(ctx context.Context) error {
	session, ok := s.talking()
	if !ok || !s.cfg.Line().Up || s.doors.Fenced() != "" {
		return nil
	}
	ctx, end := s.onThisLine(ctx)
	defer end()
	for some := range slices.Chunk(s.people.signedIn(), line.StaffLimit) {
		out, err := rpc.Call(ctx, s.client, line.CheckStaff, &line.Staffing{Session: session,
			SignedInPeople: line.SignedInPeople{People: some}})
		if err != nil {
			return s.refused(err)
		}
		over := func(kept disk.Session) bool { return slices.Contains(out.People, ofStaff(kept)) }
		if err := s.people.drop(s.doors.Write, over); err != nil {
			return err
		}
	}
	return nil
}

// caller is who asks: a person, or a device.
type caller struct {
	by    string // a user or a pass
	who   rpc.Principal
	token [32]byte // hash of what was shown

	secret string // that was shown, if it is no person's
}

// Login is the request of a sign-in at a venue: who has a second factor gives it with the password.
type Login struct {
	api.Login
	api.FactorProof
}

// signIn checks with the hub who a person is. It needs a line.
func (s *Service) signIn(ctx context.Context, req *Login) (*Token, error) {
	session, ok := s.talking()
	if !ok || !s.lineNow().Up {
		return nil, fault.New(fault.Unavailable, "there is no line to the system, which knows the passwords: sign in "+
			"when there is one, or scan with a device that has a pass").After(5 * time.Second)
	}
	staff, err := rpc.Call(ctx, s.client, line.Login, &line.SignIn{Session: session, Email: req.Email,
		Password: req.Password, FactorProof: req.FactorProof})
	if err != nil {
		return nil, s.refused(err)
	}
	if !staff.Admin && len(staff.Roles) == 0 {
		return nil, fault.New(fault.Forbidden, "the account has no part in an event at this venue")
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails, by its documentation
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	hash := sha256.Sum256([]byte(token))
	kept := disk.Session{Staff: *staff, Expires: s.clock.Now().Add(line.SignInFor)}
	if err := s.doors.Write(func(tx *disk.Tx) error { return tx.PutSession(hash, kept) }); err != nil {
		return nil, err
	}
	s.people.mu.Lock()
	defer s.people.mu.Unlock()
	s.people.list[hash] = kept
	return &Token{AccessToken: token, TokenType: "Bearer", ExpiresIn: int(line.SignInFor / time.Second),
		Name: staff.Name}, nil
}

// signOut ends the session of the caller. Without a line the system lists it until its day is over.
func (s *Service) signOut(ctx context.Context, c caller) error {
	kept, ok := s.people.find(c.token)
	if err := s.doors.Write(func(tx *disk.Tx) error { return tx.DeleteSession(c.token) }); err != nil {
		return err
	}
	s.people.mu.Lock()
	delete(s.people.list, c.token)
	s.people.mu.Unlock()
	session, talking := s.talking()
	if !ok || kept.Staff.SessionID == "" || !talking || !s.lineNow().Up {
		return nil
	}
	if _, err := rpc.Call(ctx, s.client, line.Logout, &line.EndedSession{Session: session, UserID: kept.Staff.UserID,
		SessionID: kept.Staff.SessionID}); err != nil {
		s.log.InfoContext(ctx, "the system was not told of a sign-out", "error", s.refused(err))
	}
	return nil
}

// identify returns who shows a token. What is no person's is taken for a device's: see can.
func (s *Service) identify(token []byte) caller {
	c := caller{token: sha256.Sum256(token)}
	if p, ok := s.people.find(c.token); ok {
		c.by, c.who.User = string(p.Staff.UserID), p.Staff.UserID
		if p.Staff.Admin {
			c.who.Roles = []string{rpc.RoleAdmin}
		}
		return c
	}
	c.secret = string(token)
	return c
}

// errStranger answers a token that is neither a person's nor a device's.
func errStranger() error {
	return fault.New(fault.Unauthenticated, "the token is not known at this venue, or is over")
}

// at returns an event to a caller with a permission there, and as whom. The faults are Unauthenticated, Forbidden and
// NotFound.
func (s *Service) at(c caller, id ids.Event, need api.Permission) (*disk.Event, time.Duration, string, error) {
	e, age, known := s.doors.Event(id)
	can, by := c.can(&e, need)
	works, _ := c.can(&e, api.MayReadEvent)
	switch {
	case known && can:
		return &e, age, by, nil
	case c.by == "" && !s.isDevice(c):
		return nil, 0, "", errStranger()
	case !known || !works:
		return nil, 0, "", fault.New(fault.NotFound, "the doors of this event are not the venue's, or the caller "+
			"does not work at them")
	}
	return nil, 0, "", fault.New(fault.Forbidden, "this needs the permission %s at the event", need)
}

// isDevice reports whether a token is the secret of a pass for some event.
func (s *Service) isDevice(c caller) bool {
	return slices.ContainsFunc(s.doors.Events(), func(e disk.Event) bool { return passOf(&e, c.token) != nil })
}

// passOf returns the pass of a device for an event.
func passOf(e *disk.Event, hash [32]byte) *line.Pass {
	for i := range e.Passes {
		if string(e.Passes[i].Hash) == string(hash[:]) {
			return &e.Passes[i]
		}
	}
	return nil
}

// can reports whether the caller may do something at an event, and as whom. A person is what the teams say, as the hub
// last sent them; a device may do what people at the door may.
func (c caller) can(e *disk.Event, need api.Permission) (can bool, by string) {
	if c.by == "" {
		if p := passOf(e, c.token); p != nil {
			return slices.Contains((&api.OrganizerTeam{}).Permissions(api.RoleDoor), need), string(p.ID)
		}
		return false, ""
	}
	return e.Offer != nil && e.Offer.Can(c.who, need), c.by
}
