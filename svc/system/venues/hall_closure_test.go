package venues_test

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
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// loseVenue opens a venue that has taken the doors of the event and has two leases of it, of which it has sold two seats
// of the first; then its computer is gone.
func loseVenue(t *testing.T, h *systemtest.Hall) {
	t.Helper()
	h.Owner = h.Hub.Login(systemtest.AdminEmail) // who has just proven who they are
	h.Open(t, h.Cfg.Leaf)
	at := testkit.FreeAddress(t)
	h.P = systemtest.Spawn(t, "venue", nil, h.Folder, h.Venue.ID.String(), h.Line.Addr, h.Creds, at, "0s")
	h.Edge = &systemtest.Site{T: t, URL: "http://" + at, Timeout: 5 * time.Second}
	h.Take(t)
	for _, quantity := range []int{5, 3} {
		systemtest.Call[api.Lease](h.Hub, 201, "POST", h.At("/leases"), h.Owner, api.NewLease{VenueID: h.Venue.ID,
			TicketTypeID: h.Event.TicketTypes[0].ID, Quantity: quantity})
	}
	testkit.Eventually(t, 30*time.Second, func() error {
		var got edge.Status
		err := systemtest.Did(h.Edge, "GET", "/v1/status", "", nil, &got, "", 200)
		if err == nil && got.Left != 8 {
			err = fmt.Errorf("the venue is %+v", got)
		}
		return err
	})
	systemtest.Call[api.Sale](h.Edge, 201, "POST", api.CreateSale.Path, h.Pass, h.Sale(2))
	testkit.Eventually(t, 30*time.Second, func() error {
		got, err := h.Edge.Send("GET", "/v1/status", "", nil)
		return errors.Join(err, got.Is(200, `"waiting":0,`))
	})
	h.P.Kill()
}

// A venue that is lost for ever is closed while the system is killed before and after its commits. Whatever the moment,
// the same request again goes on with the closure, or it goes on by itself; there is one report, which is whole, and one
// line in the audit log; and all of the venue's seats and doors are the system's. With STARLIGHT_EDGE it is at every
// commit, otherwise at some.
func TestClosureOfAVenueIsKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	m := systemtest.StartMortal(t, "")
	m.Unlimited(m.Admin)
	h := &systemtest.Hall{Hub: m.Site, Owner: m.Admin, Event: m.Concert(m.Admin, 1000, 0), Cfg: m.Cfg,
		Connect: systemtest.Ops(t, "nats://"+m.Cfg.NATS, m.Cfg.Data+"/creds")}
	rounds, deaths := 0, 0
	kill := func(point int, itself bool) (died bool) {
		rounds++
		loseVenue(t, h)
		at := "/v1/venues/" + h.Venue.ID.String() + "/closures"
		report := func() (c api.VenueClosure, err error) {
			var all api.List[api.VenueClosure]
			if err = systemtest.Did(h.Hub, "GET", at, h.Owner, nil, &all, "", 200); err != nil {
				return c, err
			}
			if len(all.Items) != 1 || !all.Items[0].Done {
				return c, fmt.Errorf("the closures are %+v", all.Items)
			}
			return all.Items[0], nil
		}
		ask := func() error {
			return systemtest.Did(h.Hub, "POST", at, h.Owner, api.NewVenueClosure{Reason: "stolen"}, nil, "closure-"+h.Venue.ID.String(), 201)
		}
		begun := func() error {
			err := ask()
			got, failed := h.Hub.Send("GET", at, h.Owner, nil)
			if itself && failed == nil && got.Is(200, `"reason":"stolen"`) == nil { // the client gives up
				return nil
			}
			return err
		}
		died = m.Survive("ticketing venue", point, begun, func() error { _, err := report(); return err })
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
		if lines := h.Hub.Lines(h.Owner, 1, url.Values{"act": {"ticketing.close_venue"}, "object": {h.Venue.ID.String()}}); len(lines) != 1 ||
			lines[0].By.UserID != got.CreatedBy || !strings.Contains(string(lines[0].After["closure"]), got.ID.String()) {
			t.Errorf("killed at %d: the lines of the audit log are %+v", point, lines)
		}
		if err := h.DoorsAre("hub"); err != nil {
			t.Error(err)
		}
		if left := h.Hub.Left(h.Event); left.Leased != 0 || left.Sold != 2*rounds || left.Available != 1000-2*rounds {
			t.Errorf("killed at %d: the seats are %+v", point, left)
		}
		if died {
			deaths++
		}
		return died
	}
	if atHallFor(t) == 0 {
		// Commits that come together are one, so there may be fewer of them, and an earlier one is tried then.
		for point := -1 - rand.IntN(6); point < 0 && !kill(point, false); point++ {
		}
		for point := 5 + rand.IntN(3); point > 0 && !kill(point, false); point-- { // with seats under way
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
	systemtest.MustAudit(t, h.Cfg, h.Connect)
	if t.Logf("%d deaths in %d closures", deaths, rounds); deaths < 2 {
		t.Errorf("%d deaths prove nothing", deaths)
	}
}
