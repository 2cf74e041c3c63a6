package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/coherence"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// tally is a number that everybody may read and raise.
type tally struct {
	N int64 `json:"n"`
}

func (t tally) ETag() string { return strconv.FormatInt(t.N, 10) }

var (
	leaseTallies = rpc.Endpoint[rpc.LeaseRequest, rpc.Lease]{Spec: rpc.Spec{Service: "tallies", Name: "lease", Access: rpc.Internal, Callers: []string{"gateway"}}}
	getTally     = rpc.Endpoint[api.EventRef, tally]{Spec: rpc.Spec{Service: "tallies", Name: "get", Method: "GET", Path: "/v1/tallies/{id}",
		Access: rpc.Optional, Near: &rpc.Near{Lease: leaseTallies, Path: "id"}}}
	getTallyJointly = rpc.Endpoint[api.EventRef, tally]{Spec: rpc.Spec{Service: "tallies", Name: "get_jointly", Method: "GET", Path: "/v1/tallies/{id}/now",
		Access: rpc.Optional, Joint: true}}
	raiseTally = rpc.Endpoint[api.EventRef, tally]{Spec: rpc.Spec{Service: "tallies", Name: "raise", Method: "POST", Path: "/v1/tallies/{id}"}}
)

const tallySchema = `CREATE TABLE cache_holders (id TEXT NOT NULL PRIMARY KEY, tier SMALLINT NOT NULL, gone BOOLEAN NOT NULL);
CREATE TABLE tallies (id INTEGER NOT NULL PRIMARY KEY, n BIGINT NOT NULL);
INSERT INTO tallies (id, n) VALUES (1, 0);`

// tallies is a service with two gateways in front of it.
type tallies struct {
	*door
	db      *store.DB
	second  *gateway.Gateway
	urls    []string
	reads   atomic.Int64 // that reached the service
	shared  atomic.Bool
	gate    atomic.Pointer[chan struct{}] // if set, the next joint read waits for it when it has read
	cfg     gateway.Config                // of the first gateway
	refusal atomic.Pointer[fault.Error]   // if set, what joint reads end with
}

func openTallies(t testing.TB, db *store.DB, change ...func(*gateway.Config)) *tallies {
	t.Helper()
	s := &tallies{db: db}
	s.shared.Store(true)
	var cfg gateway.Config
	s.door = open(t, func(c *gateway.Config) {
		c.Endpoints = append(c.Endpoints, getTally.Describe(), raiseTally.Describe(), getTallyJointly.Describe(), leaseTallies.Describe())
		for _, f := range change {
			f(c)
		}
		cfg = *c
	})
	s.cfg = cfg
	cfg.NATS = s.nats.Connect()
	cfg.Client, cfg.Registry = rpc.NewClient(s.nats.Connect(), rpc.ClientConfig{Name: "gateway", Grace: -1}), observe.NewRegistry()
	var err error
	if s.second, err = gateway.New(cfg); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.second.Serve(ln)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.http.CloseIdleConnections()
		if err := s.second.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	s.urls = []string{s.url, "http://" + ln.Addr().String()}
	owner, err := coherence.NewOwner(db, s.nats.Connect(), slog.New(slog.DiscardHandler), observe.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	srv := s.server("tallies")
	rpc.HandleCached(srv, getTally, nil, s.get)
	rpc.HandleCached(srv, getTallyJointly, nil, func(ctx context.Context, ref *api.EventRef) (rpc.Encoded, error) {
		if refusal := s.refusal.Load(); refusal != nil {
			return rpc.Encoded{}, refusal
		}
		e, err := s.get(ctx, ref)
		if gate := s.gate.Swap(nil); gate != nil {
			<-*gate
		}
		return e, err
	})
	rpc.Handle(srv, raiseTally, s.raise)
	rpc.Handle(srv, leaseTallies, owner.LeaseGateway)
	srv.BeforeAcknowledging(func(ctx context.Context, _ string) error { return owner.Invalidate(ctx, string(theEvent)) })
	testkit.Serve(s.t, srv)
	return s
}

func (s *tallies) get(ctx context.Context, _ *api.EventRef) (rpc.Encoded, error) {
	s.reads.Add(1)
	var n int64
	err := s.db.Read().NewRaw("SELECT n FROM tallies").Scan(ctx, &n)
	e := rpc.Encoded{JSON: fmt.Appendf(nil, `{"n":%d}`, n), Tag: strconv.FormatInt(n, 10)}
	if s.shared.Load() {
		e.Shared = time.Minute
	}
	return e, err
}

func (s *tallies) raise(ctx context.Context, _ *api.EventRef) (*tally, error) {
	var t tally
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return tx.NewRaw("UPDATE tallies SET n = n + 1 RETURNING n").Scan(ctx, &t.N)
	})
	return &t, err
}

