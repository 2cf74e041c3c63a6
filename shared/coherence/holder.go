package coherence

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

// HolderConfig says what a Holder is. All of it is required.
type HolderConfig struct {
	NATS    *nats.Conn
	Service string // whose answers are copied
	Tier    Tier
	Log     *slog.Logger

	// Lease asks the owner for a lease, such as Owner.LeaseInstance or a call of its endpoint.
	Lease func(ctx context.Context, req *rpc.LeaseRequest) (*rpc.Lease, error)
	// Evict drops the copies of what a tag names, and those that may contain it; "" drops all. Copies that are being
	// made at that moment must not be kept.
	Evict func(tag string)
}

// Holder holds a lease for the copies of one process.
type Holder struct {
	cfg    HolderConfig
	origin time.Time

	until atomic.Int64 // nanoseconds since origin, by the monotonic clock

	mu sync.Mutex
	id string // "" while not registered
}

// NewHolder returns a holder without a lease. Run gets it one.
func NewHolder(cfg HolderConfig) *Holder { return &Holder{cfg: cfg, origin: time.Now()} }

// Valid reports whether copies may be served now.
func (h *Holder) Valid() bool {
	return int64(time.Since(h.origin)) < h.until.Load()
}

// Run keeps the lease until ctx ends, then gives it back.
func (h *Holder) Run(ctx context.Context) error {
	sub, err := h.cfg.NATS.Subscribe(h.cfg.Tier.subject(h.cfg.Service), h.invalidate)
	if err != nil {
		return fmt.Errorf("coherence: %s: %w", h.cfg.Service, err)
	}
	defer sub.Unsubscribe()
	tick := time.NewTicker(renewal)
	defer tick.Stop()
	for {
		if err := h.renew(ctx); err != nil && ctx.Err() == nil {
			h.cfg.Log.Debug("no lease for copies: they are not served", "copies", h.cfg.Service, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.release(context.WithoutCancel(ctx))
			return nil
		}
	}
}

// renew renews the lease, or registers.
func (h *Holder) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	h.mu.Lock()
	id := h.id
	h.mu.Unlock()
	if id == "" {
		return h.register(ctx)
	}
	sent := time.Since(h.origin)
	lease, err := h.cfg.Lease(ctx, &rpc.LeaseRequest{Holder: id})
	if err != nil {
		return err
	}
	if !lease.Held { // invalidations may have been missed
		h.set("", 0)
		h.cfg.Evict("")
		return h.register(ctx)
	}
	h.set(id, sent+Duration)
	return nil
}

// register makes the owner know of the holder, under a fresh id. Copies from before have no lease and are dropped.
func (h *Holder) register(ctx context.Context) error {
	if err := h.cfg.NATS.FlushWithContext(ctx); err != nil { // invalidations reach us from now on
		return err
	}
	id, sent := nuid.Next(), time.Since(h.origin)
	h.set(id, 0) // it confirms from now on
	lease, err := h.cfg.Lease(ctx, &rpc.LeaseRequest{Holder: id, Register: true})
	if err != nil || !lease.Held {
		h.set("", 0)
		return err
	}
	h.cfg.Evict("")
	h.set(id, sent+Duration)
	return nil
}

func (h *Holder) set(id string, until time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.id = id
	h.until.Store(int64(until))
}

// release gives the lease back, so that no owner waits for this holder.
func (h *Holder) release(ctx context.Context) {
	h.mu.Lock()
	id := h.id
	h.id = ""
	h.until.Store(0)
	h.mu.Unlock()
	if id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	if _, err := h.cfg.Lease(ctx, &rpc.LeaseRequest{Holder: id, Release: true}); err != nil {
		h.cfg.Log.Debug("a lease runs out instead of being given back", "copies", h.cfg.Service, "error", err)
	}
}

// invalidate drops copies and confirms that they are dropped.
func (h *Holder) invalidate(m *nats.Msg) {
	number, tag, _ := strings.Cut(string(m.Data), " ")
	if tag != ping {
		h.cfg.Evict(tag)
	}
	h.mu.Lock()
	id := h.id
	h.mu.Unlock()
	if id == "" || number == "" {
		return
	}
	if err := h.cfg.NATS.Publish(ackSubject(h.cfg.Service), []byte(number+" "+id)); err != nil {
		h.cfg.Log.Debug("an invalidation is not confirmed", "copies", h.cfg.Service, "error", err)
	}
}
