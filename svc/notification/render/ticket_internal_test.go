package render

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
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/locale"
)

// printer returns a catalogue, and tickets with names of every script.
func printer(t *testing.T) (*Catalogue, Tickets) {
	t.Helper()
	c := open(t)
	start := time.Date(2030, 5, 17, 18, 0, 0, 0, time.UTC)
	const typ = ids.TicketType("tty_01hzzzzzzzzzzzzzzzzzzzzzzz")
	order := ids.Derive[ids.OrderKind]("x")
	p := Tickets{Language: "en", Made: start, Order: &api.Order{ID: order, Items: []api.OrderItem{{TicketTypeID: typ, UnitPrice: api.Money{Amount: 4250, Currency: "EUR"}}}},
		Event: &Event{Name: "Starlight & Strings: an evening of nocturnes, with the Philharmonic Youth Orchestra of the Northern Provinces and guests " + strings.Repeat("from afar ", 8),
			StartsAt: start, EndsAt: start.Add(3 * time.Hour), Timezone: "Europe/Berlin", Place: "Großer Saal der Philharmonie, Herbert-von-Karajan-Straße 1, 10785 Berlin, DE"}}
	for _, name := range []string{"Ada Lovelace", "Wolfeschlegelsteinhausenbergerdorff " + strings.Repeat("von und zu Hohenlohe-Langenburg ", 5), "Пётр Ильич Чайковский",
		"Μίκης Θεοδωράκης", "大阪交響楽団 山田 花子", "Zoë 🎵 Müller", "\U0010ffff\r\nx"} {
		id := ids.Derive[ids.TicketKind](name)
		p.Tickets = append(p.Tickets, api.Ticket{ID: id, Code: "ST1." + id.String() + "." + strings.Repeat("aB3_", 24), EventName: "x", OrderID: order, TicketTypeID: typ,
			TypeName: "Parkett links, Reihe 12", Holder: api.Attendee{Name: name}})
	}
	var err error
	if p.Codes, err = Codes(p.Tickets); err != nil {
		t.Fatal(err)
	}
	return c, p
}

// first leaves the first tickets of what is printed.
func (p Tickets) first(n int) Tickets {
	p.Tickets, p.Codes = p.Tickets[:n], p.Codes[:n]
	return p
}

