package gateway

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// More different looks than fit are dropped and counted, as are those that cannot be told; nobody waits for either.
func TestFactsAreBounded(t *testing.T) {
	n := testkit.NATS(t)
	now := time.Now()
	r := observe.NewRegistry()
	f := newFacts(Config{NATS: n.Conn, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }, Registry: r})
	for i := range mostLooks + 3 {
		f.count(look{event: ids.Event(fmt.Sprint(i))})
		f.count(look{event: "0"})
	}
	dropped := func(want int) {
		t.Helper()
		var text strings.Builder
		if _, err := r.WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		if line := fmt.Sprintf("starlight_http_facts_dropped_total %d\n", want); !strings.Contains(text.String(), line) {
			t.Errorf("no %q", line)
		}
	}
	dropped(3)
	if len(f.seen) != mostLooks || f.seen[look{event: "0", minute: now.Unix() / 60}] != mostLooks+4 {
		t.Errorf("%d looks, %d of them at the first", len(f.seen), f.seen[look{event: "0", minute: now.Unix() / 60}])
	}
	n.Conn.Close()
	f.tell()
	dropped(3 + mostLooks + mostLooks + 3)
	if len(f.seen) != 0 {
		t.Errorf("%d looks are kept", len(f.seen))
	}
}
