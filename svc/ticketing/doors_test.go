package ticketing

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
)

// edge plays the computer of a venue. What it has on its disk is in its fields.
type edge struct {
	h       *harness
	session line.Session
	key     line.Key
	holds   map[ids.Event]line.Hold
	entries []line.Entry
	acked   int64

	tickets    map[ids.Ticket]line.Ticket
	position   int64
	generation int64
}

func (h *harness) edge(owner ids.User) *edge {
	h.t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	venue := h.venue(owner)
	return &edge{h: h, session: line.Session{VenueID: venue, Edge: "edge-" + venue.String()}, holds: map[ids.Event]line.Hold{},
		key: line.Key{ID: "key-" + venue.String(), Public: public}, tickets: map[ids.Ticket]line.Ticket{}}
}

func (e *edge) hello() (*line.Welcome, error) {
	e.session.Number++
	hello := line.Hello{Session: e.session, Key: e.key, Journal: int64(len(e.entries)), Accepted: e.acked}
	for _, h := range e.holds {
		h.Position = e.position
		hello.Holds = append(hello.Holds, h)
	}
	return do(e.h.t.Context(), e.h, line.VenueHello, hello)
}

func (e *edge) mustHello() {
	e.h.t.Helper()
	if _, err := e.hello(); err != nil {
		e.h.t.Fatal(err)
	}
}

// state returns what the venue is told of an event, or nil.
func (e *edge) state(event ids.Event) *line.Event {
	e.h.t.Helper()
	for _, one := range must(e.h.t.Context(), e.h, line.VenueState, line.Ask{Session: e.session}).Events {
		if one.EventID == event {
			return &one
		}
	}
	return nil
}

// read brings the manifest up to date, in pages.
func (e *edge) read(event ids.Event, limit int) error {
	st := e.state(event)
	if st == nil {
		return fmt.Errorf("the venue has no such event")
	}
	if st.Generation != e.generation {
		clear(e.tickets)
		e.position, e.generation = 0, st.Generation
	}
	req := line.Manifest{Session: e.session, EventID: event, Since: e.position, Limit: limit}
	first := int64(0)
	for {
		page, err := do(e.h.t.Context(), e.h, line.VenueManifest, req)
		if err != nil {
			return err
		}
		if first == 0 {
			first = page.Position
		}
		for _, t := range page.Tickets {
			e.tickets[t.ID] = t
			req.After = t.ID
		}
		if req.Since > 0 {
			req.Since = page.Position
		}
		if page.More {
			continue
		}
		if req.Since == 0 {
			req.Since, req.After = first, ""
			continue
		}
		e.position = req.Since
		return nil
	}
}

func (e *edge) hold(event ids.Event) {
	e.h.t.Helper()
	st := e.state(event)
	if st == nil || st.State != line.DoorsHandingOver {
		e.h.t.Fatalf("the venue is told %+v", st)
	}
	if err := e.read(event, 100); err != nil {
		e.h.t.Fatal(err)
	}
	e.holds[event] = line.Hold{EventID: event, Epoch: st.Epoch}
}

func (e *edge) take(event ids.Event) error {
	_, err := do(e.h.t.Context(), e.h, line.VenueTake, line.Taken{Session: e.session, Hold: e.holds[event]})
	return err
}

func (e *edge) giveBack(event ids.Event, epoch int64) error {
	delete(e.holds, event)
	_, err := do(e.h.t.Context(), e.h, line.VenueReturn, line.Returned{Session: e.session,
		Hold: line.Hold{EventID: event, Epoch: epoch}, Journal: int64(len(e.entries))})
	return err
}

// note writes a scan to the journal.
func (e *edge) note(event ids.Event, epoch int64, sc line.Scan) {
	if sc.ID == "" {
		sc.ID = ids.New[ids.AdmissionKind](e.h.clock.Now())
	}
	if sc.Kind == "" {
		sc.Kind = line.ScanEntry
	}
	e.entries = append(e.entries, line.Entry{Number: int64(len(e.entries)) + 1, EventID: event, Epoch: epoch,
		At: e.h.clock.Now(), Scan: &sc})
}

func (e *edge) send(entries ...line.Entry) (int64, error) {
	r, err := do(e.h.t.Context(), e.h, line.VenueJournal, line.Journal{Session: e.session, Entries: entries})
	if err != nil {
		return 0, err
	}
	e.acked = max(e.acked, r.Journal)
	return r.Journal, nil
}

func (h *harness) handOver(e *edge, o *api.Offer, policy string) *api.Authority {
	h.t.Helper()
	return must(h.as(ownerOf(o)), h, api.SetAuthority,
		api.NewAuthority{EventID: o.Event.ID, VenueID: e.session.VenueID, Policy: policy})
}

func (h *harness) scan(o *api.Offer, code string) (*api.AdmissionResult, error) {
	return do(h.as(ownerOf(o)), h, api.AdmitTicket, api.Admission{EventID: o.Event.ID, Code: code, Gate: "hub"})
}

