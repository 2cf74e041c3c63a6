package doors

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// ofEvent is a text that entries of an event have.
func ofEvent(id ids.Event) string { return `"event_id":"` + string(id) + `"` }

// Scans returns scans of an event, the newest first: at most so many, from before an entry of the journal, or from the
// newest with 0. Next is where the following ones begin, or 0.
func (d *Doors) Scans(id ids.Event, before int64, limit int) (list []line.Entry, next int64, err error) {
	err = d.db.View(func(tx *disk.Tx) error {
		return tx.WalkBack(before, ofEvent(id), func(e line.Entry) bool {
			if e.Scan == nil || e.EventID != id {
				return true
			}
			if len(list) == limit {
				next = list[limit-1].Number
				return false
			}
			list = append(list, e)
			return true
		})
	})
	return list, next, err
}

// TicketsOf returns the tickets of scans of an event, as far as its list has them.
func (d *Doors) TicketsOf(id ids.Event, scans []line.Entry) (map[ids.Ticket]line.Ticket, error) {
	e, _, _ := d.Event(id)
	found := make(map[ids.Ticket]line.Ticket, len(scans))
	err := d.db.View(func(tx *disk.Tx) error {
		for _, s := range scans {
			if s.Scan == nil || s.Scan.TicketID == "" {
				continue
			}
			t, known, err := tx.Ticket(id, e.Manifest.Generation, s.Scan.TicketID)
			if err != nil {
				return err
			}
			if known {
				found[t.ID] = t
			}
		}
		return nil
	})
	return found, err
}

// Undo takes an admission back: the ticket is good again. It returns the scan that is undone, and whether it was not
// before: the same again changes nothing. The faults are those of Scan;
// NotFound if the event has no such scan; Conflict if it did not admit, or is not the one that counts.
func (d *Doors) Undo(id ids.Event, admission ids.Admission, by string) (scan line.Entry, now bool, err error) {
	d.write.Lock()
	defer d.write.Unlock()
	e := d.events[id]
	if err := cmp.Or(d.writable(), d.holds(e)); err != nil {
		return scan, false, err
	}
	undone := false // after it
	err = d.db.View(func(tx *disk.Tx) error {
		err := tx.WalkBack(0, string(admission), func(found line.Entry) bool {
			if found.Scan != nil && found.Scan.ID == admission && found.EventID == id {
				scan = found
			}
			return scan.Number == 0
		})
		if err != nil || scan.Number == 0 || scan.Scan.TicketID == "" {
			return err
		}
		return tx.Walk(scan.Number, string(scan.Scan.TicketID), func(later line.Entry) bool {
			undone = later.EventID == id && later.Scan != nil && later.Scan.Kind == line.ScanUndo
			return !undone
		})
	})
	if err != nil {
		return scan, false, err
	}
	switch {
	case scan.Number == 0:
		return scan, false, fault.New(fault.NotFound, "the event has no such scan at this venue")
	case scan.Scan.Kind != line.ScanEntry || !letsGo(scan.Scan.Result):
		return scan, false, fault.New(fault.Conflict, "the scan did not admit")
	case undone:
		return scan, false, nil
	case scan.Epoch != e.Epoch:
		return scan, false, fault.New(fault.Conflict, "the scan is of an earlier time, and was handed to the system")
	}
	key := scan.Scan.TicketID.Raw()
	s := e.seats[key]
	if s.own.status != inside && s.own.status != outside || s.state().status == revoked {
		return scan, false, fault.New(fault.Conflict, "the admission is not what counts of this ticket any more")
	}
	at := d.now().UTC().Truncate(time.Millisecond)
	undo := line.Entry{Number: d.last + 1, EventID: id, Epoch: e.Epoch, At: at, Scan: &line.Scan{
		ID: ids.New[ids.AdmissionKind](at), Kind: line.ScanUndo, TicketID: scan.Scan.TicketID,
		Revision: scan.Scan.Revision, Gate: scan.Scan.Gate, By: by}}
	if err := d.db.Update(func(tx *disk.Tx) error { return tx.Append(undo) }); err != nil {
		d.refused(err)
		return scan, false, d.errBroken()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	s.own = mark{revision: s.own.revision, status: valid}
	e.seats[key] = s
	d.announce()
	return scan, true, nil
}

// Search returns tickets whose holder's name has a text, without case and accents, by name: at most so many, with the
// state that counts at the doors of the venue. The fault is NotFound for an event that the venue has nothing to do
// with.
func (d *Doors) Search(id ids.Event, part string, limit int) ([]line.Ticket, error) {
	type hit struct {
		folded string
		key    [16]byte
	}
	var hits []hit
	d.mu.RLock()
	e := d.events[id]
	if e == nil {
		d.mu.RUnlock()
		return nil, fault.New(fault.NotFound, "the doors of this event are not the venue's")
	}
	needle := text.Fold(strings.TrimSpace(part))
	for key, s := range e.seats {
		if s.known() && strings.Contains(s.folded, needle) {
			hits = append(hits, hit{s.folded, key})
		}
	}
	generation := e.Manifest.Generation
	d.mu.RUnlock()
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.folded, b.folded), slices.Compare(a.key[:], b.key[:]))
	})
	hits = hits[:min(len(hits), limit)]
	found := make([]line.Ticket, 0, len(hits))
	err := d.db.View(func(tx *disk.Tx) error {
		for _, h := range hits {
			t, there, err := tx.Ticket(id, generation, ids.FromRaw[ids.TicketKind](h.key))
			if err != nil {
				return err
			}
			if there {
				found = append(found, t)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i := range found {
		t := &found[i]
		m := e.seats[t.ID.Raw()].state()
		t.Status, t.Admitted, t.Gate, t.Outside = api.TicketValid, nil, e.gateName(m.gate), m.status == outside
		switch m.status {
		case revoked:
			t.Status = api.TicketRevoked
		case inside, outside:
			t.Status = api.TicketAdmitted
		}
		if m.at != 0 {
			at := time.UnixMilli(m.at).UTC()
			t.Admitted = &at
		}
	}
	return found, nil
}

// Forget deletes entries of the journal that the hub has had for longer than a time, a few thousand at once. It reports
// whether there may be more.
func (d *Doors) Forget(before time.Time) (more bool, err error) {
	const most = 2000
	d.write.Lock()
	defer d.write.Unlock()
	n := 0
	err = d.update(func(tx *disk.Tx) (err error) {
		n, err = tx.Forget(before, most)
		return err
	}, nil)
	return n == most, err
}
