package doors_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// harness is the doors of a venue on a folder, and the key of the hub.
type harness struct {
	t     *testing.T
	dir   string
	venue ids.Venue
	db    *disk.DB
	d     *doors.Doors
	clock *testkit.Clock
	key   ed25519.PrivateKey
	event line.Event
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	start := time.Date(2026, 5, 1, 18, 0, 0, 0, time.UTC)
	h := &harness{t: t, dir: filepath.Join(t.TempDir(), "edge"), venue: ids.New[ids.VenueKind](start),
		clock: testkit.NewClock(start)}
	_, h.key, _ = ed25519.GenerateKey(nil)
	id := ids.New[ids.EventKind](start)
	h.event = line.Event{EventID: id, State: line.DoorsHandingOver, Epoch: 1, Policy: line.PolicyVenue,
		Unknown: line.UnknownRefuse, Position: 1, Generation: 1, Offer: &api.Offer{Event: api.Event{ID: id,
			OrganizerID: ids.New[ids.OrganizerKind](start), Status: api.EventPublished, Name: "Concert", StartsAt: start, EndsAt: start.Add(3 * time.Hour), Revision: 1}}}
	h.open()
	t.Cleanup(func() {
		if !t.Failed() {
			h.close()
		}
	})
	return h
}

func (h *harness) open() {
	h.t.Helper()
	var err error
	if h.db, err = disk.Open(h.dir, h.venue); err != nil {
		h.t.Fatal(err)
	}
	h.d, err = doors.Open(h.db, h.clock.Now, testkit.Log(h.t), observe.NewRegistry())
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) close() {
	h.t.Helper()
	h.d.Close()
	if err := h.db.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// again is a restart.
func (h *harness) again() {
	h.t.Helper()
	h.close()
	h.open()
}

// follow tells the doors what the hub says.
func (h *harness) follow(events ...line.Event) {
	h.t.Helper()
	err := h.d.Follow(&line.State{Keys: []line.Key{{ID: "k1", Public: h.key.Public().(ed25519.PublicKey)}},
		Events: events}, false)
	if err != nil {
		h.t.Fatal(err)
	}
}

func ticket(name string, position int64) line.Ticket {
	now := time.Now()
	return line.Ticket{ID: ids.New[ids.TicketKind](now), Type: ids.New[ids.TicketTypeKind](now),
		Order: ids.New[ids.OrderKind](now), Name: name, Revision: 1, Status: api.TicketValid, Position: position}
}

// read gives the doors a whole manifest, as it is at the event's position.
func (h *harness) read(tickets ...line.Ticket) {
	h.t.Helper()
	ask, more := h.d.NextPage(h.event.EventID)
	if !more || ask.Since != 0 {
		h.t.Fatalf("asks for %+v %v", ask, more)
	}
	h.page(ask, &line.Page{Tickets: tickets, Position: h.event.Position})
}

func (h *harness) page(ask line.Manifest, page *line.Page) {
	h.t.Helper()
	if err := h.d.Page(ask, h.event.Generation, page); err != nil {
		h.t.Fatal(err)
	}
}

// take hands the doors over with a manifest.
func (h *harness) take(tickets ...line.Ticket) {
	h.t.Helper()
	h.follow(h.event)
	h.read(tickets...)
	if holds, err := h.d.Take(h.event.EventID); !holds || err != nil {
		h.t.Fatalf("it does not take the doors: %v", err)
	}
}

func (h *harness) code(t line.Ticket) string {
	return code.Sign(code.Payload{Event: h.event.EventID, Ticket: t.ID, Revision: t.Revision}, "k1", h.key)
}

func (h *harness) scan(shown, gate string) *doors.Verdict {
	h.t.Helper()
	v, err := h.d.Scan(h.t.Context(), doors.Shown{EventID: h.event.EventID, Code: shown, Gate: gate, By: "pas_x"})
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *harness) want(shown, gate, result string) {
	h.t.Helper()
	if v := h.scan(shown, gate); v.Result != result {
		h.t.Errorf("%s, want %s", v.Result, result)
	}
}

func (h *harness) exit(t line.Ticket, result string) {
	h.t.Helper()
	v, err := h.d.Scan(h.t.Context(), doors.Shown{EventID: h.event.EventID, Code: h.code(t), Exit: true, By: "pas_x"})
	if err != nil || v.Result != result {
		h.t.Errorf("%+v %v, want %s", v, err, result)
	}
}

func TestAdmission(t *testing.T) {
	h := newHarness(t)
	ada, bob, old := ticket("Ada", 1), ticket("Bob", 1), ticket("Carol", 1)
	old.Revision, bob.Status = 3, api.TicketRevoked
	h.take(ada, bob, old)
	h.want(h.code(ada)+"\r\n", "north", api.Admitted)
	v := h.scan(h.code(ada), "south")
	if v.Result != api.AlreadyAdmitted || v.Gate != "north" || !v.At.Equal(h.clock.Now()) || v.Ticket.Name != "Ada" {
		t.Errorf("%+v", v)
	}
	h.want(h.code(bob), "north", api.RevokedTicket)
	sold := old
	sold.Revision = 2 // a code from before a transfer
	h.want(h.code(sold), "north", api.RevokedTicket)
	h.want("nonsense", "north", api.InvalidCode)
	_, other, _ := ed25519.GenerateKey(nil)
	h.want(code.Sign(code.Payload{Event: h.event.EventID, Ticket: old.ID, Revision: 3}, "k1", other), "", api.InvalidCode)
	h.want(code.Sign(code.Payload{Event: ids.New[ids.EventKind](time.Now()), Ticket: old.ID, Revision: 3}, "k1", h.key),
		"", api.WrongEvent)
	h.again()
	if v := h.scan(h.code(ada), "south"); v.Result != api.AlreadyAdmitted || v.Gate != "north" {
		t.Errorf("after a restart %+v", v)
	}
	h.want(h.code(old), "", api.Admitted)
	entries, err := h.d.Journal(2000)
	if err != nil || len(entries) != 9 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, e := range entries {
		if e.Number != int64(i+1) || e.Epoch != 1 || e.EventID != h.event.EventID || e.Scan == nil {
			t.Errorf("%d: %+v", i, e)
		}
	}
}

func TestUnknownTickets(t *testing.T) {
	for _, policy := range []string{line.UnknownRefuse, line.UnknownAdmit} {
		h := newHarness(t)
		h.event.Unknown = policy
		known := ticket("Ada", 1)
		h.take(known)
		late, moved := ticket("Late", 1), known
		moved.Revision = 2 // transferred after the line was cut
		first, second := api.InvalidCode, api.InvalidCode
		if policy == line.UnknownAdmit {
			first, second = api.Admitted, api.AlreadyAdmitted
		}
		for _, tk := range []line.Ticket{late, moved} {
			for _, want := range []string{first, second} {
				if v := h.scan(h.code(tk), ""); v.Result != want || !v.Unknown {
					t.Errorf("%s: %+v, want %s", policy, v, want)
				}
			}
		}
		if policy == line.UnknownAdmit { // the holder from before comes, too
			h.want(h.code(known), "", api.RevokedTicket)
			h.again()
			h.want(h.code(late), "", api.AlreadyAdmitted)
		} else { // the manifest catches up
			h.event.Position = 2
			h.follow(h.event)
			ask, _ := h.d.NextPage(h.event.EventID)
			late.Position = 2
			h.page(ask, &line.Page{Tickets: []line.Ticket{late}, Position: 2})
			h.want(h.code(late), "", api.Admitted)
		}
	}
}

func TestDoorTimes(t *testing.T) {
	h := newHarness(t)
	opens, closes := h.clock.Now().Add(time.Hour), h.clock.Now().Add(2*time.Hour)
	h.event.Opens, h.event.Closes = &opens, &closes
	ada, bob := ticket("Ada", 1), ticket("Bob", 1)
	h.take(ada, bob)
	h.want(h.code(ada), "", api.NotYetValid)
	h.clock.Advance(time.Hour)
	h.want(h.code(ada), "", api.Admitted)
	h.clock.Advance(time.Hour + time.Second)
	h.want(h.code(bob), "", api.ExpiredTicket)
}

func TestExitAndUndo(t *testing.T) {
	h := newHarness(t)
	ada := ticket("Ada", 1)
	h.take(ada)
	h.exit(ada, api.NotInside)
	h.want(h.code(ada), "north", api.Admitted)
	h.exit(ada, api.Exited)
	h.exit(ada, api.NotInside)
	h.again()
	h.want(h.code(ada), "south", api.Admitted) // comes in again
	h.want(h.code(ada), "south", api.AlreadyAdmitted)
	scans, _, err := h.d.Scans(h.event.EventID, 0, 100)
	if err != nil || len(scans) != 6 {
		t.Fatalf("%d scans, %v", len(scans), err)
	}
	again, already := scans[1].Scan.ID, scans[0].Scan.ID
	if _, _, err := h.d.Undo(h.event.EventID, already, "usr_x"); !fault.Is(err, fault.Conflict) {
		t.Errorf("undo of what did not admit: %v", err)
	}
	for range 2 {
		if _, _, err := h.d.Undo(h.event.EventID, again, "usr_x"); err != nil {
			t.Fatal(err)
		}
	}
	if last, _ := h.d.Journaled(); last != 7 {
		t.Errorf("two undos make %d entries", last)
	}
	h.again()
	h.want(h.code(ada), "south", api.Admitted)
	nothing := ids.New[ids.AdmissionKind](time.Now())
	if _, _, err := h.d.Undo(h.event.EventID, nothing, "usr_x"); !fault.Is(err, fault.NotFound) {
		t.Errorf("undo of nothing: %v", err)
	}
}

// What was decided here stays decided, whatever older state a page of the manifest brings; a revocation counts.
func TestPagesDoNotUndo(t *testing.T) {
	h := newHarness(t)
	ada := ticket("Ada", 1)
	h.take(ada)
	h.want(h.code(ada), "north", api.Admitted)
	h.event.Position = 2
	h.follow(h.event)
	ask, _ := h.d.NextPage(h.event.EventID)
	changed := ada
	changed.Name, changed.Position = "Ada L.", 2 // as the hub has it, which knows of no admission
	h.page(ask, &line.Page{Tickets: []line.Ticket{changed}, Position: 2})
	h.want(h.code(ada), "", api.AlreadyAdmitted)
	h.event.Generation = 2 // the hub was restored
	h.follow(h.event)
	h.want(h.code(ada), "", api.AlreadyAdmitted)
	h.read(ada)
	h.want(h.code(ada), "", api.AlreadyAdmitted)
	h.again()
	h.want(h.code(ada), "", api.AlreadyAdmitted)
	h.event.Position = 3
	h.follow(h.event)
	ask, _ = h.d.NextPage(h.event.EventID)
	changed.Status = api.TicketRevoked
	h.page(ask, &line.Page{Tickets: []line.Ticket{changed}, Position: 3})
	h.want(h.code(ada), "", api.RevokedTicket)
}

// A manifest is read page by page, also over a restart, and changes that have one position come in several pages.
func TestManifestInPages(t *testing.T) {
	h := newHarness(t)
	h.event.Position = 5
	var all []line.Ticket
	for i := range 5 {
		all = append(all, ticket(fmt.Sprintf("Person %d", i), 0))
	}
	h.follow(h.event)
	for from := 0; from < 5; from += 2 {
		ask, more := h.d.NextPage(h.event.EventID)
		if !more || from > 0 && ask.After != all[from-1].ID {
			t.Fatalf("asks for %+v %v", ask, more)
		}
		to := min(from+2, 5)
		h.page(ask, &line.Page{Tickets: all[from:to], Position: int64(5 + from), More: to < 5})
		h.page(ask, &line.Page{Tickets: all[from:to], Position: int64(5 + from), More: to < 5}) // again
		h.again()
		if holds, _ := h.d.Take(h.event.EventID); holds != (to == 5) {
			t.Errorf("it takes the doors with %d of 5 tickets: %v", to, holds)
		}
	}
	h.event.State, h.event.Position = line.DoorsVenue, 9
	h.follow(h.event)
	for i := range all {
		all[i].Position = 9
		all[i].Name = "Changed"
	}
	for from := 0; from < 5; from += 2 {
		ask, more := h.d.NextPage(h.event.EventID)
		if !more || ask.Since == 0 || from > 0 && (ask.Since != 9 || ask.After != all[from-1].ID) {
			t.Fatalf("asks for %+v %v", ask, more)
		}
		h.page(ask, &line.Page{Tickets: all[from:min(from+2, 5)], Position: 9, More: from+2 < 5})
	}
	if ask, more := h.d.NextPage(h.event.EventID); more {
		t.Errorf("asks for %+v", ask)
	}
	found, err := h.d.Search(h.event.EventID, "CHÄN", 10)
	if err != nil || len(found) != 5 {
		t.Errorf("finds %d, %v", len(found), err)
	}
}

// The doors are taken only when they are handed over and all tickets of that moment are here, and never again in an
// epoch in which they were given back.
func TestHandOver(t *testing.T) {
	h := newHarness(t)
	ada := ticket("Ada", 1)
	shown := doors.Shown{EventID: h.event.EventID, Code: h.code(ada)}
	if _, err := h.d.Scan(t.Context(), shown); !fault.Is(err, fault.NotFound) {
		t.Errorf("a scan of nothing: %v", err)
	}
	h.event.State = line.DoorsVenue // of a folder that is lost
	h.follow(h.event)
	h.read(ada)
	if holds, err := h.d.Take(h.event.EventID); holds || err != nil {
		t.Errorf("it takes what another folder has: %v", err)
	}
	if _, err := h.d.Scan(t.Context(), shown); !fault.Is(err, fault.Conflict) {
		t.Errorf("a scan of what is not held: %v", err)
	}
	h.event.State, h.event.Epoch, h.event.Position = line.DoorsHandingOver, 2, 3
	h.follow(h.event)
	if holds, _ := h.d.Take(h.event.EventID); holds {
		t.Error("it takes the doors without the last changes")
	}
	ask, _ := h.d.NextPage(h.event.EventID)
	h.page(ask, &line.Page{Position: 3})
	if holds, err := h.d.Take(h.event.EventID); !holds || err != nil {
		t.Fatalf("it does not take the doors: %v", err)
	}
	h.want(h.code(ada), "", api.Admitted)
	h.event.State = line.DoorsReturning
	h.follow(h.event)
	h.want(h.code(ada), "", api.AlreadyAdmitted) // until it has given them back
	if journal, err := h.d.Give(h.event.EventID); journal != 2 || err != nil {
		t.Errorf("given back at %d, %v", journal, err)
	}
	if _, err := h.d.Scan(t.Context(), shown); !fault.Is(err, fault.Conflict) {
		t.Errorf("a scan of what was given back: %v", err)
	}
	h.event.State = line.DoorsHandingOver // an answer that was under way for long
	h.follow(h.event)
	h.again()
	if holds, err := h.d.Take(h.event.EventID); holds || err != nil {
		t.Errorf("it takes the doors again that it gave back: %v", err)
	}
	h.event.Epoch = 3
	h.follow(h.event)
	if holds, err := h.d.Take(h.event.EventID); !holds || err != nil {
		t.Errorf("it does not take the doors of the next epoch: %v", err)
	}
	h.follow() // the hub does not name the event
	if _, _, known := h.d.Event(h.event.EventID); !known {
		t.Error("an event that is held was dropped without a hello")
	}
	if err := h.d.Follow(&line.State{}, true); err != nil {
		t.Fatal(err)
	}
	if _, _, known := h.d.Event(h.event.EventID); known {
		t.Error("the event was not dropped")
	}
}

func TestFence(t *testing.T) {
	h := newHarness(t)
	ada := ticket("Ada", 1)
	h.take(ada)
	if err := h.d.Fence("another edge serves the venue"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := h.d.Scan(t.Context(), doors.Shown{EventID: h.event.EventID, Code: h.code(ada)})
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "another edge") {
			t.Errorf("a fenced edge says %v", err)
		}
		h.again()
	}
	if err := h.d.Fence(""); err != nil {
		t.Fatal(err)
	}
	h.want(h.code(ada), "", api.Admitted)
}

