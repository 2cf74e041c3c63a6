package system_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// mostIdleSeries is what a process with all services may show before it is used.
const mostIdleSeries = 1500

func TestIdleProcessShowsFewSeries(t *testing.T) {
	_, sys, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	n := 0
	for line := range strings.Lines(exposition(t, sys.OpsURL())) {
		if !strings.HasPrefix(line, "#") {
			n++
		}
	}
	if n > mostIdleSeries || n < 100 {
		t.Errorf("%d series, want at most %d", n, mostIdleSeries)
	}
}

func exposition(t *testing.T, ops string) string {
	t.Helper()
	resp, err := http.Get(ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
