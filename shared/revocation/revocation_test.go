package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func identity(generation int64) revocation.Identity {
	now := time.Now()
	return revocation.Identity{User: ids.New[ids.UserKind](now), Session: ids.New[ids.SessionKind](now),
		Generation: generation}
}

func TestRevokes(t *testing.T) {
	i := identity(3)
	other := identity(3)
	for name, c := range map[string]struct {
		fact revocation.Fact
		want bool
	}{
		"its session":             {revocation.OfSession(i.Session), true},
		"another session":         {revocation.OfSession(other.Session), false},
		"a later generation":      {revocation.OfUser(i.User, 4, ""), true},
		"its own generation":      {revocation.OfUser(i.User, 3, ""), false},
		"another person's":        {revocation.OfUser(other.User, 4, ""), false},
		"its session is kept":     {revocation.OfUser(i.User, 4, i.Session), false},
		"another session is kept": {revocation.OfUser(i.User, 4, other.Session), true},
		"the person is gone":      {revocation.OfUser(i.User, revocation.Forever, ""), true},
	} {
		if got := c.fact.Revokes(i); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func bucket(t *testing.T, n *testkit.NATSServer) jetstream.KeyValue {
	t.Helper()
	kv, err := n.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: revocation.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t *testing.T, n *testkit.NATSServer, f revocation.Fact) {
	t.Helper()
	m, err := f.Message()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.JS.Publish(t.Context(), m.Subject, m.Payload.([]byte), jetstream.WithMsgID(m.ID)); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, kv jetstream.KeyValue, grace time.Duration) *revocation.List {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	list, err := revocation.Open(ctx, revocation.Config{KV: kv, Log: testkit.Log(t), Grace: grace})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-list.Done()
	})
	return list
}

func revoked(t *testing.T, list *revocation.List, i revocation.Identity) {
	t.Helper()
	testkit.Eventually(t, time.Second, func() error {
		if !list.Revoked(i) {
			return errors.New("it is not known")
		}
		return nil
	})
}

// What was written before is known when Open returns, and what is written then within a second.
func TestListKnows(t *testing.T) {
	n := testkit.NATS(t)
	kv := bucket(t, n)
	before, after, person, untouched := identity(0), identity(0), identity(1), identity(0)
	put(t, n, revocation.OfSession(before.Session))
	list := open(t, kv, 0)
	if !list.Revoked(before) || list.Revoked(after) {
		t.Errorf("at the start: %t %t", list.Revoked(before), list.Revoked(after))
	}
	ended := make(chan struct{})
	defer list.Follow(after, func() { close(ended) })()
	put(t, n, revocation.OfSession(after.Session))
	put(t, n, revocation.OfSession(after.Session)) // as the outbox does it once more
	put(t, n, revocation.OfUser(person.User, 2, ""))
	revoked(t, list, after)
	revoked(t, list, person)
	<-ended
	late := make(chan struct{})
	defer list.Follow(after, func() { close(late) })()
	<-late
	if person.Generation = 2; list.Revoked(person) || list.Revoked(untouched) {
		t.Error("more is revoked than was")
	}
	if err := list.Current(); err != nil {
		t.Error(err)
	}
}

// A list that cannot be followed says so, still knows what it knew, and catches up.
func TestListThatIsCutOff(t *testing.T) {
	n := testkit.NATS(t)
	kv := bucket(t, n)
	known, missed := identity(0), identity(0)
	put(t, n, revocation.OfSession(known.Session))
	list := open(t, kv, time.Second)
	n.Stop()
	testkit.Eventually(t, 10*time.Second, func() error {
		if list.Current() == nil {
			return errors.New("it counts as current")
		}
		return nil
	})
	if !list.Revoked(known) {
		t.Error("what it knew is forgotten")
	}
	n.Start()
	testkit.Eventually(t, 20*time.Second, func() error {
		m, err := revocation.OfSession(missed.Session).Message()
		if err != nil {
			return err
		}
		_, err = n.JS.Publish(t.Context(), m.Subject, m.Payload.([]byte), jetstream.WithMsgID(m.ID))
		return err
	})
	testkit.Eventually(t, 20*time.Second, func() error {
		if !list.Revoked(missed) {
			return errors.New("it has not caught up")
		}
		return list.Current()
	})
}

// A bucket that is deleted makes the list unfit, and one that is made anew is followed.
func TestBucketMadeAnew(t *testing.T) {
	n := testkit.NATS(t)
	known, fresh := identity(0), identity(0)
	list := open(t, bucket(t, n), time.Second)
	put(t, n, revocation.OfSession(known.Session))
	revoked(t, list, known)
	if err := n.JS.DeleteKeyValue(t.Context(), revocation.Bucket); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if list.Current() == nil {
			return errors.New("it counts as current")
		}
		return nil
	})
	bucket(t, n)
	put(t, n, revocation.OfSession(fresh.Session))
	testkit.Eventually(t, 10*time.Second, func() error {
		if !list.Revoked(fresh) || !list.Revoked(known) {
			return fmt.Errorf("known: fresh %t, old %t", list.Revoked(fresh), list.Revoked(known))
		}
		return list.Current()
	})
}

func BenchmarkRevoked(b *testing.B) {
	n := testkit.NATS(b)
	kv, err := n.JS.CreateKeyValue(b.Context(), jetstream.KeyValueConfig{Bucket: revocation.Bucket})
	if err != nil {
		b.Fatal(err)
	}
	for range 1000 {
		m, err := revocation.OfSession(identity(0).Session).Message()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := n.JS.Publish(b.Context(), m.Subject, m.Payload.([]byte)); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	list, err := revocation.Open(ctx, revocation.Config{KV: kv})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		cancel()
		<-list.Done()
	}()
	i := identity(0)
	for b.Loop() {
		if list.Revoked(i) {
			b.Fatal("revoked")
		}
	}
}