func (h *harness) scanned(o *api.Offer, code, want string) {
	h.t.Helper()
	got, err := h.scan(o, code)
	if err != nil || got.Result != want {
		h.t.Errorf("the door hears %+v, %v; want %s", got, err, want)
	}
}

func (h *harness) admissions(o *api.Offer) []api.Scan {
	h.t.Helper()
	return must(h.as(ownerOf(o)), h, api.ListAdmissions,
		api.EventPage{EventID: o.Event.ID, Page: api.Page{Limit: 200}}).Items
}

// The doors of an event go to a venue and come back. At each moment one side admits.
func TestDoorsGoAndComeBack(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer := h.publish(10, 0)
		event := offer.Event.ID
		b := h.buy(offer, 4)
		codes := b.tickets
		e := h.edge(ownerOf(offer))
		h.scanned(offer, codes[0].Code, api.Admitted)

		a := h.handOver(e, offer, "")
		if a.State != line.DoorsHandingOver || a.VenueID != e.session.VenueID || a.Policy != line.PolicyVenue ||
			a.Unknown != line.UnknownRefuse || a.Epoch == 0 {
			t.Errorf("handed over: %+v", a)
		}
		if again := h.handOver(e, offer, ""); again.Epoch != a.Epoch {
			t.Errorf("handed over again: %+v", again)
		}
		_, err := h.scan(offer, codes[1].Code)
		if !fault.Is(err, fault.Unavailable) || fault.From(err).RetryAfter == 0 || !strings.Contains(err.Error(), "handed over") {
			t.Errorf("a scan meanwhile: %v", err)
		}
		h.scanned(offer, "ST1.nonsense", api.InvalidCode) // which needs no authority
		other := h.edge(ownerOf(offer))
		if _, err := do(h.as(ownerOf(offer)), h, api.SetAuthority, api.NewAuthority{EventID: event,
			VenueID: other.session.VenueID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("another venue gets the doors, too: %v", err)
		}

		e.mustHello()
		if st := e.state(event); st == nil || st.Offer == nil || st.Offer.Event.Name != offer.Event.Name || st.Epoch != a.Epoch || st.Position != 1 || st.MaxPerOrder != 20 ||
			st.Opens != nil || st.Closes == nil || st.Closes.Before(offer.Event.EndsAt) {
			t.Errorf("the venue is told %+v", st)
		}
		e.hold(event)
		if len(e.tickets) != 4 || e.tickets[codes[0].ID].Status != api.TicketAdmitted || e.tickets[codes[0].ID].Gate != "hub" || e.tickets[codes[1].ID].Status != api.TicketValid {
			t.Errorf("the manifest: %+v", e.tickets)
		}
		for range 2 {
			if err := e.take(event); err != nil {
				t.Errorf("the venue takes: %v", err)
			}
		}
		if got := must(h.as(ownerOf(offer)), h, api.GetAuthority, api.EventRef{ID: event}); got.State != line.DoorsVenue {
			t.Errorf("taken: %+v", got)
		}
		h.there = func(_ context.Context, req *line.There) (*api.AdmissionResult, error) {
			if req.VenueID != e.session.VenueID || req.Code != codes[1].Code || req.Gate != "hub" || req.By != ownerOf(offer).String() {
				t.Errorf("the venue is asked %+v", req)
			}
			return &api.AdmissionResult{Result: api.Admitted}, nil
		}
		h.scanned(offer, codes[1].Code, api.Admitted)
		h.there = func(context.Context, *line.There) (*api.AdmissionResult, error) {
			return nil, fault.New(fault.Unavailable, "no line")
		}
		if _, err := h.scan(offer, codes[2].Code); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "no line to it") || fault.From(err).RetryAfter == 0 {
			t.Errorf("a scan without a line: %v", err)
		}
		e.note(event, a.Epoch, line.Scan{TicketID: codes[1].ID, Revision: 1, Result: api.Admitted, Gate: "north", By: "pas_1"})
		e.note(event, a.Epoch, line.Scan{TicketID: codes[1].ID, Revision: 1, Result: api.AlreadyAdmitted, Gate: "south", By: "pas_2"})
		if n, err := e.send(e.entries[0]); n != 1 || err != nil {
			t.Errorf("the journal is at %d, %v", n, err)
		}

		back := must(h.as(ownerOf(offer)), h, api.EndAuthority, api.AuthorityEnd{EventID: event})
		if back.State != line.DoorsReturning {
			t.Errorf("wanted back: %+v", back)
		}
		if _, err := h.scan(offer, codes[2].Code); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "giving the doors back") {
			t.Errorf("a scan while they come back: %v", err)
		}
		if err := e.giveBack(event, a.Epoch); !fault.Is(err, fault.Conflict) {
			t.Errorf("given back without the whole journal: %v", err)
		}
		if _, err := e.send(e.entries...); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := e.giveBack(event, a.Epoch); err != nil {
				t.Errorf("given back: %v", err)
			}
		}
		if st := e.state(event); st != nil {
			t.Errorf("the venue still has %+v", st)
		}
		e.holds[event] = line.Hold{EventID: event, Epoch: a.Epoch}
		if err := e.take(event); !fault.Is(err, fault.Conflict) {
			t.Errorf("taken under a hand-over that is over: %v", err)
		}
		delete(e.holds, event)
		got, err := h.scan(offer, codes[1].Code)
		if err != nil || got.Result != api.AlreadyAdmitted || got.FirstGate != "north" {
			t.Errorf("what the venue admitted: %+v, %v", got, err)
		}
		h.scanned(offer, codes[2].Code, api.Admitted)
		ours, theirs := 0, 0
		for _, sc := range h.admissions(offer) {
			if sc.VenueID == e.session.VenueID {
				theirs++
			} else {
				ours++
			}
		}
		if ours != 4 || theirs != 2 {
			t.Errorf("%d scans of this side and %d of the venue", ours, theirs)
		}
		if again := h.handOver(e, offer, ""); again.Epoch <= a.Epoch {
			t.Errorf("the next hand-over has epoch %d after %d", again.Epoch, a.Epoch)
		}
		testkit.Eventually(t, 15*time.Second, func() error {
			if n := len(h.published(api.TicketAdmission.Subject)); n != 3 {
				return fmt.Errorf("%d admissions are told of", n)
			}
			return nil
		})
		h.audit()
	})
}

