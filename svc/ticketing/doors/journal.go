package doors

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/record"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
)

// journal keeps and applies what a venue has decided. A request has what fits into a message, so that a slow line takes
// few of them; a transaction has less, so that orders do not wait for it. When half of the time for an answer is over
// no more is begun: a venue that hears nothing sends all of it again.
func (s *Doors) journal(ctx context.Context, req *line.Journal) (receipt *line.Receipt, err error) {
	part, rest := *req, req.Entries
	half, end := ctx, func() {}
	if deadline, ok := ctx.Deadline(); ok {
		half, end = context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	defer end()
	for first := true; first || len(rest) > 0 && half.Err() == nil; first = false {
		n := min(len(rest), batchSize)
		part.Entries, rest = rest[:n], rest[n:]
		now, err := s.keep(ctx, &part)
		if err != nil && receipt != nil { // what is kept is acknowledged; the rest comes again, and its error with it
			return receipt, nil
		}
		if err != nil {
			return nil, err
		}
		if receipt = now; n > 0 && now.Journal < part.Entries[n-1].Number {
			return receipt, nil // they do not follow
		}
	}
	return receipt, nil
}

// keep keeps and applies entries, each once, in their order. It takes those that follow on what is here; the receipt
// says where to go on.
func (s *Doors) keep(ctx context.Context, req *line.Journal) (*line.Receipt, error) {
	trusted, err := s.trusted(ctx, req.VenueID, eventsOf(req.Entries))
	if err != nil {
		return nil, err
	}
	number, err := s.db.contact(ctx, req.Session, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	entries := following(number, req.Entries)
	asking, err := s.offersOf(ctx, entries)
	if err != nil {
		return nil, err
	}
	selling, err := s.sell(ctx, req.VenueID, sales(entries, trusted))
	if err != nil {
		return nil, err
	}
	var done *ingest
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		now := store.Time(s.now())
		if number, err = s.db.lockedJournal(ctx, tx, req.Session, now); err != nil {
			return err
		}
		selling.Reset(tx)
		done = &ingest{db: s.db, apply: selling.Apply, venue: req.VenueID, edge: req.Edge, trusted: trusted,
			asking: asking}
		entries := following(number, entries)
		if err := done.all(ctx, tx, entries); err != nil || len(entries) == 0 {
			return err
		}
		for _, event := range slices.Compact(slices.Sorted(eventsOf(entries))) {
			if err := retention.Again(ctx, tx, event); err != nil {
				return err
			}
		}
		number = entries[len(entries)-1].Number
		_, err := tx.ExecContext(ctx, "UPDATE journals SET number = ?, contact_at = ? WHERE venue_id = ? AND edge = ?",
			number, now, req.VenueID, req.Edge)
		if err != nil {
			return err
		}
		return selling.Last(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	selling.Finish(ctx)
	for _, flag := range done.flags {
		s.metrics.flagged(flag)
	}
	for _, r := range done.unanswered {
		s.metrics.unanswered.Inc()
		s.log.WarnContext(ctx, "an answer that a venue has taken is not kept: it is among the event's refused answers",
			"venue", req.VenueID, "event", r.EventID, "ticket", r.TicketID, "question", r.QuestionID,
			"reason", r.Reason)
	}
	for _, n := range done.refused {
		s.metrics.refused.Inc()
		s.log.ErrorContext(ctx, "an entry of a venue's journal makes no sense, and is kept as refused", "venue",
			req.VenueID, "edge", req.Edge, "number", n)
	}
	return &line.Receipt{Journal: number}, nil
}

// following returns the entries that follow on number without a gap.
func following(number int64, entries []line.Entry) []line.Entry {
	var out []line.Entry
	for _, e := range entries {
		switch {
		case e.Number <= number:
			continue
		case e.Number != number+1:
			return out
		}
		out = append(out, e)
		number = e.Number
	}
	return out
}

// sales returns the entries that are for Selling.
func sales(entries []line.Entry, trusted map[ids.Event]bool) []line.Entry {
	var out []line.Entry
	for _, e := range entries {
		if kindOf(e) != "" && e.Answers == nil && trusted[e.EventID] {
			out = append(out, e)
		}
	}
	return out
}

// kindOf returns what an entry is that is no scan, or nothing if it makes no sense.
func kindOf(e line.Entry) string {
	switch {
	case e.Scan != nil:
		return ""
	case e.Sale != nil:
		return "sale"
	case e.Reversal != nil:
		return "reversal"
	case e.Answers != nil:
		return "answers"
	case e.LeaseCut != nil:
		return "lease_cut"
	case e.LeaseDone != "":
		return "lease_done"
	}
	return ""
}

// eventsOf returns the events that entries are about.
func eventsOf(entries []line.Entry) iter.Seq[ids.Event] {
	return func(yield func(ids.Event) bool) {
		for _, e := range entries {
			if e.EventID != "" && !yield(e.EventID) {
				return
			}
		}
	}
}

// trusted returns for which of the events the venue may decide: it has, or had, their doors; or, should this database
// have forgotten that, they are at the venue, or its owner manages them.
func (s *Doors) trusted(
	ctx context.Context, venue ids.Venue, events iter.Seq[ids.Event],
) (map[ids.Event]bool, error) {
	out := map[ids.Event]bool{}
	for event := range events {
		if _, known := out[event]; known {
			continue
		}
		row, err := doorOf(ctx, s.db.Read(), event)
		if err != nil {
			return nil, store.FaultOf(ctx, err)
		}
		if row != nil && row.VenueID == venue {
			out[event] = true
			continue
		}
		if out[event], err = s.belongs(ctx, venue, event); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// belongs reports whether an event is at a venue, or the venue's owner manages it.
func (s *Doors) belongs(ctx context.Context, venue ids.Venue, event ids.Event) (bool, error) {
	offer, err := s.offers.Get(ctx, event)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if offer.Event.VenueID == venue {
		return true, nil
	}
	v, err := rpc.Call(ctx, s.client, line.FindVenue, &line.VenueRef{VenueID: venue})
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil && offer.Can(rpc.Principal{User: v.Owner}, api.MayUseVenues), err
}

// lockedJournal returns up to which number the journal of an edge is here, and keeps it so until the end of the
// transaction.
func (db doorStore) lockedJournal(ctx context.Context, tx tx, e line.Session, now time.Time) (int64, error) {
	if e.VenueID == "" || e.Edge == "" || len(e.Edge) > 64 || strings.ContainsRune(e.Edge, 0) {
		return 0, fault.New(fault.Invalid, "the edge has no name")
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO journals (venue_id, edge, number, contact_at) VALUES (?, ?, 0, ?)
		ON CONFLICT (venue_id, edge) DO NOTHING`, e.VenueID, e.Edge, now); err != nil {
		return 0, err
	}
	var number int64
	err := tx.NewRaw("SELECT number FROM journals WHERE venue_id = ? AND edge = ? ?", e.VenueID, e.Edge,
		db.forUpdateOf("journals")).Scan(ctx, &number)
	return number, err
}

// contactEvery is how exactly the last contact of a venue is known.
const contactEvery = 30 * time.Second

// contact notes that a venue has asked, and returns up to which number its journal is here.
func (db doorStore) contact(ctx context.Context, e line.Session, now time.Time) (int64, error) {
	var rows []struct {
		Number    int64
		ContactAt time.Time
	}
	err := db.Read().NewRaw("SELECT number, contact_at FROM journals WHERE venue_id = ? AND edge = ?", e.VenueID,
		e.Edge).Scan(ctx, &rows)
	if err != nil {
		return 0, store.FaultOf(ctx, err)
	}
	if len(rows) == 0 { // before its hello: nothing is known of it
		return 0, nil
	}
	if now.Sub(rows[0].ContactAt) >= contactEvery {
		db.TxSoon(func(ctx context.Context, tx tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE journals SET contact_at = ? WHERE venue_id = ? AND edge = ?", now,
				e.VenueID, e.Edge)
			return err
		})
	}
	return rows[0].Number, nil
}

// ingest applies entries of a journal.
type ingest struct {
	db      doorStore
	apply   func(context.Context, bun.Tx, line.Entry) error
	venue   ids.Venue
	edge    string
	trusted map[ids.Event]bool
	asking  map[ids.Event]*api.Event // those that answers are about

	tickets map[ids.Ticket]record.Ticket
	changed map[ids.Event][]ids.Ticket
	events  []stream.Message
	flags   []string
	refused []int64

	unanswered []refusedRow
}

// entryRow is a row of the table journal_entries.
type entryRow struct {
	bun.BaseModel `bun:"table:journal_entries"`

	VenueID ids.Venue
	Edge    string
	Number  int64
	EventID ids.Event
	Kind    string
	At      time.Time
}

// all applies entries in their order, runs of scans together.
func (in *ingest) all(ctx context.Context, tx tx, entries []line.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	rows := make([]entryRow, len(entries))
	in.changed = map[ids.Event][]ids.Ticket{}
	for from := 0; from < len(entries); {
		to := from
		for to < len(entries) && entries[to].Scan != nil {
			to++
		}
		if to > from {
			if err := in.scans(ctx, tx, entries[from:to], rows[from:to]); err != nil {
				return err
			}
			from = to
			continue
		}
		e := entries[from]
		rows[from] = in.row(e, kindOf(e))
		if rows[from].Kind == "" || !in.trusted[e.EventID] {
			rows[from].Kind = "refused"
			in.refused = append(in.refused, e.Number)
		} else if err := in.other(ctx, tx, e); err != nil {
			return err
		}
		in.tickets = nil // which the entry may have changed
		from++
	}
	if err := markAll(ctx, tx, in.changed); err != nil {
		return err
	}
	if _, err := tx.NewInsert().Model(&rows).Returning("NULL").Exec(ctx); err != nil {
		return err
	}
	return stream.AddAll(ctx, tx, in.events...)
}

// other applies an entry that is no scan.
func (in *ingest) other(ctx context.Context, tx tx, e line.Entry) error {
	if e.Answers != nil {
		return in.answers(ctx, tx, e)
	}
	return in.apply(ctx, tx, e)
}

func (in *ingest) row(e line.Entry, kind string) entryRow {
	return entryRow{VenueID: in.venue, Edge: in.edge, Number: e.Number, EventID: e.EventID, Kind: kind,
		At: store.Time(e.At)}
}
