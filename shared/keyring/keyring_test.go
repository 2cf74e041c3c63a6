package keyring

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func open(t *testing.T, db *store.DB, purpose string, now func() time.Time) *Ring {
	t.Helper()
	r, err := Open(t.Context(), db, purpose, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The example of RFC 8037, appendix A.3.
func TestThumbprint(t *testing.T) {
	public, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := thumbprint(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("thumbprint %s, want %s", got, want)
	}
}

func TestSignAndVerify(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		clock := testkit.NewClock(time.Time{})
		r := open(t, db, "access", clock.Now)
		kid, sig := r.Sign([]byte("hello"))
		if !r.Verify(ctx, kid, []byte("hello"), sig) {
			t.Error("a good signature was refused")
		}
		if id, private := r.Private(); id != kid ||
			!r.Verify(ctx, kid, []byte("x"), ed25519.Sign(private, []byte("x"))) {
			t.Error("Private is not the key that signs")
		}
		other := open(t, db, "ticket", clock.Now)
		otherKid, otherSig := other.Sign([]byte("hello"))
		for name, ok := range map[string]bool{
			"payload":            r.Verify(ctx, kid, []byte("hallo"), sig),
			"no signature":       r.Verify(ctx, kid, []byte("hello"), nil),
			"short signature":    r.Verify(ctx, kid, []byte("hello"), sig[:63]),
			"key of a purpose":   r.Verify(ctx, otherKid, []byte("hello"), otherSig),
			"foreign signature":  r.Verify(ctx, kid, []byte("hello"), otherSig),
			"unknown key":        r.Verify(ctx, "nobody", []byte("hello"), sig),
			"empty key":          r.Verify(ctx, "", []byte("hello"), sig),
			"injection in a key": r.Verify(ctx, "' OR 1=1 --", []byte("hello"), sig),
		} {
			if ok {
				t.Errorf("%s: a bad signature was accepted", name)
			}
		}
	})
}

func TestMAC(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		clock := testkit.NewClock(time.Time{})
		r := open(t, db, "access", clock.Now)
		kid, sum := r.MAC([]byte("hello"))
		_, sig := r.Sign([]byte("hello"))
		_, foreign := open(t, db, "ticket", clock.Now).MAC([]byte("hello"))
		for name, ok := range map[string]bool{
			"payload":        r.CheckMAC(ctx, kid, []byte("hallo"), sum),
			"none":           r.CheckMAC(ctx, kid, []byte("hello"), nil),
			"short":          r.CheckMAC(ctx, kid, []byte("hello"), sum[:31]),
			"of a purpose":   r.CheckMAC(ctx, kid, []byte("hello"), foreign),
			"a signature":    r.CheckMAC(ctx, kid, []byte("hello"), sig),
			"as a signature": r.Verify(ctx, kid, []byte("hello"), sum),
			"unknown key":    r.CheckMAC(ctx, "nobody", []byte("hello"), sum),
		} {
			if ok {
				t.Errorf("accepted: %s", name)
			}
		}
		if err := r.Rotate(ctx, nil); err != nil {
			t.Fatal(err)
		}
		clock.Advance(Lead)
		if newKid, newSum := r.MAC([]byte("hello")); newKid == kid || string(newSum) == string(sum) {
			t.Error("a new key authenticates like the old one")
		}
		if !open(t, db, "access", clock.Now).CheckMAC(ctx, kid, []byte("hello"), sum) {
			t.Error("after a rotation and a restart a good code is refused")
		}
	})
}

func TestKeysSurviveRestartAndRotation(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		clock := testkit.NewClock(time.Time{})
		r := open(t, db, "access", clock.Now)
		first, sig := r.Sign([]byte("x"))
		clock.Advance(time.Hour)
		made := clock.Now()
		if err := r.Rotate(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if keys := r.Public(); r.ID() != first || len(keys) != 2 || keys[0].Current || !keys[1].Current {
			t.Errorf("a new key signs before it was shown: %+v", keys)
		}
		if err := r.Rotate(ctx, nil); err != nil || len(r.Public()) != 2 {
			t.Errorf("a second rotation made another key, %v", err)
		}
		clock.Advance(Lead)
		second := r.ID()
		if first == second {
			t.Error("Rotate did not change the key")
		}
		again := open(t, db, "access", clock.Now)
		if kid := again.ID(); kid != second {
			t.Errorf("after a restart %s signs, want %s", kid, second)
		}
		if !again.Verify(ctx, first, []byte("x"), sig) {
			t.Error("a retired key does not verify")
		}
		keys := again.Public()
		if len(keys) != 2 || keys[0].ID != second || !keys[0].Current || keys[1].ID != first || keys[1].Current ||
			!keys[0].Created.Equal(made) || !ed25519.Verify(keys[1].Public, []byte("x"), sig) {
			t.Errorf("Public: %+v", keys)
		}
	})
}

