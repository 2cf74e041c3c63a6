// Package demo fills an empty system with a season of sample events and walks one purchase through it, over HTTP like
// any other client.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

// Config says where to show what.
type Config struct {
	BaseURL string       // of the gateway
	Client  *http.Client // nil means http.DefaultClient
	Out     io.Writer
	Now     func() time.Time
}

const organizerEmail = "organizer@demo.starlight.example"

// paidWithin bounds how long the tour waits for its payment.
const paidWithin = 10 * time.Second

// tour is one run of the demo.
type tour struct {
	Config
	organizer, buyer string // access tokens
}

// Run loads the season if the system has none yet, and walks one purchase. It prints every step.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	t := &tour{Config: cfg}
	organizer := api.Register{Email: organizerEmail, Name: "Demo Season", Password: rand.Text()}
	var existing api.List[api.Event]
	if err := t.call(ctx, "", "GET", "/v1/events?q="+url.QueryEscape("Symphony under the Stars"), "", nil, &existing); err != nil {
		return err
	}
	if len(existing.Items) > 0 {
		fmt.Fprintf(t.Out, "\nThe demo season is here already. A guest at the door of a new event:\n\n")
		organizer.Email = "organizer-" + strings.ToLower(rand.Text()[:8]) + "@demo.starlight.example"
	} else {
		fmt.Fprintf(t.Out, "\nLoading a season of sample events and buying a ticket, over HTTP:\n\n")
	}
	if err := t.signUp(ctx, organizer, &t.organizer); err != nil {
		return err
	}
	event, err := t.load(ctx, len(existing.Items) == 0)
	if err != nil {
		return err
	}
	if err := t.purchase(ctx, event); err != nil {
		return err
	}
	t.goodbye(organizer, event)
	return nil
}

// signUp makes an account and logs in.
func (t *tour) signUp(ctx context.Context, who api.Register, token *string) error {
	if err := t.call(ctx, "register "+who.Name, "POST", "/v1/users", "", who, nil); err != nil {
		return err
	}
	var tokens api.Tokens
	if err := t.call(ctx, "log in", "POST", "/v1/sessions", "", api.Login{Email: who.Email, Password: who.Password}, &tokens); err != nil {
		return err
	}
	*token = tokens.AccessToken
	return nil
}

// load creates and publishes the season, or only its first event, and returns that.
func (t *tour) load(ctx context.Context, all bool) (api.Event, error) {
	season, err := Season(t.Now())
	if err != nil {
		return api.Event{}, err
	}
	if !all {
		season = season[:1]
	}
	start := time.Now()
	var first api.Event
	cities := map[string]bool{}
	for i, e := range season {
		var made api.Event
		if err := t.call(ctx, "", "POST", "/v1/events", t.organizer, e, &made); err != nil {
			return api.Event{}, err
		}
		if err := t.call(ctx, "", "POST", "/v1/events/"+made.ID.String()+"/publish", t.organizer, nil, &made); err != nil {
			return api.Event{}, err
		}
		if cities[e.Location.City] = true; i == 0 {
			first = made
		}
	}
	t.line("create and publish events", "POST /v1/events", start, fmt.Sprintf("%d events in %d cities", len(season), len(cities)))
	return first, nil
}

// purchase walks from an account to the seat.
func (t *tour) purchase(ctx context.Context, event api.Event) error {
	buyer := api.Register{Email: "guest-" + strings.ToLower(rand.Text()[:8]) + "@demo.starlight.example", Name: "Demo Guest", Password: rand.Text()}
	if err := t.signUp(ctx, buyer, &t.buyer); err != nil {
		return err
	}
	var found api.List[api.Event]
	if err := t.call(ctx, "search", "GET", "/v1/events?q=drowned+city&city=Berlin", "", nil, &found); err != nil {
		return err
	}
	var order api.Order
	want := api.NewOrder{EventID: event.ID, Items: []api.NewOrderItem{{TicketTypeID: event.TicketTypes[1].ID, Quantity: 2}},
		Attendees: []api.Attendee{{Name: "Demo Guest"}, {Name: "A Friend"}}}
	if err := t.call(ctx, "order two seats", "POST", "/v1/orders", t.buyer, want, &order); err != nil {
		return err
	}
	if err := t.availability(ctx, "what is left", event, 1); err != nil {
		return err
	}
	var payment api.Payment
	if err := t.call(ctx, "pay", "POST", "/v1/orders/"+order.ID.String()+"/payments", t.buyer, api.NewPayment{Provider: "sandbox"}, &payment); err != nil {
		return err
	}
	if err := t.call(ctx, "act at the provider", "POST", "/v1/sandbox/payments/"+payment.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"}, nil); err != nil {
		return err
	}
	if err := t.awaitPaid(ctx, order); err != nil {
		return err
	}
	var tickets api.List[api.Ticket]
	if err := t.call(ctx, "tickets", "GET", "/v1/orders/"+order.ID.String()+"/tickets", t.buyer, nil, &tickets); err != nil {
		return err
	}
	if len(tickets.Items) != 2 {
		return fmt.Errorf("the order has %d tickets, want 2", len(tickets.Items))
	}
	var picture []byte
	if err := t.call(ctx, "QR code", "GET", "/v1/tickets/"+tickets.Items[0].ID.String()+"/qr.png", t.buyer, nil, &picture); err != nil {
		return err
	}
	for _, step := range []string{"at the door", "the same ticket again"} {
		var result api.AdmissionResult
		scan := api.Admission{Code: tickets.Items[0].Code, Gate: "main"}
		if err := t.call(ctx, step, "POST", "/v1/events/"+event.ID.String()+"/admissions", t.organizer, scan, &result); err != nil {
			return err
		}
	}
	return t.availability(ctx, "what is left", event, 1)
}

