package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// The parts of the REST contract that the harness speaks. They are written down here again, rather than imported, so
// that a change of the contract breaks the harness as it breaks every other client.
type (
	money struct {
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
	}
	newOrder struct {
		EventID ids.Event      `json:"event_id"`
		Items   []newOrderItem `json:"items"`

		PromoCode string `json:"promo_code,omitempty"`
	}
	newOrderItem struct {
		TicketTypeID ids.TicketType `json:"ticket_type_id"`
		Quantity     int64          `json:"quantity"`
	}
	availability struct {
		EventID     ids.Event          `json:"event_id"`
		TicketTypes []typeAvailability `json:"ticket_types"`
	}
	typeAvailability struct {
		ID        ids.TicketType `json:"id"`
		Quantity  int64          `json:"quantity"`
		Available int64          `json:"available"`
		Held      int64          `json:"held"`
		Sold      int64          `json:"sold"`
	}
	event struct {
		ID          ids.Event `json:"id"`
		TicketTypes []struct {
			ID ids.TicketType `json:"id"`
		} `json:"ticket_types"`
	}
	newEvent struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Category    string          `json:"category"`
		StartsAt    time.Time       `json:"starts_at"`
		EndsAt      time.Time       `json:"ends_at"`
		Timezone    string          `json:"timezone"`
		Location    location        `json:"location"`
		Capacity    int64           `json:"capacity"`
		TicketTypes []newTicketType `json:"ticket_types"`
	}
	location struct {
		Name      string  `json:"name"`
		Address   string  `json:"address"`
		City      string  `json:"city"`
		Country   string  `json:"country"`
		Latitude  float64 `json:"latitude"`
		Longitude float64 `json:"longitude"`
	}
	newTicketType struct {
		Name     string `json:"name"`
		Price    money  `json:"price"`
		Quantity int64  `json:"quantity"`
	}
	session struct {
		AccessToken string `json:"access_token"`
	}
	ref struct {
		ID string `json:"id"`
	}
)

// settingsOfTheBench are the live settings that a measurement needs: no limits on a single loopback address, the
// sandbox provider, and nothing that expires in the middle.
func settingsOfTheBench() []string {
	return []string{"gateway.rate_per_address=0", "gateway.rate_per_person=0",
		"gateway.rate_login=0", "notification.mails_per_person=0", "notification.announcements_per_event=0",
		"notification.mails_per_organizer=0",
		"user.challenge_bits=0", "payment.sandbox=true", "ticketing.hold_ttl=2h", "ticketing.max_open_orders=0",
		"ticketing.max_unpaid_seats=0", "ticketing.max_manual_seats=0", "ticketing.renewal_pause=0s",
		"ticketing.max_per_order=50", "ticketing.doors_open=0s", "user.access_ttl=30m"}
}

// system is the product under test: a `starlight up` of its own, on a data folder of its own.
type system struct {
	*process
	client    *Client
	nats      string   // its URL
	data      string   // its folder
	organizer string   // access tokens
	buyers    []string //
}

