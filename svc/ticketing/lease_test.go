package ticketing

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// venue makes a venue of a person.
func (h *harness) venue(owner ids.User) ids.Venue {
	id := ids.New[ids.VenueKind](h.clock.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.venues[id] = owner
	return id
}

func (h *harness) findVenue(_ context.Context, req *line.VenueRef) (*api.Venue, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	owner, ok := h.venues[req.VenueID]
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no such venue")
	}
	return &api.Venue{ID: req.VenueID, Owner: owner, Gates: []string{}}, nil
}

// lease leases seats of the event's first type to a venue of its organizer.
func (h *harness) lease(o *api.Offer, n int) *api.Lease {
	h.t.Helper()
	return must(h.as(ownerOf(o)), h, api.CreateLease, api.NewLease{EventID: o.Event.ID,
		VenueID: h.venue(ownerOf(o)), TicketTypeID: o.Event.TicketTypes[0].ID, Quantity: n})
}

// left is what the event's first type has.
func (h *harness) left(o *api.Offer) api.TypeAvailability {
	h.t.Helper()
	return must(h.t.Context(), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}).TicketTypes[0]
}

func (h *harness) resizeLease(l *api.Lease, n int) (*api.Lease, error) {
	return do(h.as(person(), rpc.RoleAdmin), h, api.ResizeLease,
		api.PatchLease{EventID: l.EventID, LeaseID: l.ID, Quantity: n})
}

// A venue has a change of its leases at once: it is told to ask.
func TestLeasePokesTheVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(10, 1000)
		l := h.lease(o, 6)
		poked := func(want int) {
			t.Helper()
			h.mu.Lock()
			defer h.mu.Unlock()
			if got := h.poked[l.VenueID]; got != want {
				t.Errorf("the venue was told %d times, want %d", got, want)
			}
		}
		poked(1)
		if _, err := h.resizeLease(l, 7); err != nil {
			t.Fatal(err)
		}
		poked(2)
		if _, err := h.resizeLease(l, 70); !fault.Is(err, fault.SoldOut) {
			t.Errorf("more than there is: %v", err)
		}
		poked(2)
		must(h.as(ownerOf(o)), h, api.CloseLease, api.LeaseToClose{EventID: o.Event.ID, LeaseID: l.ID})
		poked(3)
	})
}

func TestLeaseOfAVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		h.start()
		o := h.publish(10, 1000)
		boss := h.as(ownerOf(o))
		l := h.lease(o, 6)
		if l.Quantity != 6 || l.Left != 6 || l.State != api.LeaseOpen || l.Target != 6 {
			t.Errorf("lease is %+v", l)
		}
		if got := h.left(o); got.Leased != 6 || got.Available != 4 || got.Quantity != 10 {
			t.Errorf("left is %+v", got)
		}
		if _, err := do(h.as(person()), h, api.CreateOrder, order(o, 5)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("5 of 4: %v", err)
		}
		must(h.as(person()), h, api.CreateOrder, order(o, 2))
		if _, err := h.resizeLease(l, 9); !fault.Is(err, fault.SoldOut) {
			t.Errorf("3 more of 2: %v", err)
		}
		if got, err := h.resizeLease(l, 8); err != nil || got.Quantity != 8 || got.Target != 8 {
			t.Errorf("2 more: %+v, %v", got, err)
		}
		// The venue has not heard of it: fewer is fewer at once.
		if got, err := h.resizeLease(l, 5); err != nil || got.Quantity != 5 {
			t.Errorf("5: %+v, %v", got, err)
		}
		if got := h.left(o); got.Leased != 5 || got.Available != 3 {
			t.Errorf("left is %+v", got)
		}
		h.audit()
		// It hears of it: from now on seats are asked for.
		state, err := s.leases.State(t.Context(), l.VenueID, []ids.Event{o.Event.ID})
		if got := state[o.Event.ID]; err != nil || len(got) != 1 || got[0].ID != l.ID || got[0].Quantity != 5 {
			t.Fatalf("the venue hears %+v, %v", got, err)
		}
		if got, err := h.resizeLease(l, 2); err != nil || got.Quantity != 5 || got.Target != 2 {
			t.Errorf("2, when the venue agrees: %+v, %v", got, err)
		}
		if got := h.left(o); got.Leased != 5 {
			t.Errorf("left is %+v", got)
		}
		if got := must(boss, h, api.CloseLease, api.LeaseToClose{EventID: o.Event.ID, LeaseID: l.ID}); got.State != api.LeaseClosing ||
			got.Left != 5 {
			t.Errorf("closing: %+v", got)
		}
		if _, err := h.resizeLease(l, 6); !fault.Is(err, fault.Conflict) {
			t.Errorf("a closing lease grows: %v", err)
		}
		h.clock.Advance(1000 * time.Hour) // no time takes it back
		if got := h.left(o); got.Leased != 5 {
			t.Errorf("left is %+v", got)
		}
		if _, err := do(boss, h, api.CloseLease, api.LeaseToClose{EventID: o.Event.ID, LeaseID: l.ID, Force: true}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("an organizer forces it: %v", err)
		}
		got := must(h.as(person(), rpc.RoleAdmin), h, api.CloseLease, api.LeaseToClose{EventID: o.Event.ID, LeaseID: l.ID, Force: true})
		if got.State != api.LeaseClosed || got.Unknown != 5 || got.Quantity != 0 {
			t.Errorf("closed by force: %+v", got)
		}
		if got := h.left(o); got.Leased != 0 {
			t.Errorf("left is %+v", got)
		}
		h.audit()
		if list := must(boss, h, api.ListLeases, api.EventRef{ID: o.Event.ID}); len(list.Items) != 1 || list.Items[0].Unknown != 5 {
			t.Errorf("leases: %+v", list.Items)
		}
	})
}

