package settings

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/bucket"
	"github.com/starlightsymphony/starlight/shared/run"
)

const (
	// probeEvery is how often the watch is compared with the bucket. The watch finds out by itself that its server was
	// restarted, but after ten seconds only, and never that the bucket was made anew.
	probeEvery = 2 * time.Second

	// maxUnknown bounds how many unknown keys are remembered as warned of.
	maxUnknown = 1000

	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// load starts a watch and brings the values up to date with it.
func (l *Live) load(ctx context.Context) (jetstream.KeyWatcher, error) {
	// Asked for first: what is older than this either comes with the watch or is gone.
	at, err := bucket.Newest(ctx, l.kv)
	if err != nil {
		return nil, err
	}
	watcher, err := l.kv.WatchAll(ctx)
	if err != nil {
		return nil, err
	}
	l.at = at
	present := make(map[string]bool)
	for {
		select {
		case entry, ok := <-watcher.Updates():
			switch {
			case !ok:
				return nil, errors.Join(bucket.ErrWatchEnded, watcher.Stop())
			case entry != nil:
				present[entry.Key()] = true
				l.apply(ctx, entry)
				continue
			}
			// All there. What was set before and is not there now was deleted while the watch was off.
			for key, c := range l.cells {
				for at := range layerCount {
					if !present[keyAt(key, at)] {
						l.put(c, at, layer{})
					}
				}
			}
			return watcher, nil
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), watcher.Stop())
		}
	}
}

// follow applies changes until ctx ends, and starts a new watch when the one it has is lost.
func (l *Live) follow(ctx context.Context, watcher jetstream.KeyWatcher) {
	defer close(l.done)
	retry := run.Backoff{First: firstRetry, Last: lastRetry}
	for {
		if watcher != nil {
			err := l.drink(ctx, watcher)
			watcher.Stop() // of no interest: it is given up anyway
			if ctx.Err() != nil {
				return
			}
			l.log.Warn("settings are watched anew", "bucket", l.kv.Bucket(), "reason", err)
		}
		var err error
		if watcher, err = l.load(ctx); err == nil {
			retry.Reset()
			continue
		}
		watcher = nil
		if ctx.Err() != nil {
			return
		}
		wait := retry.Next()
		l.log.Warn("settings cannot be watched; the values in force stay", "bucket", l.kv.Bucket(), "error", err,
			"retry_in", wait)
		if !run.Pause(ctx, wait) {
			return
		}
	}
}

// drink applies what the watcher brings. It returns when ctx ends or the watch is of no use any more.
func (l *Live) drink(ctx context.Context, watcher jetstream.KeyWatcher) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var behind uint64 // the revision that the last probe saw and the watch had not brought
	for {
		select {
		case entry, ok := <-watcher.Updates():
			if !ok {
				return bucket.ErrWatchEnded
			}
			if entry != nil {
				l.apply(ctx, entry)
			}
		case <-tick.C:
			newest, err := bucket.Newest(ctx, l.kv)
			switch {
			case err != nil:
				// NATS is away or slow. The watch goes on by itself when it is back.
				behind = 0
			case newest.Seq < l.at.Seq || !newest.Created.Equal(l.at.Created):
				return errors.New("the bucket was made anew")
			case behind > l.at.Seq:
				return fmt.Errorf("revision %d did not arrive", behind)
			default:
				behind = newest.Seq
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply puts one entry of the bucket in force, or refuses it.
func (l *Live) apply(ctx context.Context, entry jetstream.KeyValueEntry) {
	l.at.Seq = max(l.at.Seq, entry.Revision())
	key := entry.Key()
	name, inBase := CutBase(key)
	c, ok := l.cells[name]
	if !ok {
		if entry.Operation() == jetstream.KeyValuePut && !l.unknown[key] && len(l.unknown) < maxUnknown {
			l.unknown[key] = true
			l.log.Warn("unknown setting ignored", "setting", key, "revision", entry.Revision())
		}
		return
	}
	at := environment
	if inBase {
		at = base
	}
	if entry.Operation() != jetstream.KeyValuePut {
		l.put(c, at, layer{revision: entry.Revision()})
		return
	}
	v, err := c.def.parseAny(string(entry.Value()))
	if err == nil {
		l.put(c, at, layer{value: v, set: true, revision: entry.Revision()})
		return
	}
	l.refuse(ctx, c, at, entry, err)
}

// put changes one layer of a setting and tells those who listen if another value is in force.
func (l *Live) put(c *cell, at int, to layer) {
	c.mu.Lock()
	c.layers[at] = to
	v, from := c.resolve()
	old := c.value.Swap(v)
	c.mu.Unlock()
	if old == v {
		return
	}
	key := c.def.Spec().Key
	l.log.Info("setting changed", "setting", key, "from", c.def.formatAny(old), "to", c.def.formatAny(v),
		"source", from, "revision", to.revision)
	l.notify(key)
}

// refuse leaves the last good value in force. That is looked up in the history, so that a process that starts, or comes
// back, while the newest entry is bad behaves like those that were there all the time.
func (l *Live) refuse(ctx context.Context, c *cell, at int, entry jetstream.KeyValueEntry, reason error) {
	c.mu.Lock()
	repeated := c.layers[at].refused != "" && c.layers[at].revision == entry.Revision()
	c.mu.Unlock()
	if repeated {
		return // a new watch brought it again
	}
	if v, set, ok := l.lastGood(ctx, c.def, entry); ok {
		l.put(c, at, layer{value: v, set: set, revision: entry.Revision()})
	}
	c.mu.Lock()
	c.layers[at].refused, c.layers[at].revision = reason.Error(), entry.Revision()
	c.mu.Unlock()
	c.rejected.Inc()
	l.log.Warn("value of a setting refused", "setting", entry.Key(), "error", reason, "revision", entry.Revision(),
		"in_force", c.def.formatAny(c.value.Load()))
}

// lastGood returns the newest acceptable value before bad: none, with set false, if that was a deletion. ok is
// false when the history does not reach back far enough to tell.
func (l *Live) lastGood(ctx context.Context, def Definition, bad jetstream.KeyValueEntry) (v any, set, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	history, err := l.kv.History(ctx, bad.Key())
	if err != nil {
		l.log.Warn("history of a setting cannot be read", "setting", bad.Key(), "error", err)
		return nil, false, false
	}
	for _, entry := range history { // oldest first
		if entry.Revision() >= bad.Revision() {
			break
		}
		if entry.Operation() != jetstream.KeyValuePut {
			v, set, ok = nil, false, true
			continue
		}
		if parsed, err := def.parseAny(string(entry.Value())); err == nil {
			v, set, ok = parsed, true, true
		}
	}
	return v, set, ok
}