// build returns the binary that is named, or else one that it makes in dir.
func build(ctx context.Context, dir, binary string) (string, error) {
	if binary != "" {
		return binary, nil
	}
	binary = filepath.Join(dir, "starlight")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/starlightsymphony/starlight").
		CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

// startSystem builds starlight unless binary names one, starts it, applies the settings, and signs people in.
func startSystem(ctx context.Context, dir, binary string, extra []string, env ...string) (*system, error) {
	binary, err := build(ctx, dir, binary)
	if err != nil {
		return nil, err
	}
	var addrs [3]string
	for i := range addrs {
		if addrs[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	const email = "bench@example.org"
	password := rand.Text()
	cmd := exec.Command(binary, "up", "--data", filepath.Join(dir, "data"), "--http", addrs[0], "--ops",
		addrs[1], "--nats", addrs[2])
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "STARLIGHT_ADMIN_EMAIL="+email, "STARLIGHT_ADMIN_PASSWORD="+password)
	cmd.Env = append(cmd.Env, env...)
	p, err := startProcess("starlight", dir, cmd)
	if err != nil {
		return nil, err
	}
	s := &system{process: p, client: newClient(addrs[0]), nats: "nats://" + addrs[2], data: filepath.Join(dir, "data")}
	if err := s.prepare(ctx, newClient(addrs[1]), email, password, extra); err != nil {
		err = fmt.Errorf("starlight: %w\n%s", err, p.tail())
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *system) stop() error { return s.process.stop(syscall.SIGTERM, 20*time.Second) }

func (s *system) prepare(ctx context.Context, ops *Client, email, password string, extra []string) error {
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := ops.waitReady(ready, "/readyz", s.ended); err != nil {
		return err
	}
	admin, err := s.login(email, password)
	if err != nil {
		return err
	}
	own := settingsOfTheBench()
	for i, setting := range append(own, extra...) {
		key, value, found := strings.Cut(setting, "=")
		if !found {
			return fmt.Errorf("setting %q: want key=value", setting)
		}
		err := s.client.call("PUT", "/v1/config/"+url.PathEscape(key), admin,
			map[string]string{"value": value}, nil, 200)
		var answer *statusError
		if i < len(own) && errors.As(err, &answer) && answer.status == 404 {
			continue // a binary of an earlier commit has no such limit
		}
		if err != nil {
			return err
		}
	}
	// In force within a second, says the contract; the logins below need it, and the one above was still under the old.
	select {
	case <-time.After(1200 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.organizer, err = s.signUp("organizer"); err != nil {
		return err
	}
	for i := range buyers {
		token, err := s.signUp(fmt.Sprintf("buyer%d", i))
		if err != nil {
			return err
		}
		s.buyers = append(s.buyers, token)
	}
	return nil
}

func (s *system) signUp(name string) (token string, err error) {
	email, password := name+"@example.org", rand.Text()
	err = s.client.call("POST", "/v1/users", "", map[string]string{"email": email, "password": password,
		"name": name}, nil, 201)
	if err != nil {
		return "", err
	}
	return s.login(email, password)
}

func (s *system) login(email, password string) (token string, err error) {
	var got session
	err = s.client.call("POST", "/v1/sessions", "", map[string]string{"email": email, "password": password}, &got, 201)
	return got.AccessToken, err
}

// sell creates and publishes an event with one ticket type.
func (s *system) sell(name string, price, quantity int64) (offer, error) {
	now := time.Now().UTC().Truncate(time.Second)
	in := newEvent{Name: name, Category: "concert", StartsAt: now.Add(2 * time.Hour), EndsAt: now.Add(6 * time.Hour),
		Timezone: "Europe/Berlin", Description: strings.Repeat("An evening of strings and stars under an open roof. ",
			8),
		Location: location{Name: "Great Hall", Address: "Am Markt 1", City: "Leipzig", Country: "DE",
			Latitude: 51.34, Longitude: 12.37},
		Capacity: quantity, TicketTypes: []newTicketType{{Name: "Standing",
			Price: money{price, "EUR"}, Quantity: quantity}}}
	var e event
	if err := s.client.call("POST", "/v1/events", s.organizer, in, &e, 201); err != nil {
		return offer{}, err
	}
	if len(e.TicketTypes) != 1 {
		return offer{}, fmt.Errorf("the new event has %d ticket types", len(e.TicketTypes))
	}
	if err := s.client.call("POST", "/v1/events/"+string(e.ID)+"/publish", s.organizer, nil, nil, 200); err != nil {
		return offer{}, err
	}
	return offer{EventID: e.ID, TicketTypeID: e.TicketTypes[0].ID, Quantity: quantity}, nil
}

// ration lets an offer draw on two quotas, and each order enter a code with a limit.
func (s *system) ration(o offer) (offer, error) {
	path := "/v1/events/" + string(o.EventID)
	type object = map[string]any
	quotas := []object{{"name": "Hall", "capacity": o.Quantity}, {"name": "Floor", "capacity": o.Quantity}}
	if err := s.client.call("PATCH", path, s.organizer, object{"quotas": quotas}, nil, 200); err != nil {
		return o, err
	}
	if err := s.client.call("PATCH", path+"/ticket-types/"+string(o.TicketTypeID), s.organizer,
		object{"quotas": []string{"Hall", "Floor"}}, nil, 200); err != nil {
		return o, err
	}
	o.code = "TENTH"
	return o, s.client.call("POST", path+"/codes", s.organizer, object{"code": o.code, "kind": "percent",
		"percent": "10", "max_uses": o.Quantity}, nil, 201)
}

// left asks what is left of an offer.
func left(c *Client, o offer) (typeAvailability, error) {
	var a availability
	if err := c.call("GET", "/v1/events/"+string(o.EventID)+"/availability", "", nil, &a, 200); err != nil {
		return typeAvailability{}, err
	}
	for _, t := range a.TicketTypes {
		if t.ID == o.TicketTypeID {
			return t, nil
		}
	}
	return typeAvailability{}, fmt.Errorf("the availability of %s does not tell of %s", o.EventID, o.TicketTypeID)
}

// orderBody is the request of an order.
func orderBody(o offer, quantity int64) []byte {
	body, err := json.Marshal(newOrder{EventID: o.EventID, PromoCode: o.code,
		Items: []newOrderItem{{TicketTypeID: o.TicketTypeID, Quantity: quantity}}})
	if err != nil {
		panic(err) // strings and a number
	}
	return body
}