// A computer that is replaced while its disk takes no writes admits no more, also when the disk does, and after a start.
func TestFenceWhileTheDiskFails(t *testing.T) {
	h := newHarness(t)
	h.take(ticket("Ada", 1))
	if err := h.db.Close(); err != nil { // the next commit fails
		t.Fatal(err)
	}
	const why = "another computer serves the venue"
	if err := h.d.Fence(why); err == nil {
		t.Fatal("it was written")
	}
	for range 2 {
		if err := h.d.Mend(); err != nil {
			t.Fatal(err)
		}
		if got := h.d.Fenced(); got != why {
			t.Errorf("fenced %q", got)
		}
		if _, err := h.d.Scan(t.Context(), doors.Shown{EventID: h.event.EventID, Code: "x", By: "pas_x"}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("it decides: %v", err)
		}
		h.again()
	}
}

func TestJournalGoesUp(t *testing.T) {
	h := newHarness(t)
	ada := ticket("Ada", 1)
	h.take(ada)
	for range 3 {
		h.scan(h.code(ada), "")
	}
	if err := h.d.Accept(2); err != nil {
		t.Fatal(err)
	}
	if entries, err := h.d.Journal(2000); err != nil || len(entries) != 1 || entries[0].Number != 3 {
		t.Errorf("%+v %v", entries, err)
	}
	if err := h.d.Accept(3); err != nil {
		t.Fatal(err)
	}
	h.again()
	if last, accepted := h.d.Journaled(); last != 3 || accepted != 3 {
		t.Errorf("%d of %d are accepted", accepted, last)
	}
	if err := h.d.Accept(1); err != nil { // the hub was restored
		t.Fatal(err)
	}
	if entries, err := h.d.Journal(2000); err != nil || len(entries) != 2 {
		t.Errorf("%+v %v", entries, err)
	}
	if err := h.d.Accept(4); err == nil {
		t.Error("what was never written is accepted")
	}
	if err := h.d.Accept(3); err != nil {
		t.Fatal(err)
	}
	if _, err := h.d.Forget(h.clock.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	h.again()
	if last, accepted := h.d.Journaled(); last != 3 || accepted != 3 {
		t.Errorf("after the journal was cut, %d of %d are accepted", accepted, last)
	}
}

func TestFolder(t *testing.T) {
	h := newHarness(t)
	if _, err := disk.Open(h.dir, h.venue); err == nil || !strings.Contains(err.Error(), "used by another process") {
		t.Errorf("two edges with one folder: %v", err)
	}
	before := h.db.Identity()
	h.again()
	if after := h.db.Identity(); after.Folder != before.Folder || after.KeyID != before.KeyID || len(after.Folder) < 8 {
		t.Errorf("%+v becomes %+v", before, after)
	}
	h.d.Close()
	h.db.Close()
	if _, err := disk.Open(h.dir, ids.New[ids.VenueKind](time.Now())); err == nil ||
		!strings.Contains(err.Error(), string(h.venue)) {
		t.Errorf("the folder of another venue: %v", err)
	}
	h.open()
	numbers := map[int64]bool{}
	for range 3 {
		n, _, _, _, err := h.d.Hello()
		if err != nil || numbers[n] {
			t.Errorf("session %d again, %v", n, err)
		}
		numbers[n] = true
		h.again()
	}
}

// input is a scan or an undo in a history of one ticket.
type input struct{ undo bool }

// At every moment all gates see one door: a ticket is admitted once until it is undone.
func TestAllGatesAreOneDoor(t *testing.T) {
	h := newHarness(t)
	var tickets []line.Ticket
	for i := range 4 {
		tickets = append(tickets, ticket(fmt.Sprint(i), 1))
	}
	h.take(tickets...)
	var (
		mu  sync.Mutex
		ops = make([][]porcupine.Operation, len(tickets))
		wg  sync.WaitGroup
	)
	began := time.Now()
	for gate := range 16 {
		wg.Go(func() {
			for range 40 {
				i := rand.IntN(len(tickets))
				in := input{undo: rand.IntN(4) == 0}
				call := time.Since(began).Nanoseconds()
				var out string
				if in.undo {
					out = h.undoLast(tickets[i])
				} else {
					v, err := h.d.Scan(context.Background(), doors.Shown{EventID: h.event.EventID,
						Code: h.code(tickets[i]), Gate: fmt.Sprint(gate), By: "pas_x"})
					if err != nil {
						t.Error(err)
						return
					}
					out = v.Result
				}
				mu.Lock()
				ops[i] = append(ops[i], porcupine.Operation{ClientId: gate, Input: in, Call: call, Output: out,
					Return: time.Since(began).Nanoseconds()})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	model := porcupine.Model{
		Init: func() any { return false },
		Step: func(state, in, out any) (bool, any) {
			isIn := state.(bool)
			switch {
			case in.(input).undo && out == "undone":
				return isIn, false
			case in.(input).undo:
				return true, isIn
			case out == api.Admitted:
				return !isIn, true
			}
			return isIn && out == api.AlreadyAdmitted, isIn
		},
	}
	admitted := 0
	for i := range ops {
		if !porcupine.CheckOperations(model, ops[i]) {
			t.Errorf("the history of ticket %d is not that of one door", i)
		}
		for _, op := range ops[i] {
			if op.Output == api.Admitted {
				admitted++
			}
		}
	}
	if admitted <= len(tickets) {
		t.Errorf("%d admissions prove nothing", admitted)
	}
}

// undoLast takes the newest admission of a ticket back, if it is still what counts.
func (h *harness) undoLast(tk line.Ticket) string {
	scans, _, err := h.d.Scans(h.event.EventID, 0, 1000)
	if err != nil {
		return err.Error()
	}
	for _, e := range scans {
		if e.Scan.TicketID == tk.ID && e.Scan.Result == api.Admitted {
			switch _, now, err := h.d.Undo(h.event.EventID, e.Scan.ID, "usr_x"); {
			case err != nil:
				h.t.Error(err)
			case now:
				return "undone"
			}
			break
		}
	}
	return "nothing"
}
