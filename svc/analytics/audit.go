package analytics

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
)

// Sums are what an audit compares, for one event.
type Sums struct {
	Orders, Tickets, Admitted int64
	Revenue, Refunds          int64 // minor units
}

// Recount folds all of the stream EVENTS into a new read model in dir, without keeping anything else, and returns the
// sums by event. It reports false when messages of the stream are gone: nothing can be compared then.
func Recount(ctx context.Context, js jetstream.JetStream, dir string) (map[ids.Event]Sums, bool, error) {
	st, err := js.Stream(ctx, api.EventsStream)
	if err != nil {
		return nil, false, err
	}
	if st.CachedInfo().State.FirstSeq > 1 {
		return nil, false, nil
	}
	db, err := openFile(dir)
	if err != nil {
		return nil, false, err
	}
	db.NoSync = true
	s := &Service{db: db, js: js, log: slog.New(slog.DiscardHandler), now: time.Now, metrics: observe.NewRegistry(),
		id: newID(), reader: "audit-" + nuid.Next(), progress: newProgress(), touched: map[ids.Event]uint64{}}
	defer s.Close()
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// dead letters are the business of the instances
		s.follow(ctx, follower{stream: api.EventsStream, read: new(reader).read})
	}()
	defer func() {
		cancel()
		<-done
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.progress.currentAt(api.EventsStream).Before(began) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	whole := false
	sums := map[ids.Event]Sums{}
	err = db.View(func(tx *bolt.Tx) error {
		whole = number(tx, lostKey) == 0
		return tx.Bucket(bucketTotals).ForEach(func(k, v []byte) error {
			if len(k) < 2 || k[len(k)-1] != byEvent || k[len(k)-2] != 0 {
				return nil
			}
			var c counts
			c.read(v)
			sums[ids.Event(k[:len(k)-2])] = Sums{Orders: c[nPaid], Tickets: c[nSold], Admitted: c[nAdmitted],
				Revenue: c[nRevenue], Refunds: c[nRefunds]}
			return nil
		})
	})
	return sums, whole, err
}
