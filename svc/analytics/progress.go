package analytics

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

const (
	lookInterval = time.Second
	oldAfter     = 10 * time.Second // numbers that may lack what happened longer ago are not shown
)

// progress is how far the streams are folded, and of which instant the numbers are. It is in memory alone: what was
// current before a restart says nothing about now. It is safe for concurrent use.
type progress struct {
	mu     sync.Mutex
	places map[string]*streamPosition
}

// streamPosition is how far a stream is folded. Of the looks at its end one is remembered, until that end is folded.
type streamPosition struct {
	folded    uint64
	end       uint64
	lookedAt  time.Time // zero: no end is waited for
	currentAt time.Time // whatever was in the stream at that time is folded
}

func newProgress() *progress {
	p := new(progress)
	p.reset()
	return p
}

// reset makes nothing current.
func (p *progress) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places = map[string]*streamPosition{api.EventsStream: {}, api.AnalyticsStream: {}}
}

// setEnd notes where a stream ended at a time.
func (p *progress) setEnd(stream string, end uint64, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.places[stream]
	switch {
	case pl.folded >= end:
		pl.currentAt, pl.lookedAt = at, time.Time{}
	case pl.lookedAt.IsZero():
		pl.end, pl.lookedAt = end, at
	}
}

// setFolded notes how far a stream is folded. It reports whether an end that was waited for is reached.
func (p *progress) setFolded(stream string, folded uint64) (reached bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.places[stream]
	pl.folded = folded
	if pl.lookedAt.IsZero() || folded < pl.end {
		return false
	}
	pl.currentAt, pl.lookedAt = pl.lookedAt, time.Time{}
	return true
}

// currentAt returns the latest time of which all that was in a stream is folded.
func (p *progress) currentAt(stream string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.places[stream].currentAt
}

// current returns a fault unless all that was in the streams a moment ago is folded.
func (s *Service) current() error {
	for _, stream := range []string{api.EventsStream, api.AnalyticsStream} {
		if at := s.progress.currentAt(stream); at.IsZero() || s.now().Sub(at) > oldAfter {
			return fault.New(fault.Unavailable, "the numbers are being put together").After(time.Second)
		}
	}
	return nil
}

// watch looks at the end of a stream at each interval, and as soon as the last end seen is folded.
func (s *Service) watch(ctx context.Context, fl follower, st jetstream.Stream, reached <-chan struct{}) error {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		if err := s.noteEnd(ctx, fl, st); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-reached:
		}
	}
}

// noteEnd notes where a stream ends. When it ends in messages that are gone, nothing will come that says so.
func (s *Service) noteEnd(ctx context.Context, fl follower, st jetstream.Stream) error {
	at := s.now()
	info, err := st.Info(ctx)
	if err != nil {
		return err
	}
	end := info.State.LastSeq
	s.progress.setEnd(fl.stream, end, at)
	folded, err := s.foldedSequence(fl.stream)
	if err != nil || folded >= end {
		return err
	}
	// The consumer may live beside a copy of the stream that lags. This question goes to the leader.
	if _, err = st.GetMsg(ctx, folded+1, jetstream.WithGetMsgSubject(">")); !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	if err := s.commit(fl, folded, []message{{seq: end, gone: true}}); err != nil {
		return err
	}
	return errMoved // the consumer begins behind them
}

// foldedSequence returns how far a stream is folded.
func (s *Service) foldedSequence(stream string) (n uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error { n = number(tx, stream); return nil })
	return n, err
}

// lostKey names the number that is 1 when facts were gone before they could be folded.
const lostKey = "lost"

// markIncomplete marks every event that is known as lacking facts. An event whose creation is folded later lacks none.
func (f *fold) markIncomplete() error {
	if err := putNumber(f.tx, lostKey, 1); err != nil {
		return err
	}
	return f.tx.Bucket(bucketEvents).ForEach(func(event,
		_ []byte) error {
		return f.tx.Bucket(bucketLacking).Put(event, []byte{})
	})
}

// checkComplete returns a fault if facts of an event are gone, unless the setting says that what is left is good
// enough.
func (s *Service) checkComplete(tx *bolt.Tx, event ids.Event) error {
	if tx.Bucket(bucketLacking).Get([]byte(event)) == nil || s.live != nil && api.AnalyticsIncomplete.Get(s.live) {
		return nil
	}
	return fault.New(fault.Unavailable,
		"facts of this event were gone from the stream before they were counted: its numbers would be too low. "+
			"An administrator can copy the read model of an instance that has counted them, or have what is left "+
			"shown by the setting %s", api.AnalyticsIncomplete.Key())
}