// Each ticket has a page, whatever its names are made of. STARLIGHT_KEEP is a folder to look at them in.
func TestTicketPages(t *testing.T) {
	c, p := printer(t)
	for _, tag := range locale.Languages() {
		p.Language = tag.String()
		data, err := c.TicketsPDF(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.TicketsPDF(p)
		if err != nil || !bytes.Equal(data, again) {
			t.Errorf("the same tickets again are another file, %v", err)
		}
		if pages := len(regexp.MustCompile(`/Type /Page\b[^s]`).FindAll(data, -1)); !bytes.HasPrefix(data, []byte("%PDF-")) || pages != len(p.Tickets) {
			t.Errorf("%d pages, want %d", pages, len(p.Tickets))
		}
		if dir := os.Getenv("STARLIGHT_KEEP"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, "tickets-"+p.Language+".pdf"), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A ticket that names no holder is its owner's.
func TestTicketPageOfAnOwner(t *testing.T) {
	c, p := printer(t)
	p = p.first(1)
	named, err := c.TicketsPDF(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Owner, p.Tickets[0].Holder = p.Tickets[0].Holder.Name, api.Attendee{}
	if data, err := c.TicketsPDF(p); err != nil || !bytes.Equal(data, named) {
		t.Errorf("the page does not name the owner, %v", err)
	}
}

// A ticket names its order as people call it, and none that its holder does not see.
func TestTicketPageNamesItsOrder(t *testing.T) {
	c, p := printer(t)
	p = p.first(1)
	page := func(number string, of ids.Order) []byte {
		t.Helper()
		p.Order.Number, p.Tickets[0].OrderID = number, of
		data, err := c.TicketsPDF(p)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	own, other := p.Order.ID, ids.Derive[ids.OrderKind]("another")
	if bytes.Equal(page("7KX4P", own), page("", own)) {
		t.Error("the page does not say the number of its order")
	}
	if !bytes.Equal(page("7KX4P", other), page("", other)) {
		t.Error("the page says the number of another order")
	}
}

// Tickets and mails call what was bought as their readers do.
func TestTicketTypesInTheReadersLanguage(t *testing.T) {
	c, p := printer(t)
	p = p.first(1)
	p.Language, p.Tickets[0].TypeName = "de", "Stehplatz"
	want, err := c.TicketsPDF(p)
	if err != nil {
		t.Fatal(err)
	}
	typ := p.Tickets[0].TicketTypeID
	p.Tickets[0].TypeName = "Standing"
	p.Event.Called = api.Called{typ.String(): {"de": "Stehplatz"}, "stg_a": {"de": "Frühbucher"}}
	if got, err := c.TicketsPDF(p); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the page does not say what it is in German, %v", err)
	}
	p.Order.Items[0].Name, p.Order.Items[0].StageID, p.Order.Items[0].Stage, p.Order.Items[0].Quantity = "Standing", "stg_a", "Early", 1
	for lang, want := range map[string]string{"de": "1 × Stehplatz, Frühbucher", "en": "1 × Standing, Early"} {
		f := Facts{Event: p.Event, Order: p.Order}
		m, err := c.Message(lang, "order_paid", c.View(lang, "Ada", f), f, Links{})
		if err != nil || !strings.Contains(m.Text, want) {
			t.Errorf("in %s: %v\n%s", lang, err, m.Text)
		}
	}
}

// A document is cheap: fonts are not parsed for it, and it has the letters that it uses.
func TestTicketPagesAreCheap(t *testing.T) {
	c, p := printer(t)
	p = p.first(1)
	data, err := c.TicketsPDF(p)
	if err != nil {
		t.Fatal(err)
	}
	const size, allocations = 24_000, 2_500
	if len(data) > size {
		t.Errorf("%d bytes, want at most %d", len(data), size)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = c.TicketsPDF(p) }); n > allocations {
		t.Errorf("%.0f allocations, want at most %d", n, allocations)
	}
}

func BenchmarkTicketPages(b *testing.B) {
	c, p := printer(&testing.T{})
	for _, n := range []int{1, 2} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p := p.first(n)
			b.ReportAllocs()
			for b.Loop() {
				data, err := c.TicketsPDF(p)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(data)), "bytes/document")
			}
		})
	}
}

// A ticket costs what was paid for it with the products that came with it, and those have no price of their own.
func TestPriceOfATicketWithProducts(t *testing.T) {
	const conference, dinner, shirt = ids.TicketType("tty_c"), ids.TicketType("tty_d"), ids.TicketType("tty_s")
	eur := func(amount int64) api.Money { return api.Money{Amount: amount, Currency: "EUR"} }
	o := &api.Order{Items: []api.OrderItem{
		{TicketTypeID: conference, Quantity: 3, UnitPrice: eur(9000)},
		{TicketTypeID: shirt, Kind: api.KindProduct, Quantity: 1, UnitPrice: eur(1500)},
		{TicketTypeID: dinner, Kind: api.KindProduct, IncludedInID: conference, Quantity: 6, UnitPrice: eur(1500)},
	}}
	for typ, want := range map[ids.TicketType]string{conference: "120.00 EUR", shirt: "15.00 EUR", dinner: ""} {
		if got := price("en", o, typ); got != want {
			t.Errorf("%s costs %q, want %q", typ, got, want)
		}
	}
	o.Items[0].Tax = &api.LineTotal{Rate: "10", Net: eur(27000), Tax: eur(2700), Gross: eur(29700)} // on top
	o.Items[2].Tax = &api.LineTotal{Rate: "20", Net: eur(9000), Tax: eur(1800), Gross: eur(10800)}
	if got, want := price("en", o, conference), "135.00 EUR"; got != want {
		t.Errorf("with its taxes it costs %s, want %s", got, want)
	}
}
