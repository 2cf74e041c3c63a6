package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/demo"
)

const (
	adminEmail    = "root@example.org"
	adminPassword = "a long enough sentence"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// start starts a system of its own, with the sandbox provider off, and returns where it is.
func start(t *testing.T) string {
	t.Helper()
	s, err := system.Start(t.Context(),
		system.Config{Data: t.TempDir(), HTTP: "127.0.0.1:0", Ops: "off", NATS: "127.0.0.1:0",
			AdminEmail: adminEmail, AdminPassword: adminPassword, LogTo: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s.URL()
}

// complete fails the test unless every event of the season is published once.
func complete(t *testing.T, url string) {
	t.Helper()
	season, err := demo.Season(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(url + "/v1/events?limit=200")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page api.List[api.Event]
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, e := range page.Items {
		times[e.Name]++
	}
	if len(page.Items) != len(season) {
		t.Errorf("%d events, want %d", len(page.Items), len(season))
	}
	for _, e := range season {
		if times[e.Name] != 1 {
			t.Errorf("%s is there %d times", e.Name, times[e.Name])
		}
	}
}

// run runs the demo and returns what it printed.
func run(t *testing.T, cfg demo.Config) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cfg.Out = &out
	err := demo.Run(t.Context(), cfg)
	return out.String(), err
}

// says fails the test unless the texts stand in out in this order.
func says(t *testing.T, out string, texts ...string) {
	t.Helper()
	rest := out
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("%q is missing, or not in its place, in\n%s", text, out)
		}
		rest = after
	}
}

func TestTour(t *testing.T) {
	url := start(t)
	plain := demo.Config{BaseURL: url}
	admin := demo.Config{BaseURL: url, AdminEmail: adminEmail, AdminPassword: adminPassword}

	// The sandbox is off, and nobody is there to switch it on: the error names the step.
	if out, err := run(t, plain); err == nil ||
		!strings.HasPrefix(err.Error(), "pay: 400 invalid: provider: the sandbox provider is switched off") {
		t.Fatalf("without the sandbox: %v\n%s", err, out)
	}
	complete(t, url)

	// The season is there. The administrator switches the sandbox on and stands at the door.
	out, err := run(t, admin)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	says(t, out, "here already", "register Demo Guest", "log in", "search", "1 found", "read the event", "Seebühne",
		" 20:00 C", "what is left", "order two seats", "201",
		"pending, 50.00 EUR, held for 10m", "switch the sandbox on", "pay", "requires_action", "act at the provider",
		"wait for the callback", "paid", "2 signed tickets", "pixels",
		"at the door", "admitted", "the same ticket again", "already_admitted", "what is left",
		"29996 of 30000 available, 2 held, 2 sold", "the numbers", "2 tickets, 50.00 EUR, 1 admitted", url+"/docs",
		"TOKEN=$(curl")
	complete(t, url)

	// Without the administrator the walk ends at the tickets, and says why.
	if out, err = run(t, plain); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	says(t, out, "here already", "2 signed tickets", "the door needs the organizer", "4 sold")
	complete(t, url)
}

// cut is a transport that fails after some requests, as if the demo had been stopped there.
type cut struct{ left atomic.Int64 }

var errCut = errors.New("cut")

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.left.Add(-1) < 0 {
		return nil, errCut
	}
	return http.DefaultTransport.RoundTrip(r)
}

func TestInterrupted(t *testing.T) {
	url := start(t)
	cfg := demo.Config{BaseURL: url, AdminEmail: adminEmail, AdminPassword: adminPassword}
	for _, after := range []int64{3, 11} { // when there is but the organizer, and within the season
		c := &cut{}
		c.left.Store(after)
		broken := cfg
		broken.Client = &http.Client{Transport: c}
		if out, err := run(t, broken); !errors.Is(err, errCut) {
			t.Fatalf("cut after %d requests: %v\n%s", after, err, out)
		}
	}
	out, err := run(t, cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	says(t, out, "Loading", "the organizer: organizer-", "create and publish", "at the door", "admitted",
		"already_admitted", "0 held, 2 sold")
	complete(t, url)
}
