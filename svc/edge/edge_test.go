package edge_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// hub stands for the system at the other end of the line.
type hub struct {
	t      *testing.T
	nc     *nats.Conn
	key    ed25519.PrivateKey
	server *rpc.Server

	mu      sync.Mutex
	now     func() time.Time
	event   line.Event
	tickets []line.Ticket
	edge    line.Session // the one that serves
	hellos  []line.Hello
	journal []line.Entry
	status  line.Status
	hang    chan struct{} // not nil: the journal gets no answer before it is closed
	hung    int
	mute    chan struct{} // not nil: questions get no answer before it is closed
	far     time.Duration // how long the journal is on its way
	takes   int           // not 0: more entries of the journal take too long
	other   *line.Event   // besides, without tickets
	noList  bool          // lists cannot be read
	line    edge.Line     // how the venue sees it
	staffed int           // people who were asked about

	signedOut []line.SignedIn // with a session: that one alone
	signedIn  line.SignedIn   // who was asked about last
	left      []line.SignedIn // who has said so
}

func (h *hub) do(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn()
}

func (h *hub) check(s line.Session) error {
	if s != h.edge {
		return fault.New(fault.Precondition, "another edge serves the venue")
	}
	return nil
}

// up lets the hub answer.
func (h *hub) up() {
	h.t.Helper()
	h.server = rpc.NewServer(h.nc, rpc.ServerConfig{Service: line.Hub, Log: testkit.Log(h.t),
		Registry: observe.NewRegistry()})
	locked := func(fn func() error) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		return fn()
	}
	rpc.Handle(h.server, line.SayHello, func(_ context.Context, r *line.Hello) (out *line.Welcome, err error) {
		return out, locked(func() error {
			if h.edge.Edge != "" && (h.edge.Edge != r.Edge || r.Number <= h.edge.Number) && !r.Replace {
				return fault.New(fault.Precondition, "another edge serves the venue")
			}
			h.edge = r.Session
			h.hellos = append(h.hellos, *r)
			out = &line.Welcome{Venue: venue(r.VenueID), Now: h.now(), Journal: int64(len(h.journal))}
			return nil
		})
	})
	rpc.Handle(h.server, line.AskState, func(_ context.Context, r *line.Ask) (out *line.State, err error) {
		var mute chan struct{}
		h.do(func() { mute = h.mute })
		if mute != nil {
			<-mute
		}
		return out, locked(func() error {
			h.status = r.Status
			out = &line.State{Now: h.now(), Journal: int64(len(h.journal)), Events: []line.Event{h.event},
				Keys: []line.Key{{ID: "k1", Public: h.key.Public().(ed25519.PublicKey)}}}
			if h.other != nil {
				out.Events = append(out.Events, *h.other)
			}
			return h.check(r.Session)
		})
	})
	rpc.Handle(h.server, line.GetPage, func(_ context.Context, r *line.Manifest) (out *line.Page, err error) {
		return out, locked(func() error {
			if h.noList {
				return fault.New(fault.Unavailable, "there are no lists now")
			}
			if out = (&line.Page{Position: 1}); r.EventID == h.event.EventID {
				out = h.page(r)
			}
			return h.check(r.Session)
		})
	})
	rpc.Handle(h.server, line.Take, func(_ context.Context, r *line.Taken) (*rpc.None, error) {
		return nil, locked(func() error {
			e := &h.event
			if r.EventID != e.EventID {
				e = h.other
			}
			if r.Epoch == e.Epoch && e.State == line.DoorsHandingOver {
				e.State = line.DoorsVenue
			}
			return h.check(r.Session)
		})
	})
	rpc.Handle(h.server, line.Return, func(_ context.Context, r *line.Returned) (*rpc.None, error) {
		return nil, locked(func() error {
			if int(r.Journal) > len(h.journal) {
				return fault.New(fault.Conflict, "the journal is not here")
			}
			h.event.State = line.DoorsHub
			return h.check(r.Session)
		})
	})
	rpc.Handle(h.server, line.HandUp, func(_ context.Context, r *line.Journal) (out *line.Receipt, err error) {
		var hang chan struct{}
		h.do(func() { hang = h.hang })
		if hang != nil {
			h.do(func() { h.hung++ })
			<-hang
		}
		var far time.Duration
		h.do(func() { far = h.far })
		<-time.After(far)
		return out, locked(func() error {
			if err := h.check(r.Session); err != nil {
				return err
			}
			if h.takes > 0 && len(r.Entries) > h.takes {
				return fault.New(fault.Timeout, "that is too much for the time that there is")
			}
			for _, e := range r.Entries {
				if e.Number == int64(len(h.journal))+1 {
					h.journal = append(h.journal, e)
				}
			}
			out = &line.Receipt{Journal: int64(len(h.journal))}
			return nil
		})
	})
	rpc.Handle(h.server, line.Login, func(_ context.Context, r *line.SignIn) (*line.Staff, error) {
		who, ok := strings.CutSuffix(r.Email, "@example.org")
		if !ok || r.Password != "correct horse" {
			return nil, fault.New(fault.Unauthenticated, "email or password is wrong")
		}
		return &line.Staff{UserID: userOf(who), Name: who, Generation: 3,
			Roles: []line.StaffRole{{EventID: h.event.EventID, Role: "door"}}, SessionID: ids.New[ids.SessionKind](time.Now())}, nil
	})
	rpc.Handle(h.server, line.Logout, func(_ context.Context, r *line.EndedSession) (*rpc.None, error) {
		return nil, locked(func() error {
			h.left = append(h.left, line.SignedIn{UserID: r.UserID, Generation: 3, SessionID: r.SessionID})
			return h.check(r.Session)
		})
	})
	rpc.Handle(h.server, line.CheckStaff, func(_ context.Context, r *line.Staffing) (out *line.SignedInPeople, err error) {
		return out, locked(func() error {
			out = &line.SignedInPeople{People: []line.SignedIn{}}
			for _, p := range r.People {
				h.staffed++
				asked := slices.ContainsFunc(h.signedOut, func(out line.SignedIn) bool {
					return out == p || out == line.SignedIn{UserID: p.UserID, Generation: p.Generation}
				})
				h.signedIn = p
				if asked {
					out.People = append(out.People, p)
				}
			}
			return h.check(r.Session)
		})
	})
	h.devices()
	if err := h.server.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// cut takes the hub away.
