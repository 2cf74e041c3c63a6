package ticketing

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// lost is a venue with doors and leases, that will not be heard of again: of two events, one of which it has taken, and
// of each a lease that it knows.
type lost struct {
	*harness
	s      *Service
	e      *edge
	boss   ids.User
	offers [2]*api.Offer
	leases [3]*api.Lease // the third one it has not heard of
}

func newLost(h *harness) *lost {
	x := &lost{harness: h, s: h.start(), boss: person()}
	x.e = h.edge(x.boss)
	x.e.mustHello()
	for i := range x.offers {
		o := h.publish(10, 1000)
		x.offers[i] = o
		x.leases[i] = x.lend(o, 4)
		must(h.as(x.boss, rpc.RoleAdmin), h, api.SetAuthority, api.NewAuthority{EventID: o.Event.ID, VenueID: x.e.session.VenueID})
		x.e.state(o.Event.ID)
	}
	x.e.hold(x.offers[0].Event.ID)
	if err := x.e.take(x.offers[0].Event.ID); err != nil {
		h.t.Fatal(err)
	}
	x.leases[2] = x.lend(x.offers[0], 2)
	return x
}

// fresh is an administrator who has just proven who they are.
func (h *harness) fresh(user ids.User) context.Context {
	return rpc.WithMeta(h.t.Context(), rpc.Meta{Principal: rpc.Principal{User: user, Roles: []string{rpc.RoleAdmin}, Fresh: true}})
}

func (x *lost) lend(o *api.Offer, n int) *api.Lease {
	return must(x.as(x.boss, rpc.RoleAdmin), x.harness, api.CreateLease, api.NewLease{EventID: o.Event.ID,
		VenueID: x.e.session.VenueID, TicketTypeID: o.Event.TicketTypes[0].ID, Quantity: n})
}

func (x *lost) close(who ids.User) *api.VenueClosure {
	x.t.Helper()
	return must(x.fresh(who), x.harness, api.CloseVenue, api.NewVenueClosure{VenueID: x.e.session.VenueID,
		Reason: "it was stolen"})
}

// whole says what is wrong with the report of a closure that is done, and with what it has done.
func (x *lost) whole(c *api.VenueClosure, by ids.User) {
	x.t.Helper()
	if !c.Done || c.DoneAt == nil || c.Access != api.AccessEnded || c.CreatedBy != by || c.Reason != "it was stolen" ||
		c.Contact == nil || c.Unknown != 8 || len(c.Doors) != 2 || len(c.Leases) != 3 {
		x.t.Fatalf("the report is %+v", c)
	}
	for _, d := range c.Doors {
		want := line.DoorsHandingOver
		if d.EventID == x.offers[0].Event.ID {
			want = line.DoorsVenue
		}
		if d.State != want || d.Policy != line.PolicyVenue {
			x.t.Errorf("doors %+v, want %s", d, want)
		}
	}
	for _, l := range c.Leases {
		want := 4
		if l.LeaseID == x.leases[2].ID {
			want = 0
		}
		if l.Unknown != want {
			x.t.Errorf("lease %+v, want %d", l, want)
		}
	}
	for _, o := range x.offers {
		if a := must(x.as(x.boss, rpc.RoleAdmin), x.harness, api.GetAuthority, api.EventRef{ID: o.Event.ID}); a.State != line.DoorsHub {
			x.t.Errorf("doors are %+v", a)
		}
		if left := x.left(o); left.Leased != 0 || left.Available != 10 {
			x.t.Errorf("left is %+v", left)
		}
	}
	x.audit()
}

