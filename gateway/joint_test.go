package gateway_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

const jointPath = "/v1/tallies/" + string(theEvent) + "/now"

// underWay waits until so many requests are under way at the first gateway.
func (s *tallies) underWay(n int) {
	s.t.Helper()
	testkit.Eventually(s.t, 10*time.Second, func() error {
		var text bytes.Buffer
		if _, err := s.cfg.Registry.WriteTo(&text); err != nil {
			return err
		}
		if !strings.Contains(text.String(), fmt.Sprintf("starlight_http_in_flight %d\n", n)) {
			return fmt.Errorf("not %d requests are under way", n)
		}
		return nil
	})
}

// Callers who come while a question is on its way share the next one, and read what was acknowledged before they came.
func TestJointQuestion(t *testing.T) {
	eachTallies(t, func(t *testing.T, s *tallies) {
		gate := make(chan struct{})
		s.gate.Store(&gate)
		early := make(chan answer, 1)
		go func() { early <- s.send(s.url, "GET", jointPath, "") }()
		testkit.Eventually(t, 10*time.Second, func() error {
			if s.gate.Load() != nil {
				return fmt.Errorf("not asked yet")
			}
			return nil
		})
		if a := s.at(1, "POST"); a.StatusCode != 200 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		const late = 20
		var work sync.WaitGroup
		for i := range late {
			work.Go(func() {
				headers := []string{}
				if i%2 == 1 { // one caller's version is not another's
					headers = []string{"If-None-Match", `"1"`}
				}
				a := s.send(s.url, "GET", jointPath, "", headers...)
				if i%2 == 0 && (a.StatusCode != 200 || a.body != `{"n":1}`) || i%2 == 1 && a.StatusCode != 304 {
					t.Errorf("caller %d: %d %s", i, a.StatusCode, a.body)
				}
			})
		}
		s.underWay(1 + late)
		if a := s.send(s.urls[1], "GET", jointPath, ""); a.body != `{"n":1}` {
			t.Errorf("at the other gateway: %d %s", a.StatusCode, a.body)
		}
		close(gate)
		work.Wait()
		if a := <-early; a.body != `{"n":0}` && a.body != `{"n":1}` {
			t.Errorf("the early caller: %d %s", a.StatusCode, a.body)
		}
		if n := s.reads.Load(); n != 3 {
			t.Errorf("the service was asked %d times, want 3", n)
		}
	})
}

// What not all callers may see is asked for by each, as is what is refused to one of them.
func TestJointQuestionOfSomeCallers(t *testing.T) {
	eachTallies(t, func(t *testing.T, s *tallies) {
		s.shared.Store(false)
		gate := make(chan struct{})
		s.gate.Store(&gate)
		var work sync.WaitGroup
		for range 5 {
			work.Go(func() {
				if a := s.send(s.url, "GET", jointPath, ""); a.StatusCode != 200 || a.body != `{"n":0}` {
					t.Errorf("%d %s", a.StatusCode, a.body)
				}
			})
		}
		s.underWay(5)
		close(gate)
		work.Wait()
		if n := s.reads.Load(); n != 5 {
			t.Errorf("the service was asked %d times, want 5", n)
		}
		s.refusal.Store(fault.New(fault.NotFound, "there is no such tally"))
		if a := s.send(s.url, "GET", jointPath, ""); a.StatusCode != 404 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
}
