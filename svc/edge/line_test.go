package edge_test

import (
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/svc/edge"
)

// An answer that is on its way when the line is cut does not come. What was asked is asked again as soon as the line is
// up, and not when nobody would wait for the answer any more.
func TestLineChangesDuringAQuestion(t *testing.T) {
	x := newSite(t, 1)
	x.admits()
	hang := make(chan struct{})
	defer close(hang)
	x.do(func() { x.hang = hang })
	x.scan(x.tickets[0])
	x.eventually("it is being handed up", func() bool { return x.hung == 1 })
	x.do(func() { x.line = edge.Line{Since: time.Now()} })
	began := time.Now()
	x.do(func() { x.hang, x.line = nil, edge.Line{Up: true, Since: time.Now()} })
	x.eventually("the scan is at the hub", func() bool { return len(x.journal) == 1 })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
