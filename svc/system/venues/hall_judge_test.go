package venues_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// doorsRecord is the scans of an event as a venue and the system have them, the newest first.
type doorsRecord struct{ venue, system []api.Scan }

// opens reports whether a scan lets its ticket be admitted once more: its holder went out, or was not let in after all.
func opens(s api.Scan) bool {
	return s.Kind == line.ScanUndo || s.Kind == line.ScanExit && s.Result != api.NotInside
}

// own returns how often the system itself let a ticket be admitted once more, also when a device at the venue asked it.
func (r doorsRecord) own() map[ids.Ticket]int {
	n := map[ids.Ticket]int{}
	for _, s := range r.system {
		if s.VenueID == "" && opens(s) {
			n[s.TicketID]++
		}
	}
	return n
}

// faults says what is wrong with the record of doors. The system has each scan of the venue, once and as it was; what
// both have let in was let in once, unless its holder went out or the admission was taken back in between; and nothing
// is flagged as the work of two.
func (r doorsRecord) faults() (all []string) {
	wrong := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	there, in, elsewhere := map[ids.Admission]api.Scan{}, map[ids.Ticket]bool{}, r.own()
	for _, s := range slices.Backward(r.venue) {
		if _, twice := there[s.ID]; twice {
			wrong("scan %s stands twice in the venue's list", s.ID)
		}
		there[s.ID] = s
		switch {
		case s.Result == api.Admitted && in[s.TicketID]:
			if elsewhere[s.TicketID]--; elsewhere[s.TicketID] >= 0 {
				continue
			}
			wrong("the venue let ticket %s in twice, the second time with scan %s", s.TicketID, s.ID)
		case s.Result == api.Admitted:
			in[s.TicketID] = true
		case opens(s):
			in[s.TicketID] = false
		}
	}
	admitted, left, here := map[ids.Ticket]int{}, map[ids.Ticket]int{}, map[ids.Admission]bool{}
	for _, s := range r.system {
		own, known := there[s.ID]
		switch {
		case here[s.ID]:
			wrong("scan %s stands twice in the system's list", s.ID)
		case s.VenueID != "" && (!known || own.TicketID != s.TicketID || own.Result != s.Result || own.Kind != s.Kind):
			wrong("the venue has %+v, and the system %+v", own, s)
		case s.Flag == api.FlagTwice, s.Flag == api.FlagForeign:
			wrong("scan %+v is flagged", s)
		}
		here[s.ID] = true
		switch {
		case s.Result == api.Admitted:
			admitted[s.TicketID]++
		case opens(s):
			left[s.TicketID]++
		}
	}
	for id, n := range admitted {
		if n > left[id]+1 {
			wrong("ticket %s was admitted %d times, and could come in again %d times", id, n, left[id])
		}
	}
	for id, s := range there {
		if !here[id] {
			wrong("the system does not have %+v", s)
		}
	}
	return all
}

// inside returns the tickets that count as admitted: not those of which the admission was taken back, unless they came in
// again. No ticket's admission was taken back twice. The order is the venue's, whose clock may have been wrong: so it is
// unclear of some whether the system let them in again before or after that.
func (r doorsRecord) inside() (inside, unclear map[ids.Ticket]bool) {
	inside, unclear = map[ids.Ticket]bool{}, map[ids.Ticket]bool{}
	undone, idle := map[ids.Ticket]bool{}, map[ids.Admission]bool{}
	for _, s := range r.system {
		undone[s.TicketID] = undone[s.TicketID] || s.UndoneAt != nil
		if s.Flag == api.FlagRevoked {
			idle[s.ID] = true
		}
	}
	for _, s := range slices.Backward(r.venue) {
		switch {
		case s.Kind == line.ScanUndo && undone[s.TicketID]: // the system had not revoked the ticket by then
			inside[s.TicketID] = false
		case s.Result == api.Admitted && !idle[s.ID]:
			inside[s.TicketID] = true
		}
	}
	for _, s := range r.system {
		switch own := s.VenueID == "" && s.Result == api.Admitted && s.UndoneAt == nil; {
		case own && undone[s.TicketID] && !inside[s.TicketID]:
			unclear[s.TicketID] = true
		case own:
			inside[s.TicketID] = true
		}
	}
	maps.DeleteFunc(inside, func(_ ids.Ticket, in bool) bool { return !in })
	return inside, unclear
}

