package coherence

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// ping is the tag of an invalidation that drops nothing: it only shows who is there.
const ping = "-"

// Owner invalidates the copies of what a service answers. Its database has the table cache_holders.
type Owner struct {
	db      *store.DB
	nc      *nats.Conn
	service string
	log     *slog.Logger
	gone    *observe.Counter

	mu     sync.Mutex
	rounds map[string]*round // by number
}

// round is an invalidation that waits for confirmations.
type round struct {
	silent map[string]bool // holders that have not confirmed
	done   chan struct{}   // closed when there are none
}

// NewOwner returns the owner of a service's answers.
func NewOwner(db *store.DB, nc *nats.Conn, log *slog.Logger, reg *observe.Registry) (*Owner, error) {
	o := &Owner{db: db, nc: nc, service: db.Service(), log: log, rounds: map[string]*round{},
		gone: reg.Counter("starlight_cache_holders_gone_total", "Holders of copies whose leases had to run out.",
			"service", db.Service())}
	if _, err := nc.Subscribe(ackSubject(o.service), o.confirm); err != nil {
		return nil, fmt.Errorf("coherence: %s: %w", o.service, err)
	}
	return o, nil
}

// LeaseGateway is the handler of the endpoint by which gateways get their leases.
func (o *Owner) LeaseGateway(ctx context.Context, req *rpc.LeaseRequest) (*rpc.Lease, error) {
	return o.lease(ctx, req, Gateways)
}

// LeaseInstance is the same for the holder of an instance of the service itself.
func (o *Owner) LeaseInstance(ctx context.Context, req *rpc.LeaseRequest) (*rpc.Lease, error) {
	return o.lease(ctx, req, Instances)
}

func (o *Owner) lease(ctx context.Context, req *rpc.LeaseRequest, tier Tier) (*rpc.Lease, error) {
	const longest = 64
	var check fault.Check
	check.Field(req.Holder != "" && len(req.Holder) <= longest, "holder", "must be 1 to %d bytes", longest)
	if err := check.Err(); err != nil {
		return nil, err
	}
	switch {
	case req.Register:
		return &rpc.Lease{Held: true}, o.write(ctx, "INSERT INTO cache_holders (id, tier, gone) VALUES (?, ?, ?)",
			req.Holder, tier, false)
	case req.Release:
		return &rpc.Lease{}, o.write(ctx, "DELETE FROM cache_holders WHERE id = ?", req.Holder)
	}
	var n int
	err := o.db.Read().NewRaw("SELECT count(*) FROM cache_holders WHERE id = ? AND NOT gone", req.Holder).Scan(ctx, &n)
	if err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	return &rpc.Lease{Held: n == 1}, nil
}

func (o *Owner) write(ctx context.Context, query string, args ...any) error {
	return o.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// Invalidate returns when no copy of what the tag names can be served that is older than the call. Call it after the
// commit of a change, and before the change is acknowledged: after an error it is not.
func (o *Owner) Invalidate(ctx context.Context, tag string) error {
	for tier := range tiers {
		if err := o.invalidate(ctx, tier, tag); err != nil {
			return err
		}
	}
	return nil
}

// Announce tells gateways of a change that is not acknowledged to anyone, such as one of an instance that has died
// since.
func (o *Owner) Announce(tag string) {
	if err := o.nc.Publish(Gateways.subject(o.service), []byte(" "+tag)); err != nil {
		o.log.Debug("an invalidation is not sent", "error", err)
	}
}

// Sweep removes the holders that a crash has left, so that the first change after it does not have to wait for them.
func (o *Owner) Sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweeping)
	defer cancel()
	return o.Invalidate(ctx, ping)
}

func (o *Owner) invalidate(ctx context.Context, tier Tier, tag string) error {
	var holders []string
	err := o.db.Read().NewRaw("SELECT id FROM cache_holders WHERE tier = ?", tier).Scan(ctx, &holders)
	if err != nil || len(holders) == 0 {
		return store.FaultOf(ctx, err)
	}
	number := nuid.Next()
	r := o.begin(number, holders)
	defer o.end(number)
	if err := o.nc.Publish(tier.subject(o.service), []byte(number+" "+tag)); err != nil {
		return fault.Wrap(err, fault.Unavailable, "copies cannot be invalidated at the moment")
	}
	timer := time.NewTimer(confirmed)
	defer timer.Stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return o.expel(ctx, o.silent(r))
	}
}

func (o *Owner) begin(number string, holders []string) *round {
	r := &round{silent: make(map[string]bool, len(holders)), done: make(chan struct{})}
	for _, id := range holders {
		r.silent[id] = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rounds[number] = r
	return r
}

func (o *Owner) end(number string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.rounds, number)
}

// confirm notes what a holder has confirmed.
func (o *Owner) confirm(m *nats.Msg) {
	number, id, _ := strings.Cut(string(m.Data), " ")
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.rounds[number]
	if r == nil || !r.silent[id] {
		return
	}
	if delete(r.silent, id); len(r.silent) == 0 {
		close(r.done)
	}
}

func (o *Owner) silent(r *round) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var ids []string
	for id := range r.silent {
		ids = append(ids, id)
	}
	return ids
}

// expel ends the leases of holders that do not confirm, and waits until they have run out.
func (o *Owner) expel(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	o.gone.Add(len(ids))
	o.log.Warn("holders of copies do not confirm an invalidation, their leases run out", "holders", len(ids))
	if err := o.write(ctx, "UPDATE cache_holders SET gone = ? WHERE id IN (?)", true, bun.List(ids)); err != nil {
		return err
	}
	timer := time.NewTimer(runOut)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return o.write(ctx, "DELETE FROM cache_holders WHERE id IN (?) AND gone", bun.List(ids))
}
