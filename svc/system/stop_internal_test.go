package system

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPartsThatDoNotEndAreNamed(t *testing.T) {
	var p parts
	if err := p.wait(t.Context()); err != nil {
		t.Errorf("without any: %v", err)
	}
	release := make(chan struct{})
	for _, name := range []string{"payment", "event", "event"} {
		p.run(name, func() { <-release })
	}
	p.run("quick", func() {})
	gone, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.wait(gone); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), ": event, payment: ") {
		t.Errorf("the error is %v", err)
	}
	close(release)
	if err := p.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWithin(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	release := make(chan struct{})
	defer close(release)
	if err := within(gone, "a thing", func() error { <-release; return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("what hangs: %v", err)
	}
	failure := errors.New("no")
	if err := within(t.Context(), "a thing", func() error { return failure }); err != failure {
		t.Errorf("what fails: %v", err)
	}
}
