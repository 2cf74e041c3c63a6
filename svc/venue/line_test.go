package venue_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto/sha256"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func precondition(t *testing.T, err error, says string) {
	t.Helper()
	if !fault.Is(err, fault.Precondition) || !strings.Contains(err.Error(), says) {
		t.Errorf("want precondition_failed with %q, got %v", says, err)
	}
}

// A venue has one edge, and that one session.
func TestOneEdgeServesAVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		owner := person()
		id, n := h.place(owner)
		first, second := h.edge(id, n, "edge-one-1"), h.edge(id, n, "edge-two-2")
		if _, err := first.ask(line.Status{}); !fault.Is(err, fault.Precondition) {
			t.Errorf("asked before the hello: %v", err)
		}
		if err := first.hello(); err != nil {
			t.Fatal(err)
		}
		precondition(t, second.hello(), "another edge serves the venue")
		if _, err := second.ask(line.Status{}); !fault.Is(err, fault.Precondition) {
			t.Errorf("another edge asks: %v", err)
		}
		if _, err := first.ask(line.Status{}); err != nil {
			t.Error(err)
		}

		precondition(t, first.helloAs(line.Hello{Session: first.session()}), "copy of this data folder")
		old := *first
		if err := first.hello(); err != nil {
			t.Fatal(err)
		}
		_, err := old.ask(line.Status{})
		precondition(t, err, "copy of the data folder")
		if _, err := first.ask(line.Status{}); err != nil {
			t.Error(err)
		}

		if _, err := call(h, person(), api.ReleaseEdge, api.VenueRef{ID: id}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger releases the edge: %v", err)
		}
		must(h, owner, api.ReleaseEdge, api.VenueRef{ID: id})
		_, err = first.ask(line.Status{})
		precondition(t, err, "released")
		precondition(t, first.hello(), "released") // it does not come back before the new one is there
		if err := second.hello(); err != nil {
			t.Error(err)
		}
		must(h, person(rpc.RoleAdmin), api.ReleaseEdge, api.VenueRef{ID: id})
		must(h, person(rpc.RoleAdmin), api.ReleaseEdge, api.VenueRef{ID: id}) // again
		second.number++
		if err := second.helloAs(line.Hello{Session: second.session(), Replace: true}); err != nil {
			t.Errorf("the released edge, on purpose: %v", err)
		}
	})
}

// Of many hellos at once, to two instances, one edge is bound.
func TestOneOfManyEdgesIsBound(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		id, n := h.place(person())
		bound := make(chan error)
		for i := range 8 {
			e := h.edge(id, n, fmt.Sprintf("edge-name-%d", i))
			go func() { bound <- e.hello() }()
		}
		count := 0
		for range 8 {
			if err := <-bound; err == nil {
				count++
			} else if !fault.Is(err, fault.Precondition) {
				t.Error(err)
			}
		}
		if count != 1 {
			t.Errorf("%d edges are bound", count)
		}
	})
}

// What an edge says of its venue and of its caller does not count, and everything is handed on with the session.
func TestEdgeIsWhoItsAccountSays(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		id, n := h.place(person())
		other, _ := h.place(person())
		e := h.edge(id, n, "edge-one-1")
		e.number++
		if err := e.helloAs(line.Hello{Session: line.Session{VenueID: other, Edge: e.name, Number: e.number}}); !fault.Is(err, fault.Forbidden) ||
			!strings.Contains(err.Error(), "credentials are those of") {
			t.Errorf("a computer of another venue: %v", err)
		}
		e.number = 0
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		forged := rpc.WithMeta(t.Context(), rpc.Meta{Principal: person(rpc.RoleAdmin), Address: "192.0.2.1", RequestID: "req_1"})
		s := line.Session{VenueID: other, Edge: e.name, Number: e.number}
		hold := line.Hold{EventID: ids.New[ids.EventKind](time.Now()), Epoch: 1}
		for name, do := range map[string]func() error{
			"state": func() error { _, err := rpc.Call(forged, e.client, line.AskState, &line.Ask{Session: s}); return err },
			"manifest": func() error {
				_, err := rpc.Call(forged, e.client, line.GetPage, &line.Manifest{Session: s, EventID: hold.EventID})
				return err
			},
			"take": func() error {
				_, err := rpc.Call(forged, e.client, line.Take, &line.Taken{Session: s, Hold: hold})
				return err
			},
			"return": func() error {
				_, err := rpc.Call(forged, e.client, line.Return, &line.Returned{Session: s, Hold: hold})
				return err
			},
			"journal": func() error { _, err := rpc.Call(forged, e.client, line.HandUp, &line.Journal{Session: s}); return err },
		} {
			if err := do(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got, _ := h.lastAsked(); got != fmt.Sprintf(`%s of %s by "edge-one-1" 1 as "" from ""`, name, id) {
				t.Errorf("ticketing was asked for %s", got)
			}
		}
		_, before := h.lastAsked()
		s.Number = 0
		if _, err := rpc.Call(forged, e.client, line.HandUp, &line.Journal{Session: s}); !fault.Is(err, fault.Precondition) {
			t.Errorf("a journal of an old session: %v", err)
		}
		if _, after := h.lastAsked(); after != before {
			t.Error("ticketing was asked for an old session")
		}
		if err := h.edge(id, n, "x").hello(); !fault.Is(err, fault.Invalid) {
			t.Errorf("an edge without a name: %v", err)
		}
	})
}

