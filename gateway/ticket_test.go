package gateway_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// tickets stands for the user service: each ticket is good once.
type tickets struct {
	mu   sync.Mutex
	good map[string]rpc.Principal
}

func (s *tickets) use(d *door) func(context.Context, *api.UseTicket) (*api.LivePass, error) {
	return func(_ context.Context, r *api.UseTicket) (*api.LivePass, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		p, ok := s.good[r.Ticket]
		if !ok {
			return nil, fault.New(fault.Unauthenticated, "the ticket is not valid")
		}
		delete(s.good, r.Ticket)
		return &api.LivePass{UserID: p.User, SessionID: p.Session, Roles: p.Roles, Until: d.clock.Now().Add(time.Minute)}, nil
	}
}

// A browser's EventSource sends no header: a ticket opens one stream, at any gateway, and no service sees it.
func TestLiveByTicket(t *testing.T) {
	var cfg gateway.Config
	b := openBoards(t, func(c *gateway.Config) { cfg = *c })
	anna := person()
	s := &tickets{good: map[string]rpc.Principal{"lt_one": anna, "lt_two": anna, "lt_three": anna}}
	user := b.server("user")
	rpc.Handle(user, api.UseLiveTicket, s.use(b.door))
	testkit.Serve(t, user)
	cfg.Registry = observe.NewRegistry()
	second, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go second.Serve(ln)
	t.Cleanup(func() {
		b.http.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := second.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	gateways := []string{b.url, "http://" + ln.Addr().String()}
	board := "/v1/boards/" + string(theEvent)
	open := func(at int, query string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", gateways[at]+board+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for at, query := range []string{"?ticket=lt_one", "?%74icket=lt_two"} {
		resp := open(at, query)
		if resp.StatusCode != 200 {
			t.Fatalf("gateway %d: status %d", at, resp.StatusCode)
		}
		(&follower{t, resp, bufio.NewReader(resp.Body)}).want(`snapshot||{"count":0}`)
	}
	for at := range gateways { // used up, wherever it was used
		for _, query := range []string{"?ticket=lt_one", "?ticket=lt_two", "?ticket=lt_never", "?ticket="} {
			if resp := open(at, query); resp.StatusCode != 401 || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("gateway %d, %s: status %d", at, query, resp.StatusCode)
			}
		}
	}

	// Nothing but a GET of a stream takes one.
	if a := b.do("HEAD", board+"?ticket=lt_three", ""); a.StatusCode != 401 {
		t.Errorf("HEAD: status %d", a.StatusCode)
	}
	wantProblem(t, b.do("DELETE", "/v1/events/"+string(theEvent)+"?ticket=lt_three", ""), 401, fault.Unauthenticated)
	wantProblem(t, b.do("GET", "/v1/config?ticket=lt_three", ""), 401, fault.Unauthenticated)
	if len(s.good) != 1 {
		t.Error("a ticket was used up by what takes none")
	}
	if log := b.log.String(); strings.Contains(log, "lt_") || !strings.Contains(log, "path="+board) {
		t.Error("a ticket is in the log, or no request is")
	}
}
