package analytics

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// longestSeries bounds an answer, in points.
const longestSeries = 3000

// cells calls fn for each minute of a dimension in [from, to) that has a cell, in order.
func cells(tx *bolt.Tx, event ids.Event, kind byte, dim string, from, to int64, fn func(minute int64, c counts)) {
	p := cellPrefix(event, kind, dim)
	cursor := tx.Bucket(bucketCells).Cursor()
	start := binary.BigEndian.AppendUint32(bytes.Clone(p), uint32(from))
	for k, v := cursor.Seek(start); k != nil && bytes.HasPrefix(k, p) && len(k) == len(p)+4; k, v = cursor.Next() {
		minute := int64(binary.BigEndian.Uint32(k[len(p):]))
		if minute >= to {
			return
		}
		var c counts
		if c.read(v); c != (counts{}) {
			fn(minute, c)
		}
	}
}

// begin returns the start of the interval that t is in, by the clocks on the walls of its zone.
func begin(t time.Time, interval string) time.Time {
	switch y, m, d := t.Date(); interval {
	case "week":
		return midnight(y, m, d-(int(t.Weekday())+6)%7, t.Location())
	case "day":
		return midnight(y, m, d, t.Location())
	case "hour": // by subtraction: when clocks go back an hour comes twice
		return t.Add(-time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second - time.Duration(
			t.Nanosecond()))
	default:
		return t.Truncate(time.Minute)
	}
}

// midnight returns the first instant of a day. In some zones clocks go forward at midnight: the day begins at one.
func midnight(y int, m time.Month, d int, loc *time.Location) time.Time {
	noon := time.Date(y, m, d, 12, 0, 0, 0, loc)
	t := time.Date(y, m, d, 0, 0, 0, 0, loc)
	for t.Day() != noon.Day() {
		t = t.Add(15 * time.Minute)
	}
	return t
}

// following returns the start of the next interval.
func following(t time.Time, interval string) time.Time {
	switch y, m, d := t.Date(); interval {
	case "week":
		return midnight(y, m, d+7, t.Location())
	case "day":
		return midnight(y, m, d+1, t.Location())
	case "hour":
		return begin(t.Add(time.Hour), interval)
	default:
		return t.Add(time.Minute)
	}
}

func zone(o *api.Offer) *time.Location {
	if loc, err := time.LoadLocation(o.Event.Timezone); err == nil {
		return loc
	}
	return time.UTC
}

// extent returns the first and the last minute of an event that have facts.
func extent(tx *bolt.Tx, event ids.Event, wanted func(counts) bool) (first, last int64) {
	first = -1
	cells(tx, event, byEvent, "", 0, 1<<32, func(minute int64, c counts) {
		if !wanted(c) {
			return
		}
		if first < 0 {
			first = minute
		}
		last = minute
	})
	return first, last
}

// series adds up the cells of an event by interval.
func series(
	tx *bolt.Tx, o *api.Offer, q *api.SeriesQuery, otherwise string, wanted func(counts) bool,
) (*api.Series, error) {
	interval := q.Interval
	if interval == "" {
		interval = otherwise
	}
	var check fault.Check
	switch interval {
	case "minute", "hour", "day", "week":
	default:
		check.Field(false, "interval", "must be minute, hour, day or week")
	}
	check.Field(q.From.IsZero() || q.To.IsZero() || q.From.Before(q.To), "to", "must be after from")
	if err := check.Err(); err != nil {
		return nil, err
	}
	loc := zone(o)
	out := &api.Series{EventID: o.Event.ID, Timezone: loc.String(), Interval: interval, Currency: currency(o),
		Points: []api.SeriesPoint{}}
	from, to := q.From, q.To
	if from.IsZero() || to.IsZero() {
		first, last := extent(tx, o.Event.ID, wanted)
		if first < 0 {
			return out, nil
		}
		if from.IsZero() {
			from = time.Unix(first*60, 0)
		}
		if to.IsZero() {
			to = time.Unix(last*60+60, 0)
		}
	}
	var sums []counts
	for t := begin(from.In(loc), interval); t.Before(to); t = following(t, interval) {
		if len(sums) == longestSeries {
			check.Field(false, "interval", "gives more than %d points: take a longer one, or a shorter time",
				longestSeries)
			return nil, check.Err()
		}
		out.Points = append(out.Points, api.SeriesPoint{Start: t})
		sums = append(sums, counts{})
	}
	if len(sums) == 0 {
		return out, nil
	}
	end := following(out.Points[len(sums)-1].Start, interval)
	i := 0
	cells(tx, o.Event.ID, byEvent, "", minuteOf(out.Points[0].Start), minuteOf(end), func(minute int64, c counts) {
		when := time.Unix(minute*60, 0)
		for i+1 < len(sums) && !when.Before(out.Points[i+1].Start) {
			i++
		}
		sums[i].add(&c)
	})
	inside := int64(0)
	for i := range sums {
		inside += sums[i][nAdmitted]
		out.Points[i].Numbers, out.Points[i].Inside = sums[i].numbers(), inside
	}
	return out, nil
}

// salesOf is the series of an event from its first fact to its last, unless something else is asked for.
func salesOf(tx *bolt.Tx, o *api.Offer, q *api.SeriesQuery) (*api.Series, error) {
	out, err := series(tx, o, q, "day", func(counts) bool { return true })
	if err != nil {
		return nil, err
	}
	out.Types = within(tx, out, byType)
	names := typeNames(o)
	for i := range out.Types {
		out.Types[i].Name = names[out.Types[i].Key]
	}
	return out, nil
}

// within adds up each value of a dimension over the time of a series.
func within(tx *bolt.Tx, s *api.Series, kind byte) (out []api.Breakdown) {
	if len(s.Points) == 0 {
		return nil
	}
	from := minuteOf(s.Points[0].Start)
	to := minuteOf(following(s.Points[len(s.Points)-1].Start, s.Interval))
	dimensions(tx, s.EventID, kind, func(name string, _ counts) {
		var sum counts
		cells(tx, s.EventID, kind, name, from, to, func(_ int64, c counts) { sum.add(&c) })
		if sum != (counts{}) {
			out = append(out, api.Breakdown{Key: name, Numbers: sum.numbers()})
		}
	})
	return out
}

// typeNames returns the names of the ticket types of an event by their ids.
func typeNames(o *api.Offer) map[string]string {
	names := map[string]string{}
	for _, t := range o.Event.TicketTypes {
		names[string(t.ID)] = t.Title()
	}
	return names
}

// arrivalsOf is the same from the first admission to the last.
func arrivalsOf(tx *bolt.Tx, o *api.Offer, q *api.SeriesQuery) (*api.Series, error) {
	return series(tx, o, q, "hour", func(c counts) bool { return c[nAdmitted] != 0 })
}

func (s *Service) sales(ctx context.Context, req *api.SeriesQuery) (out *api.Series, err error) {
	err = s.with(ctx, req.ID, func(tx *bolt.Tx, o *api.Offer) (err error) {
		out, err = salesOf(tx, o, req)
		return err
	})
	return out, err
}

// attendance is the arrivals of an event, and how many came through each gate.
func (s *Service) attendance(ctx context.Context, req *api.SeriesQuery) (out *api.Series, err error) {
	err = s.with(ctx, req.ID, func(tx *bolt.Tx, o *api.Offer) (err error) {
		out, err = arrivalsOf(tx, o, req)
		if err != nil || len(out.Points) == 0 {
			return err
		}
		out.Gates = within(tx, out, byGate)
		out.NoShows = noShows(o, total(tx, req.ID, byEvent, ""), s.now())
		return nil
	})
	return out, err
}
