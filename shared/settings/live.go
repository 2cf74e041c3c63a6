package settings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/bucket"
	"github.com/starlightsymphony/starlight/shared/observe"
)

// Live holds the values in force.
type Live struct {
	cells map[string]*cell // never changes after Open
	fixed bool

	kv  jetstream.KeyValue
	log *slog.Logger

	unknown map[string]bool // keys already warned of; belongs to the watching goroutine
	at      bucket.Position // how far the watch has come; belongs to the watching goroutine
	done    chan struct{}
	cancel  context.CancelFunc

	mu        sync.Mutex
	listeners []*listener
}

// cell is the value of one setting. Only the watching goroutine writes it.
type cell struct {
	def      Definition
	value    atomic.Value // the T of the Setting
	rejected *observe.Rare

	mu     sync.Mutex // guards the rest, which State shows
	layers [layerCount]layer
}

type listener struct {
	key string
	fn  func()
}

// State is a setting and what holds of it in this process.
type State struct {
	Spec
	Value    string `json:"value"`             // in force, as text
	Source   Source `json:"source"`            // where it comes from
	Set      bool   `json:"set"`               // false: the base or the default holds
	Revision uint64 `json:"revision"`          // of the newest entry of the key, 0 if there was none
	Refused  string `json:"refused,omitempty"` // why the newest entry is not in force
}

// Open reads the bucket and follows it until ctx ends or Close is called. It returns when the values are in force, or
// an error when the bucket cannot be read. Two definitions with one key are an error.
//
// Refused values are logged once, and counted in starlight_settings_rejected_total. A nil log or registry is left out.
func Open(
	ctx context.Context, kv jetstream.KeyValue, defs []Definition, log *slog.Logger, reg *observe.Registry,
) (*Live, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if reg == nil {
		reg = observe.NewRegistry()
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &Live{
		cells:   make(map[string]*cell, len(defs)),
		kv:      kv,
		log:     log,
		unknown: make(map[string]bool),
		done:    make(chan struct{}),
		cancel:  cancel,
	}
	for _, def := range defs {
		key := def.Spec().Key
		if _, ok := l.cells[key]; ok {
			cancel()
			return nil, fmt.Errorf("setting %s is declared twice", key)
		}
		l.cells[key] = newCell(def, def.defaultAny(), reg.Rare("starlight_settings_rejected_total",
			"Values of settings that were refused; the last good value stayed in force.", "key", key))
	}
	watcher, err := l.load(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("reading bucket %s: %w", kv.Bucket(), err)
	}
	go l.follow(ctx, watcher)
	return l, nil
}

func newCell(def Definition, v any, rejected *observe.Rare) *cell {
	c := &cell{def: def, rejected: rejected}
	c.value.Store(v)
	return c
}

// Close stops following the bucket. The values stay as they are.
func (l *Live) Close() {
	if l.fixed {
		return
	}
	l.cancel()
	<-l.done
}

// OnChange calls fn after each change of the value of def, never twice at the same time. fn reads the value itself and
// must return soon: other settings wait for it. The returned function ends it.
func (l *Live) OnChange(def Definition, fn func()) (stop func()) {
	added := &listener{key: def.Spec().Key, fn: fn}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = append(l.listeners, added)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		// A new slice: notify may be walking through the old one.
		l.listeners = slices.DeleteFunc(slices.Clone(l.listeners), func(o *listener) bool { return o == added })
	}
}

// States returns all settings by key.
func (l *Live) States() []State {
	states := make([]State, 0, len(l.cells))
	for _, c := range l.cells {
		states = append(states, c.state())
	}
	slices.SortFunc(states, func(a, b State) int { return strings.Compare(a.Key, b.Key) })
	return states
}

// State returns one setting; ok is false when Open was not given that key.
func (l *Live) State(key string) (s State, ok bool) {
	c, ok := l.cells[key]
	if !ok {
		return State{}, false
	}
	return c.state(), true
}

func (c *cell) state() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, from := c.resolve()
	own := c.layers[environment]
	return State{
		Spec:     c.def.Spec(),
		Value:    c.def.formatAny(c.value.Load()),
		Source:   from,
		Set:      own.set,
		Revision: own.revision,
		Refused:  own.refused,
	}
}

// Override is a setting with a fixed value.
type Override struct {
	def   Definition
	value any
}

// Fixed returns settings that need no NATS: those in overrides have the values given there, all others their defaults.
func Fixed(overrides ...Override) *Live {
	l := &Live{cells: make(map[string]*cell, len(overrides)), fixed: true}
	for _, o := range overrides {
		c := newCell(o.def, o.value, nil)
		c.layers[environment] = layer{value: o.value, set: true}
		l.cells[o.def.Spec().Key] = c
	}
	return l
}

// ErrNotFixed is the error of Change on settings that do not come from Fixed with that key.
var ErrNotFixed = errors.New("settings: only what Fixed was given can be changed")

// Change gives a setting another value and calls those who listen to it.
func (l *Live) Change(o Override) error {
	c, ok := l.cells[o.def.Spec().Key]
	if !ok || !l.fixed {
		return ErrNotFixed
	}
	c.value.Store(o.value)
	l.notify(o.def.Spec().Key)
	return nil
}

func (l *Live) notify(key string) {
	l.mu.Lock()
	listeners := l.listeners
	l.mu.Unlock()
	for _, o := range listeners {
		if o.key == key {
			o.fn()
		}
	}
}
