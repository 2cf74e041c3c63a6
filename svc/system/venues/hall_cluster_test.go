package venues_test

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/command"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A venue of a cluster: instances of each service, NATS servers and the line to the database fail, one after the other,
// while people come and tills sell. The venue answers each scan meanwhile, and all that it has decided counts once. It
// takes minutes, so it is run with STARLIGHT_EDGE alone.
func TestClusterOfAVenue(t *testing.T) {
	long := atHallFor(t)
	if long == 0 {
		t.Skip("STARLIGHT_EDGE is not set")
	}
	t.Parallel()
	c := systemtest.StartCluster(t)
	hub := c.Sites[0]
	admin := hub.Login(systemtest.AdminEmail)
	hub.Unlimited(admin)
	hub.Set(admin, "user.access_ttl", "30m")
	hub.Set(admin, "payment.sandbox", "true")
	hub.Set(admin, "ticketing.hold_ttl", "5s")
	owner := hub.Login(systemtest.AdminEmail)
	h := &systemtest.Hall{Hub: hub, Owner: owner, Event: hub.Concert(owner, 100_000, 1500), Cfg: c.Cfg, Connect: systemtest.Ops(t, c.NatsURL, c.Creds)}
	h.Found(t, c.Leafs[0])
	if exit := command.Main([]string{"auth", "venue", h.Venue.ID.String(), "--data", filepath.Dir(c.Creds), "--nats-url", c.NatsURL,
		"--out", h.Creds}, io.Discard, os.Stderr); exit != 0 {
		t.Fatal("starlight auth venue")
	}
	at := testkit.FreeAddress(t)
	h.P = systemtest.Spawn(t, "venue", nil, h.Folder, h.Venue.ID.String(), h.Line.Addr+",nats-leaf://"+c.Leafs[1]+",nats-leaf://"+c.Leafs[2],
		h.Creds, at, "0s")
	h.Edge = &systemtest.Site{T: t, URL: "http://" + at, Timeout: 5 * time.Second}
	h.Take(t)
	h.Hub = &systemtest.Site{T: t, URL: hub.URL, Timeout: 5 * time.Second}
	e := &evening{Hall: h, t: t, x: newCrowd(h, time.Second), steps: &hallSteps{Hall: h, t: t}}
	hub.Join(friendEmail)
	mails := c.Cfg
	mails.Data = filepath.Join(c.Cfg.Data, "others-*") // any of them may send it
	hub.Confirm(mails, friendEmail)
	e.x.signIn()
	e.leaseSeats()
	e.x.open(50, 2)
	const some = 60
	var all []mishap
	for _, of := range []struct {
		name string
		list []*systemtest.Process
	}{{"ticketing", c.Members["ticketing"]}, {"the venue service", c.Members["others"]}, {"payment", c.Members["payment"]}, {"a NATS server", c.Nodes}} {
		for _, p := range of.list {
			all = append(all, mishap{of.name + " is killed", true, func() {
				p.Kill()
				e.x.through(some, 3, 5)
				p.Again()
				e.x.through(some, 3, 5)
			}}, mishap{of.name + " hangs", true, func() {
				resume := p.Pause()
				defer resume()
				e.x.through(some, 3, 0)
			}})
		}
	}
	all = append(all, mishap{"the database is cut off", true, func() { c.Database.Cut(); e.x.through(some, 3, 5) }})
	start := time.Now()
	for round := 0; round == 0 || time.Since(start) < long; round++ {
		rand.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		for _, m := range all {
			e.x.signIn()
			e.lineUp()
			before, struck := e.x.failures(), time.Now()
			m.strike()
			if failed := e.x.failures() - before; failed > 0 {
				t.Errorf("%s, and %d scans at the venue were not answered: %s", m.name, failed, e.x.lastFailure())
			}
			t.Logf("%6.1f s: %s; for %.1f s", struck.Sub(start).Seconds(), m.name, time.Since(struck).Seconds())
		}
	}
	e.lineUp()
	e.x.end()
	e.x.signIn()
	testkit.Eventually(t, 60*time.Second, e.noHolds)
	judge(t, h)
	e.x.check(e.steps)
	e.x.numbers()
}