// The judge of an evening finds whatever is wrong in the record of its doors.
func TestJudgeOfAVenue(t *testing.T) {
	now := time.Now().UTC()
	venue, ticket := ids.New[ids.VenueKind](now), ids.New[ids.TicketKind](now)
	var newest doorsRecord
	for i, s := range []api.Scan{{Kind: line.ScanEntry, Result: api.Admitted}, {Kind: line.ScanEntry, Result: api.AlreadyAdmitted},
		{Kind: line.ScanExit, Result: api.Exited}, {Kind: line.ScanExit, Result: api.NotInside}, {Kind: line.ScanEntry, Result: api.Admitted},
		{Kind: line.ScanUndo}, {Kind: line.ScanEntry, Result: api.Admitted}} {
		s.At = now.Add(time.Duration(i) * time.Second)
		s.ID, s.TicketID = ids.New[ids.AdmissionKind](s.At), ticket
		newest.venue = slices.Insert(newest.venue, 0, s)
		s.VenueID = venue
		newest.system = slices.Insert(newest.system, 0, s)
	}
	newest.system[6].UndoneAt = &newest.system[1].At
	if faults := newest.faults(); len(faults) > 0 {
		t.Fatalf("of doors that did all right: %v", faults)
	}
	if in, unclear := newest.inside(); !in[ticket] || len(unclear) > 0 {
		t.Errorf("inside: %v, unclear: %v", in, unclear)
	}
	changes := map[string]func(r *doorsRecord){
		"a scan that the venue does not have": func(r *doorsRecord) { r.venue = r.venue[1:] },
		"the system has another answer": func(r *doorsRecord) {
			r.venue[0].Result, r.system[0].Result = api.NoReentry, api.AlreadyAdmitted
		},
	}
	for i := range newest.venue {
		s := newest.venue[i]
		what := fmt.Sprintf(" %d %s %s", i, s.Kind, s.Result)
		changes["the system lacks"+what] = func(r *doorsRecord) { r.system = slices.Delete(r.system, i, i+1) }
		changes["the system has twice"+what] = func(r *doorsRecord) { r.system = slices.Insert(r.system, i, r.system[i]) }
		changes["the venue has twice"+what] = func(r *doorsRecord) { r.venue = slices.Insert(r.venue, i, r.venue[i]) }
		changes["of another ticket"+what] = func(r *doorsRecord) { r.system[i].TicketID = ids.New[ids.TicketKind](now) }
		changes["of another kind"+what] = func(r *doorsRecord) { r.system[i].Kind = "other" }
		changes["flagged"+what] = func(r *doorsRecord) { r.system[i].Flag = api.FlagTwice }
		if opens(s) {
			changes["neither has"+what] = func(r *doorsRecord) {
				r.venue, r.system = slices.Delete(r.venue, i, i+1), slices.Delete(r.system, i, i+1)
			}
		}
		if s.Result == api.AlreadyAdmitted || s.Result == api.NotInside {
			changes["let in instead of"+what] = func(r *doorsRecord) {
				for _, list := range [][]api.Scan{r.venue, r.system} {
					list[i].Kind, list[i].Result = line.ScanEntry, api.Admitted
				}
			}
		}
	}
	for what, change := range changes {
		r := doorsRecord{slices.Clone(newest.venue), slices.Clone(newest.system)}
		change(&r)
		if len(r.faults()) == 0 {
			t.Errorf("%s: nothing was found", what)
		}
	}
	newest.venue, newest.system = newest.venue[1:], newest.system[1:]
	if in, unclear := newest.inside(); len(in)+len(unclear) > 0 {
		t.Errorf("inside: %v, unclear: %v, though the admission was taken back", in, unclear)
	}
}
