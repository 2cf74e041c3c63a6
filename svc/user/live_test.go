package user_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// A ticket opens one stream, in its minute, as long as its session lasts.
func TestLiveTickets(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		ada := m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		issue := func() string {
			t.Helper()
			issued := must(rpc.Call(m.as(tokens), m.gateway, api.CreateLiveTicket, &rpc.None{}))(t)
			if issued.ExpiresIn != 60 {
				t.Errorf("it expires in %d s", issued.ExpiresIn)
			}
			return issued.Ticket
		}
		use := func(ticket string) (*api.LivePass, error) {
			return rpc.Call(m.anonymous("192.0.2.1"), m.gateway, api.UseLiveTicket, &api.UseTicket{Ticket: ticket})
		}
		first := issue()
		if strings.Contains(m.dump(), first) {
			t.Error("the ticket is in the database")
		}
		pass := must(use(first))(t)
		session := rpc.Caller(m.as(tokens)).Session
		if pass.UserID != ada.ID || pass.SessionID != session || len(pass.Roles) != 0 ||
			!pass.Until.Equal(m.clock.Now().Add(15*time.Minute)) {
			t.Errorf("it opens a stream for %+v", pass)
		}
		_, err := use(first)
		wantCode(t, err, fault.Unauthenticated)

		for _, wrong := range []string{"", "lt_", first[:len(first)-1], "rt_" + first[3:], tokens.RefreshToken,
			tokens.AccessToken} {
			_, err := use(wrong)
			wantCode(t, err, fault.Unauthenticated)
		}

		late := issue()
		m.clock.Advance(time.Minute)
		_, err = use(late)
		wantCode(t, err, fault.Unauthenticated)

		var good atomic.Int64
		var all sync.WaitGroup
		raced := issue()
		for range 16 {
			all.Go(func() {
				if _, err := use(raced); err == nil {
					good.Add(1)
				} else if !fault.Is(err, fault.Unauthenticated) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if good.Load() != 1 {
			t.Errorf("it opened %d streams", good.Load())
		}

		orphan := issue()
		must(rpc.Call(m.as(tokens), m.gateway, api.EndSession, &rpc.None{}))(t)
		_, err = use(orphan)
		wantCode(t, err, fault.Unauthenticated)
		_, err = rpc.Call(m.as(tokens), m.gateway, api.CreateLiveTicket, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		if log := m.log.String(); strings.Contains(log, first[3:]) || strings.Contains(log, raced[3:]) {
			t.Error("a ticket is in the log")
		}
	})
}
