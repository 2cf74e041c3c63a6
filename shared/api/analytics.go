package api

import (
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
)

// SmallestGroup is how many people a demographic group has at least when it is shown.
const SmallestGroup = 5

// Numbers are the counters of analytics. Each counts what happened, once: a refund takes nothing away from revenue.
type Numbers struct {
	Views           int64 `json:"views"`            // how often the page of the event was read
	OrdersHeld      int64 `json:"orders_held"`      // orders that held seats, free ones included
	OrdersPaid      int64 `json:"orders_paid"`      // orders that were paid, free ones included
	OrdersExpired   int64 `json:"orders_expired"`   // orders that were not paid in time
	OrdersCancelled int64 `json:"orders_cancelled"` // orders that were cancelled unpaid
	OrdersRefunded  int64 `json:"orders_refunded"`  // all of their money is back
	TicketsSold     int64 `json:"tickets_sold"`     // tickets that were issued
	TicketsRevoked  int64 `json:"tickets_revoked"`  // tickets that were revoked
	Admitted        int64 `json:"admitted"`         // people who came in
	Revenue         int64 `json:"revenue_amount"`   // minor units of the event's currency
	Refunds         int64 `json:"refunds_amount"`   // what was given back, in minor units of the event's currency
}

// EventSummary is what the numbers of an event come to. The rates are between 0 and 1.
type EventSummary struct {
	EventID         ids.Event   `json:"event_id"`
	Name            string      `json:"name"`             // of the event
	Timezone        string      `json:"timezone"`         // of the event, from the IANA database
	StartsAt        time.Time   `json:"starts_at"`        // when the event begins
	Views           int64       `json:"views"`            // how often the page of the event was read
	OrdersHeld      int64       `json:"orders_held"`      // orders that held seats, free ones included
	OrdersPaid      int64       `json:"orders_paid"`      // orders that were paid, free ones included
	OrdersExpired   int64       `json:"orders_expired"`   // orders that were not paid in time
	OrdersCancelled int64       `json:"orders_cancelled"` // orders that were cancelled unpaid
	OrdersRefunded  int64       `json:"orders_refunded"`  // orders of which all money is back
	TicketsSold     int64       `json:"tickets_sold"`     // tickets that were issued
	TicketsRevoked  int64       `json:"tickets_revoked"`  // tickets that were revoked
	ProductsSold    int64       `json:"products_sold"`    // that are sold beside tickets, less those that were revoked
	Admitted        int64       `json:"admitted"`         // people who came in
	NoShows         int64       `json:"no_shows"`         // once the event is over: valid tickets that did not come
	Revenue         Money       `json:"revenue"`          // what was paid; a refund takes nothing away from it
	Refunds         Money       `json:"refunds"`          // what was given back
	Net             Money       `json:"net"`              // revenue less refunds
	Quantity        int64       `json:"quantity"`         // tickets on offer
	SellThrough     float64     `json:"sell_through"`     // tickets sold and not revoked, of those on offer
	Conversion      float64     `json:"conversion"`       // paid orders of views; an order without a view counts as one
	Attendance      float64     `json:"attendance"`       // admitted of valid tickets
	TicketTypes     []Breakdown `json:"ticket_types"`     // the numbers of each ticket type
	PromoCodes      []Breakdown `json:"promo_codes"`      // the numbers of each promo code
	Referrers       []Breakdown `json:"referrers"`        // the numbers of each site that visitors came from
}

// LiveSubject returns where changes of the summary are published.
func (s EventSummary) LiveSubject() string { return live.Subject("analytics", string(s.EventID)) }

// Breakdown is the numbers of one ticket type, promo code, referrer or gate.
type Breakdown struct {
	Key  string `json:"key"`            // the id, code, host or gate
	Name string `json:"name,omitempty"` // of the ticket type
	Numbers
}

// SeriesQuery is the request of the series. Times are taken to the whole interval.
type SeriesQuery struct {
	ID       ids.Event `json:"-" path:"id"`
	Interval string    `json:"-" query:"interval" enum:"minute,hour,day,week"` // absent: what suits the series
	// taken down to the whole interval; absent: the first fact
	From time.Time `json:"-" query:"from"`
	// not included, taken up to the whole interval; absent: after the last fact
	To time.Time `json:"-" query:"to"`
}

