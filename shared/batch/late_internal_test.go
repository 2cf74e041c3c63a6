package batch

import (
	"context"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// A commit that would come too late for an operation leaves it out, and says that nothing has happened.
func TestNoTimeForACommit(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		since, until time.Time
		late         bool
	}{
		"in time":                      {now.Add(-time.Minute), now.Add(time.Hour), false},
		"too late":                     {now.Add(-time.Hour), now.Add(time.Minute), true},
		"just come, with little time":  {now, now.Add(time.Minute), false},
		"of a caller who always waits": {now.Add(-time.Hour), time.Time{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := New(10, 10, func(_ context.Context, ins []int) []Result[int] { return make([]Result[int], len(ins)) })
			defer g.Close()
			g.took.Store(int64(10 * time.Minute))
			w := &waiter[int, int]{since: test.since, until: test.until, done: make(chan Result[int], 1)}
			if err := g.enqueue(w); err != nil {
				t.Fatal(err)
			}
			if r := <-w.done; fault.Is(r.Err, fault.Unavailable) != test.late || r.Err == nil == test.late {
				t.Errorf("got %v", r.Err)
			}
		})
	}
}
