package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/bucket"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/run"
)

const (
	// DefaultGrace is how long a list counts as current after it was last proven so: longer than a cluster takes to
	// elect the leader of a stream, during which no fact can be written either.
	DefaultGrace = 10 * time.Second

	probeEvery = 500 * time.Millisecond
	tidyEvery  = time.Minute
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// Config says how a List behaves. KV is the bucket; the rest may be zero.
type Config struct {
	KV       jetstream.KeyValue
	Log      *slog.Logger
	Registry *observe.Registry
	Grace    time.Duration // 0 means DefaultGrace
}

// List is what a gateway knows of the bucket. It is safe for concurrent use.
type List struct {
	kv    jetstream.KeyValue
	log   *slog.Logger
	grace time.Duration
	start time.Time       // what proven is counted from
	seen  bucket.Position // of the watch; belongs to the watching goroutine
	prove atomic.Int64    // ns after start at which the list was last known to be complete
	known atomic.Int64    // facts

	mu        sync.RWMutex
	sessions  map[ids.Session]time.Time // ended, and when that may be forgotten
	users     map[ids.User][]kept
	keys      map[string]struct{} // withdrawn, for ever
	followers map[*follower]struct{}
	done      chan struct{}
}

type kept struct {
	Fact
	until time.Time
}

type follower struct {
	who     Identity
	revoked func()
}

// Open reads the bucket and follows it until ctx ends. It returns when all that is there is known, or an error when it
// cannot be read.
func Open(ctx context.Context, cfg Config) (*List, error) {
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &List{kv: cfg.KV, log: cfg.Log, grace: cfg.Grace, start: time.Now(), sessions: map[ids.Session]time.Time{},
		users: map[ids.User][]kept{}, keys: map[string]struct{}{},
		followers: map[*follower]struct{}{}, done: make(chan struct{})}
	if cfg.Registry != nil {
		cfg.Registry.GaugeFunc("starlight_revocations", "Ended sessions and changed people that tokens may still name.",
			func() float64 { return float64(l.known.Load()) })
		cfg.Registry.GaugeFunc("starlight_revocations_age_seconds",
			"How long ago the list of revocations was last known to be complete.",
			func() float64 { return l.age().Seconds() })
	}
	watcher, err := l.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading bucket %s: %w", cfg.KV.Bucket(), err)
	}
	go l.follow(ctx, watcher)
	return l, nil
}

// Done is closed when the list is no longer followed because the context of Open has ended.
func (l *List) Done() <-chan struct{} { return l.done }

// Revoked reports whether an identity is no longer good.
func (l *List) Revoked(i Identity) bool {
	if l.known.Load() == 0 {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.revoked(i)
}

func (l *List) revoked(i Identity) bool {
	if _, ended := l.sessions[i.Session]; ended {
		return true
	}
	if _, withdrawn := l.keys[i.Key]; withdrawn {
		return true
	}
	return slices.ContainsFunc(l.users[i.User], func(k kept) bool { return k.Revokes(i) })
}

// Current returns nil while the list is known to be complete, or was a moment ago.
func (l *List) Current() error {
	if age := l.age(); age > l.grace {
		return fmt.Errorf("revoked sessions cannot be followed since %s", age.Round(time.Second))
	}
	return nil
}

func (l *List) age() time.Duration { return time.Since(l.start) - time.Duration(l.prove.Load()) }

// Follow calls revoked once, from the goroutine that watches or from this one, as soon as the identity is no longer
// good. The returned function ends that.
func (l *List) Follow(i Identity, revoked func()) (stop func()) {
	f := &follower{i, sync.OnceFunc(revoked)}
	l.mu.Lock()
	l.followers[f] = struct{}{}
	late := l.revoked(i)
	l.mu.Unlock()
	if late {
		f.revoked()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.followers, f)
	}
}

// load starts a watch and brings the list up to date with it. What was known stays known.
func (l *List) load(ctx context.Context) (jetstream.KeyWatcher, error) {
	asked := time.Since(l.start)
	at, err := bucket.Newest(ctx, l.kv)
	if err != nil {
		return nil, err
	}
	watcher, err := l.kv.WatchAll(ctx)
	if err != nil {
		return nil, err
	}
	l.seen = at // what is older comes with the watch, or has aged out
	silent := time.NewTimer(lastRetry * 5)
	defer silent.Stop()
	for {
		select {
		case entry, ok := <-watcher.Updates():
			switch {
			case !ok:
				return nil, errors.Join(bucket.ErrWatchEnded, watcher.Stop())
			case entry != nil:
				l.apply(entry)
				continue
			}
			l.prove.Store(int64(asked))
			return watcher, nil
		case <-silent.C:
			return nil, errors.Join(errors.New("the bucket is not sent"), watcher.Stop())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), watcher.Stop())
		}
	}
}

