// Package doors decides at the doors of a venue. It keeps in memory what a decision needs, of the events whose doors
// the venue has: the tickets of the manifest, and what was decided here since. A decision is an entry of the journal,
// and is given out when that is on the disk; entries of all gates that come together are one commit. So are sales, for
// which it has the leases.
package doors

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

const (
	mostTogether = 512 // scans of a commit
	mostWaiting  = 8192
)

// Doors is the doors of a venue. It is safe for concurrent use.
type Doors struct {
	db    *disk.DB
	now   func() time.Time // by the hub's clock, as far as it is known
	log   *slog.Logger
	scans *batch.Group[request, verdict]

	// write is held while something is decided, written, and taken over into what follows. Whoever has it may read all
	// of that; others need mu.
	write sync.Mutex
	mu    sync.RWMutex

	events   map[ids.Event]*event
	leases   map[ids.Lease]disk.Lease
	keys     map[string]ed25519.PublicKey
	last     int64 // number of the last entry of the journal
	accepted int64 // the number up to which the hub has it
	fenced   string
	broken   error // why nothing can be written; nil: it can

	saved   atomic.Int64 // accepted, as it is on the disk
	grown   chan struct{}
	metrics metrics

	admitted, sales, reversals atomic.Int64 // since the start
}

type metrics struct {
	results map[string]*observe.Counter
	failed  *observe.Counter
	sold    *observe.Counter
	tickets *observe.Counter
	back    *observe.Counter

	answered *observe.Counter
	commit   *observe.Histogram
}

// event is an event in memory.
type event struct {
	disk.Event
	seats   map[[16]byte]seat // by ticket; nil until the manifest is complete
	gates   []string          // by the numbers that marks have
	current time.Time         // when the manifest was last known to be that of the hub
}

// seat is what a decision needs to know of a ticket.
type seat struct {
	folded string // the holder's name, to search for
	hub    mark   // what the manifest says; none if it does not have the ticket
	own    mark   // what was decided here since the doors were taken; none if nothing was
}

// mark is a state of a ticket. There are hundreds of thousands: it is small.
type mark struct {
	at       int64 // of the admission, in milliseconds since 1970
	revision revision
	gate     uint16
	status   status
}

// revision is the revision of a ticket's code, each greater than the one before.
type revision uint32

// revisionOf returns a revision as it is in memory. None that is given out is near the bounds.
func revisionOf(n int64) revision { return revision(min(max(n, 0), math.MaxUint32)) }

type status uint8

const (
	none status = iota
	valid
	inside
	outside // admitted, and gone out
	revoked
)

// Open reads what is on the disk.
func Open(db *disk.DB, now func() time.Time, log *slog.Logger, registry *observe.Registry) (*Doors, error) {
	d := &Doors{db: db, now: now, log: log, grown: make(chan struct{}, 1)}
	if err := d.load(); err != nil {
		return nil, err
	}
	d.instrument(registry)
	d.scans = batch.New(mostTogether, mostWaiting, d.commit)
	return d, nil
}

// Close ends the decisions that are under way. The file stays open.
func (d *Doors) Close() { d.scans.Close() }

