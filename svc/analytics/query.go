package analytics

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/analytics/report"
)

// view calls fn in a transaction that sees one state of a read model that is current. What a read model says before
// is not wrong but old, and nothing in the answer would show it.
func (s *Service) view(fn func(*bolt.Tx) error) error {
	return s.db.View(func(tx *bolt.Tx) error {
		if err := s.current(); err != nil {
			return err
		}
		return fn(tx)
	})
}

// with calls fn with an event that the caller manages.
func (s *Service) with(ctx context.Context, event ids.Event, fn func(*bolt.Tx, *api.Offer) error) error {
	return s.view(func(tx *bolt.Tx) error {
		o, err := managed(ctx, tx, event)
		if err == nil {
			err = s.checkComplete(tx, event)
		}
		if err != nil {
			return err
		}
		return fn(tx, o)
	})
}

// managed returns an event that the caller manages.
func managed(ctx context.Context, tx *bolt.Tx, event ids.Event) (*api.Offer, error) {
	o, err := offer(tx, event)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, fault.New(fault.NotFound, api.NoSuchEvent)
	}
	return o, o.Require(rpc.Caller(ctx), api.MayReadReports)
}

func total(tx *bolt.Tx, event ids.Event, kind byte, dim string) counts {
	var c counts
	c.read(tx.Bucket(bucketTotals).Get(totalKey(event, kind, dim)))
	return c
}

// searched returns how often the catalogue was searched.
func searched(tx *bolt.Tx) int64 { return total(tx, searches, byEvent, "")[nViews] }

// dimensions calls fn for each total of a dimension, in the order of their names.
func dimensions(tx *bolt.Tx, event ids.Event, kind byte, fn func(name string, c counts)) {
	p := prefix(event, kind)
	cursor := tx.Bucket(bucketTotals).Cursor()
	for k, v := cursor.Seek(p); k != nil && bytes.HasPrefix(k, p); k, v = cursor.Next() {
		var c counts
		if c.read(v); c != (counts{}) {
			fn(string(k[len(p):]), c)
		}
	}
}

func breakdown(tx *bolt.Tx, event ids.Event, kind byte) []api.Breakdown {
	out := []api.Breakdown{}
	dimensions(tx, event, kind, func(name string,
		c counts) {
		out = append(out, api.Breakdown{Key: name, Numbers: c.numbers()})
	})
	return out
}

func ratio(part, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(part) / float64(of)
}

func currency(o *api.Offer) string {
	for _, t := range o.Event.TicketTypes {
		if t.Price.Currency != "" {
			return t.Price.Currency
		}
	}
	return "EUR"
}

// quantity returns how many tickets of an event there are.
func quantity(o *api.Offer) (n int64) {
	for _, t := range o.Event.Tickets() {
		n += int64(t.Quantity)
	}
	return n
}

func noShows(o *api.Offer, c counts, now time.Time) int64 {
	if now.Before(o.Event.EndsAt) || o.Event.Status == api.EventCancelled {
		return 0
	}
	return max(c[nSold]-c[nRevoked]-c[nAdmitted], 0)
}

// summarize reads the totals of an event: as many as it has ticket types, codes and referrers, however many facts.
func summarize(tx *bolt.Tx, o *api.Offer, now time.Time) *api.EventSummary {
	e := &o.Event
	c := total(tx, e.ID, byEvent, "")
	money := func(n int64) api.Money { return api.Money{Amount: n, Currency: currency(o)} }
	sum := &api.EventSummary{EventID: e.ID, Name: e.Name, Timezone: e.Timezone, StartsAt: e.StartsAt,
		Views: c[nViews], OrdersHeld: c[nHeld], OrdersPaid: c[nPaid], OrdersExpired: c[nExpired],
		OrdersCancelled: c[nCancelled], OrdersRefunded: c[nRefunded],
		TicketsSold: c[nSold], TicketsRevoked: c[nRevoked], Admitted: c[nAdmitted], NoShows: noShows(o, c, now),
		Revenue: money(c[nRevenue]), Refunds: money(c[nRefunds]), Net: money(c[nRevenue] - c[nRefunds]),
		Conversion: ratio(c[nPaid], viewed(c)), Attendance: ratio(c[nAdmitted], c[nSold]-c[nRevoked]),
		TicketTypes: breakdown(tx, e.ID, byType), PromoCodes: breakdown(tx, e.ID, byPromo),
		Referrers: topReferrers(tx, e.ID)}
	sum.Quantity = quantity(o)
	names := typeNames(o)
	for i := range sum.TicketTypes {
		of := &sum.TicketTypes[i]
		of.Name = names[of.Key]
		if t := o.Event.TicketType(ids.TicketType(of.Key)); t != nil && t.IsProduct() {
			sum.ProductsSold += of.TicketsSold - of.TicketsRevoked
		}
	}
	sum.SellThrough = ratio(c[nSold]-c[nRevoked], sum.Quantity)
	return sum
}

// topReferrers returns the twenty that led to most views.
func topReferrers(tx *bolt.Tx, event ids.Event) []api.Breakdown {
	const most = 20
	all := breakdown(tx, event, byReferrer)
	slices.SortStableFunc(all, func(a, b api.Breakdown) int { return cmp.Compare(b.Views, a.Views) })
	return all[:min(most, len(all))]
}

