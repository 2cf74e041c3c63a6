package run_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starlightsymphony/starlight/shared/run"
)

func TestBackoff(t *testing.T) {
	b := run.Backoff{First: 100 * time.Millisecond, Last: time.Second}
	var pauses []time.Duration
	for range 6 {
		pauses = append(pauses, b.Next())
	}
	b.Reset()
	pauses = append(pauses, b.Next())
	want := []time.Duration{100e6, 200e6, 400e6, 800e6, 1e9, 1e9, 100e6}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses of %v, want %v", pauses, want)
	}
	synctest.Test(t, func(t *testing.T) {
		b := run.Backoff{First: time.Second, Last: time.Minute}
		start := time.Now()
		for range 2 {
			if !b.Wait(t.Context()) {
				t.Error("a pause did not pass")
			}
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("two pauses took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if b.Wait(ctx) {
			t.Error("a pause passed after its context had ended")
		}
	})
}