// Who may hand doors over, take them back, and by force.
func TestWhoHandsDoorsOver(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		event := offer.Event.ID
		manager, door := person(), person()
		offer.Team = []api.TeamMember{{UserID: manager, Role: api.RoleManager}, {UserID: door, Role: api.RoleDoor}}
		e, foreign := h.edge(ownerOf(offer)), h.edge(person())
		put := func(who ids.User, venue ids.Venue, roles ...string) error {
			_, err := do(h.as(who, roles...), h, api.SetAuthority, api.NewAuthority{EventID: event, VenueID: venue})
			return err
		}
		nowhere := ids.New[ids.VenueKind](h.clock.Now())
		for what, err := range map[string]error{"a manager who does not own the venue": put(manager, e.session.VenueID),
			"the door": put(door, e.session.VenueID), "an organizer, to a foreign venue": put(ownerOf(offer), foreign.session.VenueID),
			"an organizer, to none": put(ownerOf(offer), nowhere)} {
			if !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := put(person(), nowhere, rpc.RoleAdmin); !fault.Is(err, fault.NotFound) {
			t.Errorf("an administrator, to none: %v", err)
		}
		if _, err := do(h.as(ownerOf(offer)), h, api.SetAuthority, api.NewAuthority{EventID: event, VenueID: e.session.VenueID, Policy: "none", Unknown: "maybe"}); !fault.Is(err, fault.Invalid) {
			t.Errorf("terms that do not exist: %v", err)
		}
		draft := h.publish(1, 0)
		draft.Event.Status = api.EventDraft
		if _, err := do(h.as(ownerOf(draft)), h, api.SetAuthority, api.NewAuthority{EventID: draft.Event.ID,
			VenueID: h.venue(ownerOf(draft))}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a draft: %v", err)
		}
		if err := put(person(), foreign.session.VenueID, rpc.RoleAdmin); err != nil {
			t.Fatal(err)
		}
		foreign.mustHello()
		foreign.hold(event)
		if err := foreign.take(event); err != nil {
			t.Error(err)
		}
		if _, err := do(h.as(ownerOf(offer)), h, api.EndAuthority, api.AuthorityEnd{EventID: event, Force: true}); !fault.Is(err, fault.Forbidden) {
			t.Errorf("an organizer uses force: %v", err)
		}
		b := h.buy(offer, 2)
		epoch := foreign.holds[event].Epoch
		foreign.note(event, epoch, line.Scan{TicketID: b.tickets[0].ID, Revision: 1, Result: api.Admitted})
		if _, err := foreign.send(foreign.entries...); err != nil {
			t.Fatal(err)
		}
		foreign.note(event, epoch, line.Scan{TicketID: b.tickets[1].ID, Revision: 1, Result: api.Admitted})
		lost := must(h.as(person(), rpc.RoleAdmin), h, api.EndAuthority, api.AuthorityEnd{EventID: event, Force: true})
		if lost.State != line.DoorsHub || lost.Lost == nil || lost.Lost.Admitted != 1 || lost.Lost.LastContact == nil || lost.Lost.VenueID != foreign.session.VenueID {
			t.Errorf("by force: %+v, %+v", lost, lost.Lost)
		}
		h.scanned(offer, b.tickets[1].Code, api.Admitted)
		// The venue was not lost after all. What it holds is over; what it has decided is flagged where it differs.
		foreign.mustHello()
		if st := foreign.state(event); st != nil {
			t.Errorf("the lost venue is told %+v", st)
		}
		if _, err := foreign.send(foreign.entries...); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(h.admissions(offer), func(sc api.Scan) bool { return sc.Flag == api.FlagTwice })
		if i < 0 {
			t.Error("what both have admitted is not flagged")
		}
		h.audit()
	})
}

