package user_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/crypto/argon2"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user"
)

const password = "correct horse battery"

func TestLoginAndAccessToken(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		ada := m.register("Ada@Example.ORG", password)
		if ada.Email != "Ada@example.org" || ada.Revision != 1 || len(ada.Roles) != 0 {
			t.Errorf("registered %+v", ada)
		}
		tokens := m.login(" ada@example.org ", password)
		if tokens.TokenType != "Bearer" || tokens.ExpiresIn != 900 || !strings.HasPrefix(tokens.RefreshToken, "rt_") {
			t.Errorf("tokens %+v", tokens)
		}
		me := must(rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{}))(t)
		if me.ID != ada.ID || me.Email != ada.Email {
			t.Errorf("me is %+v, want %+v", me, ada)
		}
		must(rpc.Call(m.as(tokens), m.gateway, api.EndSession, &rpc.None{}))(t)
		_, err := rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.refresh(tokens.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
	})
}

func TestRefreshRotatesAndNoticesReuse(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		other := m.login("ada@example.org", password)
		first := m.login("ada@example.org", password)
		second := must(m.refresh(first.RefreshToken))(t)
		third := must(m.refresh(second.RefreshToken))(t)
		if second.RefreshToken == first.RefreshToken || third.AccessToken == second.AccessToken {
			t.Error("a token came twice")
		}
		_, err := m.refresh(first.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.refresh(third.RefreshToken) // the family is dead
		wantCode(t, err, fault.Unauthenticated)
		_, err = rpc.Call(m.as(third), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		must(m.refresh(other.RefreshToken))(t) // another device is not

		for _, bad := range []string{"", "rt_", "pr_" + first.RefreshToken[3:], third.RefreshToken + "A",
			"rt_" + strings.Repeat("A", 43)} {
			_, err := m.refresh(bad)
			wantCode(t, err, fault.Unauthenticated)
		}
	})
}

func TestRefreshTokenExpires(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		m.clock.Advance(24*time.Hour - time.Second)
		tokens = must(m.refresh(tokens.RefreshToken))(t) // and the session lives on
		m.clock.Advance(24 * time.Hour)
		_, err := m.refresh(tokens.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
	})
}

// However often it is used, a session ends.
func TestSessionHasALongestLife(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		if err := m.live.Change(api.SessionTTL.Is(50 * time.Hour)); err != nil {
			t.Fatal(err)
		}
		m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		for range 2 {
			m.clock.Advance(23 * time.Hour)
			tokens = must(m.refresh(tokens.RefreshToken))(t)
		}
		if got := m.sessions(tokens)[0]; got.ExpiresAt.Sub(got.CreatedAt) != 50*time.Hour {
			t.Errorf("session %+v", got)
		}
		m.clock.Advance(4 * time.Hour)
		_, err := m.refresh(tokens.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)

		tokens = m.login("ada@example.org", password)
		m.clock.Advance(2 * time.Hour)
		if err := m.live.Change(api.SessionTTL.Is(time.Hour)); err != nil { // holds for those that are there
			t.Fatal(err)
		}
		_, err = m.refresh(tokens.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
	})
}

// One session too many ends the one that was not used for longest, also when several begin at once.
func TestSessionsAtATime(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		if err := m.live.Change(api.MaxSessions.Is(3)); err != nil {
			t.Fatal(err)
		}
		m.register("ada@example.org", password)
		m.register("eve@example.org", password)
		eve := m.login("eve@example.org", password)
		var all []*api.Tokens
		for range 3 {
			all = append(all, m.login("ada@example.org", password))
			m.clock.Advance(time.Minute)
		}
		used := must(m.refresh(all[0].RefreshToken))(t)
		m.clock.Advance(time.Minute)
		m.login("ada@example.org", password)
		testkit.Eventually(t, 10*time.Second, func() error { // by the outbox
			if !m.revoked(all[1]) {
				return errors.New("the oldest is not revoked")
			}
			return nil
		})
		_, err := m.refresh(all[1].RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		if m.revoked(all[0]) || m.revoked(all[2]) || m.revoked(eve) || len(m.sessions(used)) != 3 {
			t.Errorf("sessions %+v", m.sessions(used))
		}
		m.twin()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if _, err := m.tryLogin("192.0.2.1", "ada@example.org", password); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := must(m.db.Read().NewSelect().Table("sessions").Count(t.Context()))(t); n != 4 {
			t.Errorf("%d sessions", n)
		}
		m.me(eve)
	})
}

