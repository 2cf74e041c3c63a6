package system_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
	"github.com/starlightsymphony/starlight/svc/user/challenge"
)

// floodTime is how long the flood lasts: STARLIGHT_FLOOD=30s go test -run Flood -v ./svc/system.
func floodTime(t *testing.T) time.Duration {
	text := os.Getenv("STARLIGHT_FLOOD")
	if text == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// from sends a request from an address, and once more with the answer to a challenge, if it gets one.
func from(s *systemtest.Site, address, path string, body any) (got systemtest.Answer, asked bool) {
	got, err := s.Send("POST", path, "", body, "X-Forwarded-For", address)
	var p struct{ Challenge *fault.Challenge }
	if err != nil || got.Status != http.StatusTooManyRequests || json.Unmarshal(got.Body, &p) != nil ||
		p.Challenge == nil {
		return got, false
	}
	got, _ = s.Send("POST", path, "", body, "X-Forwarded-For", address, "Challenge-Answer", challenge.Solve(p.Challenge))
	return got, true
}

// Sixteen addresses of different networks guess at passwords and register an address that has an account, as fast as they
// can, with no limit by address, and a stranger logs in all the same. How long that takes is logged: others use this
// machine, too.
func TestFloodOfLogins(t *testing.T) {
	const attackers, each = 16, 4
	cfg := systemtest.Config(t.TempDir())
	cfg.TrustedProxies = []string{"127.0.0.1"}
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Join("stranger@example.org")
	limit := os.Getenv("STARLIGHT_FLOOD_LIMIT") // of each address
	if limit == "" {
		limit = "0"
	}
	s.Set(admin, "gateway.rate_login", limit)
	until := time.Now().Add(floodTime(t))
	var all sync.WaitGroup
	for i := range attackers {
		address := fmt.Sprintf("10.%d.0.1", i)
		for n := range each {
			all.Go(func() {
				for k := 0; time.Now().Before(until); k++ {
					if n%2 == 0 {
						from(s, address, "/v1/users", api.Register{Email: systemtest.AdminEmail, Password: systemtest.Password, Name: "Eve"})
						continue
					}
					from(s, address, "/v1/sessions",
						api.Login{Email: fmt.Sprintf("nobody%d-%d-%d@example.org", i, n, k), Password: systemtest.Password})
				}
			})
		}
	}
	var took []time.Duration
	challenges := 0
	for i := 0; time.Now().Before(until) || i == 0; i++ {
		begun := time.Now()
		got, asked := from(s, fmt.Sprintf("192.0.%d.1", i%250), "/v1/sessions",
			api.Login{Email: "stranger@example.org", Password: systemtest.Password})
		took = append(took, time.Since(begun))
		if got.Status != http.StatusCreated {
			t.Fatalf("login %d of a stranger: %d %s", i, got.Status, got.Body)
		}
		if asked {
			challenges++
		}
		time.Sleep(50 * time.Millisecond) // a person does not log in all the time
	}
	all.Wait()
	slices.Sort(took)
	t.Logf("%d logins beside %d attackers, %d with a challenge: p50 %s, p99 %s", len(took), attackers, challenges,
		took[len(took)/2], took[len(took)*99/100])
}
