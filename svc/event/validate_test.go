package event

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func recordOf(req api.NewEvent) *record {
	r := &record{AutoCapacity: req.Capacity == 0}
	r.Event = api.Event{ID: ids.New[ids.EventKind](time.Now()), Name: req.Name, Description: req.Description,
		Category: req.Category,
		StartsAt: req.StartsAt, EndsAt: req.EndsAt, Timezone: req.Timezone, Location: req.Location,
		Capacity: req.Capacity, OrderRules: req.OrderRules}
	for _, t := range req.TicketTypes {
		r.Event.TicketTypes = append(r.Event.TicketTypes, (&Service{now: time.Now}).newType(t))
	}
	r.normalize()
	return r
}

func TestRules(t *testing.T) {
	end := draftOf("").EndsAt
	for _, c := range []struct {
		name  string
		edit  func(*api.NewEvent)
		wrong []string // nil: valid
	}{
		{"as it is", func(*api.NewEvent) {}, nil},
		{"no name", func(e *api.NewEvent) { e.Name = " \t " }, []string{"name"}},
		{"longest name", func(e *api.NewEvent) { e.Name = strings.Repeat("ü", 200) }, nil},
		{"name too long", func(e *api.NewEvent) { e.Name = strings.Repeat("ü", 201) }, []string{"name"}},
		{"line break in name", func(e *api.NewEvent) { e.Name = "a\nb" }, []string{"name"}},
		{"NUL in name", func(e *api.NewEvent) { e.Name = "a\x00b" }, []string{"name"}},
		{"reversed name", func(e *api.NewEvent) { e.Name = "Gala \u202ezaJ" }, []string{"name"}},
		{"nothing to see in name", func(e *api.NewEvent) { e.Name = "\u200b\u3164" }, []string{"name"}},
		{"isolate in a ticket type", func(e *api.NewEvent) { e.TicketTypes[0].Name = "VIP\u2067" },
			[]string{"ticket_types[0].name"}},
		{"separator in the city", func(e *api.NewEvent) { e.Location.City = "Ber\u2028lin" },
			[]string{"location.city"}},
		{"tabs in description", func(e *api.NewEvent) { e.Description = "Doors\t19:00" }, nil},
		{"isolate in description", func(e *api.NewEvent) { e.Description = "a\u2067b" }, []string{"description"}},
		{"lines in description", func(e *api.NewEvent) { e.Description = "a\r\nb\nc" }, nil},
		{"escape in description", func(e *api.NewEvent) { e.Description = "a\x1bb" }, []string{"description"}},
		{"longest description", func(e *api.NewEvent) { e.Description = strings.Repeat("é", 20_000) }, nil},
		{"description too long", func(e *api.NewEvent) { e.Description = strings.Repeat("é", 20_001) },
			[]string{"description"}},
		{"category in capitals", func(e *api.NewEvent) { e.Category = "Hip-Hop" }, nil},
		{"no category", func(e *api.NewEvent) { e.Category = "" }, nil},
		{"category of words", func(e *api.NewEvent) { e.Category = "hip hop" }, []string{"category"}},
		{"no start", func(e *api.NewEvent) { e.StartsAt = time.Time{} }, []string{"starts_at"}},
		{"end at start", func(e *api.NewEvent) { e.EndsAt = e.StartsAt }, []string{"ends_at"}},
		{"end before start", func(e *api.NewEvent) { e.EndsAt = e.StartsAt.Add(-time.Second) }, []string{"ends_at"}},
		{"a year long", func(e *api.NewEvent) { e.EndsAt = e.StartsAt.AddDate(1, 0, 0) }, nil},
		{"longer than a year", func(e *api.NewEvent) { e.EndsAt = e.StartsAt.AddDate(1, 0, 2) }, []string{"ends_at"}},
		{"year 9999", func(e *api.NewEvent) {
			e.StartsAt = time.Date(9999, 12, 31, 22, 0, 0, 0, time.FixedZone("", -12*3600))
			e.EndsAt = e.StartsAt.Add(time.Hour)
		}, []string{"ends_at", "starts_at"}},
		{"zone Local", func(e *api.NewEvent) { e.Timezone = "Local" }, []string{"timezone"}},
		{"no zone", func(e *api.NewEvent) { e.Timezone = "" }, []string{"timezone"}},
		{"zone UTC", func(e *api.NewEvent) { e.Timezone = "UTC" }, nil},
		{"a path as zone", func(e *api.NewEvent) { e.Timezone = "../../etc/passwd" }, []string{"timezone"}},
		{"a zone with an empty part", func(e *api.NewEvent) { e.Timezone = "Europe//Vienna" }, []string{"timezone"}},
		{"a zone with a dot", func(e *api.NewEvent) { e.Timezone = "Europe/./Vienna" }, []string{"timezone"}},
		{"a place nowhere", func(e *api.NewEvent) { e.Timezone = "Mars/Olympus" }, []string{"timezone"}},
		{"leap second zone", func(e *api.NewEvent) { e.Timezone = "right/Europe/Berlin" }, []string{"timezone"}},
		{"no city or country", func(e *api.NewEvent) { e.Location = api.Location{} },
			[]string{"location.city", "location.country"}},
		{"country in small letters", func(e *api.NewEvent) { e.Location.Country = "de" }, []string{"location.country"}},
		{"no longer a country", func(e *api.NewEvent) { e.Location.Country = "YU" }, []string{"location.country"}},
		{"across the list", func(e *api.NewEvent) { e.Location.Country = "E " }, []string{"location.country"}},
		{"latitude alone", func(e *api.NewEvent) { e.Location.Latitude = at(1.0) }, []string{"location.longitude"}},
		{"longitude alone", func(e *api.NewEvent) { e.Location.Longitude = at(1.0) }, []string{"location.latitude"}},
		{"the pole", func(e *api.NewEvent) { e.Location.Latitude, e.Location.Longitude = at(-90.0), at(180.0) }, nil},
		{"beyond the pole", func(e *api.NewEvent) { e.Location.Latitude, e.Location.Longitude = at(90.1), at(-180.1) },
			[]string{"location.latitude", "location.longitude"}},
		{"capacity as the sum", func(e *api.NewEvent) { e.Capacity = 0 }, nil},
		{"negative capacity", func(e *api.NewEvent) { e.Capacity = -1 }, []string{"capacity"}},
		{"capacity too large", func(e *api.NewEvent) { e.Capacity = 1_000_001 }, []string{"capacity"}},
		{"more tickets than capacity", func(e *api.NewEvent) { e.Capacity = 139 }, []string{"capacity"}},
		{"exactly the capacity", func(e *api.NewEvent) { e.Capacity = 140 }, nil},
		{"a sum too large", func(e *api.NewEvent) {
			e.Capacity = 0
			e.TicketTypes[0].Quantity, e.TicketTypes[1].Quantity = 1_000_000, 1
		}, []string{"capacity"}},
		{"no ticket types yet", func(e *api.NewEvent) { e.TicketTypes = nil }, nil},
		{"too many ticket types", func(e *api.NewEvent) { e.TicketTypes = make51() }, []string{"ticket_types"}},
		{"free", func(e *api.NewEvent) { e.TicketTypes[0].Price.Amount = 0 }, nil},
		{"negative price", func(e *api.NewEvent) { e.TicketTypes[0].Price.Amount = -1 },
			[]string{"ticket_types[0].price.amount"}},
		{"highest price", func(e *api.NewEvent) { e.TicketTypes[0].Price.Amount = maxPrice }, nil},
		{"price too high", func(e *api.NewEvent) { e.TicketTypes[1].Price.Amount = maxPrice + 1 },
			[]string{"ticket_types[1].price.amount"}},
		{"unknown currency", func(e *api.NewEvent) { e.TicketTypes[0].Price.Currency = "XXX" },
			[]string{"ticket_types[0].price.currency"}},
		{"currency of the past", func(e *api.NewEvent) { e.TicketTypes[0].Price.Currency = "DEM" },
			[]string{"ticket_types[0].price.currency"}},
		{"two currencies", func(e *api.NewEvent) { e.TicketTypes[1].Price.Currency = "USD" },
			[]string{"ticket_types[1].price.currency"}},
		{"negative quantity", func(e *api.NewEvent) { e.TicketTypes[0].Quantity = -1 },
			[]string{"ticket_types[0].quantity"}},
		{"negative limit", func(e *api.NewEvent) { e.TicketTypes[0].MaxPerOrder = -1 },
			[]string{"ticket_types[0].max_per_order"}},
		{"fewest above the most", func(e *api.NewEvent) {
			e.TicketTypes[0].MinPerOrder, e.TicketTypes[0].MaxPerOrder = 5, 4
		}, []string{"ticket_types[0].min_per_order"}},
		{"one buyer may not have the fewest", func(e *api.NewEvent) {
			e.TicketTypes[0].MinPerOrder, e.TicketTypes[0].MaxPerPerson = 3, 2
			e.TicketTypes[0].MaxPerOrder = 0
		}, []string{"ticket_types[0].max_per_person"}},
		{"rules of orders", func(e *api.NewEvent) {
			e.OrderRules = api.OrderRules{MinPerOrder: 2, MaxPerOrder: 8, MaxPerPerson: 8,
				Cancellation: api.CancellationPolicy{SelfService: true, MinutesBefore: 1440, FeePercent: 10}}
		}, nil},
		{"rules of orders that cannot be", func(e *api.NewEvent) {
			e.OrderRules = api.OrderRules{MinPerOrder: 9, MaxPerOrder: 8, MaxPerPerson: -1,
				Cancellation: api.CancellationPolicy{MinutesBefore: -1, FeePercent: 101, FeePerTicket: -1}}
		}, []string{"order_rules.cancellation.fee_per_ticket", "order_rules.cancellation.fee_percent",
			"order_rules.cancellation.minutes_before", "order_rules.max_per_person",
			"order_rules.min_per_order"}},
		{"sales until the end", func(e *api.NewEvent) { e.TicketTypes[0].SalesEnd = &end }, nil},
		{"sales beyond the end", func(e *api.NewEvent) { e.TicketTypes[0].SalesEnd = at(end.Add(time.Second)) },
			[]string{"ticket_types[0].sales_end"}},
		{"sales start at the end", func(e *api.NewEvent) { e.TicketTypes[0].SalesStart = &end },
			[]string{"ticket_types[0].sales_start"}},
		{"sales window the wrong way", func(e *api.NewEvent) {
			e.TicketTypes[0].SalesStart, e.TicketTypes[0].SalesEnd = at(end.Add(-time.Hour)), at(end.Add(-2*time.Hour))
		}, []string{"ticket_types[0].sales_end"}},
		{"all at once", func(e *api.NewEvent) { *e = api.NewEvent{TicketTypes: []api.NewTicketType{{}}} },
			[]string{"ends_at", "location.city", "location.country", "name", "starts_at", "ticket_types[0].name",
				"ticket_types[0].price.currency", "timezone"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := draftOf("Quartet")
			c.edit(&req)
			if got := fields(recordOf(req).validate(wholeEvent)); !slices.Equal(got, c.wrong) {
				t.Errorf("wrong fields %v, want %v", got, c.wrong)
			}
		})
	}
}

func make51() []api.NewTicketType {
	types := make([]api.NewTicketType, 51)
	for i := range types {
		types[i] = api.NewTicketType{Name: "A", Price: api.Money{Currency: "EUR"}, Quantity: 1}
	}
	return types
}

// The bound of prices leaves room for the tickets of the dearest currencies, and for every sum: of an order, which a
// JavaScript number holds exactly, and of all tickets of an event.
func TestPriceBound(t *testing.T) {
	const exact, int64s = 1 << 53, 1<<63 - 1
	if maxPrice < 10_000_000_000 { // a hundred dollars in rials, with its decimals
		t.Errorf("prices end at %d", maxPrice)
	}
	if ticketsOfOrder := 1000; maxPrice > exact/ticketsOfOrder {
		t.Errorf("the sum of an order may be more than %d", exact)
	}
	if maxPrice > int64s/maxCapacity {
		t.Errorf("the sum of an event may be more than %d", int64s)
	}
}