// Series is numbers over time. An interval begins when it does in the event's zone: a day may have 23 or 25 hours.
type Series struct {
	EventID  ids.Event     `json:"event_id"`
	Timezone string        `json:"timezone"`                             // of the event, from the IANA database
	Interval string        `json:"interval" enum:"minute,hour,day,week"` // of each point
	Currency string        `json:"currency"`                             // of the amounts, ISO 4217
	Points   []SeriesPoint `json:"points"`                               // the intervals in order
	// of sales: what was sold of each ticket type in the same time
	Types []Breakdown `json:"ticket_types,omitempty"`
	// of attendance: arrivals per gate in the same time
	Gates []Breakdown `json:"gates,omitempty"`
	// valid tickets that did not come, once the event is over
	NoShows int64 `json:"no_shows"`
}

// SeriesPoint is one interval. Admissions accumulate over the series.
type SeriesPoint struct {
	Start  time.Time `json:"start"`  // with the offset of the event's zone
	Inside int64     `json:"inside"` // people who have come in until the end of the interval
	Numbers
}

// Funnel is the way from a view to a paid order, and the tickets of those orders.
type Funnel struct {
	EventID     ids.Event    `json:"event_id"`
	Steps       []FunnelStep `json:"steps"`        // from views to paid orders
	TicketsSold int64        `json:"tickets_sold"` // tickets of the paid orders
	Admitted    int64        `json:"admitted"`     // people who came in
}

// FunnelStep is one step, and its part of the step before: no step is larger than that.
type FunnelStep struct {
	Name  string  `json:"name"`                         // what is counted
	Count int64   `json:"count"`                        // how many
	Rate  float64 `json:"rate" minimum:"0" maximum:"1"` // part of the step before, 0 where that is empty
}

// Demographics are the buyers of an event who agreed to be counted, in groups of at least SmallestGroup. Others are all
// remaining buyers; there are either none or enough of them that no small group can be inferred from the difference.
type Demographics struct {
	EventID   ids.Event `json:"event_id"`
	AgeBands  Groups    `json:"age_bands"`
	Countries Groups    `json:"countries"`
	Cities    Groups    `json:"cities"`
}

// Groups are people by one trait.
type Groups struct {
	Groups []Group `json:"groups"` // the largest first
	Others int64   `json:"others"` // all remaining buyers
}

// Group is people who have a trait in common.
type Group struct {
	Name   string `json:"name"`   // the band, country or city
	People int64  `json:"people"` // how many
}

// Forecast says when an event will be sold out if sales go on as lately. The times are absent where the rate of sales
// gives no end. Before there are ten orders over a day at least, it gives neither times nor a rate.
type Forecast struct {
	EventID   ids.Event  `json:"event_id"`
	Remaining int64      `json:"remaining"`             // tickets that are left
	PerDay    float64    `json:"per_day"`               // tickets sold a day, lately
	SoldOutAt *time.Time `json:"sold_out_at,omitempty"` // expected
	Earliest  *time.Time `json:"earliest,omitempty"`    // nine times of ten it is between these two
	Latest    *time.Time `json:"latest,omitempty"`      // see earliest
	Basis     string     `json:"basis"`                 // what it rests on, in words
}

// Overview is events side by side. Searches are those in the catalogue, by all visitors, for any event.
type Overview struct {
	Items      []EventSummary `json:"items"`                // one for each event
	Searches   int64          `json:"searches"`             // in the catalogue, by all visitors, for any event
	Incomplete []ids.Event    `json:"incomplete,omitempty"` // events that are left out: facts of them were lost
}

// CompareQuery is the request of CompareEvents.
type CompareQuery struct {
	Events []ids.Event `json:"-" query:"event"` // two to ten; none means all of the caller's own
}

// ReportRef names a report: sales, funnel, arrivals or demographics, as csv, svg, png or pdf.
type ReportRef struct {
	ID ids.Event `json:"-" path:"id"`
	// sales, funnel, arrivals or demographics, with .csv, .svg, .png or .pdf
	File     string `json:"-" path:"file"`
	Interval string `json:"-" query:"interval" enum:"minute,hour,day,week"` // absent: what suits the report
	// taken down to the whole interval; absent: the first fact
	From time.Time `json:"-" query:"from"`
	// not included, taken up to the whole interval; absent: after the last fact
	To time.Time `json:"-" query:"to"`
}