func (h *hub) cut() {
	h.t.Helper()
	if err := h.server.Drain(context.Background()); err != nil {
		h.t.Fatal(err)
	}
}

// page answers as the system does.
func (h *hub) page(r *line.Manifest) *line.Page {
	if h.event.State == line.DoorsHub {
		return &line.Page{}
	}
	list := slices.Clone(h.tickets)
	out := &line.Page{Position: r.Since}
	if r.Since > 0 {
		list = slices.DeleteFunc(list, func(t line.Ticket) bool {
			return t.Position < r.Since || t.Position == r.Since && (r.After == "" || t.ID <= r.After)
		})
		slices.SortFunc(list, func(a, b line.Ticket) int { return int(a.Position - b.Position) })
	} else {
		out.Position = h.event.Position
		for i, t := range list {
			if t.ID == r.After {
				list = list[i+1:]
				break
			}
		}
	}
	const most = 40 // so that a page is not all
	if len(list) > most {
		list, out.More = list[:most], true
	}
	out.Tickets = list
	if r.Since > 0 && len(list) > 0 {
		out.Position = list[len(list)-1].Position
	}
	return out
}

// change changes a ticket, as a transfer or a refund does.
func (h *hub) change(i int, fn func(*line.Ticket)) {
	h.do(func() {
		h.event.Position++
		h.tickets[i].Position = h.event.Position
		fn(&h.tickets[i])
	})
}

func (h *hub) code(t line.Ticket) string {
	return code.Sign(code.Payload{Event: h.event.EventID, Ticket: t.ID, Revision: t.Revision}, "k1", h.key)
}

func venue(id ids.Venue) api.Venue {
	return api.Venue{ID: id, Owner: userOf("owner"), Name: "The Hall"}
}

func userOf(name string) ids.User { return ids.Derive[ids.UserKind](name) }

// site is a venue and its hub.
type site struct {
	*hub
	dir   string
	venue ids.Venue
	now   func() time.Time
	url   string
	s     *edge.Service
	stop  func()

	silence time.Duration // of the hub, after which the line counts as cut
}