// Scans at this side and the hand-over race, at two instances. No ticket that a scan admitted is valid in the manifest
// that the venue reads after the answer.
func TestAuthorityRace(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		const rounds, gates = 12, 6
		for range rounds {
			offer := h.publish(gates*10, 0)
			e := h.edge(ownerOf(offer))
			e.mustHello()
			b := h.buy(offer, 10)
			b2 := h.buy(offer, 10)
			tickets := slices.Concat(b.tickets, b2.tickets)
			var (
				wg       sync.WaitGroup
				mu       sync.Mutex
				admitted = map[ids.Ticket]bool{}
				start    = make(chan struct{})
			)
			for g := range gates {
				wg.Go(func() {
					<-start
					for i := range tickets {
						ticket := tickets[(i+g*3)%len(tickets)]
						got, err := h.scan(offer, ticket.Code)
						switch {
						case fault.Is(err, fault.Unavailable):
							return
						case err != nil:
							t.Error(err)
						case got.Result == api.Admitted:
							mu.Lock()
							if admitted[ticket.ID] {
								t.Errorf("%s is admitted twice", ticket.ID)
							}
							admitted[ticket.ID] = true
							mu.Unlock()
						}
					}
				})
			}
			close(start)
			h.handOver(e, offer, "")
			e.hold(offer.Event.ID)
			valid := map[ids.Ticket]bool{}
			for id, tk := range e.tickets {
				valid[id] = tk.Status == api.TicketValid
			}
			wg.Wait()
			for id := range admitted {
				if valid[id] {
					t.Errorf("%s was admitted here, and the venue may admit it, too", id)
				}
			}
			if len(valid) != len(tickets) {
				t.Errorf("the manifest has %d tickets of %d", len(valid), len(tickets))
			}
		}
	})
}

// A journal comes twice, out of order, with a gap, from two connections at once: each entry counts once, in its order.
func TestJournalCountsOnce(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer := h.publish(50, 0)
		event := offer.Event.ID
		e := h.edge(ownerOf(offer))
		var tickets []api.Ticket
		for range 3 {
			tickets = append(tickets, h.buy(offer, 10).tickets...)
		}
		a := h.handOver(e, offer, "")
		e.mustHello()
		e.hold(event)
		for i, tk := range tickets {
			e.note(event, a.Epoch, line.Scan{TicketID: tk.ID, Revision: 1, Result: api.Admitted, Gate: fmt.Sprint(i)})
		}
		for _, c := range []struct {
			what string
			send []line.Entry
			want int64
		}{{"a gap at the beginning", e.entries[1:3], 0},
			{"out of order", []line.Entry{e.entries[1], e.entries[0]}, 0},
			{"the first", e.entries[:1], 1},
			{"twice, and a gap", []line.Entry{e.entries[0], e.entries[1], e.entries[4]}, 2},
			{"what is here", e.entries[:2], 2},
			{"nothing", nil, 2}} {
			if n, err := e.send(c.send...); n != c.want || err != nil {
				t.Errorf("%s: %d, %v, want %d", c.what, n, err, c.want)
			}
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for from := 0; from < len(e.entries); from += 5 {
					if _, err := do(h.t.Context(), h, line.VenueJournal, line.Journal{Session: e.session, Entries: e.entries[:from+5]}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		scans := h.admissions(offer)
		for _, sc := range scans {
			if sc.Flag != "" || sc.VenueID != e.session.VenueID || sc.Result != api.Admitted {
				t.Errorf("kept: %+v", sc)
			}
		}
		if len(scans) != len(tickets) {
			t.Errorf("%d scans are kept of %d", len(scans), len(tickets))
		}
		h.audit()
		testkit.Eventually(t, 15*time.Second, func() error {
			if n := len(h.published(api.TicketAdmission.Subject)); n != len(tickets) {
				return fmt.Errorf("%d admissions are told of, want %d", n, len(tickets))
			}
			return nil
		})
	})
}

// Entries that one transaction does not take come in one request, and the receipt says how far they are here.
func TestLongJournal(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		e := h.edge(ownerOf(offer))
		e.mustHello()
		h.handOver(e, offer, line.PolicyVenue)
		e.hold(offer.Event.ID)
		if err := e.take(offer.Event.ID); err != nil {
			t.Fatal(err)
		}
		const n = 1203 // more than one transaction takes
		for range n {
			e.note(offer.Event.ID, e.holds[offer.Event.ID].Epoch, line.Scan{Result: api.InvalidCode})
		}
		if got, err := e.send(append(e.entries[:700:700], e.entries[701:]...)...); err != nil || got != 700 {
			t.Errorf("with a gap: %d %v", got, err)
		}
		for range 2 {
			if got, err := e.send(e.entries...); err != nil || got != n {
				t.Errorf("the whole: %d %v", got, err)
			}
		}
		if got, err := e.send(); err != nil || got != n {
			t.Errorf("nothing: %d %v", got, err)
		}
		var kept int
		if err := h.db.Read().NewRaw("SELECT COUNT(*) FROM journal_entries").Scan(t.Context(), &kept); err != nil || kept != n {
			t.Errorf("%d entries are kept, %v", kept, err)
		}
	})
}