// All that a venue had that is lost for ever comes back in one call, and the report says what is not known.
func TestVenueIsLostForEver(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		x := newLost(h)
		admin := person()
		_, err := do(h.as(x.boss), h, api.CloseVenue, api.NewVenueClosure{VenueID: x.e.session.VenueID, Reason: "x"})
		if !fault.Is(err, fault.Forbidden) {
			t.Errorf("its owner: %v", err)
		}
		nowhere := ids.New[ids.VenueKind](h.clock.Now())
		if _, err := do(h.fresh(admin), h, api.CloseVenue, api.NewVenueClosure{VenueID: nowhere, Reason: "x"}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a venue that is not there: %v", err)
		}
		first := x.close(admin)
		x.whole(first, admin)
		// Once more, with or without a key: there is nothing to take, and it is the same closure.
		ask := func(key string) *api.VenueClosure {
			t.Helper()
			h.clock.Advance(time.Second)
			got, err := rpc.CallOnce(x.fresh(admin), h.caller(api.CloseVenue.Spec), api.CloseVenue, &api.NewVenueClosure{VenueID: x.e.session.VenueID,
				Reason: "it was stolen"}, key)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for _, key := range []string{"", "again", "again"} {
			if again := ask(key); !reflect.DeepEqual(again, first) {
				t.Errorf("again under the key %q: %+v, want %+v", key, again, first)
			}
		}
		// Another computer serves the venue: that is another closure, and the first report stays.
		x.e.session.Edge = "another-edge"
		x.e.mustHello()
		if again := ask("again"); again.ID != first.ID { // it was the answer to that request
			t.Errorf("the same request again: %+v", again)
		}
		second := ask("")
		if !second.Done || second.ID == first.ID || len(second.Doors)+len(second.Leases) > 0 {
			t.Errorf("another: %+v", second)
		}
		// It has nothing but a lease, and was not heard of.
		x.lend(x.offers[1], 2)
		third := ask("")
		if !third.Done || third.ID == second.ID || len(third.Doors) != 0 || len(third.Leases) != 1 {
			t.Errorf("a third: %+v", third)
		}
		var all []ids.Closure
		for cursor, i := "", 0; i == 0 || cursor != ""; i++ {
			list := must(h.as(admin, rpc.RoleAdmin), h, api.ListVenueClosures, api.VenueClosurePage{VenueID: x.e.session.VenueID,
				Page: api.Page{Limit: 1, Cursor: cursor}})
			cursor = list.NextCursor
			for _, c := range list.Items {
				all = append(all, c.ID)
				if c.ID == first.ID {
					x.whole(&c, admin)
				}
			}
		}
		if !slices.Equal(all, []ids.Closure{third.ID, second.ID, first.ID}) {
			t.Errorf("list %v", all)
		}
	})
}

// A closure that breaks off in any of its steps is gone on with, by the same call or by itself, and its report is whole.
func TestClosureIsInterrupted(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		for _, table := range []string{"journals", "closed_doors", "closed_leases"} {
			for _, itself := range []bool{false, true} {
				x := newLost(h)
				admin := person()
				rename := func(from, to string) {
					t.Helper()
					err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
						_, err := tx.ExecContext(ctx, "ALTER TABLE "+from+" RENAME TO "+to)
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				rename(table, "away")
				reports := func() api.VenueClosure {
					t.Helper()
					list := must(h.as(admin, rpc.RoleAdmin), h, api.ListVenueClosures, api.VenueClosurePage{VenueID: x.e.session.VenueID})
					if len(list.Items) != 1 {
						t.Fatalf("%d closures", len(list.Items))
					}
					return list.Items[0]
				}
				// it is not shown either, without the table
				_, _ = do(h.t.Context(), h, line.CloseVenue, line.Close{VenueID: x.e.session.VenueID, Reason: "it was stolen"})
				rename("away", table)
				broken := reports()
				if broken.Done || broken.DoneAt != nil {
					t.Fatalf("without %s: %+v", table, broken)
				}
				if !itself {
					whole := x.close(admin)
					if whole.ID != broken.ID {
						t.Errorf("another closure was begun: %+v", whole)
					}
					x.whole(whole, "")
					continue
				}
				h.clock.Advance(time.Minute)
				if err := x.s.ended.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				whole := reports()
				x.whole(&whole, "")
				if n := h.withdrawn[x.e.session.VenueID]; n < 1 || n > 2 {
					t.Errorf("it was cut off %d times", n)
				}
			}
		}
	})
}
