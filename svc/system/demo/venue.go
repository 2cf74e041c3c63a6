package demo

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

// Venue is a venue that the tour has opened, with an event whose doors it shall have.
type Venue struct {
	ID          string
	Credentials string // for its computer

	hub, there *tour
	owner      string // access token
	event      api.Event
	tickets    []api.Ticket // that people have bought at the system
	pass       string       // of the till and the doors at the venue
}

// leased is how many seats the venue may sell by itself.
const leased = 10

// OpenVenue makes an account, a venue with credentials and an event at a running system, and buys two tickets.
func OpenVenue(ctx context.Context, cfg Config) (*Venue, error) {
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v := &Venue{hub: &tour{Config: cfg}}
	v.hub.printf("\nA venue opens at the system, and two tickets are sold, over HTTP:\n\n")
	who := person("venue-"+suffix()+domain, "Venue Owner")
	if err := v.hub.signUp(ctx, who, &v.owner); err != nil {
		return nil, err
	}
	var venue api.Venue
	if err := v.hub.step(ctx, "create a venue", "POST", "/v1/venues", v.owner,
		api.NewVenue{Name: "The Old Depot", Timezone: "Europe/Berlin", Gates: []string{"north"}}, &venue); err != nil {
		return nil, err
	}
	v.ID = venue.ID.String()
	var creds api.VenueCredentials
	if err := v.hub.step(ctx, "its credentials", "POST", "/v1/venues/"+v.ID+"/credentials", v.owner, nil,
		&creds); err != nil {
		return nil, err
	}
	v.Credentials = creds.Credentials
	starts := cfg.Now().Add(2 * time.Hour).UTC().Truncate(time.Second)
	draft := api.NewEvent{Name: "A Night without a Line", Category: "concert", StartsAt: starts,
		EndsAt: starts.Add(3 * time.Hour), Timezone: venue.Timezone, VenueID: venue.ID,
		Location: api.Location{Name: venue.Name, City: "Leipzig", Country: "DE"},
		TicketTypes: []api.NewTicketType{{Name: "Standing", Price: api.Money{Amount: 1800, Currency: "EUR"},
			Quantity: 100}}}
	if err := v.hub.step(ctx, "create an event there", "POST", "/v1/events", v.owner, draft, &v.event); err != nil {
		return nil, err
	}
	if err := v.hub.step(ctx, "publish it", "POST", v.at("/publish"), v.owner, nil, &v.event); err != nil {
		return nil, err
	}
	if err := v.hub.logInAsGuest(ctx); err != nil {
		return nil, err
	}
	var order api.Order
	if err := v.hub.step(ctx, "order two seats", "POST", "/v1/orders", v.hub.guest, api.NewOrder{EventID: v.event.ID,
		Items: []api.NewOrderItem{{TicketTypeID: v.event.TicketTypes[0].ID, Quantity: seats}}}, &order); err != nil {
		return nil, err
	}
	if err := v.hub.pay(ctx, order); err != nil {
		return nil, err
	}
	var tickets api.List[api.Ticket]
	err := v.hub.step(ctx, "tickets", "GET", "/v1/orders/"+order.ID.String()+"/tickets", v.hub.guest, nil, &tickets)
	if err == nil && len(tickets.Items) != seats {
		err = fmt.Errorf("tickets: there are %d, not %d", len(tickets.Items), seats)
	}
	v.tickets = tickets.Items
	return v, err
}

func (t *tour) logInAsGuest(ctx context.Context) error {
	return t.signUp(ctx, person("guest-"+suffix()+domain, "Demo Guest"), &t.guest)
}

func (v *Venue) at(path string) string { return "/v1/events/" + v.event.ID.String() + path }

// edgeStatus is what the tour reads of a venue's status.
type edgeStatus struct {
	Line struct {
		Up     bool   `json:"up"`
		Reason string `json:"reason"`
	} `json:"line"`
	Waiting int64 `json:"waiting"`
}

// Show hands the doors over to the venue's computer, which answers at url, and shows what it does with and without the
// line, which is cable.
func (v *Venue) Show(ctx context.Context, url string, cable *Cable) error {
	v.there = &tour{Config: v.hub.Config}
	v.there.BaseURL = url
	for _, act := range []func(context.Context) error{v.handOver, v.withLine,
		func(ctx context.Context) error { return v.withoutLine(ctx, cable) },
		func(ctx context.Context) error { return v.joined(ctx, cable) }} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	v.goodbye()
	return nil
}

func (v *Venue) handOver(ctx context.Context) error {
	v.hub.printf("\nThe doors are handed over to the computer of the venue, with %d seats to sell:\n\n", leased)
	var doors api.Authority
	if err := v.hub.step(ctx, "hand the doors over", "PUT", v.at("/authority"), v.owner,
		map[string]string{"venue_id": v.ID}, &doors); err != nil {
		return err
	}
	var lease api.Lease
	if err := v.hub.step(ctx, "lease seats", "POST", v.at("/leases"), v.owner, map[string]any{"venue_id": v.ID,
		"ticket_type_id": v.event.TicketTypes[0].ID, "quantity": leased}, &lease); err != nil {
		return err
	}
	var pass api.NewPassSecret
	if err := v.hub.step(ctx, "a pass for a device", "POST", v.at("/passes"), v.owner,
		map[string]string{"name": "Till 1"}, &pass); err != nil {
		return err
	}
	v.pass = pass.Secret
	if err := v.until(ctx, v.hub, "the venue admits", v.at("/authority"), v.owner, &doors, func() bool {
		return doors.State == "venue"
	}); err != nil {
		return err
	}
	var leases api.List[api.Lease]
	return v.until(ctx, v.there, "the venue has its seats", v.at("/leases"), v.pass, &leases, func() bool {
		return len(leases.Items) == 1 && leases.Items[0].Left == leased
	})
}

