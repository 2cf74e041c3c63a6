package demo

import (
	"testing"
	"time"
)

func TestSeason(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	season, err := Season(now)
	if err != nil {
		t.Fatal(err)
	}
	names, zones, currencies, cities := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	free := 0
	for _, e := range season {
		if names[e.Name] {
			t.Errorf("%s is there twice", e.Name)
		}
		names[e.Name], zones[e.Timezone], cities[e.Location.City] = true, true, true
		zone, err := time.LoadLocation(e.Timezone)
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
			continue
		}
		if h := e.StartsAt.In(zone).Hour(); h < 10 || h > 21 {
			t.Errorf("%s starts at %s", e.Name, e.StartsAt.In(zone))
		}
		if !e.StartsAt.After(now.AddDate(0, 0, 10)) || !e.EndsAt.After(e.StartsAt) {
			t.Errorf("%s is from %s to %s", e.Name, e.StartsAt, e.EndsAt)
		}
		sum := 0
		for _, k := range e.TicketTypes {
			sum += k.Quantity
			currencies[k.Price.Currency] = true
			if k.Price.Amount == 0 {
				free++
			}
			if k.SalesEnd != nil && (!k.SalesEnd.After(now) || !k.SalesEnd.Before(e.StartsAt)) {
				t.Errorf("%s: sale of %s ends at %s", e.Name, k.Name, k.SalesEnd)
			}
		}
		if sum != e.Capacity {
			t.Errorf("%s: capacity %d, tickets %d", e.Name, e.Capacity, sum)
		}
	}
	if len(season) < 20 || len(zones) < 6 || len(currencies) < 5 || len(cities) < 8 || free == 0 {
		t.Errorf("%d events, %d zones, %d currencies, %d cities, %d free types", len(season), len(zones), len(currencies), len(cities), free)
	}
	if len(season[0].TicketTypes) < 2 {
		t.Error("the tour buys the second ticket type of the first event")
	}
}