// What the venue did not know when it decided is flagged, and nothing stops the journal.
func TestJournalIsFlagged(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(50, 1000)
		event := offer.Event.ID
		to := person()
		h.people["bo@example.org"] = api.Contact{ID: to, Email: "bo@example.org", EmailVerified: true, Name: "Bo"}
		b := h.buy(offer, 6)
		tk := b.tickets
		e := h.edge(ownerOf(offer))
		a := h.handOver(e, offer, line.PolicyShared)
		e.mustHello()
		e.hold(event)
		if err := e.take(event); err != nil {
			t.Fatal(err)
		}
		h.scanned(offer, tk[0].Code, api.Admitted) // by the policy
		must(h.as(b.buyer), h, api.TransferTicket, api.Transfer{ID: tk[1].ID, Email: "bo@example.org"})
		must(h.as(ownerOf(offer)), h, api.DecideRefund, b.refund(nil, tk[2].ID))
		enter := func(id ids.Ticket, more ...func(*line.Scan)) {
			sc := line.Scan{TicketID: id, Revision: 1, Result: api.Admitted, Gate: "north", By: "pas_1"}
			for _, f := range more {
				f(&sc)
			}
			e.note(event, a.Epoch, sc)
		}
		kind := func(k string) func(*line.Scan) { return func(sc *line.Scan) { sc.Kind, sc.Result = k, "" } }
		enter(tk[0].ID) // 1: twice
		enter(tk[1].ID) // 2: transferred
		enter(tk[2].ID) // 3: revoked
		enter(ids.New[ids.TicketKind](h.clock.Now()))
		enter(tk[3].ID, func(sc *line.Scan) { sc.Unknown = true })
		enter(tk[4].ID)
		enter(tk[4].ID, kind(line.ScanExit))
		enter(tk[4].ID)
		enter(tk[4].ID, kind(line.ScanUndo))
		enter(tk[4].ID)
		enter(tk[5].ID, func(sc *line.Scan) { sc.Gate, sc.By = strings.Repeat("ü", 500), "" })
		enter(tk[5].ID, func(sc *line.Scan) { sc.Result = "welcome" })
		enter(tk[5].ID, func(sc *line.Scan) { sc.Kind = "dance" })
		e.entries[len(e.entries)-1].Scan.ID = e.entries[0].Scan.ID // an id that is taken
		elsewhere := h.publish(5, 0)
		e.note(elsewhere.Event.ID, 1, line.Scan{TicketID: tk[5].ID, Result: api.Admitted})
		if n, err := e.send(e.entries...); err != nil || n != int64(len(e.entries)) {
			t.Fatalf("the journal is at %d of %d: %v", n, len(e.entries), err)
		}
		flags := map[string]int{}
		for _, sc := range h.admissions(offer) {
			flags[sc.Flag]++
		}
		want := map[string]int{api.FlagShared: 1, api.FlagTwice: 1, api.FlagTransferred: 1, api.FlagRevoked: 1, api.FlagUnknown: 2, api.FlagForeign: 2, "": 6}
		if fmt.Sprint(flags) != fmt.Sprint(want) {
			t.Errorf("flags %v, want %v", flags, want)
		}
		if err := e.read(event, 100); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{api.TicketAdmitted, api.TicketAdmitted, api.TicketRevoked, api.TicketAdmitted, api.TicketAdmitted, api.TicketAdmitted} {
			if got := e.tickets[tk[i].ID].Status; got != want {
				t.Errorf("ticket %d is %s, want %s", i, got, want)
			}
		}
		h.audit()
	})
}

// A venue cannot take the doors of an event by saying that it has them.
func TestVenueHoldsNoDoorsOfOthers(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		b := h.buy(offer, 1)
		e := h.edge(ids.New[ids.UserKind](h.clock.Now()))
		e.holds[offer.Event.ID] = line.Hold{EventID: offer.Event.ID, Epoch: 1 << 40}
		e.mustHello()
		if st := e.state(offer.Event.ID); st != nil {
			t.Errorf("the venue is told of another's event: %+v", st)
		}
		h.scanned(offer, b.tickets[0].Code, api.Admitted)
	})
}

