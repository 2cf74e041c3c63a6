package faults_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// seatsOfSoak is how many seats an event of the soak has: few, so that what comes too late finds none.
const seatsOfSoak = 25

// soakSize is how many purchases the soak makes: STARLIGHT_SOAK=5000 go test -run Soak ./svc/system/faults.
func soakSize(t *testing.T) int {
	text := os.Getenv("STARLIGHT_SOAK")
	if text == "" {
		return 400
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Purchases at a provider with every fault on, by buyers who pay, decline and try again, walk away, and give up while they
// pay. In the end the provider's ledger, ours and the orders agree to the cent, and every branch has run.
func TestPaymentSoak(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	for key, value := range map[string]string{
		"payment.sandbox": "true", "payment.poll_after": "1s", "ticketing.hold_ttl": "6s", "ticketing.payment_grace": "3s",
		"payment.sandbox_capture_delay": "300ms", "payment.sandbox_shuffle": "2s", "payment.sandbox_copies": "2", "payment.sandbox_lost": "20",
		"payment.sandbox_timeouts": "20", "payment.sandbox_wrong_amount": "8", "payment.sandbox_changes_mind": "60", "user.access_ttl": "30m",
	} {
		s.Set(admin, key, value)
	}
	admin = s.Login(systemtest.AdminEmail)
	n := soakSize(t)
	// A new event opens as soon as one is sold out.
	var mu sync.Mutex
	all := []api.Event{s.Concert(admin, seatsOfSoak, 1500)}
	newest := func(soldOut api.Event) api.Event {
		mu.Lock()
		defer mu.Unlock()
		if all[len(all)-1].ID == soldOut.ID {
			all = append(all, s.Concert(admin, seatsOfSoak, 1500))
		}
		return all[len(all)-1]
	}
	anyEvent := func() api.Event { // seats that came back are wanted, too
		mu.Lock()
		defer mu.Unlock()
		return all[rand.IntN(len(all))]
	}
	var buyers sync.WaitGroup
	work := make(chan int)
	for range 16 {
		buyers.Go(func() {
			for i := range work {
				for e := anyEvent(); !buy(s, admin, e, i); e = newest(e) {
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	buyers.Wait()

	for _, e := range all {
		testkit.Eventually(t, 120*time.Second, func() error {
			if got := s.Left(e); got.Held != 0 {
				return fmt.Errorf("held: %+v", got)
			}
			return nil
		})
	}
	systemtest.MustAudit(t, cfg, systemtest.Ops(t, sys.NATSURL(), cfg.Data+"/creds"))

	sold := s.Left(all[0]).Sold
	systemtest.Call[api.Event](s, 200, "POST", "/v1/events/"+all[0].ID.String()+"/cancel", admin, api.CancelEventRequest{Reason: "rain"})
	testkit.Eventually(t, 120*time.Second, func() error {
		if got := s.Left(all[0]); got.Sold != 0 || got.Held != 0 {
			return fmt.Errorf("of %d seats of the cancelled event %d are still sold", sold, got.Sold)
		}
		return nil
	})
	systemtest.MustAudit(t, cfg, systemtest.Ops(t, sys.NATSURL(), cfg.Data+"/creds"))
	if sold == 0 {
		t.Error("the cancelled event had sold nothing")
	}

	resp, err := http.Get(sys.OpsURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, branch := range []string{
		`starlight_ticketing_branches_total{branch="late_resold"}`,
		`starlight_ticketing_branches_total{branch="late_sold_out"}`,
		`starlight_ticketing_branches_total{branch="paid_twice"}`,
		`starlight_ticketing_branches_total{branch="given_up"}`,
		`starlight_ticketing_branches_total{branch="payment_closed_first"}`,
		`starlight_payment_observations_total{provider="sandbox",source="callback",verdict="mismatch"}`,
		`starlight_payment_observations_total{provider="sandbox",source="callback",verdict="late_success"}`,
		`starlight_payment_observations_total{provider="sandbox",source="close",verdict="moved"}`,
		`starlight_payment_moves_total{provider="sandbox",source="poller",status="succeeded"}`,
		`starlight_payment_callbacks_total{provider="sandbox",result="duplicate"}`,
		`starlight_payment_provider_errors_total{call="create",code="timeout",provider="sandbox"}`,
		`starlight_payment_provider_errors_total{call="refund",code="timeout",provider="sandbox"}`,
		`starlight_payment_provider_errors_total{call="cancel",code="timeout",provider="sandbox"}`,
	} {
		name, labels, _ := strings.Cut(strings.TrimSuffix(branch, "}"), "{")
		value := "none"
		for line := range strings.Lines(string(text)) {
			sample, rest, _ := strings.Cut(strings.TrimSpace(line), "} ")
			if !strings.HasPrefix(sample, name+"{") {
				continue
			}
			match := true
			for label := range strings.SplitSeq(labels, ",") {
				match = match && strings.Contains(sample, label)
			}
			if match {
				value = rest
			}
		}
		t.Logf("%6s  %s", value, branch)
		if value == "none" || value == "0" {
			t.Errorf("never happened: %s", branch)
		}
	}
}

// errSoldOut ends a purchase for which there are no seats.
var errSoldOut = errors.New("sold out")

// buy makes one purchase in one of the ways in which people do. It reports false if the event is sold out.
func buy(s *systemtest.Site, token string, e api.Event, i int) bool {
	var o api.Order
	err := insist(s, "POST", "/v1/orders", token, systemtest.Seats(e, 1+rand.IntN(2)), &o, "Idempotency-Key", fmt.Sprint(e.ID, i))
	if errors.Is(err, errSoldOut) {
		return false
	}
	begin := func() (p api.Payment, err error) {
		err = insist(s, "POST", "/v1/orders/"+o.ID.String()+"/payments", token, api.NewPayment{Provider: "sandbox"}, &p)
		return p, err
	}
	decide := func(p api.Payment, outcome string) {
		insist(s, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: outcome}, nil)
	}
	p, err := begin()
	if err != nil {
		return true
	}
	switch way := rand.IntN(100); {
	case way < 60:
		decide(p, "succeeded")
	case way < 80: // tries another card
		decide(p, "declined")
		until(s, token, p, api.PaymentFailed)
		if p, err = begin(); err == nil {
			decide(p, "succeeded")
		}
	case way < 90: // gives up
		insist(s, "POST", "/v1/orders/"+o.ID.String()+"/cancel", token, nil, nil)
	}
	return true
}

// until waits a while for a payment to have the status.
func until(s *systemtest.Site, token string, p api.Payment, status string) {
	for range 100 {
		if insist(s, "GET", "/v1/payments/"+p.ID.String(), token, nil, &p) != nil || p.Status == status {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
}

// insist sends a request again for as long as its outcome is not known. An error is what the request was refused with.
func insist(s *systemtest.Site, method, path, token string, body, into any, headers ...string) error {
	for range 100 {
		got, err := s.Send(method, path, token, body, headers...)
		switch {
		case err != nil || got.Status >= 500:
			<-time.After(20 * time.Millisecond)
			continue
		case got.Status == 409 && strings.Contains(string(got.Body), "sold_out"):
			return errSoldOut
		case got.Status >= 400:
			return fmt.Errorf("%s %s: %d %s", method, path, got.Status, got.Body)
		case into == nil:
			return nil
		}
		return json.Unmarshal(got.Body, into)
	}
	return fmt.Errorf("%s %s: no answer", method, path)
}