// Two instances with a connection each, and one that rotates.
func TestInstancesLearnOfEachOthersKeys(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{store.SQLite: testkit.SQLite,
		store.Postgres: testkit.Postgres} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			clock := testkit.NewClock(time.Time{})
			at := url(t)

			rings := make([]*Ring, 4) // all start at once on an empty database
			dbs := make([]*store.DB, len(rings))
			for i := range rings {
				dbs[i] = testkit.Open(t, at, "user", nil)
			}
			var wg sync.WaitGroup
			for i := range rings {
				wg.Go(func() {
					var err error
					if rings[i], err = Open(ctx, dbs[i], "access", nil, clock.Now); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			first := rings[0].ID()
			for _, r := range rings {
				if kid := r.ID(); kid != first {
					t.Fatalf("instances sign with %s and %s", first, kid)
				}
			}

			for i := range rings { // all rotate at once: one new key
				wg.Go(func() {
					if err := rings[i].Rotate(ctx, nil); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if keys := rings[0].Public(); len(keys) != 2 {
				t.Errorf("%d keys after a rotation, want 2", len(keys))
			}

			clock.Advance(Lead)
			if err := rings[0].Rotate(ctx, nil); err != nil {
				t.Fatal(err)
			}
			clock.Advance(Lead)
			kid, sig := rings[0].Sign([]byte("x"))
			if !rings[1].Verify(ctx, kid, []byte("x"), sig) {
				t.Error("the new key of another instance does not verify")
			}
			if next := rings[1].ID(); next != kid {
				t.Error("an instance that met the new key still signs with the old one")
			}
			if keys := rings[2].Public(); len(keys) != 3 || keys[0].ID != kid {
				t.Errorf("Public of another instance: %+v", keys)
			}
		})
	}
}

// Unknown ids come from outside: they must not become a query each.
func TestUnknownKeysDoNotFloodTheDatabase(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		clock := testkit.NewClock(time.Time{})
		r, writer := open(t, db, "access", clock.Now), open(t, db, "access", clock.Now)
		if err := writer.Rotate(ctx, nil); err != nil {
			t.Fatal(err)
		}
		kid, sig := writer.newest().id, ed25519.Sign(writer.newest().private, nil)
		if r.Verify(ctx, kid, nil, sig) {
			t.Error("the keys were read twice within a second")
		}
		clock.Advance(time.Second)
		if !r.Verify(ctx, kid, nil, sig) {
			t.Error("the keys were not read again after a second")
		}
	})
}

func TestDamagedKeyIsNotUsed(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		open(t, db, "access", nil)
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE signing_keys SET seed = ?",
				base64.StdEncoding.EncodeToString(make([]byte, 32)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), db, "access", nil, nil); err == nil {
			t.Error("Open took a key that does not belong to its id")
		}
	})
}

// A key that lies in plain is sealed at the next start, and stays the same key.
func TestKeysAreSealed(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		keys := func(b byte) *seal.Keys {
			k, err := seal.Parse(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)))
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		plain := open(t, db, "access", nil)
		kid, sig := plain.Sign([]byte("x"))
		_, sum := plain.MAC([]byte("x"))

		r, err := Open(ctx, db, "access", keys(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Rotate(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if r.ID() != kid || !r.Verify(ctx, kid, []byte("x"), sig) || !r.CheckMAC(ctx, kid, []byte("x"), sum) {
			t.Error("a sealed key is not the one that it was")
		}
		var seeds []string
		if err := db.Read().NewSelect().Table("signing_keys").Column("seed").Scan(ctx, &seeds); err != nil {
			t.Fatal(err)
		}
		if len(seeds) != 2 || !strings.HasPrefix(seeds[0], "sealed.") || !strings.HasPrefix(seeds[1], "sealed.") {
			t.Errorf("seeds: %.20q", seeds)
		}
		if again, err := Open(ctx, db, "access", keys(1), nil); err != nil || again.ID() != r.ID() {
			t.Errorf("a restart: %v", err)
		}
		if _, err := Open(ctx, db, "access", keys(2), nil); !errors.Is(err, seal.ErrKey) {
			t.Errorf("a start with another key: %v", err)
		}
		if _, err := Open(ctx, db, "access", nil, nil); !errors.Is(err, seal.ErrNoKey) {
			t.Errorf("a start without the key: %v", err)
		}
	})
}

