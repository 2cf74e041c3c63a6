package coherence_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/coherence"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const schema = `CREATE TABLE cache_holders (id TEXT NOT NULL PRIMARY KEY, tier SMALLINT NOT NULL, gone BOOLEAN NOT NULL);
CREATE TABLE numbers (id INTEGER NOT NULL PRIMARY KEY, n BIGINT NOT NULL);
INSERT INTO numbers (id, n) VALUES (1, 0);`

// counter is a service whose answer is a number in its database.
type counter struct {
	t     *testing.T
	db    *store.DB
	nats  *testkit.NATSServer
	owner *coherence.Owner
}

func each(t *testing.T, test func(t *testing.T, c *counter)) {
	migrations := fstest.MapFS{"0001_numbers.sql": {Data: []byte(schema)}}
	testkit.DB(t, "counter", migrations, func(t *testing.T, db *store.DB) {
		c := &counter{t: t, db: db, nats: testkit.NATS(t)}
		c.owner = c.newOwner()
		test(t, c)
	})
}

func (c *counter) newOwner() *coherence.Owner {
	c.t.Helper()
	owner, err := coherence.NewOwner(c.db, c.nats.Connect(), testkit.Log(c.t), observe.NewRegistry())
	if err != nil {
		c.t.Fatal(err)
	}
	return owner
}

func (c *counter) read(ctx context.Context) (n int64, err error) {
	err = c.db.Read().NewRaw("SELECT n FROM numbers WHERE id = 1").Scan(ctx, &n)
	return n, err
}

func (c *counter) raise(ctx context.Context) error {
	return c.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE numbers SET n = n + 1 WHERE id = 1")
		return err
	})
}

// copier keeps a copy of the number under a lease.
type copier struct {
	c      *counter
	holder *coherence.Holder
	stop   func()
	deaf   atomic.Pointer[chan struct{}] // if set, an invalidation waits for it before it is handled

	mu      sync.Mutex
	copy    *int64
	changes int
	copied  atomic.Int64 // reads from the copy
}

func (c *counter) copier(lease func(context.Context, *rpc.LeaseRequest) (*rpc.Lease, error)) *copier {
	k := &copier{c: c}
	k.holder = coherence.NewHolder(coherence.HolderConfig{NATS: c.nats.Connect(), Service: "counter", Tier: coherence.Gateways,
		Log: testkit.Log(c.t), Lease: lease, Evict: k.evict})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.holder.Run(ctx) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(k.stop)
	k.valid()
	return k
}

func (k *copier) valid() {
	k.c.t.Helper()
	testkit.Eventually(k.c.t, 15*time.Second, func() error {
		if !k.holder.Valid() {
			return fmt.Errorf("no lease")
		}
		return nil
	})
}

func (k *copier) evict(string) {
	if deaf := k.deaf.Load(); deaf != nil {
		<-*deaf
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.copy = nil
	k.changes++
}

func (k *copier) get(ctx context.Context) (int64, error) {
	leased := k.holder.Valid()
	k.mu.Lock()
	have, changes := k.copy, k.changes
	k.mu.Unlock()
	if leased && have != nil {
		k.copied.Add(1)
		return *have, nil
	}
	n, err := k.c.read(ctx)
	if err != nil || !leased {
		return n, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changes == changes {
		k.copy = &n
	}
	return n, nil
}

func (k *copier) want(want int64) {
	k.c.t.Helper()
	if got, err := k.get(k.c.t.Context()); err != nil || got != want {
		k.c.t.Errorf("read %d, %v, want %d", got, err, want)
	}
}

// Whatever was acknowledged before a read begins is in what it reads, at every holder, though holders stop hearing, come
// and go meanwhile.
func TestAcknowledgedChangesAreRead(t *testing.T) {
	each(t, func(t *testing.T, c *counter) {
		other := c.newOwner() // of a second instance
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		var acknowledged, reads atomic.Int64
		var work sync.WaitGroup
		var copiers []*copier
		for range 3 {
			k := c.copier(c.owner.LeaseGateway)
			copiers = append(copiers, k)
			work.Go(func() {
				for ctx.Err() == nil {
					least := acknowledged.Load()
					got, err := k.get(context.WithoutCancel(ctx))
					if err != nil || got < least {
						t.Errorf("read %d, %v, but %d was acknowledged before", got, err, least)
						return
					}
					reads.Add(1)
					runtime.Gosched()
				}
			})
		}
		for i := int64(1); ctx.Err() == nil; i++ {
			if k := copiers[rand.IntN(len(copiers))]; i%50 == 0 {
				deaf := make(chan struct{})
				k.deaf.Store(&deaf)
				time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { k.deaf.Store(nil); close(deaf) })
			}
			if err := c.raise(t.Context()); err != nil {
				t.Fatal(err)
			}
			owner := []*coherence.Owner{c.owner, other}[i%2]
			if err := owner.Invalidate(t.Context(), "n"); err != nil {
				t.Fatal(err)
			}
			acknowledged.Store(i)
		}
		work.Wait()
		t.Logf("%d changes, %d reads", acknowledged.Load(), reads.Load())
	})
}

// A holder that does not confirm is waited for until it serves nothing any more; then it gets a new lease.
func TestSilentHolder(t *testing.T) {
	each(t, func(t *testing.T, c *counter) {
		k := c.copier(c.owner.LeaseGateway)
		k.want(0)
		k.want(0)
		if k.copied.Load() != 1 {
			t.Errorf("%d reads from the copy, want 1", k.copied.Load())
		}
		deaf := make(chan struct{})
		k.deaf.Store(&deaf)
		if err := c.raise(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := c.owner.Invalidate(t.Context(), "n"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < coherence.Duration || k.holder.Valid() {
			t.Errorf("acknowledged after %v, the lease is valid: %t", took, k.holder.Valid())
		}
		k.want(1)
		k.deaf.Store(nil)
		close(deaf)
		k.valid()
		k.want(1)
		start = time.Now()
		if err := c.owner.Invalidate(t.Context(), "n"); err != nil || time.Since(start) > coherence.Duration/2 {
			t.Errorf("an invalidation of a good holder took %v, %v", time.Since(start), err)
		}
	})
}

// A holder that was killed is waited for once at most, by a sweep if there is one; one that ends gives its lease back.
func TestHolderThatIsGone(t *testing.T) {
	each(t, func(t *testing.T, c *counter) {
		quick := func(what string) {
			t.Helper()
			start := time.Now()
			if err := c.owner.Invalidate(t.Context(), "n"); err != nil || time.Since(start) > coherence.Duration/2 {
				t.Errorf("%s: took %v, %v", what, time.Since(start), err)
			}
		}
		c.copier(c.owner.LeaseGateway).stop()
		quick("a holder that has ended")
		if _, err := c.owner.LeaseInstance(t.Context(), &rpc.LeaseRequest{Holder: "dead", Register: true}); err != nil {
			t.Fatal(err)
		}
		if err := c.owner.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		quick("after a sweep")
		if lease, err := c.owner.LeaseInstance(t.Context(), &rpc.LeaseRequest{Holder: "dead"}); err != nil || lease.Held {
			t.Errorf("the swept holder has %+v, %v", lease, err)
		}
	})
}

// While the owner cannot be reached, a lease runs out by itself.
func TestLeaseRunsOut(t *testing.T) {
	each(t, func(t *testing.T, c *counter) {
		var away atomic.Bool
		k := c.copier(func(ctx context.Context, req *rpc.LeaseRequest) (*rpc.Lease, error) {
			if away.Load() {
				return nil, context.DeadlineExceeded
			}
			return c.owner.LeaseGateway(ctx, req)
		})
		away.Store(true)
		testkit.Eventually(t, 10*time.Second, func() error {
			if k.holder.Valid() {
				return fmt.Errorf("still valid")
			}
			return nil
		})
		k.want(0)
		away.Store(false)
		k.valid()
		k.want(0)
	})
}