// follow applies what comes until ctx ends, and watches anew when the watch it has is lost.
func (l *List) follow(ctx context.Context, watcher jetstream.KeyWatcher) {
	defer close(l.done)
	retry := run.Backoff{First: firstRetry, Last: lastRetry}
	outage := observe.NewOutage(l.log, "revocations cannot be followed; writes are refused soon",
		"revocations are followed again", nil)
	for ctx.Err() == nil {
		var err error
		if watcher == nil {
			watcher, err = l.load(ctx)
		}
		if err == nil {
			outage.Report(ctx, nil)
			retry.Reset()
			err = l.drink(ctx, watcher)
			_ = watcher.Stop() // it is given up, whatever it says
			watcher = nil
		}
		if ctx.Err() == nil {
			outage.Report(ctx, err)
			retry.Wait(ctx)
		}
	}
}

// probed is the outcome of a look at the bucket.
type probed struct {
	at    bucket.Position
	err   error
	asked time.Duration // after start
}

// drink applies what the watcher brings, and has the bucket looked at beside it: the list is complete as long as all
// that is there has come. It returns when ctx ends or the watch is of no use any more.
func (l *List) drink(ctx context.Context, watcher jetstream.KeyWatcher) error {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan probed, 1)
	var probing sync.WaitGroup
	defer probing.Wait()
	defer cancel()
	probing.Go(func() { l.probe(ctx, results) })
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	var behind probed // the look that saw more than the watch had brought
	for {
		select {
		case entry, ok := <-watcher.Updates():
			if !ok {
				return bucket.ErrWatchEnded
			}
			if entry == nil {
				continue
			}
			if l.apply(entry); behind.at.Seq > 0 && l.seen.Seq >= behind.at.Seq {
				l.prove.Store(int64(behind.asked))
				behind = probed{}
			}
		case p := <-results:
			switch {
			case p.err != nil: // the watch goes on by itself when NATS is back
			case !p.at.Created.Equal(l.seen.Created):
				return errors.New("the bucket was made anew")
			case p.at.Seq <= l.seen.Seq:
				l.prove.Store(int64(p.asked))
				behind = probed{}
			case behind.at.Seq > l.seen.Seq:
				return fmt.Errorf("revision %d did not arrive", behind.at.Seq)
			default:
				behind = p
			}
		case <-tidy.C:
			l.forget(time.Now())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// probe looks at the bucket at intervals until ctx ends.
func (l *List) probe(ctx context.Context, results chan<- probed) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		asked := time.Since(l.start)
		at, err := bucket.Newest(ctx, l.kv)
		select {
		case results <- probed{at, err, asked}:
		case <-ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// apply adds one fact and tells those who follow its identity.
func (l *List) apply(entry jetstream.KeyValueEntry) {
	l.seen.Seq = max(l.seen.Seq, entry.Revision())
	if entry.Operation() != jetstream.KeyValuePut {
		return
	}
	f, err := parse(entry.Value())
	if err != nil {
		l.log.Error("a revocation cannot be read and is without effect", "key", entry.Key(), "error", err)
		return
	}
	until := time.Now().Add(Kept)
	l.mu.Lock()
	if f.Session != "" {
		l.sessions[f.Session] = until
	} else if f.Key != "" {
		l.keys[f.Key] = struct{}{}
	} else if !slices.ContainsFunc(l.users[f.User], func(k kept) bool { return k.Fact == f }) {
		l.users[f.User] = append(l.users[f.User], kept{f, until})
	}
	l.count()
	var hit []func()
	for w := range l.followers {
		if f.Revokes(w.who) {
			hit = append(hit, w.revoked)
		}
	}
	l.mu.Unlock()
	for _, revoked := range hit {
		revoked()
	}
}

// forget drops facts whose tokens have all expired.
func (l *List) forget(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.sessions, func(_ ids.Session, until time.Time) bool { return now.After(until) })
	for id, facts := range l.users {
		facts = slices.DeleteFunc(facts, func(k kept) bool { return now.After(k.until) })
		if l.users[id] = facts; len(facts) == 0 {
			delete(l.users, id)
		}
	}
	l.count()
}

// count updates the number of what is known. The caller holds mu.
func (l *List) count() { l.known.Store(int64(len(l.sessions) + len(l.users) + len(l.keys))) }
