package doors

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// NextPage returns what to ask for of an event's manifest, and false if nothing is missing: then all changes up to the
// position that the hub last told are here.
func (d *Doors) NextPage(id ids.Event) (line.Manifest, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	e := d.events[id]
	if e == nil {
		return line.Manifest{}, false
	}
	ask := line.Manifest{EventID: id, Limit: line.ManifestLimit, Accepted: d.accepted}
	m := e.Manifest
	switch {
	case e.Generation != m.Generation || !m.Complete:
		if m.Next != nil && m.Next.Generation == e.Generation {
			ask.After = m.Next.After
		}
		return ask, true
	case m.More || m.Position < e.Position:
		ask.Since, ask.After = m.Position, m.After
		return ask, true
	}
	return ask, false
}

// Page writes a page that was asked for, and the position with it. A page of an older generation is dropped.
func (d *Doors) Page(ask line.Manifest, generation int64, page *line.Page) error {
	d.write.Lock()
	defer d.write.Unlock()
	e := d.events[ask.EventID]
	if e == nil || e.Generation != generation {
		return nil
	}
	if ask.Since == 0 {
		return d.reading(e, ask, page)
	}
	if m := e.Manifest; m.Generation != generation || m.Position != ask.Since || m.After != ask.After {
		return nil
	}
	next := e.Event
	m := &next.Manifest
	m.Position, m.More = max(page.Position, ask.Since), page.More
	if n := len(page.Tickets); n > 0 {
		m.After = page.Tickets[n-1].ID
	}
	if !page.More && m.Position < e.Position { // nothing was changed in between
		m.Position, m.After = e.Position, ""
	}
	return d.update(func(tx *disk.Tx) error {
		if err := tx.PutTickets(e.EventID, generation, page.Tickets); err != nil {
			return err
		}
		if err := tx.DropGiven(e.EventID, page.Tickets, ask.Accepted); err != nil {
			return err
		}
		return tx.PutEvent(&next)
	}, func() {
		e.Event = next
		for i := range page.Tickets {
			e.put(&page.Tickets[i])
		}
	})
}

// reading writes a page of a reading of all tickets. With the last of them it becomes the manifest.
func (d *Doors) reading(e *event, ask line.Manifest, page *line.Page) error {
	next := e.Event
	r := disk.Reading{Generation: e.Generation, Position: page.Position}
	if old := e.Manifest.Next; old != nil && old.Generation == e.Generation {
		if old.After != ask.After {
			return nil
		}
		r.Position = old.Position
	} else if ask.After != "" {
		return nil
	}
	if len(page.Tickets) > 0 {
		r.After = page.Tickets[len(page.Tickets)-1].ID
	}
	next.Manifest.Next = &r
	done := !page.More
	if done {
		next.Manifest = disk.Manifest{Generation: r.Generation, Position: r.Position, Complete: true}
	}
	old := e.Manifest
	err := d.update(func(tx *disk.Tx) error {
		if ask.After == "" { // of a reading that was broken off
			if err := tx.DropTickets(e.EventID, r.Generation); err != nil {
				return err
			}
			if old.Next != nil && old.Next.Generation != r.Generation {
				if err := tx.DropTickets(e.EventID, old.Next.Generation); err != nil {
					return err
				}
			}
		}
		if err := tx.PutTickets(e.EventID, r.Generation, page.Tickets); err != nil {
			return err
		}
		if err := tx.DropGiven(e.EventID, page.Tickets, ask.Accepted); err != nil {
			return err
		}
		if done {
			if err := e.keepSold(tx, r.Generation); err != nil {
				return err
			}
		}
		return tx.PutEvent(&next)
	}, nil)
	if err != nil {
		return err
	}
	if !done {
		d.mu.Lock()
		defer d.mu.Unlock()
		e.Event = next
		return nil
	}
	return d.complete(e, next, old)
}

// complete takes a manifest into use that was read to its end.
func (d *Doors) complete(e *event, next disk.Event, old disk.Manifest) error {
	fresh := &event{Event: next}
	err := d.db.View(func(tx *disk.Tx) error { return fresh.read(tx) })
	if err != nil {
		return err
	}
	d.mu.Lock()
	for key, s := range e.seats { // what was decided here stays decided
		if s.own.status == none {
			continue
		}
		own := s.own
		own.gate = fresh.gate(e.gateName(own.gate))
		f := fresh.seats[key]
		f.own = own
		fresh.seats[key] = f
	}
	e.Event, e.seats, e.gates = next, fresh.seats, fresh.gates
	d.mu.Unlock()
	if old.Complete && old.Generation != next.Manifest.Generation {
		return d.update(func(tx *disk.Tx) error { return tx.DropTickets(e.EventID, old.Generation) }, nil)
	}
	return nil
}

// Current notes that the manifest of an event was that of the hub at a moment.
func (d *Doors) Current(id ids.Event, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.events[id]; e != nil && e.upToDate(e.Position) {
		e.current = at
	}
}

// upToDate reports whether the manifest has all changes up to a position.
func (e *event) upToDate(position int64) bool {
	m := e.Manifest
	return m.Complete && !m.More && m.Generation == e.Generation && m.Position >= position
}
