package report

import (
	"bytes"
	"flag"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
)

var update = flag.Bool("update", false, "write what is drawn to testdata")

var testStart = time.Date(2027, 3, 27, 20, 0, 0, 0, time.UTC)

func TestReportIsCSV(t *testing.T) {
	r := &Report{header: []string{"group"}, rows: [][]string{{"=cmd()"}, {`a "b", c`}}}
	if got, err := r.CSV(); err != nil || string(got) != "group\n'=cmd()\n\"a \"\"b\"\", c\"\n" {
		t.Errorf("%q %v", got, err)
	}
}

// sampleReports are reports as an organizer would see them.
func sampleReports(t *testing.T) map[string]*Report {
	t.Helper()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	s := &api.Series{Interval: "day", Currency: "EUR"}
	for i := range 30 {
		p := api.SeriesPoint{Start: testStart.In(berlin).AddDate(0, 0, i)}
		p.TicketsSold, p.TicketsRevoked, p.Admitted = int64(40+(i*37)%60), int64(i%4), int64(i*(30-i))
		p.Revenue, p.Refunds, p.Inside = p.TicketsSold*2550, p.TicketsRevoked*2550, int64(i*150)
		s.Points = append(s.Points, p)
	}
	s.Types = []api.Breakdown{{Key: "tty_1", Name: "Standing",
		Numbers: api.Numbers{TicketsSold: 1700, TicketsRevoked: 30, Revenue: 1700 * 2550}},
		{Key: "tty_2", Name: strings.Repeat("A ticket type with a name that does not end ", 6),
			Numbers: api.Numbers{TicketsSold: 300, Revenue: 300 * 2550}}}
	first := &api.Series{Interval: "day", Currency: "EUR",
		Points: []api.SeriesPoint{{Start: testStart.In(berlin), Numbers: api.Numbers{TicketsSold: 2, Revenue: 5000}}}}
	cities := api.Groups{Groups: []api.Group{{Name: "Linz 🎵", People: 5}, {Name: "大阪", People: 6},
		{Name: "القاهرة", People: 7}}}
	return map[string]*Report{
		"sales": Sales("Nocturne", berlin, s), "arrivals": Arrivals("Nocturne", berlin, s),
		"funnel": Funnel("Nocturne", berlin, sampleFunnel()),
		"demographics": Demographics("Nocturne", berlin,
			&api.Demographics{AgeBands: api.Groups{Groups: []api.Group{{Name: "25-34", People: 120},
				{Name: "35-44", People: 60}}, Others: 30},
				Countries: api.Groups{Groups: []api.Group{{Name: "DE", People: 180}}, Others: 30}, Cities: cities}),
		"empty":   Arrivals("Nocturne", berlin, &api.Series{Interval: "hour"}),
		"first":   Sales("Праздник", berlin, first),
		"foreign": Sales("交響楽団 🎵 "+strings.Repeat("The very long night of the short pieces ", 8), berlin, first),
	}
}

// keepPicture writes a file to look at, if a folder for that is set.
func keepPicture(t *testing.T, name string, data []byte) {
	t.Helper()
	if dir := os.Getenv("STARLIGHT_TEST_PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPictures(t *testing.T) {
	fonts, err := document.NewFonts(document.FontConfig{BuiltInOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := document.NewFonts(document.FontConfig{Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range sampleReports(t) {
		svg := r.Picture(fonts).SVG()
		golden := filepath.Join("testdata", name+".svg")
		if *update {
			if err := os.WriteFile(golden, svg, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(svg, want) {
			t.Errorf("%s is drawn differently: look at it, then run with -update", name)
		}
		for kind, f := range map[string]*document.Fonts{"": fonts, "-machine": machine} {
			picture, err := r.Picture(f).PNG(1)
			if err != nil {
				t.Fatal(name, err)
			}
			if cfg, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil || cfg.Width != pictureWidth {
				t.Errorf("%s: %+v %v", name, cfg, err)
			}
			pdf, err := r.PDF(f, testStart)
			if err != nil || !bytes.HasPrefix(pdf, []byte("%PDF-")) ||
				!bytes.Contains(pdf[len(pdf)-20:], []byte("%%EOF")) {
				t.Errorf("%s: no PDF: %v", name, err)
			}
			keepPicture(t, name+kind+".png", picture)
			keepPicture(t, name+kind+".pdf", pdf)
		}
	}
}

// Axes have steps that people count in, all the same, as far as the highest value.
func TestTicks(t *testing.T) {
	for most, want := range map[float64]string{0: "[0 1]", 1: "[0 1]", 3: "[0 1 2 3]", 7: "[0 2 4 6 8]",
		12: "[0 2 4 6 8 10 12]", 13: "[0 5 10 15]", 99: "[0 20 40 60 80 100]",
		1400: "[0 500 1000 1500]", 5200: "[0 1000 2000 3000 4000 5000 6000]"} {
		if got := fmt.Sprint(ticks(most, true)); got != want {
			t.Errorf("up to %v: %s, want %s", most, got, want)
		}
	}
}

// The tables of a document have words above them and local times in them; programs get what they had.
func TestTablesAreForPeople(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	s := &api.Series{Interval: "hour", Currency: "JPY",
		Points: []api.SeriesPoint{{Start: testStart.In(zone), Numbers: api.Numbers{TicketsSold: 2, Revenue: 5000}}},
		Types:  []api.Breakdown{{Key: "tty_1", Name: "Standing", Numbers: api.Numbers{TicketsSold: 2, Revenue: 5000}}}}
	r := Sales("Nocturne", zone, s)
	if got, want := fmt.Sprint(r.tables[0]),
		"{Ticket types [Ticket type Sold Revoked Revenue JPY] [[Standing 2 0 5000]] 1}"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if row := r.tables[1].rows[0]; row[0] != "Sat 27 Mar 2027 21:00 CET" || row[len(row)-2] != "5000" {
		t.Errorf("row %q", row)
	}
	for _, tb := range r.tables {
		for _, h := range tb.header {
			if strings.Contains(h, "_") {
				t.Errorf("heading %q", h)
			}
		}
	}
	if r.header[0] != "start" || r.rows[0][0] != "2027-03-27T21:00:00+01:00" || !r.charts[0].bars {
		t.Errorf("%+v", r)
	}
}

func sampleFunnel() *api.Funnel {
	return &api.Funnel{TicketsSold: 1400, Admitted: 1290, Steps: []api.FunnelStep{
		{Name: "views", Count: 5200}, {Name: "orders held", Count: 900, Rate: 900.0 / 5200},
		{Name: "orders paid", Count: 720, Rate: 0.8},
	}}
}