func (s *Service) summary(ctx context.Context, req *api.EventRef) (out *api.EventSummary, err error) {
	err = s.with(ctx, req.ID, func(tx *bolt.Tx, o *api.Offer) error {
		out = summarize(tx, o, s.now())
		return nil
	})
	return out, err
}

func (s *Service) funnel(ctx context.Context, req *api.EventRef) (out *api.Funnel, err error) {
	err = s.with(ctx, req.ID, func(tx *bolt.Tx, o *api.Offer) error {
		out = funnelOf(total(tx, req.ID, byEvent, ""), req.ID)
		return nil
	})
	return out, err
}

// viewed returns how often an event was looked at. Who orders has looked, also where the look was not counted.
func viewed(c counts) int64 { return max(c[nViews], c[nHeld]) }

// funnelOf counts looks and the orders that came of them. Each step is a part of the one before; how many tickets that
// is stands beside it.
func funnelOf(c counts, event ids.Event) *api.Funnel {
	f := &api.Funnel{EventID: event, TicketsSold: c[nSold], Admitted: c[nAdmitted]}
	before := int64(0)
	for _, step := range []struct {
		name  string
		count int64
	}{{"views", viewed(c)}, {"orders held", c[nHeld]}, {"orders paid", c[nPaid]}} {
		f.Steps = append(f.Steps, api.FunnelStep{Name: step.name, Count: step.count, Rate: ratio(step.count, before)})
		before = step.count
	}
	return f
}

// overview lists the events that the caller organizes or manages, by their start, the latest first.
func (s *Service) overview(ctx context.Context, _ *rpc.None) (*api.Overview, error) {
	const most = 200
	p := rpc.Caller(ctx)
	out := &api.Overview{Items: []api.EventSummary{}}
	err := s.view(func(tx *bolt.Tx) error {
		var mine []*api.Offer
		err := tx.Bucket(bucketEvents).ForEach(func(_, v []byte) error {
			o, err := decodeOffer(tx, v)
			if err != nil {
				return err
			}
			if o.Event.Status != deleted && o.Can(rpc.Principal{User: p.User}, api.MayReadReports) {
				mine = append(mine, o)
			}
			return nil
		})
		slices.SortFunc(mine, func(a, b *api.Offer) int {
			return cmp.Or(b.Event.StartsAt.Compare(a.Event.StartsAt), cmp.Compare(a.Event.ID, b.Event.ID))
		})
		for _, o := range mine[:min(most, len(mine))] {
			if s.checkComplete(tx, o.Event.ID) != nil {
				out.Incomplete = append(out.Incomplete, o.Event.ID)
				continue
			}
			out.Items = append(out.Items, *summarize(tx, o, s.now()))
		}
		out.Searches = searched(tx)
		return err
	})
	return out, err
}

func (s *Service) compare(ctx context.Context, req *api.CompareQuery) (*api.Overview, error) {
	if len(req.Events) == 0 {
		return s.overview(ctx, nil)
	}
	var check fault.Check
	check.Field(len(req.Events) >= 2 && len(req.Events) <= 10, "event", "must name two to ten events")
	if err := check.Err(); err != nil {
		return nil, err
	}
	out := &api.Overview{Items: []api.EventSummary{}}
	err := s.view(func(tx *bolt.Tx) error {
		for _, id := range req.Events {
			o, err := managed(ctx, tx, id)
			if err == nil {
				err = s.checkComplete(tx, id)
			}
			if err != nil {
				return err
			}
			out.Items = append(out.Items, *summarize(tx, o, s.now()))
		}
		out.Searches = searched(tx)
		return nil
	})
	return out, err
}

// report answers with numbers as a file.
func (s *Service) report(ctx context.Context, req *api.ReportRef) (*rpc.Blob, error) {
	name, format, _ := strings.Cut(req.File, ".")
	var r *report.Report
	err := s.with(ctx, req.ID, func(tx *bolt.Tx, o *api.Offer) (err error) {
		query := &api.SeriesQuery{ID: req.ID, Interval: req.Interval, From: req.From, To: req.To}
		switch name {
		case "sales":
			var data *api.Series
			if data, err = salesOf(tx, o, query); err == nil {
				r = report.Sales(o.Event.Name, zone(o), data)
			}
		case "arrivals":
			var data *api.Series
			if data, err = arrivalsOf(tx, o, query); err == nil {
				r = report.Arrivals(o.Event.Name, zone(o), data)
			}
		case "funnel":
			r = report.Funnel(o.Event.Name, zone(o), funnelOf(total(tx, req.ID, byEvent, ""), req.ID))
		case "demographics":
			var data *api.Demographics
			if data, err = buyers(tx, req.ID); err == nil {
				r = report.Demographics(o.Event.Name, zone(o), data)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fault.New(fault.NotFound, "the reports are sales, arrivals, funnel and demographics")
	}
	blob := &rpc.Blob{}
	switch format {
	case "csv":
		blob.ContentType, blob.Filename = "text/csv; charset=utf-8", req.File
		blob.Data, err = r.CSV()
	case "svg":
		blob.ContentType = "image/svg+xml"
		blob.Data = r.Picture(s.fonts).SVG()
	case "png":
		blob.ContentType = "image/png"
		blob.Data, err = r.Picture(s.fonts).PNG(1)
	case "pdf":
		blob.ContentType, blob.Filename = "application/pdf", req.File
		blob.Data, err = r.PDF(s.fonts, s.now())
	default:
		err = fault.New(fault.NotFound, "reports are csv, svg, png or pdf")
	}
	return blob, err
}
