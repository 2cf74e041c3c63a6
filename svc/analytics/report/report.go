// Package report draws numbers of analytics as files: rows for programs, charts and tables for people.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/sheet"
)

// Report is numbers as a file: rows for programs, charts and tables for people.
type Report struct {
	title  string
	zone   *time.Location
	header []string // of the rows, which a program reads
	rows   [][]string
	charts []chart
	tables []table
}

// timeLayout is how a point in time is labelled below an axis, by interval.
func timeLayout(interval string) string {
	switch interval {
	case "day", "week":
		return "2 Jan"
	default:
		return "2 Jan 15:04"
	}
}

// cellTime writes the beginning of an interval for people, by the clocks of the event.
func cellTime(t time.Time, interval string) string {
	switch interval {
	case "day":
		return t.Format("Mon 2 Jan 2006")
	case "week":
		return "week of " + t.Format("2 Jan 2006")
	default:
		return t.Format("Mon 2 Jan 2006 15:04 MST")
	}
}

// fewPoints do not make a line.
const fewPoints = 3

func countOf(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }

// moneyOf writes values that are minor units of a currency.
func moneyOf(currency string) func(float64) string {
	return func(v float64) string {
		return api.Money{Amount: int64(math.Round(v)), Currency: currency}.Decimal()
	}
}

// over makes a chart of a series.
func over(
	s *api.Series, title string, write func(float64) string, lines []string, values func(api.SeriesPoint) []int64,
) chart {
	c := chart{title: title, write: write, whole: true, bars: len(s.Points) < fewPoints}
	for _, name := range lines {
		c.lines = append(c.lines, chartLine{name: name})
	}
	for _, p := range s.Points {
		c.labels = append(c.labels, p.Start.Format(timeLayout(s.Interval)))
		for i, v := range values(p) {
			c.lines[i].values = append(c.lines[i].values, float64(v))
		}
	}
	return c
}

// Sales returns the report of a series of sales. Times are shown in the zone.
func Sales(event string, zone *time.Location, s *api.Series) *Report {
	money := moneyOf(s.Currency)
	r := &Report{title: event + ": sales", zone: zone,
		header: []string{"start", "views", "orders_held", "orders_paid", "orders_expired", "tickets_sold",
			"tickets_revoked", "revenue_" + s.Currency, "refunds_" + s.Currency}}
	r.charts = []chart{
		over(s, "Tickets", countOf, []string{"sold", "revoked"},
			func(p api.SeriesPoint) []int64 { return []int64{p.TicketsSold, p.TicketsRevoked} }),
		over(s, "Money, "+s.Currency, money, []string{"revenue", "refunds"},
			func(p api.SeriesPoint) []int64 { return []int64{p.Revenue, p.Refunds} }),
	}
	types := table{title: "Ticket types", text: 1,
		header: []string{"Ticket type", "Sold", "Revoked", "Revenue " + s.Currency}}
	for _, t := range s.Types {
		types.rows = append(types.rows,
			append([]string{cmp.Or(t.Name, t.Key)},
				append(texts(t.TicketsSold, t.TicketsRevoked), money(float64(t.Revenue)))...))
	}
	times := table{title: "Over time, " + zone.String(), text: 1,
		header: []string{"From", "Views", "Orders held", "Orders paid", "Orders expired", "Tickets sold",
			"Tickets revoked", "Revenue " + s.Currency, "Refunds " + s.Currency}}
	for _, p := range s.Points {
		cells := append(texts(p.Views, p.OrdersHeld, p.OrdersPaid, p.OrdersExpired, p.TicketsSold, p.TicketsRevoked),
			money(float64(p.Revenue)), money(float64(p.Refunds)))
		r.rows = append(r.rows, append([]string{p.Start.Format(time.RFC3339)}, cells...))
		times.rows = append(times.rows, append([]string{cellTime(p.Start, s.Interval)}, cells...))
	}
	r.tables = []table{types, times}
	return r
}