// until waits until an answer is as it shall be, and prints that as a step.
func (v *Venue) until(
	ctx context.Context, t *tour, step, path, token string, into any, done func() bool,
) error {
	start := time.Now()
	var last error
	err := t.wait(ctx, step, func() (bool, error) {
		last = t.ask(ctx, step, "GET", path, token, nil, into)
		return last == nil && done(), last // until then it may be refused, because the venue has not heard of it
	})
	if err == nil {
		t.line(step, "GET", path, http.StatusOK, time.Since(start), gist(into))
	}
	return err
}

func (v *Venue) withLine(ctx context.Context) error {
	v.hub.printf("\nAt the venue, with a line:\n\n")
	if err := v.scan(ctx, v.there, "scan a ticket", v.tickets[0].Code, api.Admitted); err != nil {
		return err
	}
	_, err := v.sell(ctx, "sell one for cash", 1)
	return err
}

func (v *Venue) withoutLine(ctx context.Context, cable *Cable) error {
	v.hub.printf("\nThe line is cut:\n\n")
	cable.Cut()
	var status edgeStatus
	if err := v.until(ctx, v.there, "the venue sees it", "/v1/status", "", &status, func() bool {
		return !status.Line.Up
	}); err != nil {
		return err
	}
	if err := v.scan(ctx, v.there, "the same ticket again", v.tickets[0].Code, api.AlreadyAdmitted); err != nil {
		return err
	}
	err := v.hub.ask(ctx, "the other at the system", "POST", v.at("/admissions"), v.owner,
		api.Admission{Code: v.tickets[1].Code}, nil)
	if !refused(err, "unavailable") {
		return fmt.Errorf("a scan at the system without a line: %w", err)
	}
	v.hub.printf("    at the system it is refused: it must not decide while it cannot ask the venue\n")
	if err := v.scan(ctx, v.there, "the other at the venue", v.tickets[1].Code, api.Admitted); err != nil {
		return err
	}
	sold, err := v.sell(ctx, "sell two more", 2)
	if err != nil {
		return err
	}
	if err := v.scan(ctx, v.there, "scan one of them", sold.Tickets[0].Code, api.Admitted); err != nil {
		return err
	}
	wrong, err := v.sell(ctx, "sell by mistake", 1)
	if err != nil {
		return err
	}
	back := "/v1/box-office/sales/" + wrong.OrderID.String() + "/reversal"
	if err := v.there.step(ctx, "take that sale back", "POST", back, v.pass,
		api.ReverseSaleRequest{Reason: "wrong slip"}, &api.SaleReversal{}); err != nil {
		return err
	}
	return v.there.step(ctx, "what waits for the line", "GET", "/v1/status", "", nil, &status)
}

func (v *Venue) joined(ctx context.Context, cable *Cable) error {
	v.hub.printf("\nThe line is joined. What the venue has decided is at the system, once:\n\n")
	cable.Join()
	var status edgeStatus
	if err := v.until(ctx, v.there, "the venue hands it up", "/v1/status", "", &status, func() bool {
		return status.Line.Up && status.Waiting == 0
	}); err != nil {
		return err
	}
	if err := v.scan(ctx, v.hub, "that ticket at the system", v.tickets[1].Code, api.AlreadyAdmitted); err != nil {
		return err
	}
	var leases api.List[api.Lease]
	if err := v.until(ctx, v.hub, "what the venue has sold", v.at("/leases"), v.owner, &leases, func() bool {
		return len(leases.Items) == 1 && leases.Items[0].Sold == 3
	}); err != nil {
		return err
	}
	var sum api.EventSummary
	return v.until(ctx, v.hub, "the numbers", v.at("/analytics"), v.owner, &sum, func() bool {
		return sum.TicketsSold-sum.TicketsRevoked == 5 && sum.Admitted == 3 && sum.Refunds.Amount > 0
	})
}

// scan shows a code at a door of the venue, or of the system.
func (v *Venue) scan(ctx context.Context, t *tour, step, code, want string) error {
	token := v.pass
	if t == v.hub {
		token = v.owner
	}
	var got api.AdmissionResult
	err := t.step(ctx, step, "POST", v.at("/admissions"), token, api.Admission{Code: code, Gate: "north"}, &got)
	if err == nil && got.Result != want {
		err = fmt.Errorf("%s: the result is %s, not %s", step, got.Result, want)
	}
	return err
}

// sell sells at the till of the venue.
func (v *Venue) sell(ctx context.Context, step string, n int) (sold api.Sale, err error) {
	err = v.there.step(ctx, step, "POST", "/v1/box-office/sales", v.pass, api.NewSale{EventID: v.event.ID,
		Items:   []api.NewOrderItem{{TicketTypeID: v.event.TicketTypes[0].ID, Quantity: n}},
		Payment: api.BoxOfficePayment{Method: api.PaidInCash}}, &sold)
	return sold, err
}

// goodbye says what to try next.
func (v *Venue) goodbye() {
	const text = `
Try it yourself: docs/edge.md explains the rest

  curl -s %[1]s/v1/status
  curl -s %[1]s/v1/box-office/sales -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' -d '{"event_id":"%[3]s","items":[{"ticket_type_id":"%[4]s","quantity":1}],"payment":{"method":"cash"}}'
  curl -s '%[1]s/v1/events/%[3]s/attendees?q=guest' -H 'Authorization: Bearer %[2]s'

`
	v.hub.printf(text, v.there.BaseURL, v.pass, v.event.ID, v.event.TicketTypes[0].ID)
}