func TestLeaseRefused(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(10, 1000)
		boss := h.as(ownerOf(o))
		mine, other := h.venue(ownerOf(o)), h.venue(person())
		typ := o.Event.TicketTypes[0].ID
		for name, c := range map[string]struct {
			ctx  context.Context
			req  api.NewLease
			want fault.Code
		}{
			"a stranger":         {h.as(person()), api.NewLease{VenueID: mine, TicketTypeID: typ, Quantity: 1}, fault.Forbidden},
			"another's venue":    {boss, api.NewLease{VenueID: other, TicketTypeID: typ, Quantity: 1}, fault.Forbidden},
			"no venue":           {boss, api.NewLease{VenueID: ids.New[ids.VenueKind](time.Now()), TicketTypeID: typ, Quantity: 1}, fault.NotFound},
			"too many":           {boss, api.NewLease{VenueID: mine, TicketTypeID: typ, Quantity: 11}, fault.SoldOut},
			"no seats":           {boss, api.NewLease{VenueID: mine, TicketTypeID: typ, Quantity: 0}, fault.Invalid},
			"another event's":    {boss, api.NewLease{VenueID: mine, TicketTypeID: ids.New[ids.TicketTypeKind](time.Now()), Quantity: 1}, fault.Invalid},
			"more than there is": {boss, api.NewLease{VenueID: mine, TicketTypeID: typ, Quantity: 1 << 40}, fault.SoldOut},
		} {
			c.req.EventID = o.Event.ID
			if got, err := do(c.ctx, h, api.CreateLease, c.req); !fault.Is(err, c.want) {
				t.Errorf("%s: %+v, %v; want %s", name, got, err, c.want)
			}
		}
		l := h.lease(o, 3)
		ref := api.PatchLease{EventID: o.Event.ID, LeaseID: l.ID, Quantity: 4}
		if _, err := do(h.as(person()), h, api.ResizeLease, ref); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a stranger resizes: %v", err)
		}
		elsewhere := h.publish(10, 1000)
		ref.EventID = elsewhere.Event.ID
		if _, err := do(h.as(person(), rpc.RoleAdmin), h, api.ResizeLease, ref); !fault.Is(err, fault.NotFound) {
			t.Errorf("the lease of another event: %v", err)
		}
		// A quantity below what is leased is refused by the pool.
		lower := map[ids.TicketType]int{typ: 2}
		if _, err := do(h.t.Context(), h, api.ResizeInventory, api.Resize{EventID: o.Event.ID, Revision: 2, Quantities: lower}); !fault.Is(err, fault.Conflict) {
			t.Errorf("below what is leased: %v", err)
		}
		h.audit()
	})
}

// A lease too many is refused for good: it takes no seats later, when there is room for it.
func TestLeaseTooMany(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(1000, 1000)
		admin := h.as(person(), rpc.RoleAdmin)
		for range inventory.MaxLeases { // closed ones are remembered for a while
			l := h.lease(o, 2)
			must(admin, h, api.CloseLease, api.LeaseToClose{EventID: o.Event.ID, LeaseID: l.ID})
		}
		req := api.NewLease{EventID: o.Event.ID, VenueID: h.venue(ownerOf(o)), TicketTypeID: o.Event.TicketTypes[0].ID,
			Quantity: 5}
		if got, err := do(h.as(ownerOf(o)), h, api.CreateLease, req); !fault.Is(err, fault.Conflict) {
			t.Fatalf("one too many: %+v, %v", got, err)
		}
		h.clock.Advance(inventory.ClosedFor + 2*time.Minute)
		if err := s.leases.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		if got := h.left(o); got.Leased != 0 {
			t.Errorf("what was refused has taken seats: %+v", got)
		}
		h.lease(o, 5)
		if got := h.left(o); got.Leased != 5 {
			t.Errorf("later: %+v", got)
		}
		h.audit()
	})
}