// Passes reach the venue as hashes, until they are deleted. The secret is kept nowhere.
func TestPasses(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		organizer, manager, door := person(), person(), person()
		concert := h.show(organizer.User, api.TeamMember{UserID: manager.User, Role: api.RoleManager},
			api.TeamMember{UserID: door.User, Role: api.RoleDoor})
		other := h.show(organizer.User)
		made := must(h, manager, api.CreatePass, api.NewPass{EventID: concert, Name: " Scanner 1 ", Gate: "north"})
		if made.Name != "Scanner 1" || made.Gate != "north" || made.EventID != concert || len(made.Secret) != 46 {
			t.Errorf("made %+v", made)
		}
		for who, p := range map[string]rpc.Principal{"the door": door, "a stranger": person()} {
			if _, err := call(h, p, api.CreatePass, api.NewPass{EventID: concert, Name: "x"}); !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s makes a pass: %v", who, err)
			}
			if _, err := call(h, p, api.ListPasses, api.EventRef{ID: concert}); !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s reads passes: %v", who, err)
			}
			if _, err := call(h, p, api.DeletePass, api.PassRef{EventID: concert, ID: made.ID}); !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s deletes a pass: %v", who, err)
			}
		}
		if _, err := call(h, organizer, api.CreatePass, api.NewPass{EventID: concert, Name: "  "}); !fault.Is(err, fault.Invalid) {
			t.Errorf("a pass without a name: %v", err)
		}
		list := must(h, organizer, api.ListPasses, api.EventRef{ID: concert})
		if len(list.Items) != 1 || list.Items[0] != made.Pass {
			t.Errorf("listed %+v", list)
		}
		var stored string
		if err := h.db.Read().NewRaw("SELECT hash FROM passes").Scan(t.Context(), &stored); err != nil {
			t.Fatal(err)
		}
		want := sha256.Sum256([]byte(made.Secret))
		if stored != hex.EncodeToString(want[:]) {
			t.Errorf("stored %q", stored)
		}

		id, n := h.place(organizer)
		e := h.edge(id, n, "edge-one-1")
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		h.state.Events = []line.Event{{EventID: concert}, {EventID: other}}
		h.mu.Unlock()
		state, err := e.ask(line.Status{})
		if err != nil {
			t.Fatal(err)
		}
		got := state.Events[0].Passes
		if len(got) != 1 || string(got[0].Hash) != string(want[:]) || got[0].Gate != "north" || got[0].ID != made.ID ||
			state.Events[1].Passes == nil || len(state.Events[1].Passes) != 0 {
			t.Errorf("the venue gets %+v", state.Events)
		}
		if _, err := call(h, organizer, api.DeletePass, api.PassRef{EventID: other, ID: made.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("deleted by way of another event: %v", err)
		}
		must(h, organizer, api.DeletePass, api.PassRef{EventID: concert, ID: made.ID})
		if state, err := e.ask(line.Status{}); err != nil || len(state.Events[0].Passes) != 0 {
			t.Errorf("after the deletion: %+v, %v", state, err)
		}
		if _, err := call(h, organizer, api.DeletePass, api.PassRef{EventID: concert, ID: made.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("deleted again: %v", err)
		}
	})
}

