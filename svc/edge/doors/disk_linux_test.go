package doors_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// A full disk refuses scans and says so. With room again each ticket that was admitted is, and no other.
func TestFullDisk(t *testing.T) {
	h := newHarness(t)
	h.close()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=8m"); err != nil {
		h.open()
		testkit.Missing(t, "a small file system cannot be mounted: "+err.Error())
	}
	h.dir = filepath.Join(disk, "edge")
	h.open()
	t.Cleanup(func() { // before the harness closes
		h.d.Close()
		h.db.Close()
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
		h.dir = filepath.Join(t.TempDir(), "edge")
		h.open()
	})
	var tickets []line.Ticket
	for i := range 600 {
		tickets = append(tickets, ticket(strings.Repeat("Ada ", 200)+fmt.Sprint(i), 1))
	}
	h.take(tickets...)
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if n, err := filler.Write(make([]byte, size)); err != nil || n < size {
			size /= 2
		}
	}
	filler.Close()
	admitted := make([]bool, len(tickets))
	scan := func(from, to int) (refused int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := from; i < to; i++ {
			wg.Go(func() {
				v, err := h.d.Scan(context.Background(), doors.Shown{EventID: h.event.EventID, Code: h.code(tickets[i]), By: "pas_x",
					Gate: strings.Repeat("gate ", 15)})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && v.Result == api.Admitted && !admitted[i]:
					admitted[i] = true
				case err == nil && v.Result == api.AlreadyAdmitted && admitted[i]:
				case fault.Is(err, fault.Unavailable) && strings.Contains(err.Error(), "disk"):
					refused++
				default:
					t.Errorf("%+v %v", v, err)
				}
			})
		}
		wg.Wait()
		return refused
	}
	refused := 0
	for from := 0; from < len(tickets) && refused == 0; from += 20 {
		refused = scan(from, from+20)
	}
	if refused == 0 {
		t.Fatal("the disk was never full")
	}
	if got := h.d.Trouble(); got != "the disk is full" {
		t.Errorf("the trouble is %q", got)
	}
	for range 5 { // there may be room for a few
		if err := h.d.Mend(); err == nil {
			scan(0, 100)
		}
	}
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if err := h.d.Mend(); err != nil {
		t.Fatal(err)
	}
	if n := scan(0, len(tickets)); n != 0 || h.d.Trouble() != "" {
		t.Errorf("with room %d scans are refused, %s", n, h.d.Trouble())
	}
	for i, in := range admitted {
		if !in {
			t.Errorf("ticket %d is not in", i)
		}
	}
	entries := map[string]int{}
	scans, _, err := h.d.Scans(h.event.EventID, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range scans {
		if e.Scan.Result == api.Admitted {
			entries[string(e.Scan.TicketID)]++
		}
	}
	for _, tk := range tickets {
		if entries[string(tk.ID)] != 1 {
			t.Errorf("ticket %s is admitted %d times", tk.ID, entries[string(tk.ID)])
		}
	}
}
