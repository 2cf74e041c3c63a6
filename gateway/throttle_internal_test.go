package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// throttled is a service that answers some requests a second and refuses the others, behind a throttle. Time is virtual.
type throttled struct {
	throttle
	now            time.Time
	dice           *rand.Rand
	asked, refused int // by the service
	held           int // by the gateway
}

func newThrottled() *throttled {
	return &throttled{throttle: throttle{most: 1000}, now: time.Unix(1e9, 0), dice: rand.New(rand.NewPCG(1, 2))}
}

// pass lets requests arrive, so many a second, of which the service can serve some. Each takes a second.
func (s *throttled) pass(seconds, rate, can int) {
	s.asked, s.refused, s.held = 0, 0, 0
	for range seconds {
		sent := 0
		for range rate {
			if s.admit(s.now, s.dice.Float64()) != nil {
				s.held++
				continue
			}
			sent++
		}
		s.now = s.now.Add(time.Second)
		for i := range sent {
			var refused *fault.Error
			if i >= can {
				refused = fault.New(fault.Unavailable, "too much to do").After(3 * time.Second)
				s.refused++
			}
			s.done(s.now, refused)
		}
		s.asked += sent
	}
}

func TestThrottle(t *testing.T) {
	s := newThrottled()
	s.pass(20, 500, 500)
	if s.held > 0 {
		t.Errorf("%d of a load that can be served were held back", s.held)
	}
	s.pass(20, 900, 100) // nine times too many
	s.pass(20, 900, 100)
	if served := s.asked - s.refused; s.asked > 20*300 || served < 20*95 {
		t.Errorf("overload: %d asked, %d served", s.asked, served)
	}
	for s.underWay < throttleFloor {
		if err := s.admit(s.now, 0); err != nil {
			t.Fatalf("only %d are under way: %v", s.underWay, err)
		}
	}
	if err := fault.From(s.admit(s.now, 0)); err == nil || err.RetryAfter < 3*time.Second || err.RetryAfter > throttleHint {
		t.Errorf("refused with %v", err)
	}
	s.underWay = 0
	s.pass(20, 900, 0) // none at all
	s.pass(20, 900, 0)
	if s.asked > 20*(throttleFloor+20) {
		t.Errorf("hung: %d asked", s.asked)
	}
	s.pass(20, 400, 500)
	s.pass(20, 400, 500)
	if s.held > 0 || s.refused > 0 {
		t.Errorf("afterwards: %d held back, %d refused", s.held, s.refused)
	}
}

// One endpoint whose service hangs leaves room for the others, from the first moment.
func TestThrottleBoundsWhatIsUnderWay(t *testing.T) {
	s := newThrottled()
	for i := range s.most {
		if err := s.admit(s.now, 0); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if err := s.admit(s.now, 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("one too many: %v", err)
	}
	s.done(s.now, nil)
	if err := s.admit(s.now, 0); err != nil {
		t.Error(err)
	}
}
