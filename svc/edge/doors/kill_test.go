package doors_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// scannerJob is what a process of its own is to scan: the variable of the environment that has it as JSON.
const scannerVariable = "STARLIGHT_TEST_SCANNER"

type scannerJob struct {
	Dir     string
	Venue   ids.Venue
	Event   ids.Event
	Key     string // of the hub, in hex
	Tickets []ids.Ticket
	Till    ids.TicketType `json:",omitempty"` // it sells these, and scans nothing
	Ways    bool           `json:",omitempty"` // people go in and out, and admissions are taken back
}

func TestMain(m *testing.M) {
	if text := os.Getenv(scannerVariable); text != "" {
		os.Exit(scanner(text))
	}
	os.Exit(m.Run())
}

// scanner opens the folder and scans all tickets at several gates, again and again, each time from another one on. It
// says what was answered, and what changes the doors beside that: sessions and positions.
func scanner(text string) int {
	var job scannerJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return 2
	}
	seed, err := hex.DecodeString(job.Key)
	if err != nil {
		return 2
	}
	db, err := disk.Open(job.Dir, job.Venue)
	if err != nil {
		fmt.Println("error", err)
		return 2
	}
	d, err := doors.Open(db, time.Now, slog.New(slog.DiscardHandler), observe.NewRegistry())
	if err != nil {
		fmt.Println("error", err)
		return 2
	}
	fmt.Println("ready")
	var out sync.Mutex
	var gates sync.WaitGroup
	if job.Till != "" {
		return tills(d, &job, &out)
	}
	if job.Ways {
		return ways(d, &job, func(tk ids.Ticket) string {
			return code.Sign(code.Payload{Event: job.Event, Ticket: tk, Revision: 1}, "k1", ed25519.NewKeyFromSeed(seed))
		}, &out)
	}
	for gate := range 8 {
		gates.Go(func() {
			for {
				tk := job.Tickets[rand.IntN(len(job.Tickets))]
				v, err := d.Scan(context.Background(), doors.Shown{EventID: job.Event, By: "pas_x", Gate: fmt.Sprint(gate),
					Code: code.Sign(code.Payload{Event: job.Event, Ticket: tk, Revision: 1}, "k1", ed25519.NewKeyFromSeed(seed))})
				out.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else if v.Result == api.Admitted {
					fmt.Println("admitted", tk)
				}
				out.Unlock()
			}
		})
	}
	gates.Go(func() {
		for n := int64(1); ; n++ {
			if _, _, _, _, err := d.Hello(); err != nil {
				fmt.Println("error", err)
			}
			if last, _ := d.Journaled(); last > 0 {
				if err := d.Accept(last); err != nil {
					fmt.Println("error", err)
				}
			}
		}
	})
	gates.Wait()
	return 0
}

// start starts a process for the job. What it has answered comes line by line.
func (j *scannerJob) start(t *testing.T) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), scannerVariable+"="+string(text))
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(pipe)
}

// A process that is killed at any moment has forgotten nothing that it has answered, and admits nothing twice.
func TestKill(t *testing.T) {
	h := newHarness(t)
	var tickets []line.Ticket
	job := scannerJob{Dir: h.dir, Venue: h.venue, Event: h.event.EventID, Key: hex.EncodeToString(h.key.Seed())}
	for i := range 3000 {
		tickets = append(tickets, ticket(fmt.Sprint(i), 1))
		job.Tickets = append(job.Tickets, tickets[i].ID)
	}
	h.take(tickets...)
	h.close()
	admitted := map[string]int{}
	for range 8 {
		cmd, lines := job.start(t)
		for n := rand.IntN(120); lines.Scan() && n > 0; n-- { // so many answers, and then at any moment
			note(t, admitted, lines.Text())
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what was said before the end
			note(t, admitted, lines.Text())
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it was not killed")
		}
	}
	h.open()
	if len(admitted) < 50 {
		t.Fatalf("%d admissions prove nothing", len(admitted))
	}
	scans, _, err := h.d.Scans(h.event.EventID, 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]int{}
	for i, e := range scans {
		if e.Number != int64(len(scans)-i) {
			t.Fatalf("entry %d stands at %d of %d", e.Number, len(scans)-i, len(scans))
		}
		if e.Scan.Result == api.Admitted {
			kept[string(e.Scan.TicketID)]++
		}
	}
	for id, n := range admitted {
		if n != 1 || kept[id] != 1 {
			t.Errorf("ticket %s was admitted %d times, and is kept %d times", id, n, kept[id])
		}
	}
	for id, n := range kept {
		if n != 1 {
			t.Errorf("ticket %s is admitted %d times", id, n)
		}
	}
	for _, tk := range tickets {
		if kept[string(tk.ID)] > 0 {
			h.want(h.code(tk), "", api.AlreadyAdmitted)
		}
	}
	t.Logf("%d admissions were answered, %d kept, in %d entries", len(admitted), len(kept), len(scans))
}

