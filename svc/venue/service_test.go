package venue_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // the zones must be there wherever the tests run

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

func person(roles ...string) rpc.Principal {
	return rpc.Principal{User: ids.New[ids.UserKind](time.Now()), Roles: roles}
}

func call[Req, Resp any](h *harness, p rpc.Principal, ep rpc.Endpoint[Req, Resp], req Req) (*Resp, error) {
	return rpc.Call(rpc.WithPrincipal(h.t.Context(), p), h.client, ep, &req)
}

func must[Req, Resp any](h *harness, p rpc.Principal, ep rpc.Endpoint[Req, Resp], req Req) *Resp {
	h.t.Helper()
	resp, err := call(h, p, ep, req)
	if err != nil {
		h.t.Fatalf("%s: %v", ep.Subject(), err)
	}
	return resp
}

func hall() api.NewVenue {
	return api.NewVenue{Name: " Great Hall ", Address: "Am Markt 1, Leipzig", Timezone: "Europe/Berlin", Gates: []string{"north", " south "}}
}

func TestVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		owner, stranger, admin := person(), person(), person(rpc.RoleAdmin)
		made := must(h, owner, api.CreateVenue, hall())
		if made.Name != "Great Hall" || !slices.Equal(made.Gates, []string{"north", "south"}) || made.Owner != owner.User || made.Revision != 1 {
			t.Errorf("made: %+v", made)
		}
		for _, p := range []rpc.Principal{owner, admin} {
			if got := must(h, p, api.GetVenue, api.VenueRef{ID: made.ID}); fmt.Sprint(*got) != fmt.Sprint(*made) {
				t.Errorf("read %+v, made %+v", got, made)
			}
		}
		if _, err := call(h, stranger, api.GetVenue, api.VenueRef{ID: made.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger reads it: %v", err)
		}
		name := "Small Hall"
		if _, err := call(h, stranger, api.UpdateVenue, api.PatchVenue{ID: made.ID, Name: &name}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger changes it: %v", err)
		}
		inside := &harness{t: t, client: h.inside}
		if got := must(inside, stranger, line.FindVenue, line.VenueRef{VenueID: made.ID}); fmt.Sprint(*got) != fmt.Sprint(*made) {
			t.Errorf("ticketing reads %+v, made %+v", got, made)
		}
		if _, err := call(inside, admin, line.FindVenue, line.VenueRef{VenueID: ids.New[ids.VenueKind](time.Now())}); !fault.Is(err, fault.NotFound) {
			t.Errorf("ticketing reads a venue that is not there: %v", err)
		}
		h.clock.Advance(time.Minute)
		next := must(h, owner, api.UpdateVenue, api.PatchVenue{ID: made.ID, IfMatch: `"` + made.ETag() + `"`, Name: &name,
			Address: codec.Clear[string](), Gates: codec.To([]string{"west"})})
		if next.Name != name || next.Address != "" || !slices.Equal(next.Gates, []string{"west"}) || next.Timezone != made.Timezone ||
			next.Revision != 2 || !next.UpdatedAt.After(made.UpdatedAt) {
			t.Errorf("changed: %+v", next)
		}
		if again := must(h, owner, api.UpdateVenue, api.PatchVenue{ID: made.ID, Name: &name}); again.Revision != 2 {
			t.Errorf("the same again is revision %d", again.Revision)
		}
		if _, err := call(h, owner, api.UpdateVenue, api.PatchVenue{ID: made.ID, IfMatch: `"` + made.ETag() + `"`, Name: &name}); !fault.Is(err, fault.Precondition) {
			t.Errorf("a change of what has changed: %v", err)
		}
	})
}

func TestVenueRules(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		for field, change := range map[string]func(*api.NewVenue){
			"name":     func(v *api.NewVenue) { v.Name = "  " },
			"address":  func(v *api.NewVenue) { v.Address = strings.Repeat("x", 501) },
			"timezone": func(v *api.NewVenue) { v.Timezone = "Leipzig" },
			"gates":    func(v *api.NewVenue) { v.Gates = []string{"north", "north "} },
		} {
			in := hall()
			change(&in)
			if _, err := call(h, person(), api.CreateVenue, in); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), field) {
				t.Errorf("%s: %v", field, err)
			}
		}
		many := hall()
		for i := range 101 {
			many.Gates = append(many.Gates, fmt.Sprint("gate ", i))
		}
		if _, err := call(h, person(), api.CreateVenue, many); !fault.Is(err, fault.Invalid) {
			t.Errorf("too many gates: %v", err)
		}
	})
}

// Every page in turn has each venue once, the newest first, those made at the same moment too.
func TestVenuesInPages(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		owner := person()
		var want []ids.Venue
		for i := range 7 {
			if i%3 == 0 {
				h.clock.Advance(time.Second)
			}
			want = append(want, must(h, owner, api.CreateVenue, hall()).ID)
		}
		must(h, person(), api.CreateVenue, hall())
		for who, n := range map[string]int{"owner": 7, "admin": 8} {
			p := owner
			if who == "admin" {
				p = person(rpc.RoleAdmin)
			}
			var got []ids.Venue
			for cursor := ""; ; {
				page := must(h, p, api.ListVenues, api.Page{Limit: 2, Cursor: cursor})
				for _, v := range page.Items {
					got = append(got, v.ID)
				}
				if cursor = page.NextCursor; cursor == "" {
					break
				}
			}
			if len(got) != n || len(slices.Compact(slices.Sorted(slices.Values(got)))) != n {
				t.Errorf("%s sees %d venues: %v", who, len(got), got)
			}
			for _, id := range want {
				if !slices.Contains(got, id) {
					t.Errorf("%s does not see %s", who, id)
				}
			}
		}
		if _, err := call(h, owner, api.ListVenues, api.Page{Cursor: "x"}); !fault.Is(err, fault.Invalid) {
			t.Errorf("a cursor that no list gave: %v", err)
		}
	})
}

// Changes at the same time, at two instances, all happen.
func TestConcurrentChangesOfAVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		owner := person()
		made := must(h, owner, api.CreateVenue, hall())
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				name := fmt.Sprint("Hall ", i)
				if _, err := call(h, owner, api.UpdateVenue, api.PatchVenue{ID: made.ID, Name: &name}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := must(h, owner, api.GetVenue, api.VenueRef{ID: made.ID}); got.Revision != 5 {
			t.Errorf("revision %d after four changes", got.Revision)
		}
	})
}

// A repeated request with the same key makes one venue.
func TestVenueIsMadeOnce(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		owner := person()
		header := map[string][]string{rpc.HeaderPrincipal: {owner.String()}, rpc.HeaderHTTP + rpc.IdempotencyKey: {"one"}}
		body := []byte(`{"name":"Hall","timezone":"UTC"}`)
		var answers []string
		for range 2 {
			reply, err := h.client.Forward(t.Context(), api.CreateVenue.Spec, header, body)
			if err != nil {
				t.Fatal(err)
			}
			if refused := rpc.Fault(reply); refused != nil {
				t.Fatal(refused)
			}
			answers = append(answers, string(reply.Data))
		}
		if answers[0] != answers[1] {
			t.Errorf("two answers: %q", answers)
		}
		if page := must(h, owner, api.ListVenues, api.Page{}); len(page.Items) != 1 {
			t.Errorf("%d venues", len(page.Items))
		}
	})
}
