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
func (s *site) from(address, path string, body any) (got answer, asked bool) {
	got, err := s.send("POST", path, "", body, "X-Forwarded-For", address)
	var p struct{ Challenge *fault.Challenge }
	if err != nil || got.status != http.StatusTooManyRequests || json.Unmarshal(got.body, &p) != nil ||
		p.Challenge == nil {
		return got, false
	}
	got, _ = s.send("POST", path, "", body, "X-Forwarded-For", address, "Challenge-Answer", challenge.Solve(p.Challenge))
	return got, true
}

// Sixteen addresses of different networks guess at passwords and register an address that has an account, as fast as they
// can, with no limit by address, and a stranger logs in all the same. How long that takes is logged: others use this
// machine, too.
func TestFloodOfLogins(t *testing.T) {
	const attackers, each = 16, 4
	cfg := config(t.TempDir())
	cfg.TrustedProxies = []string{"127.0.0.1"}
	s, _, _ := start(t, cfg)
	admin := s.login(adminEmail)
	s.join("stranger@example.org")
	limit := os.Getenv("STARLIGHT_FLOOD_LIMIT") // of each address
	if limit == "" {
		limit = "0"
	}
	s.set(admin, "gateway.rate_login", limit)
	until := time.Now().Add(floodTime(t))
	var all sync.WaitGroup
	for i := range attackers {
		address := fmt.Sprintf("10.%d.0.1", i)
		for n := range each {
			all.Go(func() {
				for k := 0; time.Now().Before(until); k++ {
					if n%2 == 0 {
						s.from(address, "/v1/users", api.Register{Email: adminEmail, Password: password, Name: "Eve"})
						continue
					}
					s.from(address, "/v1/sessions",
						api.Login{Email: fmt.Sprintf("nobody%d-%d-%d@example.org", i, n, k), Password: password})
				}
			})
		}
	}
	var took []time.Duration
	challenges := 0
	for i := 0; time.Now().Before(until) || i == 0; i++ {
		begun := time.Now()
		got, asked := s.from(fmt.Sprintf("192.0.%d.1", i%250), "/v1/sessions",
			api.Login{Email: "stranger@example.org", Password: password})
		took = append(took, time.Since(begun))
		if got.status != http.StatusCreated {
			t.Fatalf("login %d of a stranger: %d %s", i, got.status, got.body)
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