func note(t *testing.T, admitted map[string]int, said string) {
	t.Helper()
	word, rest, _ := strings.Cut(said, " ")
	switch {
	case word == "admitted" && len(rest) == len(ids.New[ids.TicketKind](time.Now())):
		admitted[rest]++
	case word == "error":
		t.Error(said)
	}
}

// tills sells one seat after another at several tills, each request twice, and says what was answered.
func tills(d *doors.Doors, job *scannerJob, out *sync.Mutex) int {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				s := &doors.Sale{By: "pas_till", NewSale: api.NewSale{EventID: job.Event,
					Items:   []api.NewOrderItem{{TicketTypeID: job.Till, Quantity: 1}},
					Payment: api.BoxOfficePayment{Method: api.PaidInCash}}}
				binary.BigEndian.PutUint64(s.Key[:], rand.Uint64())
				for range 2 {
					var sale api.Sale
					sold, err := d.Sell(context.Background(), s)
					if err == nil {
						err = json.Unmarshal(sold.Answer, &sale)
					}
					out.Lock()
					if err != nil {
						fmt.Println("error", err)
					} else {
						fmt.Println("sold", sale.OrderID)
					}
					out.Unlock()
				}
			}
		})
	}
	all.Wait()
	return 0
}

// Tills that are killed at any moment have forgotten no sale that was answered, have sold nothing twice, and what is
// left of the lease is exact.
func TestKilledTills(t *testing.T) {
	x := newTill(t, 100_000)
	x.event.Offer.Event.EndsAt = time.Now().Add(time.Hour) // by the clock of the processes
	x.tell(0)
	job := scannerJob{Dir: x.dir, Venue: x.venue, Event: x.event.EventID, Key: hex.EncodeToString(x.key.Seed()),
		Till: x.types[0].ID}
	x.close()
	answered := map[string]int{}
	for range 6 {
		cmd, lines := job.start(t)
		for n := rand.IntN(60) + 20; lines.Scan(); n-- {
			word, order, _ := strings.Cut(lines.Text(), " ")
			if word == "sold" && len(order) == len(ids.New[ids.OrderKind](time.Now())) {
				answered[order]++
			} else if word == "error" {
				t.Error(lines.Text())
			}
			if n == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it was not killed")
		}
	}
	x.open()
	kept := map[string]int{}
	for after := int64(0); ; {
		entries, err := x.d.Journal(2000)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if after++; e.Number != after || e.Sale == nil || len(e.Sale.Tickets) != 1 {
				t.Fatalf("entry %d is %+v", after, e)
			}
			kept[e.Sale.OrderID.String()]++
		}
		if err := x.d.Accept(after); err != nil {
			t.Fatal(err)
		}
	}
	if len(answered) < 50 {
		t.Fatalf("%d sales prove nothing", len(answered))
	}
	for order, n := range answered {
		if n > 2 || kept[order] != 1 {
			t.Errorf("order %s was answered %d times, and is kept %d times", order, n, kept[order])
		}
	}
	if l := x.d.Leases(x.event.EventID)[0]; l.Sold != len(kept) || l.Left != 100_000-len(kept) {
		t.Errorf("lease is %+v, and %d are sold", l, len(kept))
	}
	t.Logf("%d sales were answered, %d kept", len(answered), len(kept))
}