// The database is restored from a backup that knows nothing of the hand-over. What the venue holds, it holds.
func TestRestoredDatabaseLearnsOfTheVenue(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		event := offer.Event.ID
		b := h.buy(offer, 3)
		e := h.edge(ownerOf(offer))
		a := h.handOver(e, offer, "")
		e.mustHello()
		e.hold(event)
		if err := e.take(event); err != nil {
			t.Fatal(err)
		}
		h.buy(offer, 1)
		if err := e.read(event, 100); err != nil {
			t.Fatal(err)
		}
		generation := e.generation
		e.note(event, a.Epoch, line.Scan{TicketID: b.tickets[0].ID, Revision: 1, Result: api.Admitted, Gate: "north"})
		if _, err := e.send(e.entries...); err != nil {
			t.Fatal(err)
		}
		err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { // as it was before the hand-over
			for _, q := range []string{"DELETE FROM doors", "DELETE FROM journals", "DELETE FROM journal_entries", "DELETE FROM admissions",
				"UPDATE tickets SET status = 'valid', admitted_at = NULL, manifest_position = 0"} {
				if _, err := tx.ExecContext(ctx, q); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(time.Minute)
		w, err := e.hello()
		if err != nil || w.Journal != 0 {
			t.Fatalf("hello: %+v, %v", w, err)
		}
		h.there = func(context.Context, *line.There) (*api.AdmissionResult, error) {
			return &api.AdmissionResult{Result: api.AlreadyAdmitted}, nil
		}
		h.scanned(offer, b.tickets[0].Code, api.AlreadyAdmitted) // by the venue
		st := e.state(event)
		if st == nil || st.State != line.DoorsVenue || st.Epoch != a.Epoch || st.Generation <= generation {
			t.Fatalf("the venue is told %+v", st)
		}
		if _, err := e.send(e.entries...); err != nil {
			t.Fatal(err)
		}
		before := st.Generation
		e.mustHello() // now that all is here nothing is made anew
		if st := e.state(event); st.Generation != before {
			t.Errorf("generation %d after %d", st.Generation, before)
		}
		if err := e.giveBack(event, a.Epoch); err != nil {
			t.Fatal(err)
		}
		got, err := h.scan(offer, b.tickets[0].Code)
		if err != nil || got.Result != api.AlreadyAdmitted || got.FirstGate != "north" {
			t.Errorf("scanned again: %+v, %v", got, err)
		}
		// A folder of the venue that is an old copy is refused.
		e.entries = nil
		if _, err := e.hello(); !fault.Is(err, fault.Precondition) {
			t.Errorf("an old copy says hello: %v", err)
		}
		h.audit()
	})
}

// A hand-over that is cut at any step goes on where it was: every message is lost once, or comes twice.
func TestHandOverIsCut(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		event := offer.Event.ID
		b := h.buy(offer, 2)
		e := h.edge(ownerOf(offer))
		e.mustHello()
		none := func(what string) {
			t.Helper()
			if got, err := h.scan(offer, b.tickets[0].Code); !fault.Is(err, fault.Unavailable) {
				t.Errorf("%s: this side answers %+v, %v", what, got, err)
			}
		}
		h.there = func(context.Context, *line.There) (*api.AdmissionResult, error) {
			return nil, fault.New(fault.Unavailable, "no line")
		}
		// The Take is lost: hello says what the disk says.
		a := h.handOver(e, offer, "")
		e.hold(event)
		e.mustHello()
		if st := e.state(event); st.State != line.DoorsVenue {
			t.Errorf("after hello: %+v", st)
		}
		none("after hello")
		// They are wanted back, the answer of Return is lost.
		must(h.as(ownerOf(offer)), h, api.EndAuthority, api.AuthorityEnd{EventID: event})
		none("wanted back")
		if err := e.giveBack(event, a.Epoch); err != nil {
			t.Fatal(err)
		}
		e.mustHello() // without a hold
		if err := e.giveBack(event, a.Epoch); err != nil {
			t.Errorf("given back again: %v", err)
		}
		// Wanted back before the venue has said that it took: it may have.
		a = h.handOver(e, offer, "")
		must(h.as(ownerOf(offer)), h, api.EndAuthority, api.AuthorityEnd{EventID: event})
		none("wanted back before they were taken")
		e.holds[event] = line.Hold{EventID: event, Epoch: a.Epoch}
		if err := e.take(event); err != nil {
			t.Errorf("taken while wanted back: %v", err)
		}
		e.mustHello()
		none("taken while wanted back")
		if st := e.state(event); st == nil || st.State != line.DoorsReturning {
			t.Errorf("the venue is told %+v", st)
		}
		if _, err := do(h.as(ownerOf(offer)), h, api.SetAuthority, api.NewAuthority{EventID: event, VenueID: e.session.VenueID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("handed over while wanted back: %v", err)
		}
		if err := e.giveBack(event, a.Epoch); err != nil {
			t.Fatal(err)
		}
		// A late Take and an old hold change nothing.
		e.holds[event] = line.Hold{EventID: event, Epoch: a.Epoch}
		if err := e.take(event); !fault.Is(err, fault.Conflict) {
			t.Errorf("a late take: %v", err)
		}
		e.mustHello()
		h.scanned(offer, b.tickets[0].Code, api.Admitted)
	})
}