const passSecret = "pas.secret-of-a-device"

func newSite(t *testing.T, tickets int) *site {
	t.Helper()
	srv := testkit.NATS(t)
	now := time.Now()
	_, key, _ := ed25519.GenerateKey(nil)
	h := &hub{t: t, nc: srv.Connect(), key: key, now: time.Now, line: edge.Line{Up: true}}
	id := ids.New[ids.EventKind](now)
	hash := sha256.Sum256([]byte(passSecret))
	h.event = line.Event{EventID: id, State: line.DoorsHandingOver, Epoch: 1, Policy: line.PolicyVenue,
		Unknown: line.UnknownRefuse, Position: 1, Generation: 1, Leases: []line.Lease{},
		Passes: []line.Pass{{ID: ids.New[ids.PassKind](now), Hash: hash[:], Name: "Phone 1"}},
		Offer: &api.Offer{Organizer: api.OwnTeam(userOf("owner")), Event: api.Event{ID: id, OrganizerID: api.OrganizerOf(userOf("owner")), Status: api.EventPublished,
			Name: "Concert", StartsAt: now, EndsAt: now.Add(time.Hour), Revision: 1},
			Team: []api.TeamMember{{UserID: userOf("dora"), Role: api.RoleDoor},
				{UserID: userOf("max"), Role: api.RoleManager}}}}
	for i := range tickets {
		h.tickets = append(h.tickets, line.Ticket{ID: ids.New[ids.TicketKind](now),
			Type: ids.New[ids.TicketTypeKind](now), Order: ids.New[ids.OrderKind](now),
			Name: fmt.Sprintf("Zoë %03d", i), Revision: 1, Status: api.TicketValid, Position: 1})
	}
	h.up()
	x := &site{hub: h, dir: filepath.Join(t.TempDir(), "edge"), venue: ids.New[ids.VenueKind](now), now: time.Now}
	x.start(srv.Connect())
	t.Cleanup(func() { x.stop() })
	return x
}

// start starts the computer of the venue.
func (x *site) start(nc *nats.Conn) {
	x.t.Helper()
	db, err := disk.Open(x.dir, x.venue)
	if err != nil {
		x.t.Fatal(err)
	}
	reg := observe.NewRegistry()
	x.s, err = edge.New(edge.Config{DB: db, NATS: nc, Log: testkit.Log(x.t), Registry: reg, Version: "1.2.3",
		Interval: 20 * time.Millisecond, Silence: x.silence, Now: x.now, Line: func() (l edge.Line) {
			x.do(func() { l = x.line })
			return l
		}})
	if err != nil {
		x.t.Fatal(err)
	}
	health := observe.NewHealth(nil, x.s.Checks()...)
	health.Start()
	server, err := edge.NewServer(x.s, health)
	if err != nil {
		x.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	x.url = "http://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := x.s.Run(ctx); err != nil {
			x.t.Error(err)
		}
	})
	parts.Go(func() {
		if err := server.Serve(ln); err != nil {
			x.t.Error(err)
		}
	})
	x.stop = sync.OnceFunc(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := server.Shutdown(context.Background()); err != nil {
			x.t.Error(err)
		}
		cancel()
		parts.Wait()
		x.s.Close()
		if err := db.Close(); err != nil {
			x.t.Error(err)
		}
	})
}

func (x *site) again() {
	x.t.Helper()
	nc := x.nc
	x.stop()
	x.start(nc)
}

