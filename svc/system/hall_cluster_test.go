package system_test

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/command"
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
	c := startCluster(t)
	hub := c.sites[0]
	admin := hub.login(adminEmail)
	hub.unlimited(admin)
	hub.set(admin, "user.access_ttl", "30m")
	hub.set(admin, "payment.sandbox", "true")
	hub.set(admin, "ticketing.hold_ttl", "5s")
	owner := hub.login(adminEmail)
	h := &hall{hub: hub, owner: owner, event: hub.concert(owner, 100_000, 1500), cfg: c.cfg, connect: ops(t, c.natsURL, c.creds)}
	h.found(t, c.leafs[0])
	if exit := command.Main([]string{"auth", "venue", h.venue.ID.String(), "--data", filepath.Dir(c.creds), "--nats-url", c.natsURL,
		"--out", h.creds}, io.Discard, os.Stderr); exit != 0 {
		t.Fatal("starlight auth venue")
	}
	at := testkit.FreeAddress(t)
	h.p = spawn(t, "venue", nil, h.folder, h.venue.ID.String(), h.line.Addr+",nats-leaf://"+c.leafs[1]+",nats-leaf://"+c.leafs[2],
		h.creds, at, "0s")
	h.edge = &site{t: t, url: "http://" + at, timeout: 5 * time.Second}
	h.take(t)
	h.hub = &site{t: t, url: hub.url, timeout: 5 * time.Second}
	e := &evening{hall: h, t: t, x: newCrowd(h, time.Second), steps: &hallSteps{hall: h, t: t}}
	hub.join(friendEmail)
	mails := c.cfg
	mails.Data = filepath.Join(c.cfg.Data, "others-*") // any of them may send it
	hub.confirm(mails, friendEmail)
	e.x.signIn()
	e.leaseSeats()
	e.x.open(50, 2)
	const some = 60
	var all []mishap
	for _, of := range []struct {
		name string
		list []*process
	}{{"ticketing", c.members["ticketing"]}, {"the venue service", c.members["others"]}, {"payment", c.members["payment"]}, {"a NATS server", c.nodes}} {
		for _, p := range of.list {
			all = append(all, mishap{of.name + " is killed", true, func() {
				p.kill()
				e.x.through(some, 3, 5)
				p.again()
				e.x.through(some, 3, 5)
			}}, mishap{of.name + " hangs", true, func() {
				resume := p.pause()
				defer resume()
				e.x.through(some, 3, 0)
			}})
		}
	}
	all = append(all, mishap{"the database is cut off", true, func() { c.database.Cut(); e.x.through(some, 3, 5) }})
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
	h.judge(t)
	e.x.check(e.steps)
	e.x.numbers()
}
