package analytics

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// report is a table that can also be drawn.
type report struct {
	title  string
	header []string
	rows   [][]string
	labels []string    // of what is drawn
	legend []string    // of the lines; bars have one
	values [][]float64 // by line
	bars   bool
}

func (s *Service) report(ctx context.Context, req *api.ReportRef) (*rpc.Blob, error) {
	name, format, _ := strings.Cut(req.File, ".")
	var r *report
	err := s.with(ctx, req.ID, func(tx *bolt.Tx, o *api.Offer) (err error) {
		query := &api.SeriesQuery{ID: req.ID, Interval: req.Interval, From: req.From, To: req.To}
		switch name {
		case "sales":
			var data *api.Series
			if data, err = salesOf(tx, o, query); err == nil {
				r = salesReport(o.Event.Name, data)
			}
		case "arrivals":
			var data *api.Series
			if data, err = arrivalsOf(tx, o, query); err == nil {
				r = arrivalsReport(o.Event.Name, data)
			}
		case "funnel":
			r = funnelReport(o.Event.Name, funnelOf(total(tx, req.ID, byEvent, ""), req.ID))
		case "demographics":
			var data *api.Demographics
			if data, err = buyers(tx, req.ID); err == nil {
				r = peopleReport(o.Event.Name, data)
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
		blob.Data, err = r.csv()
	case "svg":
		blob.ContentType = "image/svg+xml"
		blob.Data, err = r.draw("svg")
	case "png":
		blob.ContentType = "image/png"
		blob.Data, err = r.draw("png")
	case "pdf":
		blob.ContentType, blob.Filename = "application/pdf", req.File
		blob.Data, err = r.pdf(s.now())
	default:
		err = fault.New(fault.NotFound, "reports are csv, svg, png or pdf")
	}
	return blob, err
}

// timeLayout is how a point in time is labelled, by interval.
func timeLayout(interval string) string {
	switch interval {
	case "day", "week":
		return "Jan 2"
	default:
		return "Jan 2 15:04"
	}
}

// fewPoints do not make a line.
const fewPoints = 3

func salesReport(event string, s *api.Series) *report {
	r := &report{title: event + ": sales", legend: []string{"tickets sold", "tickets revoked"}, values: make([][]float64, 2),
		header: []string{"start", "views", "orders_held", "orders_paid", "orders_expired", "tickets_sold", "tickets_revoked", "revenue_" + s.Currency, "refunds_" + s.Currency}}
	for _, p := range s.Points {
		r.rows = append(r.rows, append([]string{p.Start.Format("2006-01-02T15:04:05Z07:00")},
			append(texts(p.Views, p.OrdersHeld, p.OrdersPaid, p.OrdersExpired, p.TicketsSold, p.TicketsRevoked),
				api.Money{Amount: p.Revenue, Currency: s.Currency}.Decimal(), api.Money{Amount: p.Refunds, Currency: s.Currency}.Decimal())...))
		r.labels = append(r.labels, p.Start.Format(timeLayout(s.Interval)))
		r.values[0] = append(r.values[0], float64(p.TicketsSold))
		r.values[1] = append(r.values[1], float64(p.TicketsRevoked))
	}
	r.bars = len(r.labels) < fewPoints
	return r
}

func arrivalsReport(event string, s *api.Series) *report {
	r := &report{title: event + ": arrivals", legend: []string{"arrived", "inside"}, values: make([][]float64, 2), header: []string{"start", "admitted", "inside"}}
	for _, p := range s.Points {
		r.rows = append(r.rows, append([]string{p.Start.Format("2006-01-02T15:04:05Z07:00")}, texts(p.Admitted, p.Inside)...))
		r.labels = append(r.labels, p.Start.Format(timeLayout(s.Interval)))
		r.values[0] = append(r.values[0], float64(p.Admitted))
		r.values[1] = append(r.values[1], float64(p.Inside))
	}
	r.bars = len(r.labels) < fewPoints
	return r
}

func funnelReport(event string, f *api.Funnel) *report {
	r := &report{title: event + ": from views to seats", bars: true, legend: []string{"count"}, values: make([][]float64, 1), header: []string{"step", "count", "rate"}}
	for _, step := range f.Steps {
		r.rows = append(r.rows, []string{step.Name, strconv.FormatInt(step.Count, 10), strconv.FormatFloat(step.Rate, 'f', 4, 64)})
		r.labels = append(r.labels, step.Name)
		r.values[0] = append(r.values[0], float64(step.Count))
	}
	return r
}

func peopleReport(event string, d *api.Demographics) *report {
	r := &report{title: event + ": who buys", bars: true, legend: []string{"people"}, values: make([][]float64, 1), header: []string{"trait", "group", "people"}}
	for _, t := range []struct {
		name   string
		groups api.Groups
	}{{"age", d.AgeBands}, {"country", d.Countries}, {"city", d.Cities}} {
		all := t.groups.Groups
		if t.groups.Others > 0 {
			all = append(all, api.Group{Name: "others", People: t.groups.Others})
		}
		for i, g := range all {
			r.rows = append(r.rows, []string{t.name, g.Name, strconv.FormatInt(g.People, 10)})
			if i < 8 {
				r.labels = append(r.labels, t.name+" "+g.Name)
				r.values[0] = append(r.values[0], float64(g.People))
			}
		}
	}
	return r
}

func texts(numbers ...int64) []string {
	out := make([]string, len(numbers))
	for i, n := range numbers {
		out[i] = strconv.FormatInt(n, 10)
	}
	return out
}

func (r *report) csv() ([]byte, error) {
	var buf bytes.Buffer
	w := csv.NewWriter(&buf)
	for _, row := range append([][]string{r.header}, r.rows...) {
		safe := make([]string, len(row))
		for i, cell := range row {
			safe[i] = defuse(cell)
		}
		if err := w.Write(safe); err != nil {
			return nil, fmt.Errorf("analytics: csv: %w", err)
		}
	}
	w.Flush()
	return buf.Bytes(), w.Error()
}

// defuse keeps a spreadsheet from taking a cell for a formula. A plain negative number is none.
func defuse(cell string) string {
	if cell == "" || !strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return cell
	}
	if _, err := strconv.ParseInt(cell, 10, 64); err == nil && cell[0] == '-' {
		return cell
	}
	return "'" + cell
}