// A venue that reads page after page while tickets are sold, given away, renamed, refunded, admitted and undone has in
// the end what the table has.
func TestManifestFollows(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		offer := h.publish(500, 1000)
		event := offer.Event.ID
		h.people["bo@example.org"] = api.Contact{ID: person(), Email: "bo@example.org", EmailVerified: true, Name: "Bo"}
		for range 3 {
			h.buy(offer, 10)
		}
		e := h.edge(ownerOf(offer))
		var wg sync.WaitGroup
		change := func(n int, first bool) {
			defer wg.Done()
			for i := range n {
				b := h.buy(offer, 5)
				tk := b.tickets
				must(h.as(b.buyer), h, api.UpdateTicket, api.NewHolder{ID: tk[0].ID, Holder: api.Attendee{Name: fmt.Sprint("Ada ", i)}})
				must(h.as(b.buyer), h, api.TransferTicket, api.Transfer{ID: tk[1].ID, Email: "bo@example.org"})
				must(h.as(ownerOf(offer)), h, api.DecideRefund, b.refund(nil, tk[2].ID))
				h.scanned(offer, tk[3].Code, api.Admitted)
				if first {
					continue
				}
				i := slices.IndexFunc(h.admissions(offer), func(sc api.Scan) bool { return sc.TicketID == tk[3].ID })
				must(h.as(ownerOf(offer)), h, api.UndoAdmission, api.AdmissionRef{EventID: event, ID: h.admissions(offer)[i].ID})
			}
		}
		wg.Add(1)
		go change(4, true)
		h.handOver(e, offer, line.PolicyShared)
		e.mustHello()
		wg.Add(2)
		go change(4, true)
		go change(4, true)
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		for more := true; more; {
			select {
			case <-done:
				more = false
			default:
			}
			if err := e.read(event, 7); err != nil {
				t.Fatal(err)
			}
		}
		var rows []ticketRow
		if err := h.db.Read().NewRaw("SELECT * FROM tickets WHERE event_id = ?", event).Scan(t.Context(), &rows); err != nil {
			t.Fatal(err)
		}
		if len(rows) != 30+3*4*5 || len(e.tickets) != len(rows) {
			t.Errorf("the table has %d tickets, the venue %d", len(rows), len(e.tickets))
		}
		for _, r := range rows {
			got := e.tickets[r.ID]
			if got.Status != r.Status || got.Revision != r.Revision || got.Name != r.HolderName || (got.Admitted == nil) != (r.AdmittedAt == nil) {
				t.Errorf("the venue has %+v, the table %+v", got, r)
			}
		}
	})
}

// An admission is taken back here; the ticket is good again, once.
func TestUndoAdmission(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		keeper, door := person(), person()
		offer.Team = []api.TeamMember{{UserID: keeper, Role: "keeper"}, {UserID: door, Role: api.RoleDoor}}
		offer.Organizer.Roles = []api.Role{{Name: "keeper", Permissions: []api.Permission{api.MayReadEvent, api.MayAdmit, api.MayUndoAdmission}}}
		b := h.buy(offer, 2)
		h.scanned(offer, b.tickets[0].Code, api.Admitted)
		h.scanned(offer, b.tickets[0].Code, api.AlreadyAdmitted)
		scans := h.admissions(offer)
		i := slices.IndexFunc(scans, func(sc api.Scan) bool { return sc.Result == api.Admitted })
		ref := api.AdmissionRef{EventID: offer.Event.ID, ID: scans[i].ID}
		// Lists say whose tickets they were, and to whom a role allows it that admissions can be taken back.
		for who, may := range map[ids.User]bool{ownerOf(offer): true, keeper: true, door: false} {
			list := must(h.as(who), h, api.ListAdmissions, api.EventPage{EventID: offer.Event.ID}).Items
			for k, sc := range list {
				if sc.CanUndo != (may && k == i) || sc.TypeName != b.tickets[0].TypeName || sc.Holder != b.tickets[0].Holder.Name {
					t.Errorf("who may %v sees %+v", may, sc)
				}
			}
		}
		if _, err := do(h.as(person()), h, api.UndoAdmission, ref); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a stranger undoes it: %v", err)
		}
		if _, err := do(h.as(ownerOf(offer)), h, api.UndoAdmission, api.AdmissionRef{EventID: offer.Event.ID, ID: scans[1-i].ID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("what did not admit is undone: %v", err)
		}
		elsewhere := h.publish(1, 0)
		if _, err := do(h.as(ownerOf(elsewhere)), h, api.UndoAdmission, api.AdmissionRef{EventID: elsewhere.Event.ID, ID: ref.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("of another event: %v", err)
		}
		for range 2 {
			if got := must(h.as(ownerOf(offer)), h, api.UndoAdmission, ref); got.UndoneAt == nil || got.ID != ref.ID {
				t.Errorf("undone: %+v", got)
			}
		}
		h.scanned(offer, b.tickets[0].Code, api.Admitted)
		h.scanned(offer, b.tickets[0].Code, api.AlreadyAdmitted)
		if _, err := do(h.as(ownerOf(offer)), h, api.UndoAdmission, ref); err != nil {
			t.Errorf("undone again, when the ticket is admitted again: %v", err)
		}
		h.scanned(offer, b.tickets[0].Code, api.AlreadyAdmitted)
		e := h.edge(ownerOf(offer))
		h.handOver(e, offer, "")
		scans = h.admissions(offer)
		i = slices.IndexFunc(scans, func(sc api.Scan) bool { return sc.Result == api.Admitted && sc.UndoneAt == nil })
		if _, err := do(h.as(ownerOf(offer)), h, api.UndoAdmission, api.AdmissionRef{EventID: offer.Event.ID, ID: scans[i].ID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("undone while a venue admits: %v %+v", err, scans[i])
		}
		testkit.Eventually(t, 15*time.Second, func() error {
			if n, m := len(h.published(api.TicketAdmission.Subject)), len(h.published(api.TicketAdmissionUndone.Subject)); n != 2 || m != 1 {
				return fmt.Errorf("%d admissions and %d undone are told of", n, m)
			}
			return nil
		})
		h.audit()
	})
}