// at sends a request to one of the gateways.
func (s *tallies) at(gateway int, method string, headers ...string) answer {
	return s.send(s.urls[gateway%2], method, "/v1/tallies/"+string(theEvent), "", headers...)
}

// kept waits until a gateway answers from its copy.
func (s *tallies) kept(gateway int) {
	s.t.Helper()
	testkit.Eventually(s.t, 15*time.Second, func() error {
		s.at(gateway, "GET")
		before := s.reads.Load()
		if s.at(gateway, "GET"); s.reads.Load() != before {
			return fmt.Errorf("the service was asked")
		}
		return nil
	})
}

func eachTallies(t *testing.T, test func(*testing.T, *tallies)) {
	migrations := fstest.MapFS{"0001_tallies.sql": {Data: []byte(tallySchema)}}
	testkit.DB(t, "tallies", migrations, func(t *testing.T, db *store.DB) { test(t, openTallies(t, db)) })
}

// While nothing changes the service is not asked; what was acknowledged by one gateway is read at the next one.
func TestNearCopies(t *testing.T) {
	eachTallies(t, func(t *testing.T, s *tallies) {
		s.kept(0)
		s.kept(1)
		before := s.reads.Load()
		for i := range 100 {
			if a := s.at(i, "GET"); a.StatusCode != 200 || a.body != `{"n":0}` || a.Header.Get("ETag") != `"0"` || a.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("%d %s %v", a.StatusCode, a.body, a.Header)
			}
			if a := s.at(i, "GET", "If-None-Match", `"0"`); a.StatusCode != 304 || a.body != "" || a.Header.Get("ETag") != `"0"` {
				t.Fatalf("%d %s %v", a.StatusCode, a.body, a.Header)
			}
			if a := s.at(i, "GET", "Authorization", "Bearer "+s.token(person())); a.StatusCode != 200 || a.Header.Get("Vary") != "Authorization" {
				t.Fatalf("%d %s %v", a.StatusCode, a.body, a.Header)
			}
		}
		if n := s.reads.Load() - before; n > 2 { // a lease may be renewed late on a busy machine
			t.Errorf("the service was asked %d times", n)
		}
		for i := range 50 {
			raised := s.at(i, "POST")
			if raised.StatusCode != 200 || raised.body != fmt.Sprintf(`{"n":%d}`, i+1) {
				t.Fatalf("raised: %d %s", raised.StatusCode, raised.body)
			}
			for g := range 2 {
				if a := s.at(i+1+g, "GET"); a.body != raised.body {
					t.Fatalf("read %s after %s was acknowledged", a.body, raised.body)
				}
			}
		}
	})
}

// Readers at two gateways never see less than what was acknowledged before they asked, however reads and changes meet.
func TestNearCopiesUnderChange(t *testing.T) {
	eachTallies(t, func(t *testing.T, s *tallies) {
		s.kept(0)
		s.kept(1)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var acknowledged atomic.Int64
		var work sync.WaitGroup
		for g := range 4 {
			work.Go(func() {
				for ctx.Err() == nil {
					least := acknowledged.Load()
					a := s.at(g, "GET")
					var got int64
					if _, err := fmt.Sscanf(a.body, `{"n":%d}`, &got); err != nil || got < least {
						t.Errorf("read %d %s, but %d was acknowledged", a.StatusCode, a.body, least)
						return
					}
				}
			})
		}
		for i := int64(1); ctx.Err() == nil; i++ {
			if a := s.at(int(i), "POST"); a.StatusCode != 200 {
				t.Fatalf("%d %s", a.StatusCode, a.body)
			}
			acknowledged.Store(i)
		}
		work.Wait()
		t.Logf("%d changes, %d reads reached the service", acknowledged.Load(), s.reads.Load())
	})
}

// What the service does not mark as shared is asked for every time.
func TestNotShared(t *testing.T) {
	eachTallies(t, func(t *testing.T, s *tallies) {
		s.kept(0)
		s.shared.Store(false)
		if a := s.at(0, "POST"); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		before := s.reads.Load()
		for range 5 {
			s.at(0, "GET")
		}
		if n := s.reads.Load() - before; n != 5 {
			t.Errorf("the service was asked %d times, want 5", n)
		}
	})
}
