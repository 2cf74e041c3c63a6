package user

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user/challenge"
	"github.com/starlightsymphony/starlight/svc/user/hashing"
)

// While very many log in, who comes without the answer to a challenge is asked for one, also at another instance, and
// is served with it; each answer is good once, at all instances together.
func TestChallengeUnderLoad(t *testing.T) {
	testkit.DB(t, "user", Migrations(), func(t *testing.T, db *store.DB) {
		live := settings.Fixed(api.ChallengeBits.Is(6))
		clock := testkit.NewClock(time.Time{})
		instance := func() *Service {
			s, err := New(t.Context(), Deps{DB: db, Live: live, Log: testkit.Log(t), Metrics: observe.NewRegistry(),
				Now: clock.Now, Hashers: 1})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		one, two := instance(), instance()
		stranger := rpc.WithMeta(t.Context(), rpc.Meta{Address: "192.0.2.1"})
		login := passage{hashing.Login, "login", ""}
		enter := func(s *Service, p passage) error {
			t.Helper()
			leave, err := s.turn(stranger, p)
			if err == nil {
				leave()
			}
			return err
		}
		if err := enter(one, login); err != nil {
			t.Fatalf("without load: %v", err)
		}
		defer occupy(t, one)()
		defer occupy(t, two)()

		err := enter(one, login) // all free places have their blocks
		f := fault.From(err)
		if !fault.Is(err, fault.RateLimited) || f.Challenge == nil || f.Challenge.Bits < 6 || f.RetryAfter <= 0 {
			t.Fatalf("under load: %v with %+v, want a challenge", err, f.Challenge)
		}
		answer := challenge.Solve(f.Challenge)
		if sum := sha256.Sum256([]byte(answer)); sum[0]>>2 != 0 {
			t.Errorf("%s is no answer", answer)
		}
		if err := enter(two, passage{hashing.Password, "register", answer}); fault.From(err).Challenge == nil {
			t.Errorf("the answer for a login is good for a registration: %v", err)
		}
		waits, cancel := context.WithTimeout(stranger, 50*time.Millisecond)
		defer cancel()
		login.answer = answer
		if _, err := two.turn(waits, login); !fault.Is(err, fault.Timeout) { // it waits for its turn
			t.Errorf("with the answer: %v, want a place to wait", err)
		}
		if err := enter(one, login); fault.From(err).Challenge == nil {
			t.Errorf("the answer is good twice: %v", err)
		}
		if err := live.Change(api.ChallengeBits.Is(0)); err != nil {
			t.Fatal(err)
		}
		waits, cancel = context.WithTimeout(stranger, 50*time.Millisecond)
		defer cancel()
		if _, err := one.turn(waits, passage{hashing.Login, "login", ""}); !fault.Is(err, fault.Timeout) {
			t.Errorf("with challenges off: %v, want a place to wait", err)
		}
		clock.Advance(time.Hour)
		if err := one.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := db.Read().NewSelect().Table("spent_challenges").Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d solved challenges are kept for ever: %v", n, err)
		}
	})
}

// occupy takes the slot of a service and all places that are free of both classes, until the function that it returns is
// called.
func occupy(t *testing.T, s *Service) (stop func()) {
	t.Helper()
	leave, err := s.hasher.Enter(t.Context(), hashing.Login, "", true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 200 {
		for _, l := range []hashing.Class{hashing.Login, hashing.Password} {
			all.Go(func() {
				if leave, err := s.hasher.Enter(ctx, l, fmt.Sprintf("10.0.%d.1", i), false); err == nil {
					leave()
				}
			})
		}
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if a, b := s.hasher.Load(hashing.Login), s.hasher.Load(hashing.Password); a < 1 || b < 1 {
			return fmt.Errorf("the load is %g and %g", a, b)
		}
		return nil
	})
	return func() {
		cancel()
		all.Wait()
		leave()
	}
}

// A registration for an address that has an account costs no password hash, and slows down who asks as a wrong password
// does. While there is no place for a hash, the answer says nothing about the address.
func TestRegisterLooksBeforeItHashes(t *testing.T) {
	testkit.DB(t, "user", Migrations(), func(t *testing.T, db *store.DB) {
		metrics := observe.NewRegistry()
		s, err := New(t.Context(), Deps{DB: db, Live: settings.Fixed(), Log: testkit.Log(t), Metrics: metrics,
			Now: testkit.NewClock(time.Time{}).Now, Hashers: 1})
		if err != nil {
			t.Fatal(err)
		}
		register := func(email string) error {
			_, err := s.register(rpc.WithMeta(t.Context(), rpc.Meta{Address: "192.0.2.1"}),
				&api.Register{Email: email, Password: "correct horse battery", Name: "Ada"})
			return err
		}
		if err := register("ada@example.org"); err != nil {
			t.Fatal(err)
		}
		hashes := metrics.Counter("starlight_user_password_hashes_total", "Password hashes that were computed.")
		before := hashes.Get()
		for i := range addressLimit().from {
			if err := register("Ada@example.org"); !fault.Is(err, fault.Conflict) {
				t.Fatalf("registration %d of an address that has an account: %v", i, err)
			}
		}
		if n := hashes.Get() - before; n != 0 {
			t.Errorf("%d hashes were computed", n)
		}
		for _, email := range []string{"ada@example.org", "new@example.org"} {
			err := register(email)
			if !fault.Is(err, fault.RateLimited) || strings.Contains(err.Error(), "account") {
				t.Errorf("%s after %d conflicts: %v, want rate_limited", email, addressLimit().from, err)
			}
		}
		if err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM login_failures")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer occupy(t, s)()
		for _, email := range []string{"ada@example.org", "new@example.org"} {
			if err := register(email); fault.From(err).Challenge == nil {
				t.Errorf("%s under load: %v, want a challenge", email, err)
			}
		}
	})
}
