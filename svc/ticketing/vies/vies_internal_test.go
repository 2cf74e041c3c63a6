package vies

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// service is VIES with a few numbers. It counts what it is asked.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int
	last  question
	hold  chan struct{} // the numbers of Denmark are answered when it is closed
}

func serve(t *testing.T) *service {
	t.Helper()
	s := &service{asked: map[string]int{}, hold: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP answers by the number, as VIES does.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q question
	if r.Method != "POST" || r.URL.Path != "/check-vat-number" || json.NewDecoder(r.Body).Decode(&q) != nil {
		http.Error(w, "what", http.StatusNotFound)
		return
	}
	s.mu.Lock()
	s.asked[q.Country+q.Number]++
	s.last = q
	s.mu.Unlock()
	if q.RequesterNumber == "000" {
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(`{"actionSucceed":false,"errorWrappers":[{"error":"INVALID_REQUESTER_INFO"}]}`))
		return
	}
	switch q.Country {
	case "DK":
		select {
		case <-s.hold:
		case <-r.Context().Done():
		}
	case "FR":
		w.WriteHeader(http.StatusInternalServerError)
		w.Write([]byte(`{"actionSucceed":false,"errorWrappers":[{"error":"MS_UNAVAILABLE"}]}`))
		return
	case "ES":
		w.Write([]byte(`{"valid":false,"userError":"MS_MAX_CONCURRENT_REQ"}`))
		return
	case "IT":
		w.Write([]byte(`<html>`))
		return
	case "PL":
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
		return
	case "HU":
		w.Write([]byte(`{"actionSucceed":false,"errorWrappers":[{"error":"INVALID_INPUT"}]}`))
		return
	case "SE":
		w.Write([]byte(`{}`))
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"countryCode": q.Country, "vatNumber": q.Number, "valid": q.Number != "999",
		"requestIdentifier": map[bool]string{true: "WAPI1"}[q.RequesterNumber != ""]})
}

func (s *service) count(number string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[number]
}

func (s *service) client(t *testing.T, now func() time.Time) *Client {
	t.Helper()
	c, err := NewClient(s.URL+"/", now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A number is known or not; whatever else VIES says is no answer, and never a no.
func TestAnswers(t *testing.T) {
	s := serve(t)
	c := s.client(t, time.Now)
	for number, want := range map[string]string{"AT111": "known", "AT999": "unknown", "HU111": "unknown", "FR111": "none",
		"ES111": "none", "IT111": "none", "PL111": "none", "SE111": "none", "A": "none"} {
		a, err := c.Ask(t.Context(), number, "DE222")
		got := map[bool]string{true: "known", false: "unknown"}[a.Known]
		if err != nil {
			got = "none"
		}
		if got != want {
			t.Errorf("%s is %s, want %s: %v", number, got, want, err)
		}
	}
	if a, err := c.Ask(t.Context(), "AT111", "DE222"); err != nil || a.Reference != "WAPI1" || s.last.RequesterCountry != "DE" {
		t.Errorf("with a requester: %+v, %v", a, err)
	}
	if a, err := c.Ask(t.Context(), "AT111", "DE000"); err != nil || !a.Known || a.Reference != "" {
		t.Errorf("with a requester whom VIES does not know: %+v, %v", a, err)
	}
	for _, bad := range []string{"ftp://host", "https://", "https://u:p@host", "https://host?x=1", ":"} {
		if _, err := NewClient(bad, time.Now); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// An answer is remembered, a known number for longer than an unknown one, and never that there was none.
func TestAnswersAreRemembered(t *testing.T) {
	s := serve(t)
	clock := testkit.NewClock(time.Now())
	g := NewGuard(s.client(t, clock.Now), observe.NewRegistry(), testkit.Log(t), clock.Now)
	defer g.Close()
	ask := func(number string, asked int) {
		t.Helper()
		_, err := g.Ask(t.Context(), number, "DE222")
		if got := s.count(number); got != asked || err != nil && !errors.Is(err, ErrNoAnswer) {
			t.Errorf("VIES was asked of %s %d times, want %d: %v", number, got, asked, err)
		}
	}
	ask("AT111", 1)
	ask("AT111", 1)
	ask("AT999", 1)
	ask("AT999", 1)
	ask("ES111", 1)
	ask("ES111", 2)
	clock.Advance(keepUnknown)
	ask("AT111", 1)
	ask("AT999", 2)
	clock.Advance(keepKnown)
	ask("AT111", 2)
	for i := range breakerFailures + 2 { // a state that fails is left alone, and the others are not
		ask("FR111", min(i+1, breakerFailures))
	}
	ask("AT222", 1)
}

// Who asks waits for a moment, the question goes on, and who asks again has its answer.
func TestAQuestionOutlivesItsCaller(t *testing.T) {
	s := serve(t)
	g := NewGuard(s.client(t, time.Now), observe.NewRegistry(), testkit.Log(t), time.Now)
	defer g.Close()
	g.wait = 20 * time.Millisecond
	for range 3 {
		if _, err := g.Ask(t.Context(), "DK111", ""); !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("before there is an answer: %v", err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Ask(gone, "DK111", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who has gone: %v", err)
	}
	close(s.hold)
	testkit.Eventually(t, 10*time.Second, func() error {
		_, err := g.Ask(t.Context(), "DK111", "")
		return err
	})
	if n := s.count("DK111"); n != 1 {
		t.Errorf("VIES was asked %d times", n)
	}
	none := NewGuard(nil, observe.NewRegistry(), testkit.Log(t), time.Now)
	defer none.Close()
	if _, err := none.Ask(t.Context(), "AT111", ""); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("without a registry: %v", err)
	}
}

// So many questions and no more are on their way: one beyond them has no answer, at once.
func TestQuestionsAreBounded(t *testing.T) {
	s := serve(t)
	g := NewGuard(s.client(t, time.Now), observe.NewRegistry(), testkit.Log(t), time.Now)
	defer g.Close()
	g.wait = time.Minute
	var all sync.WaitGroup
	for i := range mostCalls {
		all.Go(func() { g.Ask(t.Context(), "DK11"+string(rune('A'+i)), "") })
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if len(g.calls) < mostCalls {
			return errors.New("not all are on their way")
		}
		return nil
	})
	if _, err := g.Ask(t.Context(), "AT111", ""); !errors.Is(err, ErrNoAnswer) || s.count("AT111") != 0 {
		t.Errorf("one more: %v", err)
	}
	close(s.hold)
	all.Wait()
}
