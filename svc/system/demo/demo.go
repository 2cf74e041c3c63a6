// Package demo fills an empty system with a season of sample events and walks one purchase through it, over HTTP like
// any other client.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"image/png"
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
	Now     func() time.Time // dates the season; nil means time.Now

	// Of an administrator; may be empty. The tour needs one to switch the sandbox provider on if it is off, and to
	// stand at the door of a season that an earlier run has loaded.
	AdminEmail, AdminPassword string
}

const (
	domain    = "@demo.starlight.test"
	organizer = "organizer" + domain
)

// within bounds each wait of the tour: for a payment to arrive, for a setting to be in force.
const within = 10 * time.Second

// seats is how many the tour buys.
const seats = 2

// Run loads the season if it is not there yet, and walks one purchase, made by a new person each time. It prints every
// step. An error names the step that failed.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &tour{Config: cfg}
	event, err := t.season(ctx)
	if err != nil {
		return err
	}
	kind, err := choose(event)
	if err != nil {
		return err
	}
	guest := person("guest-"+suffix()+domain, "Demo Guest")
	if err := t.purchase(ctx, guest, event, kind); err != nil {
		return err
	}
	t.goodbye(guest, event, kind)
	return nil
}

func person(email, name string) api.Register {
	return api.Register{Email: email, Name: name, Password: rand.Text()}
}

func suffix() string { return strings.ToLower(rand.Text()[:8]) }

// season returns the event of the tour. It is the last one that a run loads: if it is there, all are.
func (t *tour) season(ctx context.Context) (api.Event, error) {
	season, err := Season(t.Now())
	if err != nil {
		return api.Event{}, err
	}
	last := season[len(season)-1]
	var found api.List[api.Event]
	query := url.Values{"q": {last.Name}}
	if err := t.ask(ctx, "look for the season", "GET", "/v1/events?"+query.Encode(), "", nil, &found); err != nil {
		return api.Event{}, err
	}
	for _, e := range found.Items {
		if e.Name == last.Name {
			t.printf("\nThe demo season is here already. A new guest buys two tickets, over HTTP:\n\n")
			return e, nil
		}
	}
	t.printf("\nLoading a season of sample events and buying two tickets, over HTTP:\n\n")
	return t.load(ctx, season)
}

// load creates and publishes what is missing of a season, which is all of it unless an earlier run was interrupted,
// or is so long ago that some events are over. It returns the last event.
func (t *tour) load(ctx context.Context, season []api.NewEvent) (api.Event, error) {
	here, err := t.names(ctx)
	if err != nil {
		return api.Event{}, err
	}
	who := person(organizer, "Demo Season")
	err = t.signUp(ctx, who, &t.door)
	if refused(err, "conflict") { // the organizer of that earlier run, whose password may be lost
		who.Email = "organizer-" + suffix() + domain
		err = t.signUp(ctx, who, &t.door)
	}
	if err != nil {
		return api.Event{}, err
	}
	t.printf("    the organizer: %s  password %s  (shown this once)\n", who.Email, who.Password)

	start := time.Now()
	var last api.Event
	cities, currencies, loaded := map[string]bool{}, map[string]bool{}, 0
	for _, s := range season {
		if here[s.Name] {
			continue
		}
		var draft, published api.Event
		if err := t.ask(ctx, "create "+s.Name, "POST", "/v1/events", t.door, s, &draft); err != nil {
			return api.Event{}, err
		}
		if err := t.ask(ctx, "publish "+s.Name, "POST", "/v1/events/"+draft.ID.String()+"/publish", t.door, nil,
			&published); err != nil {
			return api.Event{}, err
		}
		last = published
		cities[s.Location.City], currencies[s.TicketTypes[0].Price.Currency] = true, true
		loaded++
	}
	t.line("create and publish", "POST", "/v1/events", http.StatusCreated, time.Since(start),
		fmt.Sprintf("%d events, %d cities, %d currencies", loaded, len(cities), len(currencies)))
	return last, nil
}

