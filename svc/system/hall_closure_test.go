package system_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
)

// loseVenue opens a venue that has taken the doors of the event and has two leases of it, of which it has sold two seats
// of the first; then its computer is gone.
func (h *hall) loseVenue(t *testing.T) {
	t.Helper()
	h.owner = h.hub.login(adminEmail) // who has just proven who they are
	h.open(t, h.cfg.Leaf)
	at := testkit.FreeAddress(t)
	h.p = spawn(t, "venue", nil, h.folder, h.venue.ID.String(), h.line.Addr, h.creds, at, "0s")
	h.edge = &site{t: t, url: "http://" + at, timeout: 5 * time.Second}
	h.take(t)
	for _, quantity := range []int{5, 3} {
		call[api.Lease](h.hub, 201, "POST", h.at("/leases"), h.owner, api.NewLease{VenueID: h.venue.ID,
			TicketTypeID: h.event.TicketTypes[0].ID, Quantity: quantity})
	}
	testkit.Eventually(t, 30*time.Second, func() error {
		var got edge.Status
		err := did(h.edge, "GET", "/v1/status", "", nil, &got, "", 200)
		if err == nil && got.Left != 8 {
			err = fmt.Errorf("the venue is %+v", got)
		}
		return err
	})
	call[api.Sale](h.edge, 201, "POST", api.CreateSale.Path, h.pass, h.sale(2))
	testkit.Eventually(t, 30*time.Second, func() error {
		got, err := h.edge.send("GET", "/v1/status", "", nil)
		return errors.Join(err, got.is(200, `"waiting":0,`))
	})
	h.p.kill()
}

// A venue that is lost for ever is closed while the system is killed before and after its commits. Whatever the moment,
// the same request again goes on with the closure, or it goes on by itself; there is one report, which is whole, and one
// line in the audit log; and all of the venue's seats and doors are the system's. With STARLIGHT_EDGE it is at every
// commit, otherwise at some.
func TestClosureOfAVenueIsKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	m := startMortal(t, "")
	m.unlimited(m.admin)
	h := &hall{hub: m.site, owner: m.admin, event: m.concert(m.admin, 1000, 0), cfg: m.cfg,
		connect: ops(t, "nats://"+m.cfg.NATS, m.cfg.Data+"/creds")}
	rounds, deaths := 0, 0
	kill := func(point int, itself bool) (died bool) {
		rounds++
		h.loseVenue(t)
		at := "/v1/venues/" + h.venue.ID.String() + "/closures"
		report := func() (c api.VenueClosure, err error) {
			var all api.List[api.VenueClosure]
			if err = did(h.hub, "GET", at, h.owner, nil, &all, "", 200); err != nil {
				return c, err
			}
			if len(all.Items) != 1 || !all.Items[0].Done {
				return c, fmt.Errorf("the closures are %+v", all.Items)
			}
			return all.Items[0], nil
		}
		ask := func() error {
			return did(h.hub, "POST", at, h.owner, api.NewVenueClosure{Reason: "stolen"}, nil, "closure-"+h.venue.ID.String(), 201)
		}
		begun := func() error {
			err := ask()
			got, failed := h.hub.send("GET", at, h.owner, nil)
			if itself && failed == nil && got.is(200, `"reason":"stolen"`) == nil { // the client gives up
				return nil
			}
			return err
		}
		died = m.survive("ticketing venue", point, begun, func() error { _, err := report(); return err })
		got, err := report()
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Doors) != 1 || got.Doors[0].State != "venue" || len(got.Leases) != 2 || got.Unknown != 6 || got.Access != api.AccessEnded {
			t.Errorf("killed at %d: the report is %+v", point, got)
		}
		if err := ask(); err != nil { // the same request once more
			t.Error(err)
		}
		if _, err := report(); err != nil {
			t.Error(err)
		}
		if lines := h.hub.lines(h.owner, 1, url.Values{"act": {"ticketing.close_venue"}, "object": {h.venue.ID.String()}}); len(lines) != 1 ||
			lines[0].By.UserID != got.CreatedBy || !strings.Contains(string(lines[0].After["closure"]), got.ID.String()) {
			t.Errorf("killed at %d: the lines of the audit log are %+v", point, lines)
		}
		if err := h.doorsAre("hub"); err != nil {
			t.Error(err)
		}
		if left := h.hub.left(h.event); left.Leased != 0 || left.Sold != 2*rounds || left.Available != 1000-2*rounds {
			t.Errorf("killed at %d: the seats are %+v", point, left)
		}
		if died {
			deaths++
		}
		return died
	}
	if atHallFor(t) == 0 {
		for _, point := range []int{-1 - rand.IntN(6), 5 + rand.IntN(3)} { // the latter with seats under way
			kill(point, false)
		}
	} else {
		for point, alive := 1, 0; alive < 2; point++ {
			for _, side := range []int{-point, point} {
				if alive++; kill(side, side > 0 && point%2 == 0) {
					alive = 0
				}
			}
		}
	}
	mustAudit(t, h.cfg, h.connect)
	if t.Logf("%d deaths in %d closures", deaths, rounds); deaths < 2 {
		t.Errorf("%d deaths prove nothing", deaths)
	}
}
