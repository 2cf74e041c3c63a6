package edge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api/line"
)

// What is logged without a line waits, as far as there is room; what has no room is counted.
func TestLogsThatWait(t *testing.T) {
	var own bytes.Buffer
	logs := NewLogs(&own)
	const written = waitingLines + 10
	for i := range written {
		fmt.Fprintf(logs, "{\"n\":%d}\n", i)
	}
	logs.Write([]byte(strings.Repeat("x", line.LogLineLimit+1)))
	if got := bytes.Count(own.Bytes(), []byte("\n")); got != written {
		t.Errorf("the log itself has %d lines", got)
	}
	next, missing := 10, int64(11)
	for next < written {
		lines, dropped := logs.take()
		if len(lines) == 0 || len(lines) > line.LogsLimit || dropped != missing {
			t.Fatalf("%d lines, %d missing", len(lines), dropped)
		}
		for _, l := range lines {
			if want := fmt.Sprintf(`{"n":%d}`, next); l != want {
				t.Fatalf("%s, want %s", l, want)
			}
			next++
		}
		missing = 0
	}
	logs.lost(3)
	if lines, dropped := logs.take(); len(lines) != 0 || dropped != 3 {
		t.Errorf("%d lines, %d missing", len(lines), dropped)
	}
	for range 40 {
		logs.Write([]byte(strings.Repeat("y", line.LogLineLimit)))
	}
	if lines, _ := logs.take(); len(lines)*line.LogLineLimit > logsBytes || len(lines) == 0 {
		t.Errorf("a request of %d long lines", len(lines))
	}
}