// Arrivals returns the report of a series of admissions.
func Arrivals(event string, zone *time.Location, s *api.Series) *Report {
	r := &Report{title: event + ": arrivals", zone: zone, header: []string{"start", "admitted", "inside"}}
	r.charts = []chart{over(s, "People", countOf, []string{"arrived", "inside"},
		func(p api.SeriesPoint) []int64 { return []int64{p.Admitted, p.Inside} })}
	times := table{title: "Over time, " + zone.String(), text: 1, header: []string{"From", "Arrived", "Inside"}}
	for _, p := range s.Points {
		cells := texts(p.Admitted, p.Inside)
		r.rows = append(r.rows, append([]string{p.Start.Format(time.RFC3339)}, cells...))
		times.rows = append(times.rows, append([]string{cellTime(p.Start, s.Interval)}, cells...))
	}
	r.tables = []table{times}
	return r
}

// Funnel returns the report of the steps from views to orders.
func Funnel(event string, zone *time.Location, f *api.Funnel) *Report {
	r := &Report{title: event + ": from views to orders", zone: zone, header: []string{"step", "count", "rate"}}
	c := chart{title: fmt.Sprintf("Orders; their tickets: %d sold, %d admitted", f.TicketsSold, f.Admitted), bars: true,
		whole: true, write: countOf, lines: make([]chartLine, 1)}
	t := table{title: "Steps", text: 1, header: []string{"Step", "Count", "Of the step before"}}
	for i, step := range f.Steps {
		r.rows = append(r.rows, []string{step.Name, strconv.FormatInt(step.Count, 10),
			strconv.FormatFloat(step.Rate, 'f', 4, 64)})
		part := ""
		if i > 0 {
			part = strconv.FormatFloat(100*step.Rate, 'f', 1, 64) + " %"
		}
		t.rows = append(t.rows, []string{step.Name, strconv.FormatInt(step.Count, 10), part})
		c.labels = append(c.labels, step.Name)
		c.lines[0].values = append(c.lines[0].values, float64(step.Count))
	}
	if c.most() == 0 {
		c.labels = nil
	}
	tickets := table{title: "Tickets", text: 1, header: []string{"Tickets", "Count"}, rows: [][]string{
		{"sold", strconv.FormatInt(f.TicketsSold, 10)}, {"admitted", strconv.FormatInt(f.Admitted, 10)}}}
	for _, row := range tickets.rows {
		r.rows = append(r.rows, []string{"tickets " + row[0], row[1], ""})
	}
	r.charts, r.tables = []chart{c}, []table{t, tickets}
	return r
}

// mostGroups are drawn; the table has them all.
const mostGroups = 8

// Demographics returns the report of the groups of buyers.
func Demographics(event string, zone *time.Location, d *api.Demographics) *Report {
	r := &Report{title: event + ": who buys", zone: zone, header: []string{"trait", "group", "people"}}
	c := chart{title: "People", bars: true, whole: true, write: countOf, lines: make([]chartLine, 1)}
	t := table{title: "Groups", text: 2, header: []string{"Trait", "Group", "People"}}
	for _, trait := range []struct {
		name   string
		groups api.Groups
	}{{"age", d.AgeBands}, {"country", d.Countries}, {"city", d.Cities}} {
		all := trait.groups.Groups
		if trait.groups.Others > 0 {
			all = append(slices.Clip(all), api.Group{Name: "others", People: trait.groups.Others})
		}
		for i, g := range all {
			row := []string{trait.name, g.Name, strconv.FormatInt(g.People, 10)}
			r.rows, t.rows = append(r.rows, row), append(t.rows, row)
			if i < mostGroups {
				c.labels = append(c.labels, trait.name+" "+g.Name)
				c.lines[0].values = append(c.lines[0].values, float64(g.People))
			}
		}
	}
	r.charts, r.tables = []chart{c}, []table{t}
	return r
}

func texts(numbers ...int64) []string {
	out := make([]string, len(numbers))
	for i, n := range numbers {
		out[i] = strconv.FormatInt(n, 10)
	}
	return out
}

// CSV returns the rows.
func (r *Report) CSV() ([]byte, error) {
	blob, err := sheet.CSV(sheet.Table{Header: r.header, Rows: r.rows})
	if err != nil {
		return nil, err
	}
	return blob.Data, nil
}
