package notification

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// printer returns the service that prints tickets, and tickets with names of every kind.
func printer(t *testing.T) (*Service, printed) {
	t.Helper()
	s := &Service{}
	s.from.Name = "Starlight Symphony"
	var err error
	if s.texts, err = newCatalogue(); err != nil {
		t.Fatal(err)
	}
	if s.fonts, err = document.NewFonts(document.FontConfig{}); err != nil {
		t.Fatal(err)
	}
	start := time.Date(2030, 5, 17, 18, 0, 0, 0, time.UTC)
	const typ = ids.TicketType("tty_01hzzzzzzzzzzzzzzzzzzzzzzz")
	order := ids.Derive[ids.OrderKind]("x")
	p := printed{lang: "en", made: start, order: &api.Order{ID: order, Items: []api.OrderItem{{TicketTypeID: typ, UnitPrice: api.Money{Amount: 4250, Currency: "EUR"}}}},
		event: &eventFacts{Name: "Starlight & Strings: an evening of nocturnes, with the Philharmonic Youth Orchestra of the Northern Provinces and guests " + strings.Repeat("from afar ", 8),
			StartsAt: start, EndsAt: start.Add(3 * time.Hour), Timezone: "Europe/Berlin", Place: "Großer Saal der Philharmonie, Herbert-von-Karajan-Straße 1, 10785 Berlin, DE"}}
	for _, name := range []string{"Ada Lovelace", "Wolfeschlegelsteinhausenbergerdorff " + strings.Repeat("von und zu Hohenlohe-Langenburg ", 5), "Пётр Ильич Чайковский",
		"Μίκης Θεοδωράκης", "大阪交響楽団 山田 花子", "Zoë 🎵 Müller", "\U0010ffff\r\nx"} {
		id := ids.Derive[ids.TicketKind](name)
		p.tickets = append(p.tickets, api.Ticket{ID: id, Code: "ST1." + id.String() + "." + strings.Repeat("aB3_", 24), EventName: "x", OrderID: order, TicketTypeID: typ,
			TypeName: "Parkett links, Reihe 12", Holder: api.Attendee{Name: name}})
	}
	if p.codes, err = encoded(p.tickets); err != nil {
		t.Fatal(err)
	}
	return s, p
}

// first leaves the first tickets of what is printed.
func (p printed) first(n int) printed {
	p.tickets, p.codes = p.tickets[:n], p.codes[:n]
	return p
}

// Each ticket has a page, whatever its names are made of. STARLIGHT_KEEP is a folder to look at them in.
func TestTicketPages(t *testing.T) {
	s, p := printer(t)
	for _, tag := range languages() {
		p.lang = tag.String()
		data, err := s.ticketPages(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.ticketPages(p)
		if err != nil || !bytes.Equal(data, again) {
			t.Errorf("the same tickets again are another file, %v", err)
		}
		if pages := len(regexp.MustCompile(`/Type /Page\b[^s]`).FindAll(data, -1)); !bytes.HasPrefix(data, []byte("%PDF-")) || pages != len(p.tickets) {
			t.Errorf("%d pages, want %d", pages, len(p.tickets))
		}
		if dir := os.Getenv("STARLIGHT_KEEP"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, "tickets-"+p.lang+".pdf"), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A ticket that names no holder is its owner's.
func TestTicketPageOfAnOwner(t *testing.T) {
	s, p := printer(t)
	p = p.first(1)
	named, err := s.ticketPages(p)
	if err != nil {
		t.Fatal(err)
	}
	p.owner, p.tickets[0].Holder = p.tickets[0].Holder.Name, api.Attendee{}
	if data, err := s.ticketPages(p); err != nil || !bytes.Equal(data, named) {
		t.Errorf("the page does not name the owner, %v", err)
	}
}

// A document is cheap: fonts are not parsed for it, and it has the letters that it uses.
func TestTicketPagesAreCheap(t *testing.T) {
	s, p := printer(t)
	p = p.first(1)
	data, err := s.ticketPages(p)
	if err != nil {
		t.Fatal(err)
	}
	const size, allocations = 24_000, 2_500
	if len(data) > size {
		t.Errorf("%d bytes, want at most %d", len(data), size)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = s.ticketPages(p) }); n > allocations {
		t.Errorf("%.0f allocations, want at most %d", n, allocations)
	}
}

func BenchmarkTicketPages(b *testing.B) {
	s, p := printer(&testing.T{})
	for _, n := range []int{1, 2} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p := p.first(n)
			b.ReportAllocs()
			for b.Loop() {
				data, err := s.ticketPages(p)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(data)), "bytes/document")
			}
		})
	}
}