// send sends a request to the venue.
func (x *site) send(method, path, token string, body any) (int, []byte, http.Header) {
	x.t.Helper()
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	req, err := http.NewRequest(method, x.url+path, bytes.NewReader(text))
	if err != nil {
		x.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return resp.StatusCode, out, resp.Header
}

func (x *site) path(rest string) string { return "/v1/events/" + x.event.EventID.String() + rest }

// scan scans a ticket, and returns the answer with a 200.
func (x *site) scan(t line.Ticket) edge.Admission {
	x.t.Helper()
	status, body, _ := x.send("POST", x.path("/admissions"), passSecret, api.Admission{Code: x.code(t), Gate: "north"})
	var out edge.Admission
	if err := json.Unmarshal(body, &out); status != 200 || err != nil {
		x.t.Fatalf("%d %s %v", status, body, err)
	}
	return out
}

// eventually waits until a condition of the hub holds.
func (x *site) eventually(what string, holds func() bool) {
	x.t.Helper()
	testkit.Eventually(x.t, 20*time.Second, func() error {
		ok := false
		x.do(func() { ok = holds() })
		if !ok {
			return fmt.Errorf("not yet: %s", what)
		}
		return nil
	})
}

// admits waits until the venue admits.
func (x *site) admits() {
	x.t.Helper()
	x.eventually("the venue has taken the doors", func() bool { return x.event.State == line.DoorsVenue })
}

// The doors are handed over, people come in while there is no line, tickets change meanwhile, and the doors are given
// back with everything that was decided.
func TestHandOverCutAndReturn(t *testing.T) {
	x := newSite(t, 100)
	x.admits()
	if got := x.scan(x.tickets[0]); got.Result != api.Admitted || got.Ticket.Holder.Name != "Zoë 000" || got.Unknown ||
		got.ManifestAge > 5 {
		t.Errorf("%+v", got)
	}
	x.eventually("the scan is at the hub", func() bool { return len(x.journal) == 1 })
	x.cut()
	for _, tk := range x.tickets[:50] {
		want := api.Admitted
		if tk.ID == x.tickets[0].ID {
			want = api.AlreadyAdmitted
		}
		if got := x.scan(tk); got.Result != want {
			t.Errorf("%+v", got)
		}
	}
	x.change(60, func(tk *line.Ticket) { tk.Status = api.TicketRevoked })
	x.change(61, func(tk *line.Ticket) { tk.Revision++ })
	x.again() // a power cut
	if got := x.scan(x.tickets[10]); got.Result != api.AlreadyAdmitted || got.FirstGate != "north" {
		t.Errorf("after a restart %+v", got)
	}
	x.up()
	x.eventually("the journal is at the hub", func() bool { return len(x.journal) == 52 && x.status.Waiting == 0 })
	testkit.Eventually(t, 20*time.Second, func() error {
		if got := x.scan(x.tickets[60]); got.Result != api.RevokedTicket {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	if got := x.scan(x.tickets[61]); got.Result != api.Admitted {
		t.Errorf("%+v", got)
	}
	x.do(func() { x.event.State = line.DoorsReturning })
	x.eventually("the doors are back", func() bool { return x.event.State == line.DoorsHub })
	status, body, _ := x.send("POST", x.path("/admissions"), passSecret, api.Admission{Code: x.code(x.tickets[70])})
	if status != 409 {
		t.Errorf("after the return %d %s", status, body)
	}
	x.do(func() {
		for i, e := range x.journal {
			if e.Number != int64(i+1) || e.Scan == nil || !strings.HasPrefix(e.Scan.By, "pas_") {
				t.Errorf("entry %d: %+v", i, e)
			}
		}
	})
}

// A hub that was restored from a backup gets what it has lost, and says which session it knows.
func TestRestoredHub(t *testing.T) {
	x := newSite(t, 50)
	x.admits()
	for _, tk := range x.tickets[:20] {
		x.scan(tk)
	}
	x.eventually("the journal is at the hub", func() bool { return len(x.journal) == 20 })
	x.do(func() {
		x.journal = x.journal[:5]
		x.edge.Number-- // of an earlier session
	})
	x.eventually("the journal is there again", func() bool { return len(x.journal) == 20 })
	x.do(func() {
		last := x.hellos[len(x.hellos)-1]
		if len(x.hellos) != 2 || len(last.Holds) != 1 || last.Holds[0].Epoch != 1 || last.Journal != 20 {
			t.Errorf("%d hellos, the last is %+v", len(x.hellos), last)
		}
	})
	if got := x.scan(x.tickets[3]); got.Result != api.AlreadyAdmitted {
		t.Errorf("%+v", got)
	}
}

// The edge that another one has replaced stops at once, says why, and stays so.
func TestFencedEdge(t *testing.T) {
	x := newSite(t, 10)
	x.admits()
	x.do(func() { x.edge = line.Session{VenueID: x.venue, Edge: "another", Number: 1} })
	for range 2 {
		testkit.Eventually(t, 20*time.Second, func() error {
			status, body, header := x.send("POST", x.path("/admissions"), passSecret, api.Admission{Code: x.code(x.tickets[0])})
			if status != 503 || !strings.Contains(string(body), "another edge serves the venue") ||
				header.Get("Retry-After") == "" {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		if status, _, _ := x.send("GET", "/readyz", "", nil); status != 503 {
			t.Errorf("a fenced edge is ready: %d", status)
		}
		if status, body, _ := x.send("GET", "/v1/status", "", nil); status != 200 ||
			!strings.Contains(string(body), `"trouble":"another edge`) {
			t.Errorf("%d %s", status, body)
		}
		x.again()
	}
	x.do(func() {
		if len(x.hellos) != 1 {
			t.Errorf("%d hellos were taken", len(x.hellos))
		}
	})
}

// The times of entries are the hub's, and doors open by the hub's clock, however wrong the venue's is.
func TestClockIsWrong(t *testing.T) {
	for _, off := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		x := newSite(t, 4)
		x.admits()
		x.stop()
		began := time.Now()
		x.now = func() time.Time { return time.Now().Add(off) }
		x.do(func() {
			opens := began.Add(-5 * time.Minute)
			closes := began.Add(5 * time.Minute)
			x.event.Opens, x.event.Closes = &opens, &closes
		})
		x.start(x.nc)
		x.eventually("the skew is known", func() bool { return x.status.Skew/60_000 == int64(off/time.Minute) })
		if got := x.scan(x.tickets[0]); got.Result != api.Admitted {
			t.Errorf("%v: %+v", off, got)
		}
		x.cut()
		x.again()
		if got := x.scan(x.tickets[1]); got.Result != api.Admitted {
			t.Errorf("%v: after a restart without a line %+v", off, got)
		}
		x.up()
		x.eventually("the journal is at the hub", func() bool { return len(x.journal) == 2 })
		x.do(func() {
			for _, e := range x.journal {
				if d := e.At.Sub(began); d < -time.Minute || d > time.Minute {
					t.Errorf("%v: an entry is %v off", off, d)
				}
			}
		})
		x.stop()
	}
}

// What is shown to the hub is decided at the venue.
func TestAdmitThere(t *testing.T) {
	x := newSite(t, 4)
	x.admits()
	client := rpc.NewClient(x.nc, rpc.ClientConfig{Name: line.Hub})
	_, err := rpc.Call(t.Context(), client, line.AdmitThere, &line.Admit{Edge: "another", EventID: x.event.EventID,
		Code: x.code(x.tickets[0]), By: userOf("dora").String()})
	if !fault.Is(err, fault.Precondition) {
		t.Errorf("what another computer is asked: %v", err)
	}
	for _, want := range []string{api.Admitted, api.AlreadyAdmitted} {
		got, err := rpc.Call(t.Context(), client, line.AdmitThere, &line.Admit{EventID: x.event.EventID,
			Code: x.code(x.tickets[0]), By: userOf("dora").String()})
		if err != nil || got.Result != want || got.Ticket.ID != x.tickets[0].ID {
			t.Errorf("%+v %v, want %s", got, err, want)
		}
	}
	if got := x.scan(x.tickets[0]); got.Result != api.AlreadyAdmitted {
		t.Errorf("%+v", got)
	}
	if got, err := rpc.Call(t.Context(), client, line.AskStatus, &rpc.None{}); err != nil || got.Version != "1.2.3" ||
		got.Tickets != 4 {
		t.Errorf("%+v %v", got, err)
	}
}

// Who may do what, and what is said to those who may not.
func TestWhoMay(t *testing.T) {
	x := newSite(t, 10)
	x.admits()
	tokens := map[string]string{"device": passSecret, "stranger": "nonsense", "none": ""}
	for _, who := range []string{"dora", "max", "owner", "visitor"} {
		status, body, _ := x.send("POST", "/v1/sessions", "", api.Login{Email: who + "@example.org",
			Password: "correct horse"})
		var got edge.Token
		if err := json.Unmarshal(body, &got); status != 201 || err != nil {
			t.Fatalf("%d %s", status, body)
		}
		tokens[who] = got.AccessToken
	}
	if status, body, _ := x.send("POST", "/v1/sessions", "", api.Login{Email: "max@example.org", Password: "x"}); status != 401 {
		t.Errorf("a wrong password: %d %s", status, body)
	}
	first := x.scan(x.tickets[0])
	if first.Result != api.Admitted {
		t.Fatalf("%+v", first)
	}
	var list api.List[struct {
		ID ids.Admission `json:"id"`
	}]
	_, body, _ := x.send("GET", x.path("/admissions"), passSecret, nil)
	if err := json.Unmarshal(body, &list); err != nil || len(list.Items) != 1 {
		t.Fatalf("%s %v", body, err)
	}
	undo := x.path("/admissions/" + list.Items[0].ID.String())
	for who, want := range map[string]bool{"dora": false, "max": true} {
		var list api.List[api.Scan]
		_, body, _ := x.send("GET", x.path("/admissions"), tokens[who], nil)
		if err := json.Unmarshal(body, &list); err != nil || list.Items[0].CanUndo != want || list.Items[0].Holder != x.tickets[0].Name {
			t.Errorf("%s sees %s %v", who, body, err)
		}
	}
	everyone := map[string]int{"device": 200, "dora": 200, "max": 200, "owner": 200, "visitor": 404, "stranger": 401,
		"none": 401}
	managers := map[string]int{"device": 403, "dora": 403, "max": 200, "owner": 200, "visitor": 404, "stranger": 401,
		"none": 401}
	for _, c := range []struct {
		method, path string
		body         any
		want         map[string]int
	}{
		{"POST", x.path("/admissions"), api.Admission{Code: "nonsense"}, everyone},
		{"POST", x.path("/exits"), api.Admission{Code: "nonsense"}, everyone},
		{"GET", x.path("/admissions"), nil, everyone},
		{"GET", x.path("/attendees?q=zoe"), nil, everyone},
		{"GET", x.path(""), nil, everyone},
		{"GET", x.path("/leases"), nil, everyone},
		{"POST", "/v1/box-office/sales", api.NewSale{EventID: x.event.EventID}, map[string]int{"device": 400, "dora": 400,
			"max": 400, "owner": 400, "visitor": 404, "stranger": 401, "none": 401}},
		{"DELETE", undo, nil, managers},
	} {
		for who, want := range c.want {
			status, body, header := x.send(c.method, c.path, tokens[who], c.body)
			if status != want || want >= 400 && header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s as %s: %d %s, want %d", c.method, c.path, who, status, body, want)
			}
		}
	}
	for who, want := range map[string]int{"device": 1, "dora": 1, "visitor": 0} {
		_, body, _ := x.send("GET", "/v1/events", tokens[who], nil)
		var got api.List[edge.Event]
		if err := json.Unmarshal(body, &got); err != nil || len(got.Items) != want {
			t.Errorf("the events of %s: %s", who, body)
		}
	}
	// A team that changes, and a pass that is revoked, count as soon as the hub has said so.
	x.do(func() {
		offer := *x.event.Offer
		offer.Team, offer.Event.Revision = nil, 2
		x.event.Offer, x.event.Passes = &offer, []line.Pass{}
	})
	testkit.Eventually(t, 20*time.Second, func() error {
		for who, want := range map[string]int{"device": 401, "dora": 404, "owner": 200} {
			if status, body, _ := x.send("GET", x.path(""), tokens[who], nil); status != want {
				return fmt.Errorf("%s: %d %s", who, status, body)
			}
		}
		return nil
	})
	x.again()
	if status, _, _ := x.send("DELETE", "/v1/sessions/current", tokens["owner"], nil); status != 204 {
		t.Errorf("sign out: %d", status)
	}
	if status, _, _ := x.send("GET", x.path(""), tokens["owner"], nil); status != 401 {
		t.Errorf("after that: %d", status)
	}
}

// Wrong input gets a clear answer.
func TestWrongInput(t *testing.T) {
	x := newSite(t, 1)
	x.admits()
	for _, c := range []struct {
		method, path string
		body         any
		want         int
		says         string
	}{
		{"POST", x.path("/admissions"), map[string]any{}, 400, "code"},
		{"POST", x.path("/admissions"), map[string]any{"code": "x", "nonsense": 1}, 400, "nonsense"},
		{"POST", x.path("/admissions"), map[string]any{"code": "x", "gate": strings.Repeat("g", 100)}, 400, "gate"},
		{"POST", x.path("/admissions"), nil, 400, "body"},
		{"POST", x.path("/admissions"), map[string]any{"code": strings.Repeat("x", 100_000)}, 413, "large"},
		{"POST", "/v1/events/nonsense/admissions", map[string]any{"code": "x"}, 404, ""},
		{"GET", x.path("/admissions?limit=1000"), nil, 400, "limit"},
		{"GET", x.path("/admissions?cursor=x"), nil, 400, "cursor"},
		{"GET", x.path("/nothing"), nil, 404, ""},
		{"PATCH", x.path("/admissions"), nil, 405, ""},
		{"DELETE", x.path("/admissions/nonsense"), nil, 404, ""},
	} {
		status, body, header := x.send(c.method, c.path, passSecret, c.body)
		if status != c.want || !strings.Contains(string(body), c.says) ||
			header.Get("Content-Type") != "application/problem+json" || header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, body, c.want)
		}
	}
}

// Who has signed in stays so through cuts and restarts, and is signed out once the system says so over the line.
func TestStaffIsSignedOut(t *testing.T) {
	x := newSite(t, 1)
	x.admits()
	signIn := func(who string) string {
		t.Helper()
		status, body, _ := x.send("POST", "/v1/sessions", "", api.Login{Email: who + "@example.org", Password: "correct horse"})
		var got edge.Token
		if err := json.Unmarshal(body, &got); status != 201 || err != nil {
			t.Fatalf("%d %s", status, body)
		}
		return got.AccessToken
	}
	may := func(token string) int {
		status, _, _ := x.send("GET", x.path("/admissions"), token, nil)
		return status
	}
	dora, again, max := signIn("dora"), signIn("dora"), signIn("max")
	x.cut()
	x.do(func() {
		x.signedOut = []line.SignedIn{{UserID: userOf("dora"), Generation: 3}, {UserID: userOf("max"), Generation: 2}}
	})
	x.again()
	for _, token := range []string{dora, again, max} {
		if got := may(token); got != 200 {
			t.Errorf("without a line: %d", got)
		}
	}
	x.up()
	testkit.Eventually(t, 20*time.Second, func() error {
		if a, b := may(dora), may(again); a != 401 || b != 401 {
			return fmt.Errorf("%d %d", a, b)
		}
		return nil
	})
	before := 0
	x.do(func() { before = x.staffed })
	x.eventually("he is asked about once more", func() bool { return x.staffed > before })
	if got := may(max); got != 200 { // what was ended is from before he signed in
		t.Errorf("another: %d", got)
	}
	x.again()
	if a, b := may(dora), may(max); a != 401 || b != 200 {
		t.Errorf("after a restart: %d %d", a, b)
	}

	// One of two sessions is ended alone, there or here.
	x.eventually("his session is known", func() bool { return x.signedIn.UserID == userOf("max") })
	var other edge.Token
	testkit.Eventually(t, 20*time.Second, func() error { // a line may just have begun
		status, body, _ := x.send("POST", "/v1/sessions", "", api.Login{Email: "max@example.org", Password: "correct horse"})
		if status != 201 {
			return fmt.Errorf("%d %s", status, body)
		}
		return json.Unmarshal(body, &other)
	})
	x.do(func() { x.signedOut = []line.SignedIn{x.signedIn} })
	testkit.Eventually(t, 20*time.Second, func() error {
		if got := may(max); got != 401 {
			return fmt.Errorf("the ended session: %d", got)
		}
		return nil
	})
	if got := may(other.AccessToken); got != 200 {
		t.Errorf("the other session: %d", got)
	}
	if status, _, _ := x.send("DELETE", "/v1/sessions/current", other.AccessToken, nil); status != 204 || may(other.AccessToken) != 401 {
		t.Errorf("signed out: %d, and then %d", status, may(other.AccessToken))
	}
	x.eventually("the system is told", func() bool { return len(x.left) == 1 && x.left[0].SessionID != "" })
}