// load reads everything from the disk. The caller has write, or is alone.
func (d *Doors) load() error {
	fresh := &Doors{events: map[ids.Event]*event{}}
	var keys []line.Key
	err := d.db.View(func(tx *disk.Tx) error {
		stored, err := tx.Events()
		if err != nil {
			return err
		}
		for _, s := range stored {
			e := &event{Event: *s}
			if e.Manifest.Complete {
				if err := e.read(tx); err != nil {
					return err
				}
			}
			fresh.events[e.EventID] = e
		}
		fresh.last, fresh.accepted, fresh.fenced = tx.LastEntry(), tx.Accepted(), tx.Fenced()
		if keys, err = tx.Keys(); err != nil {
			return err
		}
		if fresh.leases, err = tx.Leases(); err != nil {
			return err
		}
		return tx.Walk(0, "", func(entry line.Entry) bool {
			if e := fresh.events[entry.EventID]; e != nil && e.seats != nil && e.Holds && entry.Epoch == e.Epoch {
				e.replay(&entry)
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, e := range fresh.events { // what is known by the clock outlives the reading
		if old := d.events[id]; old != nil {
			e.current = old.current
		}
	}
	d.events, d.last, d.keys = fresh.events, fresh.last, keysOf(keys)
	d.fenced = cmp.Or(d.fenced, fresh.fenced) // it counts also while it cannot be written
	d.leases = fresh.leases
	d.accepted = max(d.accepted, fresh.accepted)
	d.saved.Store(fresh.accepted)
	return nil
}

// read reads the manifest of an event.
func (e *event) read(tx *disk.Tx) error {
	e.seats = map[[16]byte]seat{}
	return tx.Tickets(e.EventID, e.Manifest.Generation, func(t line.Ticket) { e.put(&t) })
}

func keysOf(list []line.Key) map[string]ed25519.PublicKey {
	keys := make(map[string]ed25519.PublicKey, len(list))
	for _, k := range list {
		if len(k.Public) == ed25519.PublicKeySize {
			keys[k.ID] = k.Public
		}
	}
	return keys
}

func (d *Doors) instrument(r *observe.Registry) {
	d.metrics.results = map[string]*observe.Counter{}
	for _, result := range results {
		d.metrics.results[result] = r.Counter("starlight_edge_scans_total", "Scans at the doors, by what was answered.",
			"result", result)
	}
	d.metrics.failed = r.Counter("starlight_edge_commits_failed_total", "Commits that the disk refused.")
	d.metrics.sold = r.Counter("starlight_edge_sales_total", "Sales at the till.")
	d.metrics.tickets = r.Counter("starlight_edge_tickets_sold_total", "Tickets of sales at the till.")
	d.metrics.back = r.Counter("starlight_edge_reversals_total", "Sales that were taken back at the till.")
	d.metrics.answered = r.Counter("starlight_edge_answers_total",
		"Tickets about which answers were changed at the doors.")
	r.GaugeFunc("starlight_edge_seats_leased", "Seats in the leases of the venue's events, sold ones included.",
		func() float64 { return float64(d.Stock().Leased) })
	r.GaugeFunc("starlight_edge_seats_sold", "Seats that were sold from those leases.",
		func() float64 { return float64(d.Stock().Sold) })
	r.GaugeFunc("starlight_edge_seats_left", "Seats of those leases that may still be sold.",
		func() float64 { return float64(d.Stock().Left) })
	d.metrics.commit = r.Histogram("starlight_edge_commit_seconds", "How long the disk takes to commit scans.")
	r.GaugeFunc("starlight_edge_journal_waiting", "Entries of the journal that the hub does not have.",
		func() float64 { return float64(d.Waiting()) })
	r.GaugeFunc("starlight_edge_tickets", "Tickets in all manifests.", func() float64 { return float64(d.Tickets()) })
	r.GaugeFunc("starlight_edge_manifest_age_seconds",
		"Since when the oldest manifest has not been known to be that of the hub.",
		func() float64 { return d.OldestManifest().Seconds() })
	r.GaugeFunc("starlight_edge_disk_bytes", "Size of the file of the doors.",
		func() float64 { return float64(d.db.Size()) })
	r.GaugeFunc("starlight_edge_writable", "1 while the disk takes writes, and no other computer serves the venue.",
		func() float64 {
			if d.Trouble() != "" {
				return 0
			}
			return 1
		})
}

// Trouble says why nothing is decided here, or "".
func (d *Doors) Trouble() string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	switch {
	case d.fenced != "":
		return d.fenced
	case d.broken != nil && disk.Full(d.broken):
		return "the disk is full"
	case d.broken != nil:
		return "the disk takes no writes"
	}
	return ""
}

// Waiting returns how many entries of the journal the hub does not have.
func (d *Doors) Waiting() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.last - d.accepted
}

// Sales returns how many sales there were since the start.
func (d *Doors) Sales() int64 { return d.sales.Load() }

// Reversals returns how many sales were taken back since the start.
func (d *Doors) Reversals() int64 { return d.reversals.Load() }

// Admitted returns how many people were let in since the start.
func (d *Doors) Admitted() int64 { return d.admitted.Load() }

// Tickets returns how many tickets there are in all manifests.
func (d *Doors) Tickets() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	n := 0
	for _, e := range d.events {
		n += len(e.seats)
	}
	return int64(n)
}

// OldestManifest returns how long ago the oldest manifest was known to be that of the hub.
func (d *Doors) OldestManifest() time.Duration {
	d.mu.RLock()
	defer d.mu.RUnlock()
	age := time.Duration(0)
	for _, e := range d.events {
		age = max(age, e.age())
	}
	return age
}

// unknownAge stands for a manifest that was not compared since the start.
const unknownAge = 365 * 24 * time.Hour

// age returns how long ago the manifest was known to be that of the hub.
func (e *event) age() time.Duration {
	if e.current.IsZero() {
		return unknownAge
	}
	return time.Since(e.current)
}

// Write changes what is on the disk beside the doors.
func (d *Doors) Write(change func(*disk.Tx) error) error {
	d.write.Lock()
	defer d.write.Unlock()
	return d.update(change, nil)
}

// update changes what is on the disk, and then, if that was committed, what is in memory. The caller has write.
func (d *Doors) update(change func(*disk.Tx) error, then func()) error {
	if d.broken != nil {
		return d.errBroken()
	}
	var failed error // of the change itself: then the disk is sound
	err := d.db.Update(func(tx *disk.Tx) error {
		failed = change(tx)
		return failed
	})
	switch {
	case failed != nil:
		return fmt.Errorf("edge: %w", failed)
	case err != nil:
		d.refused(err)
		return d.errBroken()
	}
	if then != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		then()
	}
	return nil
}