func TestPassesAreBounded(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		organizer := person()
		concert := h.show(organizer.User)
		for range 200 {
			must(h, organizer, api.CreatePass, api.NewPass{EventID: concert, Name: "x"})
		}
		if _, err := call(h, organizer, api.CreatePass, api.NewPass{EventID: concert, Name: "x"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("one more than there may be: %v", err)
		}
	})
}

// Staff sign in by their own account, and are told what they may do.
func TestSignInOverTheLine(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		organizer, door := person(), person()
		one := h.show(organizer.User, api.TeamMember{UserID: door.User, Role: api.RoleDoor})
		two := h.show(organizer.User)
		h.mu.Lock()
		h.people["door@example.org right"] = line.CheckedUser{ID: door.User, Name: "Dora", Roles: []string{}, Generation: 4}
		h.people["nobody@example.org right"] = line.CheckedUser{ID: person().User, Name: "Nora", Roles: []string{}}
		h.people["admin@example.org right"] = line.CheckedUser{ID: person().User, Name: "Adam", Roles: []string{rpc.RoleAdmin}}
		h.state.Events = []line.Event{{EventID: one, Offer: h.offers[one]}, {EventID: two, Offer: h.offers[two]}}
		h.mu.Unlock()
		id, n := h.place(organizer)
		e := h.edge(id, n, "edge-one-1")
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		signIn := func(email, password string) (*line.Staff, error) {
			return rpc.Call(t.Context(), e.client, line.Login, &line.SignIn{Session: e.session(), Email: email, Password: password})
		}
		staff, err := signIn("door@example.org", "right")
		if err != nil || staff.UserID != door.User || staff.Generation != 4 || staff.Admin || len(staff.Roles) != 1 ||
			staff.Roles[0] != (line.StaffRole{EventID: one, Role: "door"}) {
			t.Errorf("the door is %+v, %v", staff, err)
		}
		h.mu.Lock()
		if len(h.begun) != 1 || h.begun[0] != (line.VenueSession{UserID: door.User, Generation: 4, VenueID: id, Venue: "Great Hall"}) {
			t.Errorf("what began: %+v", h.begun)
		}
		h.mu.Unlock()
		stranger := e.session()
		stranger.Edge = "another-edge"
		for _, from := range []line.Session{stranger, e.session()} {
			_, err := rpc.Call(t.Context(), e.client, line.Logout, &line.EndedSession{Session: from, UserID: door.User,
				SessionID: staff.SessionID})
			if fault.Is(err, fault.Precondition) != (from == stranger) || from != stranger && err != nil {
				t.Errorf("%s signs out: %v", from.Edge, err)
			}
		}
		h.mu.Lock()
		if len(h.ended) != 1 || h.ended[0].SessionID != staff.SessionID || h.ended[0].VenueID != id {
			t.Errorf("what ended: %+v", h.ended)
		}
		h.mu.Unlock()
		if staff, err := signIn("nobody@example.org", "right"); err != nil || staff.SessionID != "" {
			t.Errorf("who has no part there: %+v, %v", staff, err)
		}
		if staff, err := signIn("admin@example.org", "right"); err != nil || !staff.Admin || len(staff.Roles) != 0 {
			t.Errorf("the administrator is %+v, %v", staff, err)
		}
		if _, err := signIn("door@example.org", "wrong"); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("a wrong password: %v", err)
		}
		people := line.SignedInPeople{People: []line.SignedIn{{UserID: door.User, Generation: 3}, {UserID: door.User, Generation: 4}}}
		out, err := rpc.Call(t.Context(), e.client, line.CheckStaff, &line.Staffing{Session: e.session(), SignedInPeople: people})
		if err != nil || !slices.Equal(out.People, people.People[:1]) {
			t.Errorf("signed out are %+v, %v", out, err)
		}
		_, err = rpc.Call(t.Context(), e.client, line.CheckStaff, &line.Staffing{Session: stranger, SignedInPeople: people})
		if !fault.Is(err, fault.Precondition) {
			t.Errorf("another computer asks: %v", err)
		}
		limited := 0
		for range 60 { // two instances together let 20 in
			if _, err := signIn("door@example.org", "guess"); fault.Is(err, fault.RateLimited) {
				limited++
			}
		}
		if limited != 44 {
			t.Errorf("of 64 sign-ins at once %d were refused", limited)
		}
		h.clock.Advance(time.Hour)
		if _, err := signIn("door@example.org", "right"); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// A code that is shown to the system is decided on at the venue, or the answer says that there is no line.
func TestAdmissionIsForwardedToTheVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		id, n := h.place(person())
		e := h.edge(id, n, "edge-one-1")
		there := line.There{VenueID: id, Admit: line.Admit{EventID: ids.New[ids.EventKind](time.Now()), Code: "code",
			Gate: "north", By: person().User.String()}}
		admit := func() (*api.AdmissionResult, error) { return rpc.Call(t.Context(), h.inside, line.AdmitAt, &there) }
		refused := func(says string, code fault.Code) {
			t.Helper()
			if _, err := admit(); !fault.Is(err, code) || !strings.Contains(err.Error(), says) {
				t.Errorf("want %s with %q, got %v", code, says, err)
			}
		}
		refused("no computer serves the venue", fault.Unavailable)
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		refused("there is no line", fault.Unavailable)

		answer := make(chan string, 1)
		if _, err := e.nc.Subscribe("api.edge.admit", func(m *nats.Msg) {
			select {
			case text := <-answer:
				if !strings.Contains(string(m.Data), `"edge":"edge-one-1"`) {
					t.Errorf("the edge is asked %s", m.Data)
				}
				_ = m.Respond([]byte(text))
			default: // silent
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := e.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		answer <- `{"result":"admitted"}`
		if got, err := admit(); err != nil || got.Result != api.Admitted {
			t.Errorf("admitted: %+v, %v", got, err)
		}
		start := time.Now()
		refused("not known", fault.Timeout)
		if took := time.Since(start); took < 1500*time.Millisecond || took > 4*time.Second {
			t.Errorf("a silent venue kept the door waiting for %s", took)
		}

		poked, err := e.nc.SubscribeSync(line.Poke)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := rpc.Call(t.Context(), h.inside, line.PokeVenue, &line.VenueRef{VenueID: id}); err != nil {
			t.Error(err)
		}
		if _, err := poked.NextMsg(5 * time.Second); err != nil {
			t.Errorf("no poke: %v", err)
		}
		gone := line.VenueRef{VenueID: ids.New[ids.VenueKind](time.Now())}
		if _, err := rpc.Call(t.Context(), h.inside, line.PokeVenue, &gone); err != nil {
			t.Errorf("a poke without a line: %v", err)
		}
	})
}

// Every instance knows how a venue is, whichever it asked. One of them shows it to the mesh, and another one when that
// is gone.
func TestVenueIsSeenOnTheMesh(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		owner := person()
		id, n := h.place(owner)
		status := func() *api.VenueStatus { return must(h, owner, api.GetVenueStatus, api.VenueRef{ID: id}) }
		if got := status(); got.Online || got.LastSeen != nil {
			t.Errorf("before the first hello: %+v", got)
		}
		if _, err := call(h, person(), api.GetVenueStatus, api.VenueRef{ID: id}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger reads the status: %v", err)
		}
		e := h.edge(id, n, "edge-one-1")
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		if _, err := e.ask(line.Status{Version: "0.9.0", Waiting: 3, Manifest: 4, Tickets: 5, Admitted: 6, Skew: -7, Disk: "full"}); err != nil {
			t.Fatal(err)
		}
		for range 6 { // both instances
			got := status()
			if !got.Online || got.LastSeen == nil || !got.LastSeen.Equal(h.clock.Now()) || got.Edge != "edge-one-1" || got.Waiting != 3 ||
				got.ManifestAge != 4 || got.Tickets != 5 || got.Admitted != 6 || got.Skew != -7 || got.Disk != "full" || got.Version != "0.9.0" {
				t.Fatalf("the status is %+v", got)
			}
		}

		listed := func() (count int, text string) {
			nc := h.mesh.Conn
			sub, err := nc.SubscribeSync(nats.NewInbox())
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Unsubscribe()
			if err := nc.PublishRequest("$SRV.PING.edge", sub.Subject, nil); err != nil {
				t.Fatal(err)
			}
			for {
				m, err := sub.NextMsg(300 * time.Millisecond)
				if err != nil || len(m.Data) == 0 {
					return count, text
				}
				count++
				text = string(m.Data)
			}
		}
		shown := func(want int) {
			t.Helper()
			testkit.Eventually(t, 20*time.Second, func() error {
				if got, text := listed(); got != want || want == 1 && !strings.Contains(text, `"venue":"`+id.String()+`"`) {
					return fmt.Errorf("%d services of edges: %s", got, text)
				}
				return nil
			})
		}
		shown(1)
		online := fmt.Sprintf("starlight_venue_online{venue=%q} 1\n", id)
		has, other := h.one, h.two
		if !strings.Contains(metric(has), online) {
			has, other = other, has
		}
		if got := metric(has); !strings.Contains(got, online) ||
			!strings.Contains(got, fmt.Sprintf("starlight_venue_scans_waiting{venue=%q} 3\n", id)) {
			t.Errorf("no metrics of the venue:\n%s", got)
		}
		if strings.Contains(metric(other), online) {
			t.Error("two instances count the venue")
		}

		has.stop()
		has.nc.Close()
		for range 3 { // the edge asks on
			h.clock.Advance(8 * time.Second)
			if _, err := e.ask(line.Status{Version: "0.9.0"}); err != nil {
				t.Fatal(err)
			}
		}
		shown(1)
		if !strings.Contains(metric(other), online) {
			t.Error("the other instance does not count the venue")
		}
		h.clock.Advance(16 * time.Second)
		shown(0)
		if strings.Contains(metric(other), online) {
			t.Error("a venue that is away is counted")
		}
	})
}