// TrafficFact is the payload of the facts that the gateway publishes: how often something was read.
type TrafficFact struct {
	At       time.Time `json:"at"`
	EventID  ids.Event `json:"event_id,omitempty"`
	Referrer string    `json:"referrer,omitempty"` // host only
	Count    int64     `json:"count"`
}

// The subjects of the gateway's facts, in stream ANALYTICS.
const (
	FactViews    = trafficPrefix + "gateway.views"
	FactSearches = trafficPrefix + "gateway.searches"
)

// PeopleRef is the request of the internal endpoint GetDemographics: at most 500 people.
type PeopleRef struct {
	UserIDs []ids.User `json:"user_ids"`
}

// PersonTraits is what a person agreed to be counted by; all empty without consent.
type PersonTraits struct {
	UserID  ids.User `json:"user_id"`
	AgeBand string   `json:"age_band,omitempty"`
	Country string   `json:"country,omitempty"`
	City    string   `json:"city,omitempty"`
}

func analytics(name, path, summary string) rpc.Spec {
	s := rpc.Spec{Service: "analytics", Name: name, Method: "GET", Path: path, Access: rpc.User, Summary: summary,
		Detail: "For those who may read the event's numbers."}
	if strings.HasPrefix(path, "/v1/events/") {
		s.Scopes = readKeys
	}
	return s
}

func analyticsLive() rpc.Spec {
	s := analytics("live", "/v1/events/{id}/analytics/live", "The numbers of an event, as they change")
	s.Live, s.Scopes = rpc.LiveByPath("id"), nil
	return s
}

// The endpoints of the analytics service.
var (
	GetEventAnalytics = rpc.Endpoint[EventRef, EventSummary]{Spec: analytics("summary", "/v1/events/{id}/analytics",
		"The numbers of an event")}
	GetSales = rpc.Endpoint[SeriesQuery, Series]{Spec: analytics("sales",
		"/v1/events/{id}/analytics/sales", "Sales over time")}
	GetAttendance = rpc.Endpoint[SeriesQuery, Series]{Spec: analytics("attendance",
		"/v1/events/{id}/analytics/attendance", "Arrivals over time and per gate")}
	GetFunnel = rpc.Endpoint[EventRef, Funnel]{Spec: analytics("funnel",
		"/v1/events/{id}/analytics/funnel", "From views to seats")}
	GetBuyers = rpc.Endpoint[EventRef, Demographics]{Spec: analytics("demographics",
		"/v1/events/{id}/analytics/demographics", "Who buys, in groups of five or more")}
	GetForecast = rpc.Endpoint[EventRef, Forecast]{Spec: analytics("forecast",
		"/v1/events/{id}/analytics/forecast", "When an event will be sold out")}
	FollowAnalytics = rpc.Endpoint[EventRef, EventSummary]{Spec: analyticsLive()}
	GetReport       = rpc.Endpoint[ReportRef, rpc.Blob]{Spec: analytics("report", "/v1/events/{id}/reports/{file}",
		"A report as CSV, SVG, PNG or PDF: sales.csv, funnel.svg, arrivals.png, demographics.pdf")}
	GetOverview = rpc.Endpoint[rpc.None, Overview]{Spec: analytics("overview", "/v1/analytics/overview",
		"The numbers of all the caller's events")}
	CompareEvents = rpc.Endpoint[CompareQuery, Overview]{Spec: analytics("compare", "/v1/analytics/compare",
		"The numbers of events side by side: ?event=ID&event=ID")}

	GetDemographics = rpc.Endpoint[PeopleRef, List[PersonTraits]]{Spec: rpc.Spec{Service: "user", Name: "demographics",
		Access: rpc.Internal, Callers: []string{"analytics"}, Summary: "What people agreed to be counted by"}}
)

func analyticsEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{GetEventAnalytics.Describe(), GetSales.Describe(), GetAttendance.Describe(),
		GetFunnel.Describe(), GetBuyers.Describe(), GetForecast.Describe(), FollowAnalytics.Describe(),
		GetReport.Describe(), GetOverview.Describe(), CompareEvents.Describe(), GetDemographics.Describe()}
}