// Of many requests with one token exactly one gets an answer, and then no token works any more: one of the
// presenters may be a thief.
func TestConcurrentRefresh(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		for range 3 {
			tokens := m.login("ada@example.org", password)
			const n = 8
			var wg sync.WaitGroup
			var won [n]*api.Tokens
			var errs [n]error
			for i := range n {
				wg.Go(func() { won[i], errs[i] = m.refresh(tokens.RefreshToken) })
			}
			wg.Wait()
			winners := 0
			for i := range n {
				if errs[i] != nil {
					wantCode(t, errs[i], fault.Unauthenticated)
					continue
				}
				winners++
				_, err := m.refresh(won[i].RefreshToken)
				wantCode(t, err, fault.Unauthenticated)
			}
			if winners != 1 {
				t.Errorf("%d of %d won, want 1", winners, n)
			}
		}
	})
}

func TestLoginThrottling(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("known@example.org", password)
		for _, email := range []string{"known@example.org", "unknown@example.org"} {
			for i := range 5 {
				_, err := m.tryLogin("192.0.2.7", email, "wrong password")
				if f := wantCode(t, err, fault.Unauthenticated); f.RetryAfter != 0 {
					t.Errorf("%s: failure %d says wait %s", email, i+1, f.RetryAfter)
				}
			}
			want := time.Second
			for range 4 {
				_, err := m.tryLogin("198.51.100.9", strings.ToUpper(email), password) // from elsewhere, and right
				if f := wantCode(t, err, fault.RateLimited); f.RetryAfter != want {
					t.Errorf("%s: wait %s, want %s", email, f.RetryAfter, want)
				}
				m.clock.Advance(want)
				_, err = m.tryLogin("198.51.100.9", email, "wrong password")
				wantCode(t, err, fault.Unauthenticated)
				want *= 2
			}
		}
		// Another instance, which has never heard of it, holds to it.
		again := m.newService(observe.NewRegistry(), testkit.Log(t))
		srv := rpc.NewServer(m.nats.Connect(),
			rpc.ServerConfig{Service: "user", Log: testkit.Log(t), Registry: observe.NewRegistry(),
				Answers: idempotency.In(m.db)})
		again.Register(srv)
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer srv.Drain(t.Context())
		for range 20 {
			_, err := m.tryLogin("192.0.2.1", "known@example.org", password)
			wantCode(t, err, fault.RateLimited)
		}
		m.clock.Advance(16 * time.Second)
		m.login("known@example.org", password) // which clears the account
		_, err := m.tryLogin("203.0.113.5", "known@example.org", "wrong password")
		wantCode(t, err, fault.Unauthenticated)
		m.login("known@example.org", password)
	})
}

func TestAddressThrottling(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		_, err := m.tryLogin("2001:db8::1", "someone@example.org", "wrong password")
		wantCode(t, err, fault.Unauthenticated)
		// Only the address of the client gets near its limit: 48 failures of other people.
		if err := m.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE login_failures SET failures = 48 WHERE key = ?",
				user.AddressKey("2001:db8::9"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for _, email := range []string{"somebody@example.org", "else@example.org"} {
			_, err := m.tryLogin("2001:db8::1", email, "wrong password")
			wantCode(t, err, fault.Unauthenticated)
		}
		_, err = m.tryLogin("2001:db8::2", "ada@example.org", password) // of the same subscriber
		wantCode(t, err, fault.RateLimited)
		must(m.tryLogin("2001:db8:0:1::1", "ada@example.org", password))(t)
		m.clock.Advance(time.Hour)
		must(m.tryLogin("2001:db8::2", "ada@example.org", password))(t)
	})
}

// Guesses sent at the same time are not worth more than guesses sent one by one.
func TestThrottlingOfConcurrentGuesses(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		before := m.hashes()
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() { m.tryLogin("192.0.2.7", "ada@example.org", "wrong password") })
		}
		wg.Wait()
		if n := m.hashes() - before; n < 5 || n > 5+1 { // one more may be under way on the second hasher
			t.Errorf("%d guesses were looked at, want 5 or 6", n)
		}
	})
}