// Lines of a venue's log are kept under its name, as far as there is room.
func TestLogsOfAVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		id, n := h.place(person())
		e := h.edge(id, n, "edge-one-1")
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		hand := func(lines ...string) error {
			_, err := rpc.Call(t.Context(), e.client, line.HandLogs, &line.Logs{Session: e.session(), Lines: lines, Dropped: 2})
			return err
		}
		err := hand(`{"time":"2030-05-17T13:00:00Z","level":"warn","msg":"the disk is full","service":"payment","instance":"x","gate":"north",`+
			`"password":"C4NARY","level2":{"level":"error"}}`, `no JSON`, `"text"`, `{"level":"debug","msg":"not at this level"}`)
		if err != nil {
			t.Fatal(err)
		}
		text := h.logs.String()
		for _, want := range []string{`"time":"2030-05-17T13:00:00Z"`, `"level":"warn"`, `"msg":"the disk is full"`, `"service":"edge"`,
			`"instance":"` + id.String() + `"`, `"gate":"north"`} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in %s", want, text)
			}
		}
		for _, no := range []string{"payment", "C4NARY", "not at this level"} {
			if strings.Contains(text, no) {
				t.Errorf("%s in %s", no, text)
			}
		}
		if err := hand(make([]string, 201)...); !fault.Is(err, fault.TooLarge) {
			t.Errorf("too many lines: %v", err)
		}
		line := `{"level":"info","msg":"a line"}`
		for range 15 {
			many := make([]string, 200)
			for i := range many {
				many[i] = line
			}
			if err := hand(many...); err != nil {
				t.Fatal(err)
			}
		}
		if kept := strings.Count(h.logs.String(), "a line"); kept < 990 || kept > 2000 {
			t.Errorf("of 3000 lines at once %d were kept", kept)
		}
		if dropped := sum(h, "starlight_venue_log_lines_dropped_total"); dropped < 1000 {
			t.Errorf("%v lines were counted as dropped", dropped)
		}
	})
}

// sum adds up a counter of both instances.
func sum(h *harness, name string) (n int) {
	for _, i := range []*instance{h.one, h.two} {
		for l := range strings.Lines(metric(i)) {
			var one int
			if _, err := fmt.Sscanf(l, name+" %d", &one); err == nil {
				n += one
			}
		}
	}
	return n
}

// A venue whose account goes is served no more.
func TestAccountOfAVenueGoes(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		id, n := h.place(person())
		e := h.edge(id, n, "edge-one-1")
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		h.account.mu.Lock()
		delete(h.account.servers, id.String())
		h.account.mu.Unlock()
		testkit.Eventually(t, 10*time.Second, func() error {
			if err := e.hello(); !fault.Is(err, fault.Unavailable) {
				return fmt.Errorf("hello: %v", err)
			}
			return nil
		})
	})
}
