package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// board is a state with a live stream.
type board struct {
	Count int64 `json:"count"`
}

var getBoard = rpc.Endpoint[api.EventRef, board]{Spec: rpc.Spec{Service: "boards", Name: "get", Method: "GET", Path: "/v1/boards/{id}", Access: rpc.User, Live: rpc.LiveByPath("id")}}

// boards is a gateway with a live endpoint. Hold makes the snapshot wait.
type boards struct {
	*door
	count atomic.Int64
	calls atomic.Int64
	hold  atomic.Pointer[chan struct{}] // nil: nothing waits
	asked chan struct{}                 // gets a value when a snapshot is asked for
}

func openBoards(t *testing.T, change ...func(*gateway.Config)) *boards {
	t.Helper()
	b := &boards{asked: make(chan struct{}, 64)}
	b.door = open(t, append([]func(*gateway.Config){func(c *gateway.Config) {
		c.Endpoints = append(c.Endpoints, getBoard.Describe())
		c.Settings = settings.Fixed(api.RatePerAddress.Is(0), api.RatePerPerson.Is(0), api.LivePerPerson.Is(2))
	}}, change...)...)
	s := b.server("boards")
	rpc.Handle(s, getBoard, func(context.Context, *api.EventRef) (*board, error) {
		b.calls.Add(1)
		b.asked <- struct{}{}
		if hold := b.hold.Load(); hold != nil {
			<-*hold
		}
		return &board{b.count.Load()}, nil
	})
	testkit.Serve(b.t, s)
	return b
}

// change changes the state, then publishes it.
func (b *boards) change(n int64, id string) {
	b.t.Helper()
	b.count.Store(n)
	if err := live.Publish(b.nats.Conn, live.Subject("boards", string(theEvent)), "changed", id, map[string]int64{"count": n}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.nats.Conn.Flush(); err != nil {
		b.t.Fatal(err)
	}
}

// follower is a client of a stream.
type follower struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Reader
}

func (b *boards) follow(t *testing.T, token string) *follower {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", b.url+"/v1/boards/"+string(theEvent), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &follower{t, resp, bufio.NewReader(resp.Body)}
}

// next returns the next event as "name|id|data", leaving out comments; "" at the end.
func (f *follower) next() string {
	f.t.Helper()
	var name, id, data string
	for {
		line, err := f.in.ReadString('\n')
		if err == io.EOF {
			return ""
		}
		if err != nil {
			f.t.Fatal(err)
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && data != "":
			return name + "|" + id + "|" + data
		case field == "event":
			name = value
		case field == "id":
			id = value
		case field == "data":
			data += value
		}
	}
}

func (f *follower) want(want string) {
	f.t.Helper()
	if got := f.next(); got != want {
		f.t.Fatalf("got %q, want %q", got, want)
	}
}

func TestLive(t *testing.T) {
	b := openBoards(t, func(c *gateway.Config) { c.LiveBeat = 10 * time.Millisecond })
	b.count.Store(3)
	f := b.follow(t, b.token(person()))
	if f.resp.StatusCode != 200 || f.resp.Header.Get("Content-Type") != "text/event-stream" || f.resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d, headers %v", f.resp.StatusCode, f.resp.Header)
	}
	f.want(`snapshot||{"count":3}`)
	b.change(4, "four")
	b.change(5, "")
	f.want(`changed|four|{"count":4}`)
	f.want(`changed||{"count":5}`)
	if err := b.nats.Conn.Publish(live.Subject("boards", string(theEvent)), []byte("{\n}")); err != nil {
		t.Fatal(err)
	}
	f.want(`||{}`)
	if b.calls.Load() != 1 {
		t.Errorf("the service was called %d times, want once", b.calls.Load())
	}
	for { // and while nothing happens, signs of life
		line, err := f.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, ":") {
			break
		}
	}
}

// A change while the snapshot is made is in the snapshot or follows it; it is not lost.
func TestLiveLosesNothingBeforeTheSnapshot(t *testing.T) {
	b := openBoards(t)
	hold := make(chan struct{})
	b.hold.Store(&hold)
	got := make(chan string, 2)
	go func() {
		f := b.follow(t, b.token(person()))
		got <- f.next()
		got <- f.next()
	}()
	<-b.asked // the gateway is subscribed by now
	b.change(7, "7")
	close(hold)
	if s := <-got; s != `snapshot||{"count":7}` {
		t.Errorf("first %q", s)
	}
	if s := <-got; s != `changed|7|{"count":7}` {
		t.Errorf("second %q", s)
	}
}

func TestLiveRefuses(t *testing.T) {
	b := openBoards(t)
	path := "/v1/boards/" + string(theEvent)
	wantProblem(t, b.do("GET", path, ""), 401, fault.Unauthenticated)
	for _, id := range []string{">", "*", "a.b", "a%20b", "%3E"} {
		wantProblem(t, b.do("GET", "/v1/boards/"+id, "", "Authorization", "Bearer "+b.token(person())), 404, fault.NotFound)
	}
	if n := b.calls.Load(); n != 0 {
		t.Errorf("the service was called %d times for names that nothing has", n)
	}
	anna := b.token(person())
	if a := b.do("HEAD", path, "", "Authorization", "Bearer "+anna); a.StatusCode != 200 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.StatusCode, a.body)
	}
	first := b.follow(t, anna)
	first.want(`snapshot||{"count":0}`)
	b.follow(t, anna).want(`snapshot||{"count":0}`)
	wantProblem(t, b.do("GET", path, "", "Authorization", "Bearer "+anna), 429, fault.RateLimited)
	b.follow(t, b.token(person())).want(`snapshot||{"count":0}`) // another person

	first.resp.Body.Close() // makes room
	testkit.Eventually(t, 15*time.Second, func() error {
		req, err := http.NewRequestWithContext(t.Context(), "GET", b.url+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+anna)
		resp, err := b.http.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
}

func TestLiveEnds(t *testing.T) {
	b := openBoards(t)
	short := b.follow(t, b.token(person(), func(c jwt.MapClaims, _ map[string]any) {
		c["exp"] = b.clock.Now().Add(-4 * time.Second).Unix() // of five that clocks may differ
	}))
	short.want(`snapshot||{"count":0}`)
	short.want(`end||{"reason":"the access token has expired"}`)
	short.want("")

	long := b.follow(t, b.token(person()))
	long.want(`snapshot||{"count":0}`)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	b.http.CloseIdleConnections()
	if err := b.gateway.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	long.want(`end||{"reason":"the gateway is going down"}`)
	long.want("")
}

// A client that reads nothing is cut off once its queue is full; others go on.
func TestLiveCutsOffTheSlow(t *testing.T) {
	b := openBoards(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/boards/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", theEvent, b.token(person()))
	<-b.asked
	quick := b.follow(t, b.token(person()))
	quick.want(`snapshot||{"count":0}`)
	subject := live.Subject("boards", string(theEvent))
	payload := strings.Repeat("x", 64<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 { // more than any buffer on the way holds
			if err := live.Publish(b.nats.Conn, subject, "big", fmt.Sprint(i), payload); err != nil {
				t.Error(err)
				return
			}
			if i%100 == 0 {
				b.nats.Conn.Flush()
			}
			if got := quick.next(); !strings.HasPrefix(got, "big|"+fmt.Sprint(i)+"|") {
				t.Errorf("event %d: %.40q", i, got)
				return
			}
		}
	}()
	<-done
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, conn)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		t.Errorf("the slow client was not cut off; it got %d bytes", n)
	}
	if n > 100<<20 {
		t.Errorf("the slow client got everything: %d bytes", n)
	}
}
