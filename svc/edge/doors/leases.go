package doors

import (
	"cmp"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// leasing is what the hub, or the end of a hand-over, changes of leases, and what the journal says of it.
type leasing struct {
	d       *Doors
	now     time.Time
	entries []line.Entry
	leases  []disk.Lease
}

func (d *Doors) beginLeasing() *leasing {
	return &leasing{d: d, now: d.now().UTC().Truncate(time.Millisecond)}
}

// hear takes over what the hub says of an event's leases, when it had so much of the journal. What it wants back is
// given back at once: the writer of sales waits meanwhile, so that all of them stand before.
func (b *leasing) hear(e *disk.Event, journal int64) {
	// Another computer of the venue has taken these doors. What it has sold is not known here.
	foreign := e.State == line.DoorsVenue && !e.Holds
	for _, said := range e.Leases {
		before := b.d.leases[said.ID]
		l := before
		l.ID = said.ID
		if journal >= l.Cut {
			l.Quantity = said.Quantity
		}
		switch {
		case l.Done > 0 || foreign:
		case said.Closing:
			l.Done = b.add(e, line.Entry{LeaseDone: l.ID})
		case journal >= l.Cut && l.Quantity > said.Target:
			if n := min(l.Quantity-said.Target, l.Left()); n > 0 {
				l.Cut = b.add(e, line.Entry{LeaseCut: &line.LeaseCut{LeaseID: l.ID, Quantity: n}})
				l.Quantity -= n
			}
		}
		if l != before {
			b.leases = append(b.leases, l)
		}
	}
}

// end ends all leases of an event: its doors are given back.
func (b *leasing) end(e *disk.Event) {
	for _, said := range e.Leases {
		if l, known := b.d.leases[said.ID]; known && l.Done == 0 {
			l.Done = b.add(e, line.Entry{LeaseDone: l.ID})
			b.leases = append(b.leases, l)
		}
	}
}

// add adds an entry, and returns its number.
func (b *leasing) add(e *disk.Event, entry line.Entry) int64 {
	entry.Number = b.d.last + int64(len(b.entries)) + 1
	entry.EventID, entry.Epoch, entry.At = e.EventID, e.Epoch, b.now
	b.entries = append(b.entries, entry)
	return entry.Number
}

func (b *leasing) write(tx *disk.Tx) error {
	for i := range b.leases {
		if err := tx.PutLease(&b.leases[i]); err != nil {
			return err
		}
	}
	return tx.Append(b.entries...)
}

// follow takes over what was written. The caller has mu.
func (b *leasing) follow() {
	for _, l := range b.leases {
		b.d.leases[l.ID] = l
	}
	b.d.last += int64(len(b.entries))
	if len(b.entries) > 0 {
		b.d.announce()
	}
}

// Lease is a lease as the venue has it.
type Lease struct {
	line.Lease
	Sold int
	Left int // that may be sold
	Done bool
}

// Stock is the seats in the leases of all events whose doors are the venue's.
type Stock struct {
	Leased, Sold, Left int64 // Leased has those that are sold
}

// Stock returns what there is to sell.
func (d *Doors) Stock() (all Stock) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.events {
		for _, said := range e.Leases {
			l := d.leases[said.ID]
			all.Leased += int64(l.Quantity)
			all.Sold += int64(l.Sold)
			if e.Holds {
				all.Left += int64(l.Left())
			}
		}
	}
	return all
}

// Leases returns the leases of an event, by id.
func (d *Doors) Leases(id ids.Event) []Lease {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := []Lease{}
	e := d.events[id]
	if e == nil {
		return out
	}
	for _, said := range e.Leases {
		own := d.leases[said.ID]
		l := Lease{Lease: said, Sold: own.Sold, Left: own.Left(), Done: own.Done > 0}
		l.Quantity = own.Quantity
		if !e.Holds {
			l.Left = 0
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b Lease) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