// What is noted of a new key is in its transaction, and of two that make the next key one notes it.
func TestNewKeyIsNoted(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		clock := testkit.NewClock(time.Time{})
		a, b := open(t, db, "access", clock.Now), open(t, db, "access", clock.Now)
		failed := errors.New("cannot be noted")
		err := a.Rotate(t.Context(), func(context.Context, bun.Tx, string) error { return failed })
		if !errors.Is(err, failed) || len(a.Public()) != 1 {
			t.Fatalf("%d keys, %v", len(a.Public()), err)
		}
		var mu sync.Mutex
		var noted []string
		note := func(_ context.Context, _ bun.Tx, id string) error {
			mu.Lock()
			defer mu.Unlock()
			noted = append(noted, id)
			return nil
		}
		var wg sync.WaitGroup
		for _, r := range []*Ring{a, b, a, b} {
			wg.Go(func() {
				if err := r.Rotate(t.Context(), note); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(noted) != 1 || noted[0] != a.Public()[0].ID || len(a.Public()) != 2 {
			t.Errorf("noted %v of %+v", noted, a.Public())
		}
	})
}

// A key is followed by another one by schedule, which is known everywhere before it signs. What it has signed verifies for
// as long as it may live, and the key is gone then.
func TestSchedule(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		clock := testkit.NewClock(time.Time{})
		a, b := open(t, db, "access", clock.Now), open(t, db, "access", clock.Now)
		other := open(t, db, "ticket", clock.Now).ID()
		s := Schedule{Lifetime: func() time.Duration { return 24 * time.Hour }, Keep: time.Hour,
			Log: slog.New(slog.DiscardHandler)}
		look := func() {
			t.Helper()
			for _, r := range []*Ring{a, b} {
				if err := r.tend(ctx, s); err != nil {
					t.Fatal(err)
				}
			}
		}
		look()
		first, sig := a.Sign([]byte("x"))
		clock.Advance(24 * time.Hour)
		look()
		if len(a.Public()) != 2 || len(b.Public()) != 2 || a.ID() != first || b.ID() != first {
			t.Fatalf("after a day: %+v", a.Public())
		}
		clock.Advance(Lead - time.Second)
		if a.ID() != first {
			t.Error("the next key signs too early")
		}
		clock.Advance(time.Second)
		second := a.ID()
		if second == first || b.ID() != second || !b.Verify(ctx, first, []byte("x"), sig) {
			t.Error("not all have the next key, or the first does not verify")
		}
		clock.Advance(time.Hour - time.Second)
		look()
		if !a.Verify(ctx, first, []byte("x"), sig) {
			t.Error("the first key ended too early")
		}
		clock.Advance(time.Second)
		look()
		if len(b.Public()) != 1 || a.Verify(ctx, first, []byte("x"), sig) || a.ID() != second {
			t.Errorf("after its time: %+v", b.Public())
		}
		if open(t, db, "ticket", clock.Now).ID() != other {
			t.Error("the keys of another purpose were changed")
		}
	})
}

// A key that was stolen is withdrawn at once: nothing that it has signed verifies any more, at any instance, and another
// signs. What else was signed stays good.
func TestWithdraw(t *testing.T) {
	testkit.DB(t, "user", nil, func(t *testing.T, db *store.DB) {
		clock := testkit.NewClock(time.Time{})
		a, b := open(t, db, "access", clock.Now), open(t, db, "access", clock.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- b.Run(ctx, Schedule{Lifetime: func() time.Duration { return 1000 * time.Hour }, Log: slog.New(slog.DiscardHandler)})
		}()
		defer func() { cancel(); <-done }()
		noted := 0
		withdraw := func(id string) {
			t.Helper()
			if err := a.Withdraw(t.Context(), id, func(context.Context, bun.Tx) error { noted++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		payload := []byte("x")
		first, sig := b.Sign(payload)
		withdraw(first)
		testkit.Eventually(t, 10*time.Second, func() error {
			if b.ID() == first || b.Verify(t.Context(), first, payload, sig) {
				return errors.New("the other instance has the key still")
			}
			return nil
		})
		second, good := a.Sign(payload)
		if second == first || b.ID() != second || !b.Verify(t.Context(), second, payload, good) {
			t.Error("the next key does not sign at once")
		}

		// One that waits to sign is another's successor no more, and the one before signs on.
		if err := a.Rotate(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		waits := a.Public()[0].ID
		withdraw(waits)
		if keys := a.Public(); len(keys) != 2 || keys[0].ID == waits || a.ID() != second {
			t.Errorf("the keys are %+v", keys)
		}
		// The current one, while an earlier one is there and the next waits: the next signs at once.
		withdraw(second)
		if keys := a.Public(); len(keys) != 1 || a.ID() != keys[0].ID || a.Verify(t.Context(), second, payload, good) {
			t.Errorf("the keys are %+v", keys)
		}

		failed := errors.New("no")
		if err := a.Withdraw(t.Context(), a.ID(), func(context.Context, bun.Tx) error { return failed }); !errors.Is(err, failed) {
			t.Error(err)
		}
		if err := a.Withdraw(t.Context(), first, nil); !errors.Is(err, ErrUnknown) || noted != 3 {
			t.Errorf("%v, %d noted", err, noted)
		}
		if keys := a.Public(); len(keys) != 1 {
			t.Errorf("what failed has changed something: %+v", keys)
		}
	})
}
