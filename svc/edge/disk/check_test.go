package disk_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// A file that lost its end, or pages, is refused in words, and is left as it is.
func TestDamagedFile(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	venue, event := ids.New[ids.VenueKind](now), ids.New[ids.EventKind](now)
	db, err := disk.Open(dir, venue)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		err := db.Update(func(tx *disk.Tx) error {
			var tickets []line.Ticket
			for k := range 200 {
				tickets = append(tickets, line.Ticket{ID: ids.New[ids.TicketKind](now), Type: ids.New[ids.TicketTypeKind](now),
					Name: fmt.Sprint("Visitor ", k), Revision: 1, Status: api.TicketValid})
			}
			if err := tx.PutTickets(event, 1, tickets); err != nil {
				return err
			}
			return tx.Append(line.Entry{Number: int64(i + 1), EventID: event, At: now, Scan: &line.Scan{Kind: line.ScanEntry}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "edge.bolt")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	pages := len(whole) / page
	random := make([]byte, page)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	open := func(file []byte) error {
		t.Helper()
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := disk.Open(dir, venue)
		if err != nil {
			after, _ := os.ReadFile(path)
			if string(after) != string(file) {
				t.Error("a file that is refused was changed")
			}
			return err
		}
		return db.Close()
	}
	if err := open(whole); err != nil {
		t.Fatal(err)
	}
	zeroed := append([]byte{}, whole...)
	clear(zeroed[2*page:])
	for name, file := range map[string][]byte{"no end": whole[:2*page], "half": whole[:pages/2*page], "pages lost": zeroed,
		"no file of this kind": random} {
		if err := open(file); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused := 0
	for range 60 { // one page is another: it may be one that is free
		file := append([]byte{}, whole...)
		copy(file[(2+rand.IntN(pages-2))*page:], random)
		if open(file) != nil {
			refused++
		}
	}
	t.Logf("%d of 60 files with a damaged page are refused, of %d pages", refused, pages)
}
