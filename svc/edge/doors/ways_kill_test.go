package doors_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// The ways of a person: in, out, and in with a supervisor who takes that back.
const (
	wayIn   = "in"
	wayOut  = "out"
	wayBack = "back"
)

// ways has gates let people in and out and take admissions back, each with tickets of its own, and says what was answered.
func ways(d *doors.Doors, job *scannerJob, sign func(ids.Ticket) string, out *sync.Mutex) int {
	const several = 8
	var all sync.WaitGroup
	for gate := range several {
		all.Go(func() {
			for {
				tk := job.Tickets[rand.IntN(len(job.Tickets)/several)*several+gate]
				way := []string{wayIn, wayOut, wayBack}[rand.IntN(3)]
				result, err := goThrough(d, job.Event, tk, sign(tk), way)
				out.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else if result != "" {
					fmt.Println(way, tk, result)
				}
				out.Unlock()
			}
		})
	}
	all.Wait()
	return 0
}

// goThrough takes one of the ways with a ticket, and returns what is in the journal then; "" if that is nothing.
func goThrough(d *doors.Doors, event ids.Event, tk ids.Ticket, code, way string) (string, error) {
	if way != wayBack {
		v, err := d.Scan(context.Background(), doors.Shown{EventID: event, By: "pas_x", Code: code, Exit: way == wayOut})
		if err != nil {
			return "", err
		}
		return v.Result, nil
	}
	scans, _, err := d.Scans(event, 0, 200)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(scans, func(e line.Entry) bool { return e.Scan.TicketID == tk && e.Scan.Result == api.Admitted })
	if at < 0 {
		return "", nil
	}
	switch _, now, err := d.Undo(event, scans[at].Scan.ID, "usr_x"); {
	case err != nil:
		return "", err
	case !now:
		return "", nil
	}
	return "undone", nil
}

// step is where a ticket is after one of the ways, and what was to be answered.
func step(status, way string) (next, result string) {
	switch {
	case way == wayBack:
		return "", "undone"
	case way == wayIn && status == "inside":
		return status, api.AlreadyAdmitted
	case way == wayIn:
		return "inside", api.Admitted
	case status == "inside":
		return "outside", api.Exited
	}
	return status, api.NotInside
}

// A process that is killed at any moment has forgotten neither a person who went out nor an admission that was taken back,
// and each is in the journal once: what follows at every ticket is what has to follow.
func TestKilledExitsAndUndos(t *testing.T) {
	h := newHarness(t)
	var tickets []line.Ticket
	job := scannerJob{Dir: h.dir, Venue: h.venue, Event: h.event.EventID, Key: hex.EncodeToString(h.key.Seed()), Ways: true}
	for i := range 64 {
		tickets = append(tickets, ticket(fmt.Sprint(i), 1))
		job.Tickets = append(job.Tickets, tickets[i].ID)
	}
	h.take(tickets...)
	h.close()
	const kills = 8
	answered, n := map[string][]string{}, 0
	note := func(said string) {
		word, rest, _ := strings.Cut(said, " ")
		tk, result, whole := strings.Cut(rest, " ")
		switch {
		case word == "error":
			t.Error(said)
		case whole && slices.Contains([]string{wayIn, wayOut, wayBack}, word):
			answered[tk] = append(answered[tk], word+" "+result)
			n++
		}
	}
	for range kills {
		cmd, lines := job.start(t)
		for left := rand.IntN(150); lines.Scan() && left > 0; left-- { // so many answers, and then at any moment
			note(lines.Text())
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			note(lines.Text())
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it was not killed")
		}
	}
	h.open()
	if n < 100 {
		t.Fatalf("%d answers prove nothing", n)
	}
	scans, _, err := h.d.Scans(h.event.EventID, 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(scans)
	status, unheard := map[string]string{}, 0
	for _, e := range scans {
		tk, said := string(e.Scan.TicketID), e.Scan.Result
		way := map[string]string{line.ScanEntry: wayIn, line.ScanExit: wayOut, line.ScanUndo: wayBack}[e.Scan.Kind]
		if way == wayBack {
			said = "undone"
		}
		next, want := step(status[tk], way)
		if said != want || way == wayBack && status[tk] == "" {
			t.Errorf("ticket %s, which is %q: %s says %s", tk, status[tk], way, said)
		}
		status[tk] = next
		if mine := answered[tk]; len(mine) > 0 && mine[0] == way+" "+said {
			answered[tk] = mine[1:]
		} else {
			unheard++ // it was killed before it could answer
		}
	}
	for tk, lost := range answered {
		if len(lost) > 0 {
			t.Errorf("ticket %s: the journal does not have %q", tk, lost)
		}
	}
	if most := kills * 8; unheard > most { // the gates of a process
		t.Errorf("%d entries of the journal were not answered, more than %d", unheard, most)
	}
	for _, tk := range tickets {
		_, want := step(status[string(tk.ID)], wayOut)
		h.exit(tk, want)
	}
	t.Logf("%d answers, %d entries of the journal, %d of them not answered", n, len(scans), unheard)
}