// Each wait is followed by one guess, whatever the number of hashers and instances.
func TestOneGuessAfterEachWait(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		for range 5 {
			m.tryLogin("192.0.2.7", "ada@example.org", "wrong password")
		}
		for wait := time.Second; wait <= 4*time.Second; wait *= 2 {
			m.clock.Advance(wait)
			before := m.hashes()
			var all sync.WaitGroup
			for range 40 {
				all.Go(func() { m.tryLogin("192.0.2.7", "ada@example.org", "wrong password") })
			}
			all.Wait()
			if n := m.hashes() - before; n != 1 {
				t.Errorf("%d guesses were looked at after a wait of %s, want 1", n, wait)
			}
		}
	})
}

// An account that does not exist costs the same work as one that does.
func TestUnknownAccountCostsTheSame(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("known@example.org", password)
		work := func(email string) (uint64, *fault.Error) {
			before := m.hashes()
			_, err := m.tryLogin("192.0.2.7", email, "wrong password")
			return m.hashes() - before, wantCode(t, err, fault.Unauthenticated)
		}
		known, a := work("known@example.org")
		unknown, b := work("unknown@example.org")
		if known != 1 || unknown != 1 {
			t.Errorf("%d hashes for a known account, %d for an unknown one, want 1 each", known, unknown)
		}
		if a.Detail != b.Detail {
			t.Errorf("%q and %q tell them apart", a.Detail, b.Detail)
		}
		var failures int
		if err := m.db.Read().NewRaw("SELECT count(*) FROM login_failures WHERE failures = 1").Scan(t.Context(),
			&failures); err != nil {
			t.Fatal(err)
		}
		if failures != 2 {
			t.Errorf("%d accounts with one failure, want both", failures)
		}
		if strings.Contains(m.dump(), "unknown@") {
			t.Error("the address without an account is kept")
		}
	})
}

// A hash of another cost is replaced when its owner logs in, and only then.
func TestHashIsUpgraded(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		ada := m.register("ada@example.org", password)
		key := argon2.IDKey([]byte(password), []byte("sixteen bytes it"), 1, 8192, 1, 32)
		old := fmt.Sprintf("$argon2id$v=%d$m=8192,t=1,p=1$%s$%s", argon2.Version,
			base64.RawStdEncoding.EncodeToString([]byte("sixteen bytes it")), base64.RawStdEncoding.EncodeToString(key))
		if err := m.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE users SET password = ? WHERE id = ?", old, ada.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		stored := func() (hash string) {
			if err := m.db.Read().NewRaw("SELECT password FROM users WHERE id = ?", ada.ID).Scan(t.Context(),
				&hash); err != nil {
				t.Fatal(err)
			}
			return hash
		}
		m.tryLogin("192.0.2.1", "ada@example.org", "wrong password")
		if stored() != old {
			t.Error("a wrong password changed the hash")
		}
		m.login("ada@example.org", password)
		fresh := stored()
		if !strings.HasPrefix(fresh, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("the hash is %s", fresh)
		}
		m.login("ada@example.org", password)
		if stored() != fresh {
			t.Error("the hash changed once more")
		}
	})
}

// A venue learns who signs in there, by the same rules as the login, and no session begins.
func TestPasswordIsCheckedForAVenue(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		ada := m.register("ada@example.org", password)
		venue := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "venue"})
		check := func(client *rpc.Client, email, password string) (*line.CheckedUser, error) {
			return rpc.Call(t.Context(), client, line.CheckUserPassword, &line.CheckPassword{Email: email, Password: password})
		}
		if got := must(check(venue, " ADA@example.org", password))(t); got.ID != ada.ID || got.Name != "Ada" || len(got.Roles) != 0 {
			t.Errorf("checked %+v", got)
		}
		var sessions int
		if err := m.db.Read().NewRaw("SELECT count(*) FROM sessions").Scan(t.Context(), &sessions); err != nil || sessions != 0 {
			t.Errorf("%d sessions, %v", sessions, err)
		}
		_, err := check(m.gateway, "ada@example.org", password)
		wantCode(t, err, fault.Forbidden)
		_, err = check(venue, "ada@example.org", "")
		wantCode(t, err, fault.Invalid)
		for _, email := range []string{"ada@example.org", "unknown@example.org"} {
			for range 5 {
				_, err := check(venue, email, "wrong password")
				wantCode(t, err, fault.Unauthenticated)
			}
			_, err := check(venue, email, password)
			wantCode(t, err, fault.RateLimited)
		}
		m.clock.Advance(time.Minute)
		must(check(venue, "ada@example.org", password))(t)
		_, err = check(venue, "ada@example.org", "wrong password")
		wantCode(t, err, fault.Unauthenticated) // the failures before are forgotten
		must(check(venue, "ada@example.org", password))(t)
	})
}
