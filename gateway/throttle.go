package gateway

import (
	"math"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
)

const (
	throttleMemory = 2 * time.Second // how far back answers count
	throttleFloor  = 64              // requests that may be under way at any rate
	throttleFactor = 2               // requests that a service gets for each one that it serves
	throttleHint   = 30 * time.Second
	throttleShare  = 2 // of all requests under way, at most this part are for one endpoint
)

// throttle keeps requests from a service that refuses most of them or does not answer: refusing has a price, too, and
// it is less here. It is the client-side throttling of Google's SRE book: requests are refused with a probability that
// leaves the service about twice as many as it serves, so that it is noticed when it serves more again.
type throttle struct {
	most int // under way

	mu              sync.Mutex
	underWay        int
	asked, accepted float64 // lately, the older the less
	counted         time.Time
	retry           time.Duration // what the service last said
}

// admit lets a request through, or refuses it. dice is random in [0, 1). Each one that is admitted ends with a call of
// done.
func (t *throttle) admit(now time.Time, dice float64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.decay(now)
	refuse := t.underWay >= throttleFloor && dice < (t.asked-throttleFactor*t.accepted)/(t.asked+1)
	if !refuse && t.underWay < t.most {
		t.underWay++
		return nil
	}
	t.asked++
	return fault.New(fault.Unavailable, "there is more to do than can be done in time").After(t.hint())
}

// hint returns when a refused client is worth another try: the more there are for each one that is served, the later,
// so that a crowd that comes back does not take the place of those who are served.
func (t *throttle) hint() time.Duration {
	crowd := time.Duration(t.asked / max(t.accepted, 1) * float64(time.Second))
	return min(max(crowd, t.retry, time.Second), throttleHint)
}

// done counts how a request ended: refused is nil if it was served, be it with a fault. Only now it counts as asked:
// requests that come all at once are no refusals yet.
func (t *throttle) done(now time.Time, refused *fault.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.decay(now)
	t.underWay--
	t.asked++
	if refused != nil {
		t.retry = refused.RetryAfter
		return
	}
	t.accepted++
}

func (t *throttle) decay(now time.Time) {
	kept := math.Exp(-now.Sub(t.counted).Seconds() / throttleMemory.Seconds())
	t.asked, t.accepted, t.counted = t.asked*kept, t.accepted*kept, now
}