// 1,000 buyers want seats of which some are leased, while the lease grows and shrinks at two instances.
func TestBuyersBesideALease(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.publish(60, 1000)
		l := h.lease(o, 20)
		var bought atomic.Int64
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				_, err := h.createWithRetry(person(), order(o, 1))
				switch {
				case err == nil:
					bought.Add(1)
				case !fault.Is(err, fault.SoldOut):
					t.Error(err)
				}
			})
		}
		for worker := range 2 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(worker), 1))
				for range 20 {
					_, err := h.resizeLease(l, 1+rng.IntN(40))
					if err != nil && !fault.Is(err, fault.SoldOut) && !fault.Is(err, fault.Unavailable) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		got := h.left(o)
		if got.Held != int(bought.Load()) || got.Held+got.Leased+got.Available != 60 {
			t.Errorf("%d were bought: %+v", bought.Load(), got)
		}
		h.audit()
	})
}

// A lease whose request dies at any commit is as it was asked for, or not at all, after a sweep.
func TestLeaseKilledAtEachStep(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		var hook atomic.Pointer[func()]
		h.db.AroundCommit(func(bool) {
			if f := hook.Load(); f != nil {
				(*f)()
			}
		})
		s := h.start()
		for name, step := range map[string]func(context.Context, *api.Lease) error{
			"grow": func(ctx context.Context, l *api.Lease) error {
				_, err := s.leases.Resize(ctx, l.ID, 7)
				return err
			},
			"shrink": func(ctx context.Context, l *api.Lease) error {
				_, err := s.leases.Resize(ctx, l.ID, 2)
				return err
			},
			"close": func(ctx context.Context, l *api.Lease) error {
				_, err := s.leases.Close(ctx, l.ID, false)
				return err
			},
			"force": func(ctx context.Context, l *api.Lease) error {
				if _, err := s.leases.State(context.WithoutCancel(ctx), l.VenueID, []ids.Event{l.EventID}); err != nil {
					return err
				}
				_, err := s.leases.Close(ctx, l.ID, true)
				return err
			},
		} {
			o := h.publish(10, 1000)
			for kill := 1; ; kill++ {
				l := h.lease(o, 5)
				ctx, cancel := context.WithCancel(t.Context())
				var commits atomic.Int32 // others commit beside the step, too
				count := func() {
					if int(commits.Add(1)) == kill {
						cancel()
					}
				}
				hook.Store(&count)
				err := step(ctx, l)
				hook.Store(nil)
				cancel()
				h.clock.Advance(time.Minute)
				if failed := s.leases.Sweep(t.Context()); failed != nil {
					t.Fatalf("%s, killed at %d: %v", name, kill, failed)
				}
				h.audit()
				if _, err := do(h.as(person(), rpc.RoleAdmin), h, api.CloseLease, api.LeaseToClose{EventID: l.EventID, LeaseID: l.ID, Force: true}); err != nil {
					t.Fatal(err)
				}
				if got := h.left(o); got.Available != 10 {
					t.Errorf("%s, killed at %d: %+v", name, kill, got)
				}
				if int(commits.Load()) < kill {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					break
				}
			}
		}
	})
}

// The inventory is lost, and has something else: a rebuild gives leases their seats again, before anyone else.
func TestRebuildOfLeases(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(10, 1000)
		l := h.lease(o, 6)
		h.emptyInventory()
		if _, err := do(h.as(person()), h, api.CreateOrder, order(o, 5)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("5 of 4: %v", err)
		}
		if got := h.left(o); got.Leased != 6 {
			t.Errorf("after the loss: %+v", got)
		}
		h.audit()
		stray := ids.New[ids.LeaseKind](time.Now())
		err := errors.Join(
			s.inv.MoveLease(t.Context(), o.Event.ID, stray, l.TicketTypeID, 1, 2, false),
			s.inv.MoveLease(t.Context(), o.Event.ID, l.ID, l.TicketTypeID, 50, -3, false))
		if err != nil {
			t.Fatal(err)
		}
		if got := h.rebuild(o.Event.ID); got.Mended != 0 || got.Waiting != 2 {
			t.Errorf("at once: %+v", got)
		}
		h.clock.Advance(2 * audit.OnItsWay)
		if got := h.rebuild(o.Event.ID); got.Mended != 2 || got.Waiting != 0 {
			t.Errorf("later: %+v", got)
		}
		if got := h.left(o); got.Leased != 6 || got.Available != 4 {
			t.Errorf("after the rebuild: %+v", got)
		}
		h.audit()
		if got, err := h.resizeLease(l, 8); err != nil || got.Quantity != 8 {
			t.Errorf("it grows again: %+v, %v", got, err)
		}
		h.audit()
	})
}
