package sandbox

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// onBoth runs a test against a sandbox on each database. Nothing of it runs in the background.
func onBoth(t *testing.T, test func(t *testing.T, s *Provider, clock *testkit.Clock)) {
	t.Helper()
	testkit.DB(t, "payment", payment.Migrations(), func(t *testing.T, db *store.DB) {
		clock := testkit.NewClock(time.Time{})
		s, err := New(t.Context(), Config{DB: db, Live: settings.Fixed(api.SandboxEnabled.Is(true)), Log: testkit.Log(t), Metrics: observe.NewRegistry(),
			Now: clock.Now, PublicURL: "https://tickets.example"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		test(t, s, clock)
	})
}

// create opens a payment of 50 EUR.
func create(t *testing.T, s *Provider) (reference ids.Payment, remote provider.Remote) {
	t.Helper()
	reference = ids.New[ids.PaymentKind](s.now())
	remote, err := s.Create(t.Context(), provider.CreateRequest{Key: "create " + reference.String(), PaymentID: reference,
		OrderID: ids.New[ids.OrderKind](s.now()), Amount: api.Money{Amount: 5000, Currency: "EUR"}})
	if err != nil {
		t.Fatal(err)
	}
	return reference, remote
}

func wantFault(t testing.TB, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("got %v, want %s", err, code)
	}
}

// commit makes a commit, which carries what is to be recorded soon.
func (s *Provider) commit(t *testing.T) {
	t.Helper()
	if err := s.tables.db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A callback that is not acknowledged is sent again later, unless another instance has claimed it meanwhile.
func TestClaimOfADelivery(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Provider, clock *testkit.Clock) {
		reference, _ := create(t, s)
		if err := s.decide(t.Context(), reference, outcomeSucceeded, ""); err != nil {
			t.Fatal(err)
		}
		take := func(want int) (row *callbackRow) {
			t.Helper()
			rows, err := s.tables.waiting().Take(t.Context(), 10)
			if err != nil || len(rows) != want {
				t.Fatalf("%d callbacks are due, want %d (%v)", len(rows), want, err)
			}
			if want == 1 {
				row = rows[0]
			}
			return row
		}
		take(0) // it is being sent
		clock.Advance(deliveryLease)
		first := take(1)
		clock.Advance(deliveryLease)
		second := take(1)
		s.tables.postpone(first, clock.Now())
		s.commit(t)
		take(0) // the second has it
		s.tables.postpone(second, clock.Now().Add(time.Second))
		s.commit(t)
		take(0)
		clock.Advance(time.Second)
		if third := take(1); third.Attempts != 1 {
			t.Errorf("%d attempts, want 1", third.Attempts)
		}
	})
}

func TestRefund(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Provider, _ *testkit.Clock) {
		ctx := t.Context()
		reference, remote := create(t, s)
		req := provider.RefundRequest{Key: "r1", RemoteID: remote.ID, Amount: api.Money{Amount: 2000, Currency: "EUR"}}
		_, err := s.Refund(ctx, req)
		wantFault(t, err, fault.Conflict)
		if err := s.decide(ctx, reference, outcomeSucceeded, ""); err != nil {
			t.Fatal(err)
		}
		first, err := s.Refund(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Refund(ctx, req); err != nil || again != first {
			t.Errorf("the same key gave %v, %v; want %v", again, err, first)
		}
		for name, change := range map[string]func(*provider.RefundRequest){
			"another amount under the same key": func(r *provider.RefundRequest) { r.Amount.Amount-- },
			"more than is left":                 func(r *provider.RefundRequest) { r.Key = "r2"; r.Amount.Amount = 3001 },
			"nothing":                           func(r *provider.RefundRequest) { r.Key = "r3"; r.Amount.Amount = 0 },
			"less than nothing":                 func(r *provider.RefundRequest) { r.Key = "r4"; r.Amount.Amount = -1 },
			"another currency":                  func(r *provider.RefundRequest) { r.Key = "r5"; r.Amount.Currency = "USD" },
			"an unknown payment":                func(r *provider.RefundRequest) { r.Key = "r6"; r.RemoteID = "sbp_nothing" },
		} {
			bad := req
			change(&bad)
			if _, err := s.Refund(ctx, bad); !provider.Permanent(err) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		req.Key, req.Amount.Amount = "r7", 3000
		if _, err := s.Refund(ctx, req); err != nil {
			t.Errorf("the rest: %v", err)
		}
	})
}

// Callbacks that were sent, or never will be, are deleted after a while. One that waits stays.
func TestOldCallbacksAreDeleted(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Provider, clock *testkit.Clock) {
		ctx := t.Context()
		for _, faults := range []faults{{copies: 1}, {copies: 1}, {copies: 1, lost: true}} {
			reference, _ := create(t, s)
			if _, err := s.decisions.Do(ctx, decision{reference: reference, outcome: outcomeSucceeded, faults: faults}); err != nil {
				t.Fatal(err)
			}
		}
		clock.Advance(deliveryLease)
		due, err := s.tables.waiting().Take(ctx, 10)
		if err != nil || len(due) != 2 {
			t.Fatalf("%d callbacks are due, %v", len(due), err)
		}
		s.tables.delivered(due[0], clock.Now())
		s.commit(t)
		clock.Advance(time.Hour)
		for _, step := range []struct {
			olderThan time.Duration
			want      int
		}{{2 * time.Hour, 3}, {time.Minute, 1}} {
			if err := s.tables.deleteCallbacks(ctx, clock.Now().Add(-step.olderThan)); err != nil {
				t.Fatal(err)
			}
			var left int
			if err := s.tables.db.Read().NewRaw("SELECT count(*) FROM sandbox_callbacks").Scan(ctx, &left); err != nil || left != step.want {
				t.Errorf("%d callbacks are left, want %d (%v)", left, step.want, err)
			}
		}
	})
}