// names returns the names of all events to come.
func (t *tour) names(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	for cursor := ""; ; {
		var page api.List[api.Event]
		query := url.Values{"limit": {"200"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := t.ask(ctx, "list events", "GET", "/v1/events?"+query.Encode(), "", nil, &page); err != nil {
			return nil, err
		}
		for _, e := range page.Items {
			names[e.Name] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			return names, nil
		}
	}
}

// choose returns the ticket type that the tour buys: one that costs something and is on sale to the end.
func choose(e api.Event) (int, error) {
	for i, k := range e.TicketTypes {
		if k.Price.Amount > 0 && k.SalesStart == nil && k.SalesEnd == nil &&
			(k.MaxPerOrder == 0 || k.MaxPerOrder >= seats) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("choose a ticket: %s sells none without a restriction", e.Name)
}

// signUp makes an account and logs in.
func (t *tour) signUp(ctx context.Context, who api.Register, token *string) error {
	if err := t.step(ctx, "register "+who.Name, "POST", "/v1/users", "", who, nil); err != nil {
		return err
	}
	return t.logIn(ctx, "log in", who.Email, who.Password, token)
}

func (t *tour) logIn(ctx context.Context, step, email, password string, token *string) error {
	var got api.Tokens
	err := t.step(ctx, step, "POST", "/v1/sessions", "", api.Login{Email: email, Password: password}, &got)
	*token = got.AccessToken
	return err
}

// purchase walks from an account to the seat.
func (t *tour) purchase(ctx context.Context, guest api.Register, event api.Event, kind int) error {
	if err := t.signUp(ctx, guest, &t.guest); err != nil {
		return err
	}
	var found api.List[api.Event]
	query := url.Values{"q": {event.Name}, "city": {event.Location.City}}
	if err := t.step(ctx, "search", "GET", "/v1/events?"+query.Encode(), "", nil, &found); err != nil {
		return err
	}
	at := "/v1/events/" + event.ID.String()
	if err := t.step(ctx, "read the event", "GET", at, "", nil, &api.Event{}); err != nil {
		return err
	}
	if err := t.availability(ctx, "what is left", at, kind); err != nil {
		return err
	}
	order := api.Order{}
	want := api.NewOrder{EventID: event.ID,
		Items:     []api.NewOrderItem{{TicketTypeID: event.TicketTypes[kind].ID, Quantity: seats}},
		Attendees: []api.Attendee{{Name: guest.Name}, {Name: "A Friend"}}}
	if err := t.step(ctx, "order two seats", "POST", "/v1/orders", t.guest, want, &order); err != nil {
		return err
	}
	if err := t.pay(ctx, order); err != nil {
		return err
	}
	var tickets api.List[api.Ticket]
	if err := t.step(ctx, "tickets", "GET", "/v1/orders/"+order.ID.String()+"/tickets", t.guest, nil,
		&tickets); err != nil {
		return err
	}
	if len(tickets.Items) != seats {
		return fmt.Errorf("tickets: there are %d, not %d", len(tickets.Items), seats)
	}
	var picture []byte
	if err := t.step(ctx, "QR code", "GET", "/v1/tickets/"+tickets.Items[0].ID.String()+"/qr.png", t.guest, nil,
		&picture); err != nil {
		return err
	}
	if _, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil {
		return fmt.Errorf("QR code: %w", err)
	}
	if err := t.admit(ctx, at, tickets.Items[0].Code); err != nil {
		return err
	}
	if err := t.availability(ctx, "what is left", at, kind); err != nil {
		return err
	}
	return t.numbers(ctx, at)
}

func (t *tour) availability(ctx context.Context, step, at string, kind int) error {
	var left api.Availability
	took, err := t.timed(ctx, step, "GET", at+"/availability", "", nil, &left)
	if err != nil {
		return err
	}
	if kind >= len(left.TicketTypes) {
		return fmt.Errorf("%s: the answer has %d ticket types", step, len(left.TicketTypes))
	}
	k := left.TicketTypes[kind]
	if k.Available+k.Held+k.Sold+k.Leased != k.Quantity {
		return fmt.Errorf("%s: %d available, %d held, %d sold and %d leased are not %d", step, k.Available, k.Held,
			k.Sold, k.Leased, k.Quantity)
	}
	t.line(step, "GET", at+"/availability", http.StatusOK, took,
		fmt.Sprintf("%d of %d available, %d held, %d sold", k.Available, k.Quantity, k.Held, k.Sold))
	return nil
}

// numbers shows what the organizer sees, once the purchase and the admission are counted.
func (t *tour) numbers(ctx context.Context, at string) error {
	if t.door == "" {
		return nil
	}
	const step = "the numbers"
	start := time.Now()
	var sum api.EventSummary
	err := t.wait(ctx, step, func() (bool, error) {
		err := t.ask(ctx, step, "GET", at+"/analytics", t.door, nil, &sum)
		return err == nil && sum.TicketsSold >= seats && sum.Admitted > 0, err
	})
	if err != nil {
		return err
	}
	t.line(step, "GET", at+"/analytics", http.StatusOK, time.Since(start),
		fmt.Sprintf("%d tickets, %s, %d admitted", sum.TicketsSold, sum.Revenue, sum.Admitted))
	return nil
}

// pay pays an order at the sandbox provider, and waits until the provider's callback has made it paid.
func (t *tour) pay(ctx context.Context, order api.Order) error {
	at := "/v1/orders/" + order.ID.String()
	var payment api.Payment
	begin := func() error {
		return t.step(ctx, "pay", "POST", at+"/payments", t.guest, api.NewPayment{Provider: "sandbox"}, &payment)
	}
	err := begin()
	if sandboxIsOff(err) && t.AdminPassword != "" {
		if err := t.enableSandbox(ctx); err != nil {
			return err
		}
		err = t.wait(ctx, "pay", func() (bool, error) { // the setting is in force a moment later
			err := begin()
			return !sandboxIsOff(err), err
		})
	}
	if err != nil {
		return err
	}
	if err := t.step(ctx, "act at the provider", "POST", "/v1/sandbox/payments/"+payment.ID.String(), "",
		api.SandboxOutcome{Outcome: "succeeded"}, nil); err != nil {
		return err
	}
	start := time.Now()
	at += "?wait=5s" // the answer comes when the order changes
	err = t.wait(ctx, "wait for the callback", func() (bool, error) {
		err := t.ask(ctx, "wait for the callback", "GET", at, t.guest, nil, &order)
		return err != nil || order.Status != api.OrderPending, err
	})
	if err != nil {
		return err
	}
	if order.Status != api.OrderPaid {
		return fmt.Errorf("wait for the callback: the order is %s", order.Status)
	}
	t.line("wait for the callback", "GET", at, http.StatusOK, time.Since(start), order.Status)
	return nil
}

// sandboxIsOff reports whether err is the refusal of a payment at a provider that is not there for buyers.
func sandboxIsOff(err error) bool {
	return refused(err, "invalid") && strings.Contains(err.Error(), api.SandboxEnabled.Key())
}

func (t *tour) enableSandbox(ctx context.Context) error {
	var admin string
	if err := t.logIn(ctx, "log in as administrator", t.AdminEmail, t.AdminPassword, &admin); err != nil {
		return err
	}
	return t.step(ctx, "switch the sandbox on", "PUT", "/v1/config/"+api.SandboxEnabled.Key(), admin,
		map[string]string{"value": "true"}, nil)
}

// admit shows a ticket at the door twice.
func (t *tour) admit(ctx context.Context, at, code string) error {
	if t.door == "" && t.AdminPassword != "" {
		if err := t.logIn(ctx, "administrator at the door", t.AdminEmail, t.AdminPassword, &t.door); err != nil {
			return err
		}
	}
	if t.door == "" {
		t.printf(
			"    the door needs the organizer, whose password was shown when the season was loaded: POST "+
				"%s/admissions\n", brief(at))
		return nil
	}
	for _, scan := range []struct{ step, want string }{{"at the door", api.Admitted},
		{"the same ticket again", api.AlreadyAdmitted}} {
		var got api.AdmissionResult
		if err := t.step(ctx, scan.step, "POST", at+"/admissions", t.door, api.Admission{Code: code, Gate: "main"},
			&got); err != nil {
			return err
		}
		if got.Result != scan.want {
			return fmt.Errorf("%s: the result is %s, not %s", scan.step, got.Result, scan.want)
		}
	}
	return nil
}

// wait calls done often until it says so, at most for the time within.
func (t *tour) wait(ctx context.Context, step string, done func() (bool, error)) error {
	limit := time.NewTimer(within)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok {
			return err
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return errors.Join(fmt.Errorf("%s: nothing came of it within %s", step, within), err)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", step, ctx.Err())
		}
	}
}