func (t *tour) availability(ctx context.Context, step string, event api.Event, kind int) error {
	start := time.Now()
	var left api.Availability
	path := "/v1/events/" + event.ID.String() + "/availability"
	if err := t.call(ctx, "", "GET", path, "", nil, &left); err != nil {
		return err
	}
	k := left.TicketTypes[kind]
	t.line(step, "GET "+path, start, fmt.Sprintf("%d of %d available, %d held, %d sold", k.Available, k.Quantity, k.Held, k.Sold))
	return nil
}

// awaitPaid asks for the order until the provider's callback has done its work.
func (t *tour) awaitPaid(ctx context.Context, order api.Order) error {
	ctx, cancel := context.WithTimeout(ctx, paidWithin)
	defer cancel()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for order.Status == api.OrderPending {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the order is still %s after %s", order.Status, paidWithin)
		}
		if err := t.call(ctx, "", "GET", "/v1/orders/"+order.ID.String(), t.buyer, nil, &order); err != nil {
			return err
		}
	}
	t.line("signed callback", "GET /v1/orders/"+order.ID.String(), start, order.Status)
	return nil
}

// call sends one request. Steps with a name are printed, with what their answer says in a few words.
func (t *tour) call(ctx context.Context, step, method, path, token string, body, into any) error {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.BaseURL+path, reader)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	start := time.Now()
	resp, err := t.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	if raw, ok := into.(*[]byte); ok {
		*raw = text
	} else if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	if step != "" {
		t.line(step, method+" "+path, start, gist(resp.StatusCode, into))
	}
	return nil
}

// line prints one step.
func (t *tour) line(step, request string, start time.Time, said string) {
	if len(request) > 52 {
		request = request[:51] + "…"
	}
	fmt.Fprintf(t.Out, "  %-26s %-52s %6.1f ms  %s\n", step, request, float64(time.Since(start).Microseconds())/1000, said)
}

// gist is the part of an answer that matters for the story.
func gist(status int, answer any) string {
	text := fmt.Sprint(status)
	switch a := answer.(type) {
	case *api.Order:
		text += fmt.Sprintf("  %s, %.2f %s, held until %s", a.Status, float64(a.Total.Amount)/100, a.Total.Currency, a.ExpiresAt.Format("15:04:05"))
	case *api.Payment:
		text += "  " + a.Status + " at " + a.CheckoutURL
	case *api.List[api.Ticket]:
		text += fmt.Sprintf("  %d signed tickets, %s…", len(a.Items), a.Items[0].Code[:24])
	case *api.List[api.Event]:
		text += fmt.Sprintf("  %d found", len(a.Items))
	case *api.AdmissionResult:
		text += "  " + a.Result
	case *[]byte:
		text += fmt.Sprintf("  %d bytes of PNG", len(*a))
	}
	return text
}

// goodbye says what to try next.
func (t *tour) goodbye(organizer api.Register, event api.Event) {
	fmt.Fprintf(t.Out, `
Try it yourself:
  curl '%[1]s/v1/events?city=Tokyo'
  curl %[1]s/v1/events/%[2]s/availability
  curl %[1]s/v1/sessions -H 'Content-Type: application/json' -d '{"email":"%[3]s","password":"%[4]s"}'

`, t.BaseURL, event.ID, organizer.Email, organizer.Password)
}
