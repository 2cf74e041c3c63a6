package user_test

import (
	"slices"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Who signs in at a venue sees it among their sessions, and ends it there alone; a session that is not of that person
// and venue is left alone.
func TestSessionsAtVenues(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		venue := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "venue"})
		hall := ids.New[ids.VenueKind](time.Now())
		eve := m.register("eve@example.org", password)
		tokens := m.login("eve@example.org", password)
		checked := must(m.signInElsewhere("eve@example.org", password, api.FactorProof{}))(t)
		begin := func(generation int64) (*line.BegunSession, error) {
			return rpc.Call(t.Context(), venue, line.BeginVenueSession, &line.VenueSession{UserID: eve.ID,
				Generation: generation, VenueID: hall, Venue: "Great Hall"})
		}
		if _, err := begin(checked.Generation + 1); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("an account that has changed meanwhile: %v", err)
		}
		one := must(begin(checked.Generation))(t).SessionID
		two := must(begin(checked.Generation))(t).SessionID
		at := func(id ids.Session) line.SignedIn {
			return line.SignedIn{UserID: eve.ID, Generation: checked.Generation, SessionID: id}
		}
		signedOut := func(people ...line.SignedIn) []line.SignedIn {
			t.Helper()
			req := &line.SignedInPeople{People: people}
			return must(rpc.Call(t.Context(), venue, line.CheckSignedIn, req))(t).People
		}
		there := 0
		for _, session := range m.sessions(tokens) {
			if session.VenueID == hall && session.Device == "Great Hall" && !session.Current {
				there++
			}
		}
		if got := signedOut(at(one), at(two), at("")); there != 2 || len(got) != 0 {
			t.Errorf("%d sessions at the venue, signed out are %v", there, got)
		}
		must(rpc.Call(m.as(tokens), m.gateway, api.EndOneSession, &api.SessionRef{ID: one}))(t)
		if got := signedOut(at(one), at(two), at("")); !slices.Equal(got, []line.SignedIn{at(one)}) {
			t.Errorf("after one was ended: %v", got)
		}
		end := func(user ids.User, where ids.Venue, id ids.Session) {
			t.Helper()
			req := &line.EndedSession{Session: line.Session{VenueID: where}, UserID: user, SessionID: id}
			must(rpc.Call(t.Context(), venue, line.EndVenueSession, req))(t)
		}
		login := m.sessions(tokens)
		for _, session := range login {
			end(eve.ID, ids.New[ids.VenueKind](time.Now()), session.ID)
			end(newUserID(), hall, session.ID)
		}
		if got := m.sessions(tokens); len(got) != len(login) {
			t.Errorf("another venue, or another person, has ended some of %d: %d are left", len(login), len(got))
		}
		end(eve.ID, hall, two)
		if got := m.sessions(tokens); len(got) != 1 || !got[0].Current {
			t.Errorf("after both were ended: %+v", got)
		}
		three := must(begin(checked.Generation))(t).SessionID
		m.clock.Advance(line.SignInFor)
		if got := signedOut(at(three)); len(got) != 1 {
			t.Error("a session at a venue does not end with its day")
		}
	})
}
