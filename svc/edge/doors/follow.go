package doors

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// Events returns the events as they are on the disk, by id.
func (d *Doors) Events() []disk.Event {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]disk.Event, 0, len(d.events))
	for _, e := range d.events {
		all = append(all, e.Event)
	}
	slices.SortFunc(all, func(a, b disk.Event) int { return cmp.Compare(a.EventID, b.EventID) })
	return all
}

// Event returns an event as it is on the disk, and the age of its manifest. It reports false if the venue has nothing
// to do with it.
func (d *Doors) Event(id ids.Event) (disk.Event, time.Duration, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.events[id]
	if e == nil {
		return disk.Event{}, 0, false
	}
	return e.Event, e.age(), true
}

// Follow takes over what the hub says of the venue's events and keys. An event that the edge holds and that the hub
// does not name is dropped only with drop, which is for after a hello.
func (d *Doors) Follow(state *line.State, drop bool) error {
	d.write.Lock()
	defer d.write.Unlock()
	var changed []*disk.Event
	var gone []ids.Event
	leases := d.beginLeasing()
	for _, said := range state.Events {
		before := disk.Event{}
		if e := d.events[said.EventID]; e != nil {
			before = e.Event
		}
		after := follow(before, said)
		if !reflect.DeepEqual(before, after) {
			changed = append(changed, &after)
		}
		leases.hear(&after, state.Journal)
	}
	for id, e := range d.events {
		named := slices.ContainsFunc(state.Events, func(s line.Event) bool { return s.EventID == id })
		if !named && (drop || !e.Holds) {
			gone = append(gone, id)
		}
	}
	keys := keysOf(state.Keys)
	newKeys := len(keys) > 0 && !reflect.DeepEqual(keys, d.keys)
	if len(changed) == 0 && len(gone) == 0 && !newKeys && len(leases.leases) == 0 {
		return nil
	}
	return d.update(func(tx *disk.Tx) error {
		for _, e := range changed {
			if err := tx.PutEvent(e); err != nil {
				return err
			}
		}
		for _, id := range gone {
			if err := tx.DeleteEvent(id); err != nil {
				return err
			}
		}
		if newKeys {
			if err := tx.PutKeys(state.Keys); err != nil {
				return err
			}
		}
		return leases.write(tx)
	}, func() {
		for _, e := range changed {
			if d.events[e.EventID] == nil {
				d.events[e.EventID] = &event{}
			}
			d.events[e.EventID].Event = *e
		}
		for _, id := range gone {
			if d.events[id].Holds {
				d.log.Warn("the doors of an event are not the venue's any more, and were not given back", "event", id)
			}
			delete(d.events, id)
		}
		if newKeys {
			d.keys = keys
		}
		leases.follow()
	})
}

// follow returns an event as the hub says it is.
func follow(before disk.Event, said line.Event) disk.Event {
	after := before
	after.Event = said
	if said.Offer == nil {
		after.Offer = before.Offer
	}
	if said.Epoch != before.Epoch {
		after.Due, after.Holds = said.Position, false
	}
	return after
}

// Take writes that the edge admits for an event, if it may: the hub hands the doors over, and all tickets of that
// moment are here. It reports whether the edge holds the doors.
func (d *Doors) Take(id ids.Event) (holds bool, err error) {
	d.write.Lock()
	defer d.write.Unlock()
	e := d.events[id]
	switch {
	case e == nil:
		return false, nil
	case e.Holds:
		return true, nil
	case e.State != line.DoorsHandingOver, e.Offer == nil, !e.upToDate(e.Due):
		return false, nil
	}
	next := e.Event
	next.Holds = true
	over := false
	err = d.update(func(tx *disk.Tx) error {
		if over = tx.Over(id) >= e.Epoch; over {
			return nil
		}
		return tx.PutEvent(&next)
	}, func() {
		if over {
			return
		}
		e.Event = next
		for key, s := range e.seats { // what was decided in an earlier epoch is in the manifest
			if s.own.status != none {
				s.own = mark{}
				e.seats[key] = s
			}
		}
	})
	return err == nil && !over, err
}

