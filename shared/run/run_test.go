package run_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starlightsymphony/starlight/shared/run"
)

var quiet = slog.New(slog.DiscardHandler)

// until is a part that does nothing but note when it ends.
func until(note func()) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		note()
		return ctx.Err()
	}
}

func TestLastEndsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []string
		g := run.NewGroup(quiet)
		g.Last.Go("relay", until(func() { ended = append(ended, "relay") }))
		g.Go("consumer", until(func() {
			time.Sleep(time.Minute) // finishes what is under way
			ended = append(ended, "consumer")
		}))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Errorf("an ordered stop is an error: %v", err)
		}
		if want := []string{"consumer", "relay"}; !slices.Equal(ended, want) {
			t.Errorf("ended %v, want %v", ended, want)
		}
	})
}

// Without one of its parts a group does not go on, and says which one it was.
func TestPartEndsGroup(t *testing.T) {
	broken := errors.New("no stream")
	ends := map[string]struct {
		part func(context.Context) error
		want string
	}{
		"fails":   {func(context.Context) error { return broken }, "no stream"},
		"returns": {func(context.Context) error { return nil }, "ended before it was stopped"},
		"panics":  {func(context.Context) error { panic("index out of range") }, "panic: index out of range\n"},
		"exits":   {func(context.Context) error { runtime.Goexit(); return nil }, "ended its goroutine"},
	}
	for name, end := range ends {
		for _, last := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				g := run.NewGroup(quiet)
				g.Go("other", until(func() {}))
				g.Last.Go("relay", until(func() {}))
				if last {
					g.Last.Go("bad", end.part)
				} else {
					g.Go("bad", end.part)
				}
				err := g.Run(t.Context())
				if err == nil || !strings.HasPrefix(err.Error(), "bad: "+end.want) {
					t.Errorf("%s: error %q", name, err)
				}
				if name == "fails" && !errors.Is(err, broken) {
					t.Errorf("the cause is lost: %v", err)
				}
				if name == "panics" && !strings.Contains(err.Error(), "run_test.go") {
					t.Errorf("the stack is lost: %v", err)
				}
			})
		}
	}
}

// A pass is made at once, after each interval and when it is woken.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, wake := time.Now(), make(chan struct{}, 1)
		var passes []time.Duration
		g := run.NewGroup(quiet)
		g.Every(run.Loop{Name: "sweep", Interval: time.Minute, Wake: wake, Do: func(context.Context) error {
			passes = append(passes, time.Since(began))
			return nil
		}})
		ctx, stop := context.WithTimeout(t.Context(), 150*time.Second)
		defer stop()
		time.AfterFunc(70*time.Second, func() { wake <- struct{}{} })
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
		want := []time.Duration{0, time.Minute, 70 * time.Second, 130 * time.Second}
		if !slices.Equal(passes, want) {
			t.Errorf("passes after %v, want %v", passes, want)
		}
	})
}

func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := time.Now()
		var pauses []time.Duration
		g := run.NewGroup(quiet)
		g.Every(run.Loop{Name: "sweep", Interval: time.Minute, Jitter: time.Minute, Do: func(context.Context) error {
			pauses = append(pauses, time.Since(last))
			last = time.Now()
			return nil
		}})
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
		pauses = pauses[1:]
		if low, high := slices.Min(pauses), slices.Max(pauses); low < time.Minute || high > 2*time.Minute || low == high {
			t.Errorf("pauses from %v to %v", low, high)
		}
	})
}

// An outage is one warning and one line at its end, also of a loop whose interval is long.
func TestOutageIsLoggedOnce(t *testing.T) {
	for _, interval := range []time.Duration{200 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var buf bytes.Buffer
			began := time.Now()
			tries := 0
			g := run.NewGroup(slog.New(slog.NewTextHandler(&buf, nil)))
			g.Every(run.Loop{Name: "sweep", Interval: interval, Do: func(context.Context) error {
				tries++
				if time.Since(began) < 10*time.Minute {
					return errors.New("database away")
				}
				return nil
			}})
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Minute)
			defer stop()
			if err := g.Run(ctx); err != nil {
				t.Error(err)
			}
			lines := strings.Split(strings.TrimSpace(buf.String()), "\n")
			if len(lines) != 2 || !strings.Contains(lines[0], `level=WARN msg="background work fails" work=sweep error="database away"`) ||
				!strings.Contains(lines[1], `level=INFO msg="background work succeeds again" work=sweep`) {
				t.Errorf("logged\n%s", &buf)
			}
			if most := 10*60/5 + 20*60*5; tries < 10 || tries > most {
				t.Errorf("%d tries", tries)
			}
		})
	}
}
