package demo

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// perEuro is what a euro is worth in the season's currencies, near enough to see a price with the wrong number of
// zeros.
var perEuro = map[string]float64{"EUR": 1, "GBP": 0.85, "USD": 1.1, "BRL": 6, "JPY": 165, "INR": 95, "AUD": 1.7,
	"NGN": 1700}

func TestSeason(t *testing.T) {
	for _, now := range []time.Time{
		// Europe, America and Australia change their clocks in what follows
		time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC),
		time.Date(2026, 9, 30, 23, 30, 0, 0, time.UTC),
		time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(now.Format(time.DateOnly), func(t *testing.T) { testSeason(t, now) })
	}
}

func testSeason(t *testing.T, now time.Time) {
	season, err := Season(now)
	if err != nil {
		t.Fatal(err)
	}
	sentence := regexp.MustCompile(`[.?!]( |$)`)
	names, zones, currencies, cities, categories := map[string]bool{}, map[string]bool{}, map[string]bool{},
		map[string]bool{}, map[string]bool{}
	free, paid, early, least, most := 0, 0, 0, season[0].Capacity, 0
	for _, e := range season {
		if names[e.Name] {
			t.Errorf("%s is there twice", e.Name)
		}
		names[e.Name], zones[e.Timezone], cities[e.Location.City], categories[e.Category] = true, true, true, true
		if n := len(sentence.FindAllString(e.Description, -1)); n < 2 || n > 4 ||
			strings.Contains(e.Description, "  ") {
			t.Errorf("%s: %d sentences: %q", e.Name, n, e.Description)
		}
		zone, err := time.LoadLocation(e.Timezone)
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
			continue
		}
		local := e.StartsAt.In(zone)
		weekend := local.Weekday() == time.Saturday || local.Weekday() == time.Sunday
		if h := local.Hour(); h > 21 || h < 17 && (!weekend || h < 9) {
			t.Errorf("%s starts at %s", e.Name, local)
		}
		if e.StartsAt.Before(now.AddDate(0, 0, 14)) || e.StartsAt.After(now.AddDate(0, 8, 0)) ||
			!e.EndsAt.After(e.StartsAt) {
			t.Errorf("%s is from %s to %s", e.Name, e.StartsAt, e.EndsAt)
		}
		if e.Location.Latitude == nil || e.Location.Longitude == nil || *e.Location.Latitude == 0 ||
			*e.Location.Longitude == 0 {
			t.Errorf("%s is nowhere", e.Name)
		}
		sum, kinds := 0, map[string]bool{}
		for _, k := range e.TicketTypes {
			sum += k.Quantity
			if kinds[k.Name] || k.Price.Currency != e.TicketTypes[0].Price.Currency || k.Quantity < 1 ||
				k.MaxPerOrder < 1 {
				t.Errorf("%s: ticket type %+v", e.Name, k)
			}
			kinds[k.Name], currencies[k.Price.Currency] = true, true
			if k.SalesEnd != nil {
				early++
				if !k.SalesEnd.After(now) || !k.SalesEnd.Before(e.StartsAt) {
					t.Errorf("%s: sale of %s ends at %s", e.Name, k.Name, k.SalesEnd)
				}
			}
			if k.Price.Amount == 0 {
				free++
				continue
			}
			paid++
			major, err := strconv.ParseFloat(k.Price.Decimal(), 64)
			if err != nil {
				t.Errorf("%s: %v", e.Name, err)
				continue
			}
			euros := major / perEuro[k.Price.Currency]
			if !(euros >= 3 && euros <= 600) {
				t.Errorf("%s: %s costs about %.2f euros", e.Name, k.Name, euros)
			}
		}
		if sum > e.Capacity || e.Capacity == 0 {
			t.Errorf("%s: capacity %d, tickets %d", e.Name, e.Capacity, sum)
		}
		least, most = min(least, e.Capacity), max(most, e.Capacity)
	}
	if len(season) < 24 || len(zones) < 8 || len(currencies) < 8 || len(cities) < 8 || len(categories) < 8 {
		t.Errorf("%d events, %d zones, %d currencies, %d cities, %d categories", len(season), len(zones),
			len(currencies), len(cities), len(categories))
	}
	if free < 5 || paid < 30 || early < 5 || least < 30 || least > 50 || most != 40_000 {
		t.Errorf("%d free types, %d paid ones, %d early ones, from %d to %d places", free, paid, early, least, most)
	}
}

func TestBrief(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/orders": "/v1/orders",
		"/v1/orders/ord_01m82sxzfp12mt0p6k5ysy1rka/payments": "/v1/orders/ord_…1rka/payments",
		"/v1/events?city=S%C3%A3o+Paulo&q=" +
			strings.Repeat("x", 80): "/v1/events?city=S%C3%A3o+Paulo&q=xxxxxxxxxxxxxx…",
		"/v1/config/payment.sandbox_01m82sxzfp12mt0p6k5ysy1rkaz/not_an_id": "/v1/config/payment.sandbox_01m82sxzfp12mt0p6k5y…",
	} {
		if got := brief(path); got != want {
			t.Errorf("brief(%q) = %q, want %q", path, got, want)
		}
	}
}
