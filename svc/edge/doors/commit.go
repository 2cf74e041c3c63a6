package doors

import (
	"context"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// place is a ticket of an event.
type place struct {
	event  ids.Event
	ticket [16]byte
}

// commit decides on scans, sales and reversals in the order in which they came, and writes what was decided in one
// transaction. What is in memory follows only when that is on the disk.
func (d *Doors) commit(_ context.Context, in []request) []batch.Result[verdict] {
	d.verify(in)
	d.write.Lock()
	defer d.write.Unlock()
	out := make([]batch.Result[verdict], len(in))
	if err := d.writable(); err != nil {
		return batch.Fail[verdict](len(in), err)
	}
	now := d.now().UTC().Truncate(time.Millisecond)
	marks := make(map[place]mark, len(in))
	entries := make([]line.Entry, 0, len(in))
	sales := d.beginSelling()
	d.mu.Lock() // names of gates may be added
	for i := range in {
		r := &in[i]
		e := d.events[r.EventID]
		if out[i].Err = d.holds(e); out[i].Err != nil { // it was given back a moment ago
			continue
		}
		number := d.last + int64(len(entries)) + 1
		seat := func(t ids.Ticket) seat { // as it is in this commit
			s := e.seats[t.Raw()]
			if m, ok := marks[place{r.EventID, t.Raw()}]; ok {
				s.own = m
			}
			return s
		}
		if r.sale != nil || r.reversal != nil {
			var entry *line.Entry
			if r.sale != nil {
				out[i].Out.sold, entry, out[i].Err = sales.sell(e, r, number, now)
			} else {
				entry, out[i].Err = sales.reverse(e, r, seat, number, now)
				out[i].Out.reversed = entry
			}
			if entry == nil {
				continue
			}
			entries = append(entries, *entry)
			if entry.Reversal != nil {
				for _, t := range entry.Reversal.Tickets {
					marks[place{r.EventID, t.Raw()}] = seat(t).revoke()
				}
			}
			continue
		}
		key := place{r.EventID, r.code.Ticket.Raw()}
		s := seat(r.code.Ticket)
		v, next := e.decide(r, s, now)
		out[i].Out = v
		if next != s.own {
			marks[key] = next
		}
		entries = append(entries, entryOf(r, v, e.Epoch, number, now))
	}
	d.mu.Unlock()
	if len(entries) == 0 {
		return out
	}
	began := time.Now()
	err := d.db.Update(func(tx *disk.Tx) error {
		if err := tx.Append(entries...); err != nil {
			return err
		}
		return sales.write(tx)
	})
	if err != nil {
		d.refused(err)
		return batch.Fail[verdict](len(in), d.errBroken())
	}
	d.metrics.commit.Update(time.Since(began).Seconds())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last += int64(len(entries))
	for key, m := range marks {
		e := d.events[key.event]
		s := e.seats[key.ticket]
		s.own = m
		e.seats[key.ticket] = s
	}
	sales.follow()
	d.count(entries)
	for i := range out {
		if out[i].Err == nil && out[i].Out.result == api.Admitted {
			d.admitted.Add(1)
		}
	}
	d.announce()
	return out
}

// count counts what was sold and taken back.
func (d *Doors) count(entries []line.Entry) {
	for _, e := range entries {
		switch {
		case e.Sale != nil:
			d.sales.Add(1)
			d.metrics.sold.Inc()
			d.metrics.tickets.Add(len(e.Sale.Tickets))
		case e.Reversal != nil:
			d.reversals.Add(1)
			d.metrics.back.Inc()
		}
	}
}

// entryOf is what the journal says of a decision.
func entryOf(r *request, v verdict, epoch, number int64, now time.Time) line.Entry {
	scan := &line.Scan{ID: ids.New[ids.AdmissionKind](now), Kind: line.ScanEntry, Result: v.result, Unknown: v.unknown,
		Gate: r.Gate, By: r.By}
	if r.genuine {
		scan.TicketID, scan.Revision = r.code.Ticket, r.code.Revision
	}
	if v.result == api.Exited || v.result == api.NotInside {
		scan.Kind = line.ScanExit
	}
	return line.Entry{Number: number, EventID: r.EventID, Epoch: epoch, At: now, Scan: scan}
}

// announce lets the journal be handed up.
func (d *Doors) announce() {
	select {
	case d.grown <- struct{}{}:
	default:
	}
}

// writable returns nil if something can be decided. The caller has write.
func (d *Doors) writable() error {
	if d.fenced != "" {
		return d.errFenced()
	}
	if d.broken != nil {
		return d.errBroken()
	}
	return nil
}

// refused notes that a commit failed. What is on the disk is not known until Mend has read it.
func (d *Doors) refused(err error) {
	d.metrics.failed.Inc()
	d.log.Error("the disk refuses to write: nothing is decided until it does", "error", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// Mend opens the file anew after a commit has failed, and reads everything from it, as after a restart. It does nothing
// if no commit has failed.
func (d *Doors) Mend() error {
	d.write.Lock()
	defer d.write.Unlock()
	if d.broken == nil {
		return nil
	}
	err := d.db.Reopen()
	if err == nil {
		err = d.load()
	}
	if err == nil && d.fenced != "" {
		err = d.db.Update(func(tx *disk.Tx) error { return tx.PutFenced(d.fenced) })
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if !errors.Is(d.broken, err) {
			d.broken = err
		}
		return err
	}
	d.broken = nil
	d.log.Info("the disk takes writes again")
	return nil
}