// Give writes that the edge admits and sells no more for an event, for good in this epoch. It returns the number of the
// last entry of the journal: all that was decided is up to there.
func (d *Doors) Give(id ids.Event) (journal int64, err error) {
	d.write.Lock()
	defer d.write.Unlock()
	e := d.events[id]
	if e == nil {
		return d.last, nil
	}
	next := e.Event
	next.Holds = false
	leases := d.beginLeasing()
	if e.Holds {
		leases.end(&next)
	}
	err = d.update(func(tx *disk.Tx) error {
		if tx.Over(id) >= next.Epoch && !e.Holds {
			return nil
		}
		if err := tx.PutOver(id, next.Epoch); err != nil {
			return err
		}
		if err := leases.write(tx); err != nil {
			return err
		}
		return tx.PutEvent(&next)
	}, func() {
		e.Event = next
		leases.follow()
	})
	return d.last, err
}

// Fence ends all decisions for good, because another computer serves the venue. "" begins again.
func (d *Doors) Fence(why string) error {
	d.write.Lock()
	defer d.write.Unlock()
	// It counts at once, also if the disk is full.
	d.mu.Lock()
	d.fenced = why
	d.mu.Unlock()
	return d.update(func(tx *disk.Tx) error { return tx.PutFenced(why) }, nil)
}

// Fenced returns why this computer must not serve the venue, or "".
func (d *Doors) Fenced() string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.fenced
}

// Hello returns what the first request of a connection says: the number of the session, which is another each time,
// what the edge holds, and how far its journal is.
func (d *Doors) Hello() (number int64, holds []line.Hold, journal, accepted int64, err error) {
	d.write.Lock()
	defer d.write.Unlock()
	err = d.update(func(tx *disk.Tx) (err error) {
		number, err = tx.NextSession()
		return err
	}, nil)
	for id, e := range d.events {
		if e.Holds {
			holds = append(holds, line.Hold{EventID: id, Epoch: e.Epoch, Position: e.Manifest.Position})
		}
	}
	slices.SortFunc(holds, func(a, b line.Hold) int { return cmp.Compare(a.EventID, b.EventID) })
	return number, holds, d.last, d.accepted, err
}

// Grown returns a channel that says when the journal has more entries.
func (d *Doors) Grown() <-chan struct{} { return d.grown }

// Journal returns the next entries that the hub does not have: so many at most, and no more than fit into a message.
func (d *Doors) Journal(most int) (entries []line.Entry, err error) {
	d.mu.RLock()
	after, last := d.accepted, d.last
	d.mu.RUnlock()
	if after >= last {
		return nil, nil
	}
	err = d.db.View(func(tx *disk.Tx) error {
		entries, err = tx.Entries(after, most, mostBytes)
		return err
	})
	return entries, err
}

// mostBytes is how much is handed up at once.
const mostBytes = 500_000

// saveEvery is how many acknowledged entries may be sent again after a crash.
const saveEvery = 10_000

// Accept notes the number up to which the hub has the journal. It may be less than before: then the hub was restored
// from a backup, and gets the entries again.
func (d *Doors) Accept(number int64) error {
	d.mu.Lock()
	if number > d.last {
		last := d.last
		d.mu.Unlock()
		return fault.New(fault.Internal, "the hub acknowledges entry %d of the journal, which ends at %d", number, last)
	}
	back := number < d.accepted
	d.accepted = number
	done := number == d.last
	d.mu.Unlock()
	if back {
		d.announce()
	}
	if saved := d.saved.Load(); number == saved || !back && !done && number < saved+saveEvery {
		return nil
	}
	d.write.Lock()
	defer d.write.Unlock()
	err := d.update(func(tx *disk.Tx) error { return tx.PutAccepted(number) }, nil)
	if err == nil {
		d.saved.Store(number)
	}
	return err
}

// Journaled returns the numbers of the last entry, and of the last that the hub has.
func (d *Doors) Journaled() (last, accepted int64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.last, d.accepted
}