// Sales and scans stand in one journal. A ticket that was sold at the venue is admitted by the entry after its sale, and
// all of it counts once.
func TestJournalSellsAndAdmits(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		offer := h.publish(10, 1000)
		x := newTill(h, h.start(), offer, 5)
		e := h.edge(ownerOf(offer))
		e.session.VenueID = x.lease.VenueID
		e.mustHello()
		a := h.handOver(e, offer, "")
		if st := e.state(offer.Event.ID); st == nil || len(st.Leases) != 1 || st.Leases[0].Quantity != 5 {
			t.Errorf("the venue is told %+v", st)
		}
		e.hold(offer.Event.ID)
		sale := x.sale(2)
		e.entries = append(e.entries, sale)
		e.note(offer.Event.ID, a.Epoch, line.Scan{TicketID: sale.Sale.Tickets[0].ID, Revision: 1, Result: api.Admitted, Gate: "north"})
		for range 2 {
			if n, err := e.send(e.entries...); n != 2 || err != nil {
				t.Errorf("the journal is at %d, %v", n, err)
			}
		}
		if err := e.read(offer.Event.ID, 100); err != nil {
			t.Fatal(err)
		}
		if got := e.tickets[sale.Sale.Tickets[0].ID]; len(e.tickets) != 2 || got.Status != api.TicketAdmitted || got.Gate != "north" {
			t.Errorf("the manifest: %+v", e.tickets)
		}
		x.poolIs(5, 2, 3)
		h.audit()
	})
}

// The audit finds a ticket that one side has admitted twice, one that no scan admitted, and a gap in a journal.
func TestAuditOfDoors(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(10, 0)
		b := h.buy(offer, 2)
		e := h.edge(ownerOf(offer))
		a := h.handOver(e, offer, "")
		e.mustHello()
		e.note(offer.Event.ID, a.Epoch, line.Scan{TicketID: b.tickets[0].ID, Revision: 1, Result: api.Admitted})
		e.note(offer.Event.ID, a.Epoch, line.Scan{TicketID: b.tickets[0].ID, Kind: line.ScanExit})
		e.note(offer.Event.ID, a.Epoch, line.Scan{TicketID: b.tickets[0].ID, Revision: 1, Result: api.Admitted}) // again
		if _, err := e.send(e.entries...); err != nil {
			t.Fatal(err)
		}
		h.audit()
		e.note(offer.Event.ID, a.Epoch, line.Scan{TicketID: b.tickets[0].ID, Revision: 1, Result: api.Admitted}) // not outside
		if _, err := e.send(e.entries...); err != nil {
			t.Fatal(err)
		}
		err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.ExecContext(ctx, "DELETE FROM journal_entries WHERE number = 2"); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "UPDATE tickets SET status = 'admitted' WHERE id = ?", b.tickets[1].ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		findings, err := audit.Run(t.Context(), h.db, h.nats.JS)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(findings, func(f audit.Finding) bool { return strings.HasPrefix(f.Check, "doors") })
		if i < 0 || len(findings[i].Broken) != 3 || !strings.Contains(findings[i].Check, "1 scans are flagged") {
			t.Errorf("the audit finds %+v", findings)
		}
	})
}
