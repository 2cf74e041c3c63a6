package demo

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

// seasonJSON is the season: its venues and its events. Everything in it is invented but the cities.
//
//go:embed season.json
var seasonJSON []byte

// season is the content of season.json.
type season struct {
	Venues []venue `json:"venues"`
	Events []show  `json:"events"`
}

// venue is where an event of the season happens.
type venue struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	Address   string  `json:"address"`
	City      string  `json:"city"`
	Country   string  `json:"country"`
	Timezone  string  `json:"timezone"`
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
}

// show is an event of the season, in the words of its organizer. It begins on the first such weekday that is at least
// so many days ahead, at that local time.
type show struct {
	Name        string       `json:"name"`
	Category    string       `json:"category"`
	Venue       string       `json:"venue"`
	Currency    string       `json:"currency"`
	DaysAhead   int          `json:"days_ahead"`
	Weekday     string       `json:"weekday"`
	Time        string       `json:"time"`
	Lasts       string       `json:"lasts"`
	Description string       `json:"description"`
	TicketTypes []ticketType `json:"ticket_types"`
}

// ticketType is a ticket type of the season.
type ticketType struct {
	Name               string `json:"name"`
	Price              int64  `json:"price"` // in the currency's minor unit
	Quantity           int    `json:"quantity"`
	MaxPerOrder        int    `json:"max_per_order"`
	SaleEndsDaysBefore int    `json:"sale_ends_days_before"` // 0: the sale ends with the event's start
}

// Season returns the sample events, with their dates counted from now. The last one is the event of the guided tour.
func Season(now time.Time) ([]api.NewEvent, error) {
	var data season
	dec := json.NewDecoder(bytes.NewReader(seasonJSON))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&data); err != nil {
		return nil, fmt.Errorf("season.json: %w", err)
	}
	venues := make(map[string]venue, len(data.Venues))
	for _, v := range data.Venues {
		venues[v.ID] = v
	}
	events := make([]api.NewEvent, len(data.Events))
	for i, s := range data.Events {
		v, ok := venues[s.Venue]
		if !ok {
			return nil, fmt.Errorf("season.json: %s: there is no venue %q", s.Name, s.Venue)
		}
		var err error
		if events[i], err = s.event(v, now); err != nil {
			return nil, fmt.Errorf("season.json: %s: %w", s.Name, err)
		}
	}
	return events, nil
}

// starts returns the instant at which the show begins.
func (s show) starts(zone *time.Location, now time.Time) (time.Time, error) {
	clock, err := time.Parse("15:04", s.Time)
	if err != nil {
		return time.Time{}, err
	}
	now = now.In(zone)
	day := time.Date(now.Year(), now.Month(), now.Day()+s.DaysAhead, clock.Hour(), clock.Minute(), 0, 0, zone)
	for range 7 {
		if day.Weekday().String() == s.Weekday {
			return day, nil
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}, fmt.Errorf("%q is no weekday", s.Weekday)
}

// event returns the show as a client would create it.
func (s show) event(v venue, now time.Time) (api.NewEvent, error) {
	zone, err := time.LoadLocation(v.Timezone)
	if err != nil {
		return api.NewEvent{}, err
	}
	starts, err := s.starts(zone, now)
	if err != nil {
		return api.NewEvent{}, err
	}
	lasts, err := time.ParseDuration(s.Lasts)
	if err != nil {
		return api.NewEvent{}, err
	}
	e := api.NewEvent{
		Name: s.Name, Description: s.Description, Category: s.Category,
		StartsAt: starts.UTC(), EndsAt: starts.Add(lasts).UTC(), Timezone: v.Timezone,
		Location: api.Location{Name: v.Name, Address: v.Address, City: v.City, Country: v.Country,
			Latitude: &v.Latitude, Longitude: &v.Longitude},
	}
	for _, k := range s.TicketTypes {
		t := api.NewTicketType{Name: k.Name, Price: api.Money{Amount: k.Price, Currency: s.Currency},
			Quantity: k.Quantity, MaxPerOrder: k.MaxPerOrder}
		if k.SaleEndsDaysBefore > 0 {
			end := starts.AddDate(0, 0, -k.SaleEndsDaysBefore).UTC()
			t.SalesEnd = &end
		}
		e.Capacity += k.Quantity
		e.TicketTypes = append(e.TicketTypes, t)
	}
	return e, nil
}
