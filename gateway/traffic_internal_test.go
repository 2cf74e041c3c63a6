package gateway

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// More different readings than fit are dropped and counted, as are those that cannot be published. No request waits.
func TestTrafficIsBounded(t *testing.T) {
	n := testkit.NATS(t)
	now := time.Now()
	r := observe.NewRegistry()
	f := newTraffic(Config{NATS: n.Conn, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }, Registry: r})
	for i := range mostReadings + 3 {
		f.add(reading{subject: "s", id: fmt.Sprint(i)})
		f.add(reading{subject: "s", id: "0"})
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
	if len(f.counts) != mostReadings || f.counts[reading{subject: "s", id: "0", minute: now.Unix() / 60}] != mostReadings+4 {
		t.Errorf("%d readings, %d of them at the first", len(f.counts), f.counts[reading{subject: "s", id: "0", minute: now.Unix() / 60}])
	}
	n.Conn.Close()
	f.publish()
	dropped(3 + mostReadings + mostReadings + 3)
	if len(f.counts) != 0 {
		t.Errorf("%d readings are kept", len(f.counts))
	}
}
